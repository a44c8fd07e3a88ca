//! Pairs of byte strings in one buffer: what small hashes, sets and sorted sets are kept in.
//!
//! A string is its length (one byte below 255, else 255 and a `u32`) and its bytes; a pair is two of them. Looking one up
//! walks the buffer, which is faster than hashing while there are few, and takes a tenth of the memory.

use super::size_class;

/// Pairs of byte strings, in the order they were added. At most 2^24 - 1 pairs in 1 GiB.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    bytes: Box<[u8]>,
    /// Bytes of the pairs.
    used: u32,
    /// How many pairs, lowest byte first.
    len: [u8; 3],
    _spare: Spare,
}

/// A byte with one value, so that an enum which holds a [`Packed`] tells its variants by the others and is no larger.
#[derive(Debug, Clone, Copy, Default)]
#[repr(u8)]
enum Spare {
    #[default]
    One,
}

/// Most bytes of the pairs, as redis has it.
const BYTES_MAX: usize = 1 << 30;
/// Most pairs.
const PAIRS_MAX: usize = (1 << 24) - 1;

/// Where a pair stands in the buffer.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    value: usize,
    end: usize,
}

impl Packed {
    /// How many pairs.
    #[inline]
    pub fn len(&self) -> usize {
        let [a, b, c] = self.len;
        u32::from_le_bytes([a, b, c, 0]) as usize
    }

    fn set_len(&mut self, len: usize) {
        let [a, b, c, _] = (len as u32).to_le_bytes();
        self.len = [a, b, c];
    }

    /// Whether one more pair of so many bytes fits at all.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used as usize + bytes + 10 <= BYTES_MAX && self.len() < PAIRS_MAX
    }

    #[inline]
    fn used(&self) -> &[u8] {
        self.bytes.get(..self.used as usize).unwrap_or_default()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Heap bytes of the buffer.
    pub fn heap_bytes(&self) -> usize {
        if self.bytes.is_empty() { 0 } else { size_class(self.bytes.len()) }
    }

    /// The pairs in their order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: self.used(), at: 0 }
    }

    /// The pair at a position.
    pub fn nth(&self, n: usize) -> Option<(&[u8], &[u8])> {
        self.iter().nth(n)
    }

    /// The value of a name.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(each, _)| *each == name).map(|(_, value)| value)
    }

    /// Gives a name a value; whether the name is new.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        match self.place(name) {
            Some(place) => {
                self.splice(place.value, place.end, &[value]);
                false
            }
            None => {
                self.insert_at(self.used as usize, name, value);
                true
            }
        }
    }

    /// Puts a pair before the `n`th, without asking whether its name is there already.
    pub fn insert(&mut self, n: usize, name: &[u8], value: &[u8]) {
        let mut iter = self.iter();
        iter.by_ref().take(n).for_each(drop);
        let at = iter.at;
        self.insert_at(at, name, value);
    }

    /// Removes a name; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(place) = self.place(name) else { return false };
        self.splice(place.start, place.end, &[]);
        self.set_len(self.len() - 1);
        true
    }

    fn place(&self, name: &[u8]) -> Option<Place> {
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

    fn insert_at(&mut self, at: usize, name: &[u8], value: &[u8]) {
        self.splice(at, at, &[name, value]);
        self.set_len(self.len() + 1);
    }

    /// Puts strings in the place of a part of the buffer, which is as long as a block of the allocator, and is given up
    /// for a smaller one when less than half of it is needed.
    fn splice(&mut self, start: usize, end: usize, strings: &[&[u8]]) {
        let new: usize = strings.iter().map(|string| head_len(string) + string.len()).sum();
        let used = self.used as usize;
        let (to, len) = (start + new, used - (end - start) + new);
        let capacity = size_class(len);
        if len > self.bytes.len() || capacity * 2 < self.bytes.len() {
            let mut bytes = vec![0; if len == 0 { 0 } else { capacity }].into_boxed_slice();
            bytes[..start].copy_from_slice(&self.bytes[..start]);
            bytes[to..len].copy_from_slice(&self.bytes[end..used]);
            self.bytes = bytes;
        } else {
            self.bytes.copy_within(end..used, to);
        }
        self.used = len as u32;
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
                prop_assert!(packed.iter().eq(twin.iter().map(|(name, value)| (&name[..], &value[..]))));
                prop_assert_eq!(packed.len(), twin.len());
                prop_assert!(packed.heap_bytes() >= packed.used().len());
                for (name, value) in &twin {
                    prop_assert_eq!(packed.get(name), Some(&value[..]));
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
        assert_eq!(packed.nth(7).unwrap().0, [7]);
        for n in 0..100u8 {
            assert!(packed.remove(&[n]));
        }
        assert!(packed.is_empty() && packed.heap_bytes() <= 16, "{}", packed.heap_bytes());
    }
}
