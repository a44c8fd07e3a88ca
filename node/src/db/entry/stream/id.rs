//! Ids of stream entries: a time and a number within it.

use std::fmt;

/// The id of an entry. Ids are ordered, and grow along a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Milliseconds since 1970, by whoever chose the id.
    pub ms: u64,
    /// Tells entries of the same millisecond apart.
    pub seq: u64,
}

impl Id {
    /// Before every entry.
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    /// Behind every entry.
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    /// The id right behind this one; `None` behind the last.
    pub fn next(self) -> Option<Id> {
        match (self.ms, self.seq) {
            (u64::MAX, u64::MAX) => None,
            (ms, u64::MAX) => Some(Id { ms: ms + 1, seq: 0 }),
            (ms, seq) => Some(Id { ms, seq: seq + 1 }),
        }
    }

    /// The id right before this one; `None` before the first.
    pub fn previous(self) -> Option<Id> {
        match (self.ms, self.seq) {
            (0, 0) => None,
            (ms, 0) => Some(Id { ms: ms - 1, seq: u64::MAX }),
            (ms, seq) => Some(Id { ms, seq: seq - 1 }),
        }
    }

    /// Its text, for a reply or a record.
    #[inline]
    pub fn text(self) -> Text {
        let mut text = Text { bytes: [0; TEXT_MAX], len: 0 };
        text.push(itoa::Buffer::new().format(self.ms).as_bytes());
        text.push(b"-");
        text.push(itoa::Buffer::new().format(self.seq).as_bytes());
        text
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Two numbers of 20 digits with a dash between.
const TEXT_MAX: usize = 41;

/// An id as text: `ms-seq`.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

impl Text {
    #[inline]
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(part);
            self.len = end;
        }
    }
}

impl AsRef<[u8]> for Text {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_texts() {
        let id = |ms, seq| Id { ms, seq };
        assert_eq!(id(5, u64::MAX).next(), Some(id(6, 0)));
        assert_eq!(id(5, 7).next(), Some(id(5, 8)));
        assert_eq!(Id::MAX.next(), None);
        assert_eq!(id(5, 0).previous(), Some(id(4, u64::MAX)));
        assert_eq!(id(0, 1).previous(), Some(Id::MIN));
        assert_eq!(Id::MIN.previous(), None);
        assert_eq!(Id::MIN.text().as_ref(), b"0-0");
        assert_eq!(Id::MAX.text().as_ref(), Id::MAX.to_string().as_bytes());
    }
}
