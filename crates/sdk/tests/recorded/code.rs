//! Code: requests, lines, contexts.

use std::time::Duration;

use serde_json::json as value;
use warren_sdk::ErrorKind;

use super::*;

fn lines(items: &[Value]) -> Reply {
    let text = items.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n";
    Reply::Answer(200, Vec::new(), text.into())
}

#[tokio::test]
async fn lines_become_an_execution() {
    let (mock, sandbox) = sandbox(|_| {
        lines(&[
            value!({ "type": "number_of_executions", "execution_count": 4 }),
            value!({ "type": "stdout", "text": "a\n", "timestamp": "t" }),
            value!({ "type": "keepalive" }),
            value!({ "type": "stderr", "text": "b", "timestamp": "t" }),
            value!({ "type": "result", "text": "42", "png": "iVBO", "is_main_result": true }),
            value!({ "type": "error", "name": "ValueError", "value": "no", "traceback": "…" }),
            value!({ "type": "of_the_future" }),
            value!({ "type": "end_of_execution" }),
        ])
    })
    .await;
    let (mut output, mut results, mut errors) = (Vec::new(), 0, Vec::new());
    let execution = sandbox
        .run_code("x")
        .language("python")
        .env("A", "1")
        .on_output(|message| output.push((message.text.clone(), message.is_stderr)))
        .on_result(|_| results += 1)
        .on_error(|error| errors.push(error.name.clone()))
        .await
        .unwrap();
    assert_eq!((execution.text(), execution.execution_count), (Some("42"), Some(4)));
    assert_eq!(output, [("a\n".to_owned(), false), ("b".to_owned(), true)]);
    assert_eq!((results, errors), (1, vec!["ValueError".to_owned()]));
    assert_eq!(execution.error.unwrap().value, "no");
    let sent = mock.last("/execute");
    assert_eq!(sent.json(), value!({ "code": "x", "language": "python", "env_vars": { "A": "1" } }));
    assert_eq!(sent.header("e2b-sandbox-port"), Some("49999"));
}

#[tokio::test]
async fn what_cannot_be_a_result_is_an_error() {
    let (_mock, sandbox) = sandbox(|seen| match &seen.body[..] {
        _ if seen.path == "/health" => gone(),
        br#"{"code":"short"}"# => lines(&[value!({ "type": "stdout", "text": "a", "timestamp": "t" })]),
        br#"{"code":"torn"}"# => Reply::Cut("{\"type\":".into()),
        br#"{"code":"wrong"}"# => lines(&[value!({ "kind": 1 })]),
        br#"{"code":"none"}"# => failure(404, "Context none not found"),
        _ => Reply::Silence,
    })
    .await;
    let kind = |code: &'static str| {
        let run = sandbox.run_code(code).timeout(Duration::from_millis(100));
        async move { run.await.unwrap_err().kind() }
    };
    assert_eq!(kind("short").await, ErrorKind::Sandbox);
    assert_eq!(kind("torn").await, ErrorKind::SandboxNotRunning);
    assert_eq!(kind("wrong").await, ErrorKind::Sandbox);
    assert_eq!(kind("none").await, ErrorKind::NotFound);
    assert_eq!(kind("slow").await, ErrorKind::Timeout);
    let both = sandbox.run_code("x").language("r").context("c").await.unwrap_err();
    assert_eq!(both.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn contexts_are_made_listed_restarted_and_removed() {
    let context = value!({ "id": "c1", "language": "python", "cwd": "/home/user" });
    let (mock, sandbox) = sandbox(move |seen| match seen.line().as_str() {
        "POST /contexts" => json(200, &context),
        "GET /contexts" => json(200, &value!([context])),
        "POST /contexts/c1/restart" | "DELETE /contexts/c1" => empty(204),
        _ => failure(404, "no such context"),
    })
    .await;
    let contexts = sandbox.code_contexts();
    assert_eq!(contexts.create(Some("python"), Some("/tmp")).await.unwrap().id, "c1");
    assert_eq!(mock.last("/contexts").json(), value!({ "language": "python", "cwd": "/tmp" }));
    assert_eq!(contexts.list().await.unwrap().len(), 1);
    contexts.restart("c1").await.unwrap();
    contexts.remove("c1").await.unwrap();
    assert_eq!(contexts.remove("c 2").await.unwrap_err().kind(), ErrorKind::NotFound);
}
