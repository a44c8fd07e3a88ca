//! Pairs of byte strings in one buffer: what small hashes, sets and sorted sets are kept in.
//!
//! A string is its length (one byte below 255, else 255 and a `u32`) and its bytes; a pair is two of them. Looking one up
//! walks the buffer, which is faster than hashing while there are few, and takes a tenth of the memory.

use super::size_class;
use crate::db::table::prefetch_walk;

/// Pairs of byte strings, in the order they were added. At most 2^24 - 1 pairs in 1 GiB.
///
/// The buffer begins with how many pairs there are (3 bytes, lowest first), so that it can be kept anywhere: what reads it
/// is [`PackedRef`].
#[derive(Debug, Clone, Default)]
pub struct Packed {
    bytes: Box<[u8]>,
    /// Bytes in use; 0 when there are no pairs.
    used: u32,
    _spare: Spare,
}

/// A [`Packed`], or its bytes elsewhere, to be read.
#[derive(Debug, Clone, Copy)]
pub struct PackedRef<'a>(&'a [u8]);

/// A byte with one value, so that an enum which holds a [`Packed`] tells its variants by the others and is no larger.
#[derive(Debug, Clone, Copy, Default)]
#[repr(u8)]
enum Spare {
    #[default]
    One,
}

/// Bytes before the first pair.
const HEAD: usize = 3;
/// Most bytes of the pairs, as redis has it.
const BYTES_MAX: usize = 1 << 30;
/// Most pairs.
const PAIRS_MAX: usize = (1 << 24) - 1;
/// Bytes for what is likely to be added to a copy.
const ROOM: usize = 48;

/// Where a pair stands in the buffer.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    value: usize,
    end: usize,
}

impl<'a> PackedRef<'a> {
    /// What [`PackedRef::stored`] of another gave.
    #[inline]
    pub(super) fn of(stored: &'a [u8]) -> Self {
        Self(stored)
    }

    /// Its bytes, to be kept elsewhere.
    #[inline]
    pub(super) fn stored(self) -> &'a [u8] {
        self.0
    }

    /// How many pairs.
    #[inline]
    pub fn len(self) -> usize {
        match *self.0 {
            [a, b, c, ..] => u32::from_le_bytes([a, b, c, 0]) as usize,
            _ => 0,
        }
    }

    /// True when there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Bytes of the pairs and of their count.
    pub fn bytes(self) -> usize {
        self.0.len()
    }

    /// The pairs in their order.
    #[inline]
    pub fn iter(self) -> Iter<'a> {
        Iter { bytes: self.0, at: HEAD }
    }

    /// The pair at a position.
    pub fn nth(self, n: usize) -> Option<(&'a [u8], &'a [u8])> {
        self.iter().nth(n)
    }

    /// The value of a name.
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        prefetch_walk(self.0);
        self.iter().find(|(each, _)| *each == name).map(|(_, value)| value)
    }

    fn place(self, name: &[u8]) -> Option<Place> {
        prefetch_walk(self.0);
        let mut iter = self.iter();
        loop {
            let start = iter.at;
            let each = iter.string()?;
            let value = iter.at;
            iter.string()?;
            if each == name {
                return Some(Place { start, value, end: iter.at });
            }
        }
    }
}

impl Packed {
    /// A copy, with room for a little more.
    pub(in crate::db) fn copied(from: PackedRef<'_>) -> Packed {
        let mut bytes = Vec::with_capacity(size_class(from.0.len() + ROOM));
        bytes.extend_from_slice(from.0);
        bytes.resize(bytes.capacity(), 0);
        Packed { bytes: bytes.into_boxed_slice(), used: from.0.len() as u32, _spare: Spare::One }
    }

