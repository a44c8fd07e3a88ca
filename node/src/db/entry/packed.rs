//! Names with values in one buffer: what small hashes, sets and sorted sets are kept in.
//!
//! A string is its length (one byte up to [`SHORT_MAX`], else 255 and a `u32`) and its bytes. An integer is one byte that says
//! how many follow, and so many of it, lowest first; only values are. Looking a name up walks the buffer, which is faster
//! than hashing while there are few, and takes a tenth of the memory.

use super::{Value, size_class};
use crate::db::table::prefetch_walk;

/// Pairs of a name and a value, in the order they were added. At most 2^24 - 1 pairs in 1 GiB.
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
/// The longest string whose length is one byte. Above it are [`LONG`], and the first bytes of integers of 1 to 8.
const SHORT_MAX: u8 = 245;
const LONG: u8 = 255;
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
    pub fn nth(self, n: usize) -> Option<(&'a [u8], Value<'a>)> {
        self.iter().nth(n)
    }

    /// The value of a name.
    pub fn get(self, name: &[u8]) -> Option<Value<'a>> {
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
            iter.value()?;
            if each == name {
                return Some(Place { start, value, end: iter.at });
            }
        }
    }
}

impl Packed {
    /// A copy, with room for a little more.
    pub(super) fn copied(from: PackedRef<'_>) -> Packed {
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
    pub fn set(&mut self, name: &[u8], value: Piece<'_>) -> bool {
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
    pub fn insert(&mut self, n: usize, name: &[u8], value: Piece<'_>) {
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

    fn insert_at(&mut self, at: usize, name: &[u8], value: Piece<'_>) {
        self.splice(at, at, &[Piece::Bytes(name), value], 1);
    }

    /// Puts pieces in the place of a part of the buffer, which is as long as a block of the allocator, and is given up
    /// for a smaller one when less than half of it is needed. `more` pairs are there then.
    fn splice(&mut self, start: usize, end: usize, pieces: &[Piece<'_>], more: isize) {
        let pairs = self.view().len().wrapping_add_signed(more);
        if pairs == 0 {
            *self = Packed::default();
            return;
        }
        let new: usize = pieces.iter().map(|piece| piece.len()).sum();
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
        for piece in pieces {
            piece.write(&mut self.bytes[at..]);
            at += piece.len();
        }
    }
}

/// What is put into a [`Packed`].
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// A string.
    Bytes(&'a [u8]),
    /// A value that reads as this.
    Int(i64),
}

impl Piece<'_> {
    /// Bytes it takes.
    fn len(self) -> usize {
        match self {
            Self::Bytes(bytes) if bytes.len() <= usize::from(SHORT_MAX) => 1 + bytes.len(),
            Self::Bytes(bytes) => 5 + bytes.len(),
            Self::Int(int) => 1 + int_len(int),
        }
    }

    /// Writes it to the front of `to`, which is long enough.
    fn write(self, to: &mut [u8]) {
        let (head, bytes) = to.split_at_mut(1);
        match self {
            Self::Bytes(string) if string.len() <= usize::from(SHORT_MAX) => {
                head[0] = string.len() as u8;
                bytes[..string.len()].copy_from_slice(string);
            }
            Self::Bytes(string) => {
                head[0] = LONG;
                bytes[..4].copy_from_slice(&(string.len() as u32).to_le_bytes());
                bytes[4..4 + string.len()].copy_from_slice(string);
            }
            Self::Int(int) => {
                let len = int_len(int);
                head[0] = SHORT_MAX + len as u8;
                bytes[..len].copy_from_slice(&int.to_le_bytes()[..len]);
            }
        }
    }
}

/// Bytes without which an integer is another: 1 to 8.
fn int_len(int: i64) -> usize {
    // One bit more, for the sign, than it takes without it.
    let bits = 65 - (if int < 0 { !int } else { int }).leading_zeros();
    bits.div_ceil(8) as usize
}

/// The integer of these bytes, which are 1 to 8.
fn int_of(bytes: &[u8]) -> i64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    let unused = 64 - 8 * bytes.len() as u32;
    i64::from_le_bytes(all) << unused >> unused
}

/// The pairs of a [`Packed`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iter<'a> {
    #[inline]
    fn pass(&mut self, head: usize, len: usize) -> Option<&'a [u8]> {
        let start = self.at + head;
        let taken = self.bytes.get(start..start + len)?;
        self.at = start + len;
        Some(taken)
    }

    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        match *self.bytes.get(self.at)? {
            len @ ..=SHORT_MAX => self.pass(1, len.into()),
            _ => {
                let len = self.bytes.get(self.at + 1..self.at + 5)?;
                self.pass(5, u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize)
            }
        }
    }

    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        match *self.bytes.get(self.at)? {
            ..=SHORT_MAX | LONG => self.string().map(Value::Bytes),
            head => self.pass(1, usize::from(head - SHORT_MAX).min(8)).map(|bytes| Value::Int(int_of(bytes))),
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.string()?, self.value()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn text(value: Value<'_>) -> Vec<u8> {
        match value {
            Value::Int(int) => int.to_string().into_bytes(),
            Value::Bytes(bytes) => bytes.to_vec(),
            _ => unreachable!("it holds no other"),
        }
    }

    #[test]
    fn integers_take_what_they_need() {
        for power in 0..64 {
            for by in [-1, 0, 1] {
                let int = (1_i64 << power).wrapping_add(by);
                for int in [int, int.wrapping_neg(), !int] {
                    let mut packed = Packed::default();
                    packed.set(b"n", Piece::Int(int));
                    assert!(matches!(packed.view().get(b"n"), Some(Value::Int(held)) if held == int), "{int}");
                    let len = (1..9).find(|len| int_of(&int.to_le_bytes()[..*len]) == int).unwrap();
                    assert_eq!(packed.view().bytes(), HEAD + 2 + 1 + len, "{int}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_list_of_pairs(
            ops in proptest::collection::vec(
                (0u8..4, 0u8..12, any::<i64>(), proptest::collection::vec(any::<u8>(), 0..600)),
                0..60,
            ),
        ) {
            let (mut packed, mut twin) = (Packed::default(), Vec::<(Vec<u8>, Vec<u8>)>::new());
            for (op, name, int, value) in ops {
                let is_int = int % 3 == 0;
                let (piece, value) = match is_int {
                    true => (Piece::Int(int >> (int & 63)), (int >> (int & 63)).to_string().into_bytes()),
                    false => (Piece::Bytes(&value), value.clone()),
                };
                let name = vec![name; usize::from(name) * 30];
                let at = twin.iter().position(|(each, _)| *each == name);
                match (op, at) {
                    (0 | 1, Some(at)) => {
                        prop_assert!(!packed.set(&name, piece));
                        twin[at].1 = value;
                    }
                    (0 | 1, None) => {
                        prop_assert!(packed.set(&name, piece));
                        twin.push((name, value));
                    }
                    (2, None) => {
                        let n = value.len() % (twin.len() + 1);
                        packed.insert(n, &name, piece);
                        twin.insert(n, (name, value));
                    }
                    (_, at) => {
                        prop_assert_eq!(packed.remove(&name), at.is_some());
                        at.map(|at| twin.remove(at));
                    }
                }
                prop_assert!(packed.view().iter().map(|(name, value)| (name.to_vec(), text(value))).eq(twin.iter().cloned()));
                prop_assert_eq!(packed.view().len(), twin.len());
                prop_assert!(packed.heap_bytes() >= packed.view().stored().len());
                for (name, value) in &twin {
                    prop_assert_eq!(packed.view().get(name).map(text), Some(value.clone()));
                }
            }
        }
    }

    #[test]
    fn memory_is_given_back() {
        let mut packed = Packed::default();
        for n in 0..100u8 {
            packed.set(&[n], Piece::Bytes(&[n; 50]));
        }
        assert_eq!(packed.view().nth(7).unwrap().0, [7]);
        for n in 0..100u8 {
            assert!(packed.remove(&[n]));
        }
        assert!(packed.view().is_empty() && packed.heap_bytes() == 0, "{}", packed.heap_bytes());
    }
}
