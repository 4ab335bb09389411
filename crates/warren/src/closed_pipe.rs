//! `warren … | head`: whoever reads our output may stop, and that is no mistake.
//!
//! The standard library ignores SIGPIPE and lets `println!` panic instead. The
//! panic of that one kind ends the program as the signal would: without a word,
//! with the status that a shell gives to it.

use std::panic::{self, PanicHookInfo};

/// What shells answer for a program that SIGPIPE ended: 128 + 13.
const STATUS: i32 = 141;

/// From here on, a closed standard output ends the program quietly. Not for the
/// server, whose sockets break all the time.
pub(crate) fn end_quietly() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if is_closed_pipe(info) {
            #[expect(clippy::exit, reason = "nobody reads what would be said on the way out")]
            std::process::exit(STATUS);
        }
        usual(info);
    }));
}

fn is_closed_pipe(info: &PanicHookInfo<'_>) -> bool {
    // Said by `println!`, and by whoever unwraps a write to standard output.
    info.payload_as_str().is_some_and(|text| text.contains("failed") && text.contains("Broken pipe"))
}
