//! Clients that leave, kernels that die.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use serde_json::json;
use wire::execute::Item;

use crate::harness::{Cell, Service, with_service};

/// Starts a cell, waits until it printed, and leaves.
async fn abandon(service: &Service, code: &str) {
    let request = json!({ "code": code }).to_string();
    let mut response = service.send(Method::POST, "/execute", &request).await;
    let mut seen = Vec::new();
    while !seen.windows(6).any(|window| window == b"stdout") {
        let frame = response.frame().await.expect("output").expect("output");
        seen.extend_from_slice(frame.data_ref().expect("data"));
    }
}

#[test]
fn leaving_interrupts_and_the_next_cell_runs() {
    with_service(|service| async move {
        service.run("x = 1").await.well();
        abandon(&service, "import time\nprint('go', flush=True)\ntime.sleep(60)").await;
        let begin = Instant::now();
        assert_eq!(service.run("x").await.well().text(), Some("1"));
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    });
}

#[test]
fn leaving_interrupts_a_flood_and_children() {
    with_service(|service| async move {
        abandon(&service, "while True: print('x' * 10000)").await;
        assert_eq!(service.run("1").await.well().text(), Some("1"));
        abandon(&service, "import subprocess\nprint('go', flush=True)\nsubprocess.run(['sleep', '60'])")
            .await;
        let begin = Instant::now();
        assert_eq!(service.run("2").await.well().text(), Some("2"));
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_kernel_that_dies_is_told_and_replaced() {
    with_service(|service| async move {
        for code in ["import os\nos._exit(7)", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"] {
            service.run("x = 1").await.well();
            let cell = service.run(code).await;
            let failure = cell.failure().expect("a failure");
            assert_eq!(failure.name, "UnexpectedEndOfExecution");
            assert!(
                failure.value.contains("exit status 7") || failure.value.contains("signal 9"),
                "{failure:?}"
            );
            assert_eq!(cell.0.last(), Some(&Item::EndOfExecution));
            assert_eq!(service.run("'x' in dir()").await.well().text(), Some("False"));
        }
    });
}

#[test]
fn a_kernel_that_dies_idle_is_replaced_and_the_next_cell_says_so() {
    with_service(|service| async move {
        let code = "import os, threading\nx = 1\nthreading.Timer(0.3, lambda: os._exit(3)).start()";
        service.run(code).await.well();
        tokio::time::sleep(Duration::from_millis(600)).await;
        let cell = service.run("'x' in dir()").await.well();
        assert_eq!(cell.text(), Some("False"));
        assert!(cell.stderr().contains("fresh"), "{cell:?}");
        assert_eq!(service.run("1").await.well().stderr(), "");
    });
}

#[test]
fn whoever_waits_gets_keepalives() {
    with_service(|service| async move {
        service.run("1").await.well();
        let (first, second) = tokio::join!(service.run("import time\ntime.sleep(5.6)"), service.run("2"));
        for cell in [first.well(), second.well()] {
            assert!(cell.0.contains(&Item::Keepalive), "{cell:?}");
        }
    });
}

#[test]
fn a_slow_client_loses_nothing() {
    with_service(|service| async move {
        let code =
            "import sys\nfor i in range(3000):\n    print('%05d' % i + 'x' * 10000)\n    sys.stdout.flush()";
        let request = json!({ "code": code }).to_string();
        let response = service.send(Method::POST, "/execute", &request).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let items = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let cell = Cell(items.map(|line| serde_json::from_slice(line).unwrap()).collect());
        let starts: Vec<String> = cell.stdout().lines().map(|line| line[..5].to_owned()).collect();
        assert_eq!(starts, (0..3000).map(|number| format!("{number:05}")).collect::<Vec<_>>());
    });
}