    /// It, to be read.
    #[inline]
    pub fn view(&self) -> PackedRef<'_> {
        PackedRef(self.bytes.get(..self.used as usize).unwrap_or_default())
    }

    /// Whether one more pair of so many bytes fits at all.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used as usize + bytes + 10 <= BYTES_MAX && self.view().len() < PAIRS_MAX
    }

    /// Heap bytes of the buffer.
    pub fn heap_bytes(&self) -> usize {
        if self.bytes.is_empty() { 0 } else { size_class(self.bytes.len()) }
    }

    /// Gives a name a value; whether the name is new.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        match self.view().place(name) {
            Some(place) => {
                self.splice(place.value, place.end, &[value], 0);
                false
            }
            None => {
                self.insert_at((self.used as usize).max(HEAD), name, value);
                true
            }
        }
    }

    /// Puts a pair before the `n`th, without asking whether its name is there already.
    pub fn insert(&mut self, n: usize, name: &[u8], value: &[u8]) {
        let mut iter = self.view().iter();
        iter.by_ref().take(n).for_each(drop);
        let at = iter.at;
        self.insert_at(at, name, value);
    }

    /// Removes a name; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(place) = self.view().place(name) else { return false };
        self.splice(place.start, place.end, &[], -1);
        true
    }

    fn insert_at(&mut self, at: usize, name: &[u8], value: &[u8]) {
        self.splice(at, at, &[name, value], 1);
    }

    /// Puts strings in the place of a part of the buffer, which is as long as a block of the allocator, and is given up
    /// for a smaller one when less than half of it is needed. `more` pairs are there then.
    fn splice(&mut self, start: usize, end: usize, strings: &[&[u8]], more: isize) {
        let pairs = self.view().len().wrapping_add_signed(more);
        if pairs == 0 {
            *self = Packed::default();
            return;
        }
        let new: usize = strings.iter().map(|string| head_len(string) + string.len()).sum();
        let used = (self.used as usize).max(HEAD);
        let (to, len) = (start + new, used - (end - start) + new);
        let capacity = size_class(len);
        if len > self.bytes.len() || capacity * 2 < self.bytes.len() {
            let mut bytes = vec![0; capacity].into_boxed_slice();
            if let Some(before) = self.bytes.get(..start) {
                bytes[..start].copy_from_slice(before);
                bytes[to..len].copy_from_slice(&self.bytes[end..used]);
            }
            self.bytes = bytes;
        } else {
            self.bytes.copy_within(end..used, to);
        }
        self.used = len as u32;
        self.bytes[..HEAD].copy_from_slice(&(pairs as u32).to_le_bytes()[..HEAD]);
        let mut at = start;
        for string in strings {
            at = write(&mut self.bytes, at, string);
        }
    }
}

fn head_len(string: &[u8]) -> usize {
    if string.len() < 255 { 1 } else { 5 }
}

fn write(bytes: &mut [u8], mut at: usize, string: &[u8]) -> usize {
    match u8::try_from(string.len()) {
        Ok(len) if len < 255 => {
            bytes[at] = len;
            at += 1;
        }
        _ => {
            bytes[at] = 255;
            bytes[at + 1..at + 5].copy_from_slice(&(string.len() as u32).to_le_bytes());
            at += 5;
        }
    }
    bytes[at..at + string.len()].copy_from_slice(string);
    at + string.len()
}

/// The pairs of a [`Packed`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iter<'a> {
    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        let first = *self.bytes.get(self.at)?;
        let (head, len) = match first {
            255 => {
                let len = self.bytes.get(self.at + 1..self.at + 5)?;
                (5, u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize)
            }
            len => (1, usize::from(len)),
        };
        let start = self.at + head;
        let string = self.bytes.get(start..start + len)?;
        self.at = start + len;
        Some(string)
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.string()?, self.string()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_list_of_pairs(
            ops in proptest::collection::vec((0u8..4, 0u8..12, proptest::collection::vec(any::<u8>(), 0..600)), 0..60),
        ) {
            let (mut packed, mut twin) = (Packed::default(), Vec::<(Vec<u8>, Vec<u8>)>::new());
            for (op, name, value) in ops {
                let name = vec![name; usize::from(name) * 30];
                let at = twin.iter().position(|(each, _)| *each == name);
                match (op, at) {
                    (0 | 1, Some(at)) => {
                        prop_assert!(!packed.set(&name, &value));
                        twin[at].1 = value;
                    }
                    (0 | 1, None) => {
                        prop_assert!(packed.set(&name, &value));
                        twin.push((name, value));
                    }
                    (2, None) => {
                        let n = value.len() % (twin.len() + 1);
                        packed.insert(n, &name, &value);
                        twin.insert(n, (name, value));
                    }
                    (_, at) => {
                        prop_assert_eq!(packed.remove(&name), at.is_some());
                        at.map(|at| twin.remove(at));
                    }
                }
                prop_assert!(packed.view().iter().eq(twin.iter().map(|(name, value)| (&name[..], &value[..]))));
                prop_assert_eq!(packed.view().len(), twin.len());
                prop_assert!(packed.heap_bytes() >= packed.view().stored().len());
                for (name, value) in &twin {
                    prop_assert_eq!(packed.view().get(name), Some(&value[..]));
                }
            }
        }
    }

    #[test]
    fn memory_is_given_back() {
        let mut packed = Packed::default();
        for n in 0..100u8 {
            packed.set(&[n], &[n; 50]);
        }
        assert_eq!(packed.view().nth(7).unwrap().0, [7]);
        for n in 0..100u8 {
            assert!(packed.remove(&[n]));
        }
        assert!(packed.view().is_empty() && packed.heap_bytes() == 0, "{}", packed.heap_bytes());
    }
}
