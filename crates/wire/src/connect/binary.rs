//! The binary form of messages: protobuf's, under the numbers of E2B's `.proto` files.
//!
//! The same Rust types have both forms. `messages!` gives a struct's fields
//! their numbers, `oneof!` and `proto_enum!` do it for the other two kinds; how
//! each type of field looks in bytes is said once, here, on top of `prost`'s
//! primitives. As in proto3, a field that has its default is left out, and one
//! that is unknown is skipped.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};

/// The binary form of a whole message.
pub trait Binary: Sized {
    /// The message's bytes.
    fn to_binary(&self) -> Vec<u8>;
    /// Reads a message; no bytes at all are one whose fields all have their defaults.
    fn from_binary(bytes: &[u8]) -> Result<Self, prost::DecodeError>;
}

impl<M: prost::Message + Default> Binary for M {
    fn to_binary(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    fn from_binary(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        Self::decode(bytes)
    }
}

/// A message that can be a field of another one.
pub(crate) trait Nested: prost::Message + Default + PartialEq {}

impl<M: Nested> Nested for Box<M> {}

/// What a field of this type looks like.
pub(crate) trait Field: Default {
    /// Whether it is left out, where nothing else tells that it is there.
    fn is_default(&self) -> bool;
    /// Writes it, even if it is the default: the member of a `oneof`, an optional one.
    fn put(&self, number: u32, to: &mut impl BufMut);
    /// How many bytes [`Field::put`] writes.
    fn put_len(&self, number: u32) -> usize;
    /// Reads one occurrence.
    fn read(
        &mut self,
        wire_type: WireType,
        from: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError>;

    /// Writes it if it is not the default.
    fn write(&self, number: u32, to: &mut impl BufMut) {
        if !self.is_default() {
            self.put(number, to);
        }
    }

    /// How many bytes [`Field::write`] writes.
    fn len(&self, number: u32) -> usize {
        if self.is_default() { 0 } else { self.put_len(number) }
    }
}

macro_rules! scalars {
    ($($ty:ty as $kind:ident),+ $(,)?) => { $(
        impl Field for $ty {
            fn is_default(&self) -> bool {
                *self == Self::default()
            }
            fn put(&self, number: u32, to: &mut impl BufMut) {
                encoding::$kind::encode(number, self, to);
            }
            fn put_len(&self, number: u32) -> usize {
                encoding::$kind::encoded_len(number, self)
            }
            fn read(
                &mut self,
                wire_type: WireType,
                from: &mut impl Buf,
                context: DecodeContext,
            ) -> Result<(), prost::DecodeError> {
                encoding::$kind::merge(wire_type, self, from, context)
            }
        }
    )+ };
}

// The only signed fields of 32 bits that E2B has are zig-zag.
scalars!(String as string, Bytes as bytes, bool as bool, u32 as uint32, i32 as sint32, i64 as int64);

impl<M: Nested> Field for M {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn put(&self, number: u32, to: &mut impl BufMut) {
        encoding::message::encode(number, self, to);
    }

    fn put_len(&self, number: u32) -> usize {
        encoding::message::encoded_len(number, self)
    }

    fn read(
        &mut self,
        wire_type: WireType,
        from: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        encoding::message::merge(wire_type, self, from, context)
    }
}

impl<T: Field> Field for Option<T> {
    fn is_default(&self) -> bool {
        self.is_none()
    }

    fn put(&self, number: u32, to: &mut impl BufMut) {
        if let Some(value) = self {
            value.put(number, to);
        }
    }

    fn put_len(&self, number: u32) -> usize {
        self.as_ref().map_or(0, |value| value.put_len(number))
    }

    fn read(
        &mut self,
        wire_type: WireType,
        from: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        self.get_or_insert_default().read(wire_type, from, context)
    }
}

impl<T: Field> Field for Vec<T> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn put(&self, number: u32, to: &mut impl BufMut) {
        for value in self {
            value.put(number, to);
        }
    }

    fn put_len(&self, number: u32) -> usize {
        self.iter().map(|value| value.put_len(number)).sum()
    }

    fn read(
        &mut self,
        wire_type: WireType,
        from: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        let mut value = T::default();
        value.read(wire_type, from, context)?;
        self.push(value);
        Ok(())
    }
}

impl Field for BTreeMap<String, String> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn put(&self, number: u32, to: &mut impl BufMut) {
        use encoding::string::{encode, encoded_len};
        encoding::btree_map::encode(encode, encoded_len, encode, encoded_len, number, self, to);
    }

    fn put_len(&self, number: u32) -> usize {
        use encoding::string::encoded_len;
        encoding::btree_map::encoded_len(encoded_len, encoded_len, number, self)
    }

    fn read(
        &mut self,
        wire_type: WireType,
        from: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        use encoding::string::merge;
        encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
        encoding::btree_map::merge(merge, merge, self, from, context)
    }
}

/// Declares structs as messages and gives their fields numbers.
macro_rules! messages {
    ($($name:ty { $($number:literal: $field:ident),* $(,)? })+) => { $(
        impl prost::Message for $name {
            fn encode_raw(&self, to: &mut impl bytes::BufMut) {
                let _ = &to;
                $($crate::connect::binary::Field::write(&self.$field, $number, to);)*
            }

            fn merge_field(
                &mut self,
                number: u32,
                wire_type: prost::encoding::WireType,
                from: &mut impl bytes::Buf,
                context: prost::encoding::DecodeContext,
            ) -> Result<(), prost::DecodeError> {
                match number {
                    $($number => $crate::connect::binary::Field::read(&mut self.$field, wire_type, from, context),)*
                    _ => prost::encoding::skip_field(wire_type, number, from, context),
                }
            }

            fn encoded_len(&self) -> usize {
                0 $(+ $crate::connect::binary::Field::len(&self.$field, $number))*
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }

        impl $crate::connect::binary::Nested for $name {}
        impl $crate::connect::Message for $name {}
    )+ };
}
pub(crate) use messages;
