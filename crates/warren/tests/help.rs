//! What `--help` of each command for people says. A change here is a change of
//! the program's face: look at it before it is accepted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::process::Command;

fn help(of: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_warren")).args(of).arg("-h").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_command_shows_its_help() {
    let commands: [&[&str]; 11] = [
        &[],
        &["doctor"],
        &["sandbox"],
        &["sandbox", "create"],
        &["sandbox", "connect"],
        &["sandbox", "list"],
        &["sandbox", "info"],
        &["sandbox", "exec"],
        &["sandbox", "cp"],
        &["sandbox", "port"],
        &["sandbox", "kill"],
    ];
    for command in commands {
        let name = if command.is_empty() { "warren".to_owned() } else { command.join("-") };
        insta::assert_snapshot!(name, help(command));
    }
}
