//! Ziplists: what redis before 7.0 kept small collections in. Only read.

use super::Bad;
use super::intset::signed;
use crate::db::entry::Member;

/// Bytes in front: how many in all, where the last element is, how many elements.
const HEAD: usize = 10;
const END: u8 = 0xff;
const LONG_BEFORE: u8 = 0xfe;
/// The number of elements that says nothing.
const COUNT_UNKNOWN: u16 = u16::MAX;

/// The elements of a ziplist. It yields an error, and then nothing, where the bytes are not those of one.
pub(super) struct Elements<'a> {
    /// What is left, its end mark excluded.
    rest: &'a [u8],
    /// Where in the ziplist that is.
    at: usize,
    /// Where the last element has to be.
    last_at: usize,
    /// Bytes of the element before.
    before: usize,
    announced: Option<u16>,
    failed: bool,
}

/// Opens a ziplist.
pub(super) fn elements(blob: &[u8]) -> Result<Elements<'_>, Bad> {
    let (head, body) = blob.split_first_chunk::<HEAD>().ok_or(Bad::Format)?;
    let [b0, b1, b2, b3, l0, l1, l2, l3, c0, c1] = *head;
    let whole = usize::try_from(u32::from_le_bytes([b0, b1, b2, b3])) == Ok(blob.len());
    let last_at = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| Bad::Format)?;
    let announced = Some(u16::from_le_bytes([c0, c1])).filter(|count| *count != COUNT_UNKNOWN);
    match body.split_last() {
        Some((&END, rest)) if whole && (!rest.is_empty() || last_at == HEAD) => {
            Ok(Elements { rest, at: HEAD, last_at, before: 0, announced, failed: false })
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
        let (before, rest) = before(self.rest)?;
        let (member, rest) = member(rest)?;
        let len = self.rest.len() - rest.len();
        let is_last = rest.is_empty();
        if before != self.before || is_last != (self.at == self.last_at) {
            return None;
        }
        (self.rest, self.at, self.before) = (rest, self.at + len, len);
        Some(member)
    }
}

/// The length of the element before, and what follows.
fn before(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (&LONG_BEFORE, rest) => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            Some((usize::try_from(u32::from_le_bytes(*len)).ok()?, rest))
        }
        (&END, _) => None,
        (len, rest) => Some((usize::from(*len), rest)),
    }
}

/// An element's encoding and content, and what follows.
fn member(bytes: &[u8]) -> Option<(Member<'_>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let string = |len: usize, rest: &'_ [u8]| -> Option<usize> { (len <= rest.len()).then_some(len) };
    let (len, rest) = match first {
        0..=0x3f => (usize::from(first), rest),
        0x40..=0x7f => {
            let (low, rest) = rest.split_first()?;
            (usize::from(first & 0x3f) << 8 | usize::from(*low), rest)
        }
        0x80 => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            (usize::try_from(u32::from_be_bytes(*len)).ok()?, rest)
        }
        _ => return number(first, rest),
    };
    let (content, rest) = rest.split_at_checked(string(len, rest)?)?;
    Some((Member::Bytes(content), rest))
}

fn number(first: u8, rest: &[u8]) -> Option<(Member<'_>, &[u8])> {
    let bytes = match first {
        0xc0 => 2,
        0xd0 => 4,
        0xe0 => 8,
        0xf0 => 3,
        0xfe => 1,
        0xf1..=0xfd => return Some((Member::Int(i64::from(first & 0xf) - 1), rest)),
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(bytes)?;
    Some((Member::Int(signed(number)), rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(blob: &[u8]) -> Result<Vec<Vec<u8>>, Bad> {
        elements(blob)?.map(|each| Ok(each?.with(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn the_example_of_redis_own_comment() {
        let blob = b"\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff";
        assert_eq!(read(blob).unwrap(), [b"2", b"5"]);
        let mut longer = blob.to_vec();
        longer[14] = 2;
        longer.extend_from_slice(b"\x0bHello World\xff");
        longer[0] = 0x1c;
        longer[4] = 14;
        longer[8] = 3;
        assert_eq!(read(&longer).unwrap(), [&b"2"[..], b"5", b"Hello World"]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let good = *b"\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff";
        for (at, byte) in [(0, 14), (4, 10), (4, 13), (8, 1), (8, 3), (10, 1), (12, 3), (11, 0x3f), (13, 0xff), (14, 0)]
        {
            let mut bad = good;
            bad[at] = byte;
            assert!(read(&bad).is_err(), "{at} {byte}");
        }
        assert_eq!(read(b"\x0b\0\0\0\x0a\0\0\0\0\0\xff").unwrap(), Vec::<Vec<u8>>::new());
    }

    proptest! {
        #[test]
        fn any_bytes(mut blob in proptest::collection::vec(any::<u8>(), 11..60)) {
            let len = blob.len();
            blob[..4].copy_from_slice(&(len as u32).to_le_bytes());
            blob[8..10].copy_from_slice(&[0xff, 0xff]);
            blob[10] = 0;
            blob[len - 1] = END;
            if let Ok(elements) = elements(&blob) {
                prop_assert!(elements.count() <= blob.len());
            }
        }
    }
}
