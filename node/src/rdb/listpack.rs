//! Listpacks: strings and integers in one buffer, each with its length behind it so that it can be read backwards.

use super::Bad;
use super::intset::signed;
use crate::db::entry::Member;
use crate::resp::parse_i64;

/// Bytes in front: how many in all, how many elements.
const HEAD: usize = 6;
const END: u8 = 0xff;
/// The number of elements that says nothing.
const COUNT_UNKNOWN: u16 = u16::MAX;

/// The elements of a listpack. It yields an error, and then nothing, where the bytes are not those of one.
pub(super) struct Elements<'a> {
    /// What is left, its end mark excluded.
    rest: &'a [u8],
    /// How many elements are announced to come, if it is said.
    announced: Option<u16>,
    failed: bool,
}

/// Opens a listpack.
pub(super) fn elements(blob: &[u8]) -> Result<Elements<'_>, Bad> {
    let (head, body) = blob.split_first_chunk::<HEAD>().ok_or(Bad::Format)?;
    let [b0, b1, b2, b3, c0, c1] = *head;
    let count = u16::from_le_bytes([c0, c1]);
    let whole = usize::try_from(u32::from_le_bytes([b0, b1, b2, b3])) == Ok(blob.len());
    match body.split_last() {
        Some((&END, rest)) if whole => {
            Ok(Elements { rest, announced: Some(count).filter(|count| *count != COUNT_UNKNOWN), failed: false })
        }
        _ => Err(Bad::Format),
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Member<'a>, Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() && self.announced.is_none_or(|left| left == 0) {
            return None;
        }
        let element = self.element();
        self.failed = element.is_none();
        Some(element.ok_or(Bad::Format))
    }
}

impl<'a> Elements<'a> {
    fn element(&mut self) -> Option<Member<'a>> {
        if let Some(left) = &mut self.announced {
            *left = left.checked_sub(1)?;
        }
        let (head, body) = sizes(self.rest)?;
        let (element, behind) = self.rest.split_at_checked(head.checked_add(body)?)?;
        let (head, body) = element.split_at_checked(head)?;
        let mut back = [0; 5];
        let back = back_length(element.len(), &mut back);
        self.rest = behind.strip_prefix(back)?;
        Some(read(*head.first()?, head, body))
    }
}

/// Lengths of the first element's head and body.
fn sizes(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    let low = |at: usize| bytes.get(at).map(|byte| usize::from(*byte));
    Some(match first {
        0..=0x7f => (1, 0),
        0x80..=0xbf => (1, usize::from(first & 0x3f)),
        0xc0..=0xdf => (2, 0),
        0xe0..=0xef => (2, usize::from(first & 0xf) << 8 | low(1)?),
        0xf0 => {
            let len = bytes.get(1..)?.first_chunk::<4>()?;
            (5, usize::try_from(u32::from_le_bytes(*len)).ok()?)
        }
        0xf1 => (1, 2),
        0xf2 => (1, 3),
        0xf3 => (1, 4),
        0xf4 => (1, 8),
        _ => return None,
    })
}

fn read<'a>(first: u8, head: &[u8], body: &'a [u8]) -> Member<'a> {
    match first {
        0..=0x7f => Member::Int(first.into()),
        0xc0..=0xdf => {
            let low = head.get(1).copied().unwrap_or_default();
            let unsigned = i64::from(first & 0x1f) << 8 | i64::from(low);
            Member::Int(if unsigned >= 1 << 12 { unsigned - (1 << 13) } else { unsigned })
        }
        0xf1..=0xf4 => Member::Int(signed(body)),
        _ => Member::Bytes(body),
    }
}

/// An element's length as it stands behind it: seven bits a byte, every byte but the first one marked.
fn back_length(len: usize, buf: &mut [u8; 5]) -> &[u8] {
    // The bounds are redis's own, one short of what would fit.
    let bytes = match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    for (at, byte) in buf[..bytes].iter_mut().enumerate() {
        let seven = (len >> (7 * (bytes - 1 - at))) & 0x7f;
        *byte = seven as u8 | if at == 0 { 0 } else { 0x80 };
    }
    &buf[..bytes]
}

