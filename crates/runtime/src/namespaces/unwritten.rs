//! How much of a machine's memory was written since a round, counted while it goes on.
//!
//! The kernel marks each page that is written after it was told to begin anew; a
//! round tells it so. Counting the marks disturbs nobody, unlike another round, and
//! is bounded in what it reads: a map of which nothing is there is as long as any.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;

use rustix::process::Pid;

use super::criu::PAGE;
use super::proc_dir;

/// Of `/proc/<pid>/pagemap`, which has a number for each page.
const NUMBER: u64 = 8;
const WRITTEN: u64 = 1 << 55;
const OF_A_FILE: u64 = 1 << 61;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;

/// What is read of all processes together, of which a map of 16 GiB alone is all.
const MOST_READ: u64 = 32 << 20;
const PIECE: usize = 64 << 10;

/// Bytes that these processes wrote since the last round and that the next has to write.
/// Counting ends above `enough`, and where too much would have to be read: then
/// it is more than `enough`.
pub(super) fn rest(processes: &[Pid], enough: u64) -> io::Result<u64> {
    let (mut pages, mut left) = (0, MOST_READ);
    for pid in processes {
        match count(*pid, enough / PAGE, &mut left) {
            Ok(more) => pages += more,
            // One that ended meanwhile has nothing.
            Err(e) if is_gone(&e) => {}
            Err(e) => return Err(e),
        }
        if left == 0 {
            return Ok(u64::MAX);
        }
        if pages * PAGE > enough {
            break;
        }
    }
    Ok(pages * PAGE)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn count(pid: Pid, enough: u64, left: &mut u64) -> io::Result<u64> {
    let mut maps = Vec::new();
    // Names in it are the sandbox's, and as long as it likes.
    File::open(proc_dir(pid).join("maps"))?.take(*left).read_to_end(&mut maps)?;
    *left -= maps.len() as u64;
    let maps = String::from_utf8_lossy(&maps);
    let numbers = File::open(proc_dir(pid).join("pagemap"))?;
    let (mut pages, mut buffer) = (0, vec![0; PIECE]);
    for (from, to) in maps.lines().filter_map(own_memory) {
        let (mut at, end) = (from / PAGE * NUMBER, to / PAGE * NUMBER);
        while at < end {
            let piece = usize::try_from((end - at).min(*left)).unwrap_or(PIECE).min(PIECE);
            // Nothing more to read, or nothing to read of what went meanwhile.
            let read = numbers.read_at(&mut buffer[..piece], at)?;
            if read == 0 {
                break;
            }
            pages += written(&buffer[..read]);
            *left -= read as u64;
            at += read as u64;
            if pages > enough || *left == 0 {
                return Ok(pages);
            }
        }
    }
    Ok(pages)
}

/// The memory of a line of `/proc/<pid>/maps`, if it is the process's own and it may use it.
fn own_memory(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let may = words.next()?;
    let kernels = words.nth(3).is_some_and(|name| name.starts_with("[v"));
    if !may.ends_with('p') || may.starts_with("---") || kernels {
        return None;
    }
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

fn written(numbers: &[u8]) -> u64 {
    let numbers = numbers.as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
    let own = numbers.filter(|n| n & WRITTEN != 0 && n & OF_A_FILE == 0 && n & (PRESENT | SWAPPED) != 0);
    own.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_others_and_of_nobody_is_left_out() {
        let own = "7f1200000000-7f1200002000 rw-p 00000000 00:00 0";
        assert_eq!(own_memory(own), Some((0x7f12_0000_0000, 0x7f12_0000_2000)));
        assert!(own_memory("55d0-55d8 r-xp 00000000 08:01 131 /usr/bin/python3.11").is_some());
        for not in [
            "7f1200000000-7f1200002000 ---p 00000000 00:00 0",
            "7f1200000000-7f1200002000 rw-s 00000000 00:01 1 /dev/shm/x",
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]",
            "7ffc-7ffd r-xp 00000000 00:00 0 [vdso]",
            "nothing",
        ] {
            assert_eq!(own_memory(not), None, "{not}");
        }
    }

    #[test]
    fn pages_count_that_are_there_and_were_written() {
        let numbers = [PRESENT | WRITTEN, SWAPPED | WRITTEN, PRESENT, WRITTEN, PRESENT | WRITTEN | OF_A_FILE];
        assert_eq!(written(&numbers.map(u64::to_ne_bytes).concat()), 2);
    }

    #[test]
    fn counting_ends_somewhere() {
        let own = rustix::process::getpid();
        assert!(rest(&[own], 1 << 30).is_ok());
        let nobody = Pid::from_raw(i32::MAX).unwrap();
        assert_eq!(rest(&[nobody], 0).unwrap(), 0);
    }
}
