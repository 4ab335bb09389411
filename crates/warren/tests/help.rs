//! What `--help` of every command says, found by walking from the first one. A
//! change here is a change of the program's face: look at it before it is accepted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::process::Command;

fn help(of: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_warren")).args(of).arg("-h").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let rows = list.take_while(|line| line.starts_with("  "));
    let names = rows.filter_map(|row| row.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn each_command_shows_its_help() {
    let mut left = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = left.pop() {
        let text = help(&path);
        let below = commands(&text);
        left.extend(below.into_iter().map(|name| [path.clone(), vec![name]].concat()));
        let name = if path.is_empty() { "warren".to_owned() } else { path.join("-") };
        insta::assert_snapshot!(name, text);
        seen += 1;
    }
    assert!(seen > 40, "only {seen} commands were found");
}

/// `warren … | head`: whoever stops reading ends it, without a word.
#[test]
fn a_reader_that_left_is_no_mistake() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut warren = Command::new(env!("CARGO_BIN_EXE_warren"));
    warren.args(["completions", "bash"]).stdout(writer);
    drop(reader);
    let output = warren.stderr(std::process::Stdio::piped()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), words.as_ref()), (Some(141), ""));
}