/// Makes a listpack.
pub(super) struct Writer {
    bytes: Vec<u8>,
    count: usize,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; HEAD], count: 0 }
    }

    /// Bytes the listpack has now.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a string; one that is a canonical integer is written as such.
    pub(super) fn push(&mut self, element: &[u8]) {
        match parse_i64(element) {
            Some(int) => self.push_int(int),
            None => self.push_bytes(element),
        }
    }

    pub(super) fn push_int(&mut self, int: i64) {
        let start = self.bytes.len();
        let le = int.to_le_bytes();
        match int {
            0..=127 => self.bytes.push(le[0]),
            -4096..=4095 => self.bytes.extend_from_slice(&[0xc0 | le[1] & 0x1f, le[0]]),
            -32_768..=32_767 => self.number(0xf1, &le[..2]),
            -8_388_608..=8_388_607 => self.number(0xf2, &le[..3]),
            -2_147_483_648..=2_147_483_647 => self.number(0xf3, &le[..4]),
            _ => self.number(0xf4, &le),
        }
        self.end_element(start);
    }

    fn push_bytes(&mut self, element: &[u8]) {
        let start = self.bytes.len();
        let len = (element.len() as u32).to_le_bytes();
        match element.len() {
            0..=63 => self.bytes.push(0x80 | len[0]),
            64..=4095 => self.bytes.extend_from_slice(&[0xe0 | len[1], len[0]]),
            _ => self.number(0xf0, &len),
        }
        self.bytes.extend_from_slice(element);
        self.end_element(start);
    }

    fn number(&mut self, first: u8, le: &[u8]) {
        self.bytes.push(first);
        self.bytes.extend_from_slice(le);
    }

    fn end_element(&mut self, start: usize) {
        let mut back = [0; 5];
        let back = back_length(self.bytes.len() - start, &mut back);
        self.bytes.extend_from_slice(back);
        self.count += 1;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let count = u16::try_from(self.count).unwrap_or(COUNT_UNKNOWN);
        let len = (self.bytes.len() as u32).to_le_bytes();
        self.bytes[..4].copy_from_slice(&len);
        self.bytes[4..HEAD].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            strings in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            ints in proptest::collection::vec((any::<i64>(), 0u32..64), 0..20),
            long in 4000usize..20_000,
        ) {
            let ints = ints.iter().map(|(int, shift)| int >> shift);
            let mut all: Vec<Vec<u8>> = strings;
            all.extend(ints.map(|int| int.to_string().into_bytes()));
            all.push(vec![b'x'; long]);
            let mut writer = Writer::new();
            all.iter().for_each(|each| writer.push(each));
            let len = writer.len();
            let blob = writer.finish();
            prop_assert_eq!(blob.len(), len);
            let read: Vec<Vec<u8>> = elements(&blob).unwrap().map(|each| each.unwrap().with(<[u8]>::to_vec)).collect();
            prop_assert_eq!(read, all);
        }

        #[test]
        fn any_bytes(mut blob in proptest::collection::vec(any::<u8>(), 7..60), honest: bool) {
            if honest {
                let len = blob.len();
                blob[..4].copy_from_slice(&(len as u32).to_le_bytes());
                blob[4..6].copy_from_slice(&[0xff, 0xff]);
                blob[len - 1] = END;
            }
            if let Ok(elements) = elements(&blob) {
                prop_assert!(elements.count() <= blob.len());
            }
        }
    }

    #[test]
    fn lengths_behind_are_redis_own() {
        let mut buf = [0; 5];
        assert_eq!(back_length(127, &mut buf), [127]);
        assert_eq!(back_length(128, &mut buf), [1, 0x80]);
        assert_eq!(back_length(16_383, &mut buf), [0, 0xff, 0xff]);
        assert_eq!(back_length(300_000, &mut buf), [18, 0x80 | 39, 0x80 | 96]);
    }
}
