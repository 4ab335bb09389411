//! How a message becomes bytes. One codec today (proto-JSON); a second one means
//! another variant of [`Codec`] and another pair of methods of [`Message`].

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The form of message bodies, as the content type names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `application/json`, `application/connect+json`.
    Json,
}

impl Codec {
    /// The codec of a unary call's content type; parameters are ignored.
    pub fn of_unary(content_type: &str) -> Option<Self> {
        (essence(content_type) == "application/json").then_some(Self::Json)
    }

    /// The codec of a stream's content type; parameters are ignored.
    pub fn of_stream(content_type: &str) -> Option<Self> {
        (essence(content_type) == "application/connect+json").then_some(Self::Json)
    }

    /// Content type of unary bodies.
    pub fn unary_content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
        }
    }

    /// Content type of stream bodies. Clients compare it exactly: no parameters.
    pub fn stream_content_type(self) -> &'static str {
        match self {
            Self::Json => "application/connect+json",
        }
    }
}

/// The bytes are no message of the type asked for.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct DecodeError(String);

/// A message of a service.
pub trait Message: Serialize + DeserializeOwned {
    /// The message's bytes.
    fn encode(&self, codec: Codec) -> Vec<u8> {
        match codec {
            // Our messages hold nothing that JSON cannot: string keys, finite numbers.
            Codec::Json => serde_json::to_vec(self).expect("messages always serialize"),
        }
    }

    /// Reads a message. Unknown fields are ignored; an empty body is an error,
    /// because an empty JSON message is the two bytes `{}`.
    fn decode(codec: Codec, bytes: &[u8]) -> Result<Self, DecodeError> {
        match codec {
            Codec::Json => serde_json::from_slice(bytes).map_err(|e| DecodeError(e.to_string())),
        }
    }
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
