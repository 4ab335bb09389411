//! The last lines that a step printed: bounded, whatever it prints.

use std::collections::VecDeque;
use std::fmt;

const LINES: usize = 20;
const LINE_BYTES: usize = 500;

/// Cuts output into lines, shows each, keeps the last.
pub struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
    show: Box<dyn Fn(&str) + Send + Sync>,
}

impl Tail {
    pub(super) fn new(show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { lines: VecDeque::with_capacity(LINES), partial: Vec::new(), show: Box::new(show) }
    }

    /// Takes a piece of output; what a line has beyond the bound is dropped.
    pub(super) fn push(&mut self, output: &[u8]) {
        for &byte in output {
            if byte == b'\n' || byte == b'\r' {
                self.end_line();
            } else if self.partial.len() < LINE_BYTES {
                self.partial.push(byte);
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).trim_end().to_owned();
        if line.is_empty() {
            return;
        }
        (self.show)(&line);
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The last lines.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.end_line();
        self.lines.into()
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("lines", &self.lines).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept_and_each_is_bounded() {
        let mut tail = Tail::new(|_| {});
        for n in 0..100 {
            tail.push(format!("line {n}\r\n").as_bytes());
        }
        tail.push(&[b'x'; 5000]);
        let lines = tail.finish();
        assert_eq!((lines.len(), lines[18].as_str(), lines[19].len()), (20, "line 99", 500));
    }
}
