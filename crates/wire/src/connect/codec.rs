//! How a message becomes bytes: proto-JSON or binary protobuf, as the caller's
//! content type says.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::binary::Binary;

/// The form of message bodies, as the content type names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `application/json`, `application/connect+json`.
    Json,
    /// `application/proto`, `application/connect+proto`.
    Proto,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::Proto];

    /// The codec of a unary call's content type; parameters are ignored.
    pub fn of_unary(content_type: &str) -> Option<Self> {
        let essence = essence(content_type);
        Self::ALL.into_iter().find(|codec| codec.unary_content_type() == essence)
    }

    /// The codec of a stream's content type; parameters are ignored.
    pub fn of_stream(content_type: &str) -> Option<Self> {
        let essence = essence(content_type);
        Self::ALL.into_iter().find(|codec| codec.stream_content_type() == essence)
    }

    /// Content type of unary bodies.
    pub fn unary_content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Proto => "application/proto",
        }
    }

    /// Content type of stream bodies. Clients compare it exactly: no parameters.
    pub fn stream_content_type(self) -> &'static str {
        match self {
            Self::Json => "application/connect+json",
            Self::Proto => "application/connect+proto",
        }
    }
}

/// The bytes are no message of the type asked for.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct DecodeError(String);

/// A message of a service.
pub trait Message: Serialize + DeserializeOwned + Binary {
    /// The message's bytes.
    fn encode(&self, codec: Codec) -> Vec<u8> {
        match codec {
            // Our messages hold nothing that JSON cannot: string keys, finite numbers.
            Codec::Json => serde_json::to_vec(self).expect("messages always serialize"),
            Codec::Proto => self.to_binary(),
        }
    }

    /// Reads a message. Unknown fields are ignored. An empty body is an error in
    /// JSON, where an empty message is the two bytes `{}`; in the binary form it
    /// is the empty message.
    fn decode(codec: Codec, bytes: &[u8]) -> Result<Self, DecodeError> {
        match codec {
            // A list would be read as the fields in their order.
            Codec::Json if bytes.trim_ascii_start().first() == Some(&b'[') => {
                Err(DecodeError("a list is no message".to_owned()))
            }
            Codec::Json => serde_json::from_slice(bytes).map_err(|e| DecodeError(e.to_string())),
            Codec::Proto => Self::from_binary(bytes).map_err(|e| DecodeError(e.to_string())),
        }
    }
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
