//! Reading the pieces all RDB values are made of: bytes, lengths, strings.

use std::borrow::Cow;

use super::{Bad, Limits, lzf};
use crate::db::entry::Member;

/// What is left of a value's bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Bytes that what is compressed may still take.
    unpack: usize,
}

/// A string as it is written.
pub(super) enum Text<'a> {
    Int(i64),
    Bytes(Cow<'a, [u8]>),
}

impl Text<'_> {
    pub(super) fn member(&self) -> Member<'_> {
        match self {
            Text::Int(int) => Member::Int(*int),
            Text::Bytes(bytes) => Member::Bytes(bytes),
        }
    }
}

/// A length, or how a string is written that has none.
enum Length {
    Plain(u64),
    Encoded(u8),
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: Limits) -> Self {
        Self { rest: bytes, unpack: limits.unpacked_bytes_max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Bad> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(Bad::Format)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], Bad> {
        let len = usize::try_from(len).map_err(|_| Bad::Format)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Bad::Format)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self) -> Result<Length, Bad> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Ok(match first >> 6 {
            0 => Length::Plain(low.into()),
            1 => Length::Plain(u64::from(low) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Plain(u32::from_be_bytes(self.array()?).into()),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            3 => Length::Encoded(low),
            _ => return Err(Bad::Format),
        })
    }

    /// A number of elements, or of bytes. Whoever reads so many finds out whether they are there.
    pub(super) fn length(&mut self) -> Result<u64, Bad> {
        match self.head()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => Err(Bad::Format),
        }
    }

    pub(super) fn text(&mut self) -> Result<Text<'a>, Bad> {
        Ok(match self.head()? {
            Length::Plain(len) => Text::Bytes(Cow::Borrowed(self.take(len)?)),
            Length::Encoded(0) => Text::Int(i8::from_le_bytes(self.array()?).into()),
            Length::Encoded(1) => Text::Int(i16::from_le_bytes(self.array()?).into()),
            Length::Encoded(2) => Text::Int(i32::from_le_bytes(self.array()?).into()),
            Length::Encoded(3) => Text::Bytes(Cow::Owned(self.unpacked()?)),
            Length::Encoded(_) => return Err(Bad::Format),
        })
    }

    /// A string that holds a whole structure, so no number.
    pub(super) fn blob(&mut self) -> Result<Cow<'a, [u8]>, Bad> {
        match self.text()? {
            Text::Bytes(bytes) => Ok(bytes),
            Text::Int(_) => Err(Bad::Format),
        }
    }

    fn unpacked(&mut self) -> Result<Vec<u8>, Bad> {
        let packed_len = self.length()?;
        let len = usize::try_from(self.length()?).map_err(|_| Bad::Format)?;
        let packed = self.take(packed_len)?;
        self.charge(len)?;
        lzf::unpack(packed, len).ok_or(Bad::Format)
    }

    /// Notes memory that comes of something compressed.
    ///
    /// # Errors
    /// [`Bad::Format`] when it is too much.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Bad> {
        self.unpack = self.unpack.checked_sub(bytes).ok_or(Bad::Format)?;
        Ok(())
    }
}
