//! Contexts and variables.

use http::Method;
use serde_json::{Value, json};

use crate::harness::with_service;

#[test]
fn contexts_are_apart_and_listed_in_order() {
    with_service(|service| async move {
        service.run("x = 'default'").await.well();
        std::fs::create_dir(service.home().join("sub")).unwrap();
        let cwd = service.home().join("sub").to_string_lossy().into_owned();
        let id = service.context(json!({ "cwd": cwd, "language": null })).await;
        let (_, body) = service.call(Method::GET, "/contexts", "").await;
        let list: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(list[0]["language"], "python");
        assert_eq!(list[1]["language"], "javascript");
        assert_eq!(list[2], json!({ "id": id, "language": "python", "cwd": cwd }));
        let cell = service
            .execute(json!({ "context_id": id, "code": "import os\nos.getcwd(), 'x' in dir()" }))
            .await
            .well();
        assert_eq!(cell.text(), Some(format!("('{cwd}', False)").as_str()));
        assert_eq!(service.run("x").await.well().text(), Some("default"));
    });
}

#[test]
fn a_restart_forgets_keeps_the_directory_and_ends_what_runs() {
    with_service(|service| async move {
        let id = service.context(json!({})).await;
        service.execute(json!({ "context_id": id, "code": "x = 1" })).await.well();
        let path = format!("/contexts/{id}/restart");
        let sleeping = service.execute(json!({ "context_id": id, "code": "import time\ntime.sleep(60)" }));
        let restart = async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            service.call(Method::POST, &path, "").await
        };
        let (cell, (status, body)) = tokio::join!(sleeping, restart);
        assert_eq!((status.as_u16(), body.as_str()), (200, "null"));
        assert_eq!(cell.failure().map(|failure| failure.name.as_str()), Some("ContextRestarting"));
        let code = "import os\nos.getcwd(), 'x' in dir()";
        let cell = service.execute(json!({ "context_id": id, "code": code })).await.well();
        assert_eq!(cell.text(), Some(format!("('{}', False)", service.home().display()).as_str()));
    });
}

#[test]
fn a_removed_default_is_made_again() {
    with_service(|service| async move {
        service.run("x = 1").await.well();
        let (_, body) = service.call(Method::GET, "/contexts", "").await;
        let list: Value = serde_json::from_str(&body).unwrap();
        let path = format!("/contexts/{}", list[0]["id"].as_str().unwrap());
        assert_eq!(service.call(Method::DELETE, &path, "").await.1, "null");
        assert_eq!(service.call(Method::DELETE, &path, "").await.0, 404);
        assert_eq!(service.run("'x' in dir()").await.well().text(), Some("False"));
    });
}

#[test]
fn variables_of_a_request_last_for_it_alone() {
    with_service(|service| async move {
        service.envs.lock().unwrap().insert("SANDBOX".to_owned(), "a\"b\\c\n'é😀".to_owned());
        let code = "import os\n[os.environ.get('SANDBOX'), os.environ.get('CALL')]";
        let cell = service.run(code).await.well();
        assert_eq!(cell.results()[0].json, Some(json!(["a\"b\\c\n'é😀", null])));
        let vars = json!({ "SANDBOX": "over", "CALL": "x" });
        let cell = service.execute(json!({ "code": code, "env_vars": vars })).await.well();
        assert_eq!(cell.results()[0].json, Some(json!(["over", "x"])));
        let cell = service.run(code).await.well();
        assert_eq!(cell.results()[0].json, Some(json!(["a\"b\\c\n'é😀", null])));
        assert!(matches!(cell.0[0], wire::execute::Item::NumberOfExecutions { execution_count: 3 }));
    });
}

#[test]
fn refusals_say_what_is_wrong() {
    with_service(|service| async move {
        for (path, body, status, text) in [
            ("/execute", r#"{"code":"1","context_id":"a","language":"python"}"#, 400, "Only one of"),
            ("/execute", r#"{"code":"1","context_id":"nope"}"#, 404, "Context nope not found"),
            ("/execute", r#"{"code":"1","language":"cobol"}"#, 500, "the language cobol"),
            ("/execute", "{", 422, "json_invalid"),
            ("/execute", "{}", 422, "Field required"),
            ("/contexts", r#"{"language":"cobol"}"#, 500, "Failed to create context: the language cobol"),
            ("/contexts", r#"{"language":"bash","cwd":"/no"}"#, 500, "Failed to set working directory"),
            ("/contexts/nope/restart", "", 404, "Context nope not found"),
            ("/nope", "", 404, "Not Found"),
            ("/health", "", 405, "Method Not Allowed"),
        ] {
            let (found, answer) = service.call(Method::POST, path, body).await;
            assert_eq!(found.as_u16(), status, "{path} {body}: {answer}");
            assert!(answer.contains(text), "{path} {body}: {answer}");
        }
    });
}

#[test]
fn executions_of_one_context_take_turns_and_of_two_do_not() {
    with_service(|service| async move {
        let other = service.context(json!({})).await;
        service.run("n = 0").await.well();
        let code = "import time\nm = n\ntime.sleep(0.05)\nn = m + 1";
        let (many, ..) = tokio::join!(
            futures_util::future::join_all((0..10).map(|_| service.run(code))),
            service.execute(json!({ "context_id": other, "code": "1" })),
        );
        assert!(many.into_iter().all(|cell| cell.well().failure().is_none()));
        assert_eq!(service.run("n").await.well().text(), Some("10"));
    });
}
