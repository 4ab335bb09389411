//! Stream framing: one flag byte, a big-endian length of four bytes, the payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before each payload.
pub const HEADER_LEN: usize = 5;
/// The payload is compressed, by what the stream's headers named.
pub const FLAG_COMPRESSED: u8 = 0b01;
/// The payload is the end record ([`super::EndStream`]), the last of the stream.
pub const FLAG_END: u8 = 0b10;

/// One record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `FLAG_…` bits.
    pub flags: u8,
    /// The message or the end record.
    pub payload: Bytes,
}

/// The stream is not a sequence of envelopes that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than the reader allows.
    #[error("message of {len} bytes is larger than the limit of {limit} bytes")]
    TooLong {
        /// The length that the header announced.
        len: usize,
        /// The reader's limit.
        limit: usize,
    },
    /// The stream ended inside an envelope.
    #[error("stream ended inside a message")]
    Truncated,
}

/// Puts a payload into an envelope.
///
/// # Panics
/// If the payload is longer than 4 GiB; the callers' limits are far below.
pub fn encode(flags: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_LEN + payload.len());
    out.put_u8(flags);
    out.put_u32(u32::try_from(payload.len()).expect("payloads are far below 4 GiB"));
    out.put_slice(payload);
    out.freeze()
}

/// Cuts a byte stream into envelopes; holds at most one envelope and what came
/// with it in the last chunk.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
}

impl Decoder {
    /// A decoder that refuses payloads longer than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// Adds bytes of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Bytes that wait for the rest of their envelope, or to be asked for.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole envelope, or `None` until more bytes are pushed. A length
    /// above the limit is refused as soon as its header is there.
    pub fn next_envelope(&mut self) -> Result<Option<Envelope>, EnvelopeError> {
        let Some((header, _)) = self.buffer.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let [flags, len @ ..] = *header;
        let len = u32::from_be_bytes(len) as usize;
        if len > self.limit {
            return Err(EnvelopeError::TooLong { len, limit: self.limit });
        }
        if self.buffer.len() < HEADER_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(HEADER_LEN);
        Ok(Some(Envelope { flags, payload: self.buffer.split_to(len).freeze() }))
    }

    /// To be called at the end of the stream: an error if it was cut inside an envelope.
    pub fn finish(&self) -> Result<(), EnvelopeError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(EnvelopeError::Truncated) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_captured_start_request_reads_back() {
        let json = br#"{"process":{"cmd":"/bin/bash","args":["-l","-c","x"]},"stdin":true}"#;
        let bytes = encode(0, json);
        assert_eq!(&bytes[..5], &[0, 0, 0, 0, 0x43]);
        let mut decoder = Decoder::new(1024);
        decoder.push(&bytes);
        assert_eq!(decoder.next_envelope().unwrap().unwrap().payload.as_ref(), json);
    }

    #[test]
    fn refusals() {
        let mut decoder = Decoder::new(4);
        decoder.push(&[0, 0, 0, 0, 5]);
        assert_eq!(decoder.next_envelope(), Err(EnvelopeError::TooLong { len: 5, limit: 4 }));
        let mut decoder = Decoder::new(4);
        decoder.push(&[0, 0]);
        assert_eq!(decoder.next_envelope(), Ok(None));
        assert_eq!(decoder.finish(), Err(EnvelopeError::Truncated));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_envelopes(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cut in 1usize..20,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|p| encode(0, p)).collect();
            let mut decoder = Decoder::new(64);
            let mut seen = Vec::new();
            for chunk in stream.chunks(cut) {
                decoder.push(chunk);
                while let Some(envelope) = decoder.next_envelope().unwrap() {
                    seen.push(envelope.payload.to_vec());
                }
            }
            prop_assert!(decoder.finish().is_ok());
            prop_assert_eq!(seen, payloads);
        }
    }
}
