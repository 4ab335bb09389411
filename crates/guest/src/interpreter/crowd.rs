//! Whether code has become so many processes that it is not worth asking it to stop.
//!
//! A bomb of forks takes no notice of an interrupt, or takes minutes to: each of its
//! thousands handles it, on the same two processors. Until then nobody else in the
//! sandbox gets a turn, and all the while it grows.

use std::fs;

/// Processes of one kernel, itself included, from which on they are killed with it
/// where they would be interrupted. Pools of workers are far smaller.
pub(super) const CROWD: usize = 256;

/// Whether the process group has come to that. Looks no further once it has.
pub(super) fn is_crowd(group: i32) -> bool {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stats = ids.filter_map(|id| fs::read_to_string(format!("/proc/{id}/stat")).ok());
    stats.filter(|stat| group_in(stat) == Some(group)).nth(CROWD - 1).is_some()
}

/// The process group in `/proc/<id>/stat`: third after the name, which may hold
/// anything, blanks and brackets included.
fn group_in(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the process calls itself.
        #[test]
        fn finds_the_group(name in ".{0,15}", group in 0..i32::MAX) {
            let stat = format!("17 ({name}) S 1 {group} 4 0 -1 4194560 8 0 0\n");
            prop_assert_eq!(group_in(&stat), Some(group));
        }

        #[test]
        fn nothing_else_has_one(text in ".{0,60}") {
            if !text.contains(") ") {
                prop_assert_eq!(group_in(&text), None);
            }
        }
    }

    #[test]
    fn this_process_is_no_crowd() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        let stat = fs::read_to_string("/proc/self/stat").expect("read my own stat");
        assert_eq!(group_in(&stat), Some(group));
        assert!(!is_crowd(i32::MAX));
    }
}
