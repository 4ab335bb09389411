//! Output as text: a character cut between two pieces is put together again.

/// Collects pieces of one stream.
#[derive(Debug, Default)]
pub(crate) struct Text {
    cut: Vec<u8>,
}

impl Text {
    /// The text that this piece completes; bytes that are not UTF-8 are replaced.
    pub(crate) fn push(&mut self, data: &[u8]) -> String {
        self.cut.extend_from_slice(data);
        let keep = incomplete_tail(&self.cut);
        let tail = self.cut.split_off(self.cut.len() - keep);
        let text = String::from_utf8_lossy(&self.cut).into_owned();
        self.cut = tail;
        text
    }

    /// What was left of a character that never became whole.
    pub(crate) fn finish(self) -> String {
        String::from_utf8_lossy(&self.cut).into_owned()
    }
}

/// Bytes at the end that begin a character which is not whole yet.
fn incomplete_tail(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => bytes.len() - e.valid_up_to(),
        // An invalid byte in front hides the end from the first check: look at the last three.
        Err(_) => {
            let start = bytes.len().saturating_sub(3);
            (start..bytes.len())
                .find(|&at| {
                    bytes[at] >= 0xC0
                        && std::str::from_utf8(&bytes[at..]).is_err_and(|e| e.error_len().is_none())
                })
                .map_or(0, |at| bytes.len() - at)
        }
        Ok(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_cut_between_pieces_are_whole_again() {
        let mut text = Text::default();
        let pieces = [&b"a\xe2"[..], b"\x82", b"\xac\xff", b"\xffb\xc3", b"\xa4", b"\xe2"];
        let seen = pieces.map(|piece| text.push(piece));
        assert_eq!(seen, ["a", "", "€\u{fffd}", "\u{fffd}b", "ä", ""]);
        assert_eq!(text.finish(), "\u{fffd}");
    }
}
