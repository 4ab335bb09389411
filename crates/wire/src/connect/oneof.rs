//! A protobuf `oneof` as a Rust enum.

/// Declares a message that consists of one `oneof`: number, key and variant of
/// each member. In JSON it is an object with the chosen member's key; with none,
/// `{}`, which is the variant `Unset`. Presence of the key selects, even if its
/// value is empty; unknown keys and `null` members are skipped; two members are
/// refused. In the binary form the last member counts, as protobuf wants it.
macro_rules! oneof {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$doc:meta])* $number:literal $key:literal => $variant:ident($ty:ty) with $with:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub enum $name {
            /// No member, or one that this version does not know.
            #[default]
            Unset,
            $($(#[$doc])* $variant($ty),)+
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                match self {
                    Self::Unset => to.serialize_map(Some(0))?.end(),
                    $(Self::$variant(value) => {
                        #[derive(serde::Serialize)]
                        #[serde(transparent)]
                        struct Member<'a>(#[serde(with = $with)] &'a $ty);
                        let mut map = to.serialize_map(Some(1))?;
                        map.serialize_entry($key, &Member(value))?;
                        map.end()
                    })+
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Members;
                impl<'de> serde::de::Visitor<'de> for Members {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object with one member")
                    }
                    fn visit_unit<E: serde::de::Error>(self) -> Result<$name, E> {
                        Ok($name::Unset)
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut found = $name::Unset;
                        while let Some(key) = map.next_key::<String>()? {
                            let member = match key.as_str() {
                                $($key => {
                                    #[derive(serde::Deserialize)]
                                    #[serde(transparent)]
                                    struct Member(#[serde(with = $with)] $ty);
                                    map.next_value::<Option<Member>>()?.map(|m| $name::$variant(m.0))
                                })+
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                    None
                                }
                            };
                            match member {
                                None => {}
                                Some(member) if found == $name::Unset => found = member,
                                Some(_) => return Err(serde::de::Error::custom("more than one member of a oneof")),
                            }
                        }
                        Ok(found)
                    }
                }
                from.deserialize_any(Members)
            }
        }

        impl prost::Message for $name {
            fn encode_raw(&self, to: &mut impl bytes::BufMut) {
                match self {
                    Self::Unset => {}
                    $(Self::$variant(member) => $crate::connect::binary::Field::put(member, $number, to),)+
                }
            }

            fn merge_field(
                &mut self,
                number: u32,
                wire_type: prost::encoding::WireType,
                from: &mut impl bytes::Buf,
                context: prost::encoding::DecodeContext,
            ) -> Result<(), prost::DecodeError> {
                match number {
                    $($number => {
                        // A second piece of the same member adds to the first one.
                        let mut member = match std::mem::take(self) {
                            Self::$variant(member) => member,
                            _ => Default::default(),
                        };
                        $crate::connect::binary::Field::read(&mut member, wire_type, from, context)?;
                        *self = Self::$variant(member);
                        Ok(())
                    })+
                    _ => prost::encoding::skip_field(wire_type, number, from, context),
                }
            }

            fn encoded_len(&self) -> usize {
                match self {
                    Self::Unset => 0,
                    $(Self::$variant(member) => $crate::connect::binary::Field::put_len(member, $number),)+
                }
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }

        impl $crate::connect::binary::Nested for $name {}
        impl $crate::connect::Message for $name {}
    };
}
pub(crate) use oneof;
