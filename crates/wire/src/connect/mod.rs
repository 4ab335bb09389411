//! The Connect protocol, as far as E2B's services use it: unary calls and
//! streams in one direction, over HTTP/1.1, without compression.
//!
//! Bodies are proto-JSON, written strictly and read leniently (`json`), or binary
//! protobuf (`binary`). A message type implements [`Message`]; everything else
//! here is about framing and errors, and knows no message.

pub mod binary;
mod code;
mod codec;
pub mod envelope;
pub mod json;
mod oneof;
mod timestamp;

pub(crate) use binary::messages;
pub use code::{Code, EndStream, Error};
pub use codec::{Codec, DecodeError, Message};
pub(crate) use oneof::oneof;
pub use timestamp::Timestamp;
