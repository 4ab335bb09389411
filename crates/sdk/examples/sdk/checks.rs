//! What only a real sandbox can show: no example, but run with them.

use std::time::Duration;

use bytes::Bytes;
use warren_sdk::{
    BuildOptions, CloneOptions, CommandEvent, Config, CreateOptions, FileEventKind, PtySize, Sandbox,
    SandboxManager, Scope, Signal, Template,
};

use super::Outcome;

pub(crate) async fn run(config: &Config) -> Outcome {
    let sandbox = Sandbox::create_with(config, super::with_code()).await?.scoped();
    a_background_command_is_fed_and_ended(&sandbox).await?;
    a_terminal_shows_what_is_typed(&sandbox).await?;
    a_change_is_seen_while_it_is_watched(&sandbox).await?;
    files_of_any_size_go_through(&sandbox).await?;
    contexts_do_not_see_each_other(&sandbox).await?;
    a_repository_is_kept_inside(&sandbox).await?;
    sandbox.close().await?;
    a_template_is_built_and_used(config).await?;
    a_program_in_the_background_is_fed_and_signalled(config).await
}

async fn a_background_command_is_fed_and_ended(sandbox: &Sandbox) -> Outcome {
    let commands = sandbox.commands();
    let cat = commands.run("cat").stdin().background().await?;
    cat.send_stdin("one\n").await?;
    let data = futures_util::stream::iter([Bytes::from("two\n"), Bytes::from("three\n")]);
    commands.stream_input(cat.pid(), data).await?;
    assert!(commands.list().await?.iter().any(|running| running.pid == cat.pid()));
    cat.close_stdin().await?;
    assert_eq!(cat.wait().await?.stdout, "one\ntwo\nthree\n");

    let sleep = commands.run("sleep 60").background().await?;
    let again = commands.connect(sleep.pid()).await?;
    assert!(sleep.terminate().await?);
    assert_eq!((sleep.wait().await?.exit_code, again.wait().await?.exit_code), (-1, -1));
    let late = commands.run("sleep 60").timeout(Duration::from_millis(300)).await;
    assert_eq!(late.err().map(|e| e.kind()), Some(warren_sdk::ErrorKind::Timeout));
    Ok(())
}

async fn a_terminal_shows_what_is_typed(sandbox: &Sandbox) -> Outcome {
    let pty = sandbox.pty();
    let mut terminal = pty.create(PtySize { cols: 80, rows: 24 }).await?;
    pty.resize(terminal.pid(), PtySize { cols: 100, rows: 30 }).await?;
    pty.send_stdin(terminal.pid(), "stty size; exit 5\n").await?;
    let (mut shown, mut status) = (Vec::new(), None);
    while let Some(event) = terminal.next().await? {
        match event {
            CommandEvent::Pty(piece) => shown.extend_from_slice(&piece),
            CommandEvent::End { exit_code, .. } => status = Some(exit_code),
            _ => {}
        }
    }
    assert!(String::from_utf8_lossy(&shown).contains("30 100"), "{}", String::from_utf8_lossy(&shown));
    assert_eq!(status, Some(5));
    Ok(())
}

async fn a_change_is_seen_while_it_is_watched(sandbox: &Sandbox) -> Outcome {
    let files = sandbox.files();
    files.make_dir("watched").await?;
    let mut watch = files.watch("watched").recursive().await?;
    files.write("watched/a", "x").await?;
    let event = watch.next().await?.ok_or("the watch ended")?;
    assert_eq!((event.name.as_str(), event.kind), ("a", FileEventKind::Create));
    Ok(())
}

