//! As much of the name service's message form as a carrier needs (RFC 1035).

const HEADER_LEN: usize = 12;
/// In the third byte: this is an answer.
const ANSWER: u8 = 0x80;
/// In the third byte: kind of request and wish for recursion, which an answer repeats.
const REPEATED: u8 = 0x79;
/// In the fourth byte: recursion is available, and the server failed.
const SERVFAIL: u8 = 0x82;

/// The answer "the server failed" to a question; `None` when it is no question.
pub(super) fn servfail(question: &[u8]) -> Option<Vec<u8>> {
    let header = question.get(..HEADER_LEN)?;
    if header[2] & ANSWER != 0 {
        return None;
    }
    let asked = asked(question);
    let mut answer = vec![0_u8; HEADER_LEN];
    answer[..2].copy_from_slice(&header[..2]);
    answer[2] = ANSWER | (header[2] & REPEATED);
    answer[3] = SERVFAIL;
    answer[5] = u8::from(asked.is_some());
    answer.extend_from_slice(asked.unwrap_or_default());
    Some(answer)
}

/// Whether an answer belongs to a question.
pub(super) fn answers(question: &[u8], answer: &[u8]) -> bool {
    let (Some(header), Some(id)) = (answer.get(..HEADER_LEN), question.get(..2)) else { return false };
    // Servers may leave the question away when they report an error.
    let same = asked(answer).is_none_or(|a| asked(question).is_some_and(|q| a.eq_ignore_ascii_case(q)));
    header[..2] == *id && header[2] & ANSWER != 0 && same
}

/// Name, type and class of the one thing that is asked for.
fn asked(message: &[u8]) -> Option<&[u8]> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let body = &message[HEADER_LEN.min(message.len())..];
    let mut end = 0;
    loop {
        match *body.get(end)? {
            0 => return body.get(..end + 5),
            // A pointer cannot stand in a first question.
            label if label < 64 => end += 1 + usize::from(label),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] =
        b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\0\0\x29extra";

    #[test]
    fn failure_repeats_the_question_without_the_extras() {
        let failure = servfail(QUESTION).unwrap();
        assert_eq!(failure, b"\x12\x34\x81\x82\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01");
        assert!(answers(QUESTION, &failure));
        assert_eq!(servfail(&failure), None, "an answer is not answered");
    }

    #[test]
    fn whatever_comes_is_decided_without_a_panic() {
        for cut in 0..QUESTION.len() {
            let failure = servfail(&QUESTION[..cut]);
            assert_eq!(failure.is_some(), cut >= HEADER_LEN);
            assert!(!answers(QUESTION, &QUESTION[..cut]));
        }
        let mut endless = QUESTION.to_vec();
        endless[12] = 0xff;
        assert_eq!(servfail(&endless).unwrap().len(), HEADER_LEN);
    }

    #[test]
    fn answers_to_something_else_do_not_belong() {
        let answer = servfail(QUESTION).unwrap();
        let mut shouting = answer.clone();
        shouting.make_ascii_uppercase();
        assert!(answers(QUESTION, &shouting));
        for changed in [0, 1, 13] {
            let mut other = answer.clone();
            other[changed] ^= 1;
            assert!(!answers(QUESTION, &other), "byte {changed}");
        }
    }
}
