//! Proto-JSON for the kinds of fields that serde would write or read otherwise.
//!
//! Each module is used as `#[serde(with = "…")]`. Reading is lenient: `null`
//! stands for the default, numbers may come as strings, base64 in any alphabet
//! and with or without padding. Fields that may be absent also need `default`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Any type whose own form is right, except that `null` means its default.
pub mod plain {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the value as it is.
    pub fn serialize<T: Serialize, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }

    /// Reads the value; `null` gives the default.
    pub fn deserialize<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
    }
}

/// 32-bit and smaller integers: written as numbers, read as numbers or strings.
pub mod number {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;

    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Number(T),
        Text(String),
    }

    /// Writes a number.
    pub fn serialize<T: Serialize, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }

    /// Reads a number or a decimal string; `null` gives zero.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: Deserialize<'de> + FromStr<Err: Display> + Default,
        D: Deserializer<'de>,
    {
        match Option::<Either<T>>::deserialize(from)? {
            None => Ok(T::default()),
            Some(Either::Number(value)) => Ok(value),
            Some(Either::Text(text)) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// 64-bit integers: written as strings, read as numbers or strings.
pub mod number64 {
    use super::{Deserializer, Serializer};

    /// Writes a decimal string.
    pub fn serialize<S: Serializer>(value: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads a number or a decimal string; `null` gives zero.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        super::number::deserialize(from)
    }
}

/// Bytes: written as padded standard base64, read in either alphabet.
pub mod blob {
    use base64::Engine;
    use base64::alphabet;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    use bytes::Bytes;
    use serde::de::{Error, Visitor};

    use super::{Deserializer, Serializer};

    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

    /// Writes base64.
    pub fn serialize<S: Serializer>(value: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(value))
    }

    /// Reads base64; `null` gives no bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("base64")
            }
            fn visit_unit<E: Error>(self) -> Result<Bytes, E> {
                Ok(Bytes::new())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                let url_safe = text.bytes().any(|b| matches!(b, b'-' | b'_'));
                let engine = if url_safe { &URL_SAFE } else { &STANDARD };
                engine.decode(text).map(Bytes::from).map_err(E::custom)
            }
        }
        from.deserialize_any(Text)
    }
}

/// Declares an enum with numbers. In JSON: names on output, names or numbers on
/// input. In the binary form: numbers. What this version does not know is 0.
macro_rules! proto_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name {
            $($(#[$doc])* $variant = $number,)+
        }

        impl $name {
            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
            /// Whether it is the zero value, which is left out on output.
            pub fn is_unspecified(&self) -> bool {
                *self as i32 == 0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            /// A value that this version does not know reads as the zero value.
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(untagged)]
                enum Either { Number(i64), Text(String), Nothing(()) }
                Ok(match <Either as serde::Deserialize>::deserialize(from)? {
                    $(Either::Number($number) => Self::$variant,)+
                    Either::Text(text) => match text.as_str() {
                        $($text => Self::$variant,)+
                        _ => Self::default(),
                    },
                    Either::Number(_) | Either::Nothing(()) => Self::default(),
                })
            }
        }

        impl $crate::connect::binary::Field for $name {
            fn is_default(&self) -> bool {
                self.is_unspecified()
            }
            fn put(&self, number: u32, to: &mut impl bytes::BufMut) {
                prost::encoding::int32::encode(number, &(*self as i32), to);
            }
            fn put_len(&self, number: u32) -> usize {
                prost::encoding::int32::encoded_len(number, &(*self as i32))
            }
            fn read(
                &mut self,
                wire_type: prost::encoding::WireType,
                from: &mut impl bytes::Buf,
                context: prost::encoding::DecodeContext,
            ) -> Result<(), prost::DecodeError> {
                let mut value = 0;
                prost::encoding::int32::merge(wire_type, &mut value, from, context)?;
                *self = match value {
                    $($number => Self::$variant,)+
                    _ => Self::default(),
                };
                Ok(())
            }
        }
    };
}
pub(crate) use proto_enum;
