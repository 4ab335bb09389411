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
