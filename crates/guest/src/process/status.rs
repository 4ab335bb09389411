//! How an exit is told: the words of Go's `os` package, which clients compare.

use wire::process::EndEvent;

use super::reaper::Exit;

/// The end event of a process that ended like this.
pub(crate) fn end_event(exit: Exit) -> EndEvent {
    let status = exit.0;
    if let Some(signal) = status.terminating_signal() {
        // The bit beside the signal's number: a core was written.
        let core = if status.as_raw() & 0x80 == 0 { "" } else { " (core dumped)" };
        let words = format!("signal: {}{core}", signal_words(signal));
        return EndEvent { exit_code: -1, exited: false, status: words.clone(), error: Some(words) };
    }
    let code = status.exit_status().unwrap_or(-1);
    let words = format!("exit status {code}");
    EndEvent { exit_code: code, exited: true, error: (code != 0).then(|| words.clone()), status: words }
}

fn signal_words(signal: i32) -> String {
    const WORDS: [&str; 15] = [
        "hangup",
        "interrupt",
        "quit",
        "illegal instruction",
        "trace/breakpoint trap",
        "aborted",
        "bus error",
        "floating point exception",
        "killed",
        "user defined signal 1",
        "segmentation fault",
        "user defined signal 2",
        "broken pipe",
        "alarm clock",
        "terminated",
    ];
    let index = usize::try_from(signal).ok().and_then(|n| n.checked_sub(1));
    index.and_then(|n| WORDS.get(n)).map_or_else(|| format!("signal {signal}"), |words| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_gos_names() {
        assert_eq!(signal_words(9), "killed");
        assert_eq!(signal_words(15), "terminated");
        assert_eq!(signal_words(11), "segmentation fault");
        assert_eq!(signal_words(34), "signal 34");
    }
}