async fn files_of_any_size_go_through(sandbox: &Sandbox) -> Outcome {
    use futures_util::{StreamExt as _, TryStreamExt as _};
    let files = sandbox.files();
    let piece = Bytes::from(vec![7; 1 << 20]);
    let pieces = futures_util::stream::repeat(piece).take(20).map(Ok::<_, std::io::Error>);
    files.write_stream("big", pieces).await?;
    let read = files.read_stream("big").await?.try_fold(0, |sum, piece| async move { Ok(sum + piece.len()) });
    assert_eq!(read.await?, 20 << 20);
    let options = warren_sdk::WriteOptions::new().gzip().metadata("kind", "note");
    files.write_with("note", "text", &options).await?;
    let entry = files.info("note").await?;
    assert_eq!((files.read("note").await?.as_str(), entry.size), ("text", 4));
    assert_eq!(entry.metadata.get("kind").map(String::as_str), Some("note"));
    files.write_files([("many/a", "1"), ("many/b", "2")]).await?;
    assert_eq!(files.list("many", 1).await?.len(), 2);
    Ok(())
}

async fn contexts_do_not_see_each_other(sandbox: &Sandbox) -> Outcome {
    let contexts = sandbox.code_contexts();
    let context = contexts.create(None, Some("/tmp")).await?;
    sandbox.run_code("secret = 1").await?;
    let other =
        sandbox.run_code("import os; (os.getcwd(), 'secret' in globals())").context(&context.id).await?;
    assert_eq!(other.text(), Some("('/tmp', False)"));
    contexts.remove(&context.id).await?;
    Ok(())
}

async fn a_repository_is_kept_inside(sandbox: &Sandbox) -> Outcome {
    let git = sandbox.git();
    git.init("repo", false, Some("main")).await?;
    git.configure_user("A", "a@example", Scope::Local("repo")).await?;
    sandbox.files().write("repo/a", "1").await?;
    git.add("repo", &[]).await?;
    git.commit("repo", "one", None, false).await?;
    git.clone_repository("/home/user/repo", CloneOptions { path: Some("copy"), ..CloneOptions::default() })
        .await?;
    assert!(git.status("copy").await?.is_clean());
    Ok(())
}

async fn a_template_is_built_and_used(config: &Config) -> Outcome {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("told.txt"), "by the client")?;
    let template = Template::from_template("base")
        .context(dir.path())
        .copy("told.txt", "/told.txt")
        .run("test -s /told.txt");
    let mut lines = 0;
    template.build(config, &BuildOptions::new("sdk-check"), |_| lines += 1).await?;
    assert!(lines > 0 && Template::exists(config, "sdk-check").await?);
    let sandbox = Sandbox::create_with(config, CreateOptions::new().template("sdk-check")).await?.scoped();
    assert_eq!(sandbox.files().read("/told.txt").await?, "by the client");
    sandbox.close().await?;
    let failing = Template::from_template("base")
        .run("exit 7")
        .build(config, &BuildOptions::new("sdk-check"), |_| {})
        .await;
    assert_eq!(failing.err().map(|e| e.kind()), Some(warren_sdk::ErrorKind::Build));
    Ok(())
}

async fn a_program_in_the_background_is_fed_and_signalled(config: &Config) -> Outcome {
    let manager = SandboxManager::start(config).await?;
    let line = "trap 'echo usr; exit 4' USR1; read word; echo got $word; while true; do sleep 0.05; done";
    let (sender, mut words) = tokio::sync::mpsc::unbounded_channel();
    let process =
        manager.start_process(line).on_stdout(move |text| drop(sender.send(text.to_owned()))).start().await?;
    process.send_stdin("it\n").await?;
    assert_eq!(words.recv().await.as_deref(), Some("got it\n"));
    assert!(process.send_signal(Signal::Usr1).await?);
    let output = process.wait().await?;
    assert_eq!((output.stdout.as_str(), output.exit_code), ("got it\nusr\n", 4));
    let mut monitor = manager.monitor(Duration::from_millis(500));
    let sample = tokio::time::timeout(Duration::from_secs(40), monitor.next()).await?.ok_or("no sample")?;
    assert!(sample.memory_total > 0);
    manager.close().await?;
    Ok(())
}
