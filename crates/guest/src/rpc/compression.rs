//! Compressed requests: gzip, which generic clients send by default. The SDKs
//! never compress, and answers never are compressed: most of them cross one
//! machine's memory.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderName};
use wire::connect::envelope::{Envelope, FLAG_COMPRESSED};
use wire::connect::{Code, Error};

use super::call::{MAX_MESSAGE, invalid, too_long};

/// Names the compression of a stream's messages.
pub(super) const STREAM_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");

/// How a request's messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
}

impl Compression {
    /// What this header says; a compression that is not offered is refused.
    pub(super) fn named(headers: &HeaderMap, name: &HeaderName) -> Result<Self, Error> {
        let named = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        match named.as_deref() {
            None | Some("" | "identity") => Ok(Self::None),
            Some("gzip") => Ok(Self::Gzip),
            Some(other) => {
                let message = format!("unknown compression {other:?}: supported encodings are gzip");
                Err(Error::new(Code::Unimplemented, message))
            }
        }
    }

    /// What a message may become, however small it came.
    pub(super) fn unpacked(self) -> usize {
        match self {
            Self::None => 0,
            Self::Gzip => MAX_MESSAGE,
        }
    }

    /// The message in these bytes of a unary call.
    pub(super) fn unpack(self, bytes: Bytes) -> Result<Bytes, Error> {
        match self {
            Self::None => Ok(bytes),
            // Nothing is the one message that need not be compressed.
            Self::Gzip if bytes.is_empty() => Ok(bytes),
            Self::Gzip => gunzip(&bytes),
        }
    }

    /// The message in this envelope of a stream: each says for itself whether it is compressed.
    pub(super) fn unpack_envelope(self, envelope: Envelope) -> Result<Bytes, Error> {
        if envelope.flags & !FLAG_COMPRESSED != 0 {
            let message = format!("protocol error: invalid envelope flags {}", envelope.flags);
            return Err(Error::new(Code::Internal, message));
        }
        match (envelope.flags & FLAG_COMPRESSED != 0, self) {
            (false, _) => Ok(envelope.payload),
            (true, Self::Gzip) => self.unpack(envelope.payload),
            (true, Self::None) => {
                let message = "protocol error: sent compressed message without compression support";
                Err(Error::new(Code::Internal, message))
            }
        }
    }
}

/// Never more than the limit of a message is unpacked, however small it came.
fn gunzip(bytes: &[u8]) -> Result<Bytes, Error> {
    let mut unpacked = Vec::new();
    let n = MultiGzDecoder::new(bytes)
        .take(MAX_MESSAGE as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| invalid(format!("decompress: {error}")))?;
    if n > MAX_MESSAGE { Err(too_long()) } else { Ok(unpacked.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn gzip_is_taken_and_a_bomb_is_not() {
        assert_eq!(Compression::Gzip.unpack(packed(b"{}")).unwrap().as_ref(), b"{}");
        let bomb = packed(&vec![0; MAX_MESSAGE + 1]);
        assert!(bomb.len() < MAX_MESSAGE / 100);
        assert_eq!(Compression::Gzip.unpack(bomb).unwrap_err().code, Code::ResourceExhausted);
        let broken = Compression::Gzip.unpack(Bytes::from_static(b"no gzip"));
        assert_eq!(broken.unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn each_envelope_says_for_itself() {
        let envelope = |flags, payload| Envelope { flags, payload };
        let plain = envelope(0, Bytes::from_static(b"x"));
        assert_eq!(Compression::Gzip.unpack_envelope(plain).unwrap().as_ref(), b"x");
        let small = envelope(FLAG_COMPRESSED, packed(b"y"));
        assert_eq!(Compression::Gzip.unpack_envelope(small.clone()).unwrap().as_ref(), b"y");
        assert_eq!(Compression::None.unpack_envelope(small).unwrap_err().code, Code::Internal);
        let strange = envelope(0x80, Bytes::from_static(b"x"));
        assert_eq!(Compression::None.unpack_envelope(strange).unwrap_err().code, Code::Internal);
    }

    #[test]
    fn other_compressions_are_named_in_the_refusal() {
        let mut headers = HeaderMap::new();
        headers.insert(STREAM_ENCODING, http::HeaderValue::from_static("br"));
        let error = Compression::named(&headers, &STREAM_ENCODING).unwrap_err();
        assert_eq!(error.code, Code::Unimplemented);
        assert!(error.message.contains("\"br\""), "{error}");
    }
}
