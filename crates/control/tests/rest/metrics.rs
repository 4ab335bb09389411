//! Samples over time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::world::World;

#[tokio::test]
async fn samples_are_there_soon_and_bounded_by_the_range() {
    let world = World::with(|options| options.sample_every = Duration::from_millis(5)).await;
    let id = world.create_base().await;
    world.pass(Duration::from_secs(5));
    let stop = CancellationToken::new();
    // As servers do: on a task of its own.
    let running = {
        let (app, stop) = (world.app.clone(), stop.clone());
        tokio::spawn(async move { app.run(stop).await })
    };
    let asking = async {
        let path = format!("/sandboxes/{id}/metrics");
        let mut samples = world.get(&path).await.expect(200).json();
        while samples.as_array().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            samples = world.get(&path).await.expect(200).json();
        }
        insta::assert_json_snapshot!(samples[0], @r#"
        {
          "cpuCount": 2,
          "cpuUsedPct": 25.0,
          "diskTotal": 10737418240,
          "diskUsed": 1048576,
          "memCache": 5242880,
          "memTotal": 1073741824,
          "memUsed": 15728640,
          "timestamp": "2026-11-21T10:00:05.000000Z",
          "timestampUnix": 1795255205
        }
        "#);
        let all = world.get(&format!("/sandboxes/metrics?sandbox_ids={id},iother")).await.expect(200).json();
        assert_eq!(all["sandboxes"][id.as_str()], samples[0]);
        assert_eq!(all["sandboxes"].as_object().unwrap().len(), 1);
        for (query, n) in
            [("?start=1795255205&end=1795255205", 1), ("?start=1795255206", 0), ("?end=1795255204", 0)]
        {
            assert_eq!(
                world.get(&format!("{path}{query}")).await.json().as_array().unwrap().len(),
                n,
                "{query}"
            );
        }
        stop.cancel();
    };
    let (running, ()) = tokio::join!(running, asking);
    running.unwrap();
}

#[tokio::test]
async fn refused_and_unknown() {
    let world = World::new().await;
    assert_eq!(world.get("/sandboxes/iunknown/metrics").await.expect(200).text, "[]");
    insta::assert_json_snapshot!(world.get("/sandboxes/i1/metrics?start=2&end=1").await.error(400), @r#"
    {
      "code": 400,
      "message": "Invalid time range for metrics"
    }
    "#);
    world.get("/sandboxes/i1/metrics?start=-1").await.error(400);
    world.get("/sandboxes/metrics").await.error(400);
    let many: Vec<String> = (0..101).map(|n| format!("i{n}")).collect();
    let answer = world.get(&format!("/sandboxes/metrics?sandbox_ids={}", many.join(","))).await;
    insta::assert_json_snapshot!(answer.error(400), @r#"
    {
      "code": 400,
      "message": "Too many sandboxes requested, maximum is 100"
    }
    "#);
}

#[tokio::test]
async fn samples_outlive_the_server_and_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let samples = store::Samples::open(dir.path()).unwrap();
    let mut world = World::with(|options| {
        options.sample_every = Duration::from_millis(1);
        options.samples = Some(samples.clone());
    })
    .await;
    let id = world.create_base().await;
    let path = format!("/sandboxes/{id}/metrics");
    let mut seen = 0;
    for _ in 0..2 {
        let (stop, app) = (CancellationToken::new(), world.app.clone());
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { app.run(stop).await }
        });
        for _ in 0..20 {
            world.pass(Duration::from_secs(5));
            let at = world.now().unix_micros() / 1_000_000;
            while world.get(&format!("{path}?start={at}")).await.json().as_array().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        seen += 20;
        stop.cancel();
        running.await.unwrap();
        world.app = world.restarted();
        let kept = world.get(&path).await.expect(200).json();
        assert_eq!(kept.as_array().unwrap().len(), seen, "after a restart");
    }
    let team = world.get("/teams").await.json()[0]["teamID"].as_str().unwrap().to_owned();
    world.delete(&format!("/sandboxes/{id}")).await.expect(204);
    assert_eq!(world.get(&path).await.expect(200).json().as_array().unwrap().len(), 40, "after its end");

    let of_team = world.get(&format!("/teams/{team}/metrics")).await.expect(200).json();
    assert!(of_team.as_array().unwrap().len() > 5, "{of_team}");
    assert_eq!(of_team[1]["concurrentSandboxes"], 1);
    let max = format!("/teams/{team}/metrics/max");
    let most = world.get(&format!("{max}?metric=concurrent_sandboxes")).await.expect(200).json();
    assert_eq!(most["value"], 1.0);
    let rate = world.get(&format!("{max}?metric=sandbox_start_rate")).await.expect(200).json();
    assert!(rate["value"].as_f64().unwrap() > 0.0, "{rate}");
    world.get(&max).await.error(400);
    world.get(&format!("/teams/{team}/metrics?start=2&end=1")).await.error(400);
    world.get("/teams/00000000-0000-4000-8000-000000000000/metrics").await.error(403);
}
