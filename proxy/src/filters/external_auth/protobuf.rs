//! Protocol Buffers, as far as one call needs them: fields written one after the other, and fields read from bytes that
//! anybody may have sent.

/// The tag and the length of a field that is bytes, text or a message.
const BYTES: u64 = 2;

/// A message that is being written. Fields without content are left out, which reads as their default.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number.
    Number(u64),
    /// Bytes, text or a message.
    Bytes(&'a [u8]),
    /// A number of fixed width, which nothing here asks for.
    Fixed,
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub(super) struct Malformed;

/// Reads the fields of a message in their order, to the first that is malformed.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl Message {
    /// A number; 0 is left out.
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
        self
    }

    /// Text; left out when it is empty.
    pub(super) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// Bytes; left out when there are none.
    pub(super) fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        if bytes.is_empty() { self } else { self.present(field, bytes) }
    }

    /// A message, also an empty one: it says that it is there.
    pub(super) fn message(self, field: u64, message: Self) -> Self {
        self.present(field, &message.0)
    }

    /// The bytes of the message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn present(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl<'a> Fields<'a> {
    /// The fields of a message.
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field and its number.
    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8).map(|_| Value::Fixed)?,
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.skip(length)?)
            }
            5 => self.skip(4).map(|_| Value::Fixed)?,
            // Groups have been out of use for longer than this call exists.
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }

    fn skip(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for place in 0..10 {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_defaults_are_left_out() {
        let inner = Message::default().text(1, "text").number(2, 0).bytes(3, b"");
        let bytes = Message::default().number(1, 300).message(2, inner).message(3, Message::default()).into_bytes();
        let fields: Vec<_> = Fields::of(&bytes).map(Result::unwrap).collect();
        let inner = [&[0x0a, 4][..], b"text"].concat();
        assert_eq!(fields, [(1, Value::Number(300)), (2, Value::Bytes(&inner)), (3, Value::Bytes(b""))]);
    }

    #[test]
    fn lengths_beyond_the_end_and_endless_numbers_are_malformed() {
        for bytes in
            [&[0x0a, 5, 1][..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[0xff; 11], &[0x0b], &[0]]
        {
            assert_eq!(Fields::of(bytes).last(), Some(Err(Malformed)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
