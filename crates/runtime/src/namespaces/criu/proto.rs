//! Protocol buffers as far as the tool's messages and images need them: fields in
//! order, numbers and bytes. What is not understood is handed on unchanged.

use std::io;

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A number of any kind that is not of fixed size.
    Number(u64),
    /// Text, bytes, or a message.
    Bytes(Vec<u8>),
}

impl Value {
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Bytes(_) => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Number(_) => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

/// A message: its fields as they come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message(pub(super) Vec<(u32, Value)>);

impl Message {
    /// Reads one, refusing whatever does not fit.
    pub(super) fn parse(mut bytes: &[u8]) -> io::Result<Self> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let field = u32::try_from(key >> 3).map_err(|_| broken())?;
            let value = match key & 7 {
                0 => Value::Number(varint(&mut bytes)?),
                2 => {
                    let len = usize::try_from(varint(&mut bytes)?).map_err(|_| broken())?;
                    let (value, rest) = bytes.split_at_checked(len).ok_or_else(broken)?;
                    bytes = rest;
                    Value::Bytes(value.to_owned())
                }
                _ => return Err(broken()),
            };
            fields.push((field, value));
        }
        Ok(Self(fields))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (field, value) in &self.0 {
            match value {
                Value::Number(n) => {
                    put_varint(&mut out, u64::from(*field) << 3);
                    put_varint(&mut out, *n);
                }
                Value::Bytes(bytes) => {
                    put_varint(&mut out, u64::from(*field) << 3 | 2);
                    put_varint(&mut out, bytes.len() as u64);
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }

    /// The last value of a field counts, as the format has it.
    pub(super) fn get(&self, field: u32) -> Option<&Value> {
        self.0.iter().rev().find(|(f, _)| *f == field).map(|(_, value)| value)
    }

    pub(super) fn number(&self, field: u32) -> Option<u64> {
        self.get(field)?.number()
    }

    pub(super) fn text(&self, field: u32) -> Option<String> {
        Some(String::from_utf8_lossy(self.get(field)?.bytes()?).into_owned())
    }

    pub(super) fn message(&self, field: u32) -> Option<Self> {
        Self::parse(self.get(field)?.bytes()?).ok()
    }

    pub(super) fn with(mut self, field: u32, value: u64) -> Self {
        self.0.push((field, Value::Number(value)));
        self
    }

    pub(super) fn with_bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.0.push((field, Value::Bytes(value.to_owned())));
        self
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message")
}

fn varint(bytes: &mut &[u8]) -> io::Result<u64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(broken)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(broken())
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let inner = Message::default().with(1, 900_000_000).with(3, u64::MAX);
        let outer = Message::default().with(2, 0).with_bytes(68, &inner.to_bytes()).with_bytes(9, b"text");
        let read = Message::parse(&outer.to_bytes()).unwrap();
        assert_eq!(read, outer);
        assert_eq!(read.message(68), Some(inner));
        assert_eq!((read.text(9).as_deref(), read.number(2), read.number(9)), (Some("text"), Some(0), None));
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        let whole = Message::default().with_bytes(1, b"abc").with(2, 300).to_bytes();
        for cut in [1, 2, 4, 6, 7] {
            assert!(Message::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Message::parse(&[0x0d, 1, 2, 3, 4]).is_err(), "a field of fixed size");
        assert!(Message::parse(&[0xff; 11]).is_err());
    }
}
