//! Integers in one buffer, ascending, each once: what small sets of integers are kept in.

use super::size_class;

/// Integers in as few bytes as the one needs that needs most: 2, 4 or 8 each, lowest byte first. Before them is how many
/// bytes that is, so that they can be kept anywhere: what reads them is [`IntsRef`].
#[derive(Debug, Default)]
pub(super) struct Ints {
    /// Empty when there are none.
    bytes: Vec<u8>,
}

/// [`Ints`], or their bytes elsewhere, to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct IntsRef<'a> {
    width: usize,
    bytes: &'a [u8],
}

/// Bytes of a buffer from which on it is given up for a smaller one when a quarter of it is needed.
const SHRUNK_BYTES_MIN: usize = 128;

fn width_of(int: i64) -> usize {
    match (i16::try_from(int), i32::try_from(int)) {
        (Ok(_), _) => 2,
        (_, Ok(_)) => 4,
        _ => 8,
    }
}

impl<'a> IntsRef<'a> {
    /// What [`Ints::stored`] of another gave.
    #[inline]
    pub(super) fn of(stored: &'a [u8]) -> Self {
        match stored {
            [width, bytes @ ..] => Self { width: usize::from(*width), bytes },
            [] => Self { width: 2, bytes: stored },
        }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        self.bytes.len() / self.width
    }

    /// The integer at a position.
    #[inline]
    pub(super) fn nth(self, n: usize) -> Option<i64> {
        Some(match *self.bytes.get(n * self.width..(n + 1) * self.width)? {
            [a, b] => i16::from_le_bytes([a, b]).into(),
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
            ref all => all.try_into().map_or(0, i64::from_le_bytes),
        })
    }

    /// Where the integer is, or would be.
    pub(super) fn search(self, int: i64) -> Result<usize, usize> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            match self.nth(middle) {
                Some(here) if here == int => return Ok(middle),
                Some(here) if here < int => from = middle + 1,
                _ => to = middle,
            }
        }
        Err(from)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = i64> + use<'a> {
        (0..self.len()).map_while(move |n| self.nth(n))
    }
}

impl Ints {
    /// A copy.
    pub(super) fn copied(stored: &[u8]) -> Ints {
        Ints { bytes: stored.into() }
    }

    /// The bytes, to be kept elsewhere.
    #[inline]
    pub(super) fn stored(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(super) fn view(&self) -> IntsRef<'_> {
        IntsRef::of(&self.bytes)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        if self.bytes.capacity() == 0 { 0 } else { size_class(self.bytes.capacity()) }
    }

    /// Adds an integer that is not there, before the one at this position.
    pub(super) fn insert(&mut self, at: usize, int: i64) {
        let (width, wanted) = (self.view().width, width_of(int));
        if self.bytes.is_empty() {
            self.bytes.push(wanted as u8);
        } else if wanted > width {
            self.widen(wanted);
        }
        let (width, at) = (self.view().width, at * self.view().width + 1);
        let len = self.bytes.len();
        if len + width > self.bytes.capacity() {
            self.bytes.reserve_exact(size_class(len + width) - len);
        }
        self.bytes.resize(len + width, 0);
        self.bytes.copy_within(at..len, at + width);
        self.bytes[at..at + width].copy_from_slice(&int.to_le_bytes()[..width]);
    }

    /// Takes out the integer at a position, which is there.
    pub(super) fn remove(&mut self, at: usize) {
        let width = self.view().width;
        let at = at * width + 1;
        self.bytes.drain(at..at + width);
        if self.bytes.len() <= 1 {
            self.bytes = Vec::new();
        } else if self.bytes.capacity() >= SHRUNK_BYTES_MIN && self.bytes.len() * 4 < self.bytes.capacity() {
            self.bytes.shrink_to(size_class(self.bytes.len() * 2));
        }
    }

    fn widen(&mut self, width: usize) {
        let mut bytes = Vec::with_capacity(size_class(1 + (self.view().len() + 1) * width));
        bytes.push(width as u8);
        self.view().iter().for_each(|int| bytes.extend_from_slice(&int.to_le_bytes()[..width]));
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn int() -> impl Strategy<Value = i64> {
        let edge = prop_oneof![Just(i64::from(i16::MAX)), Just(i64::from(i32::MAX)), Just(i64::MAX), Just(0)];
        let near = (edge, -3i64..3).prop_map(|(edge, by)| edge.saturating_add(by));
        prop_oneof![4 => -40i64..40, 1 => near.clone(), 1 => near.prop_map(|int| -1 - int)]
    }

    proptest! {
        #[test]
        fn they_are_a_set(ops in proptest::collection::vec((any::<bool>(), int()), 0..300)) {
            let (mut ints, mut twin) = (Ints::default(), BTreeSet::new());
            for (add, int) in ops {
                let place = ints.view().search(int);
                prop_assert_eq!(place.is_ok(), twin.contains(&int));
                match (add, place) {
                    (true, Err(at)) => ints.insert(at, int),
                    (false, Ok(at)) => ints.remove(at),
                    _ => {}
                }
                if add { twin.insert(int); } else { twin.remove(&int); }
                prop_assert!(ints.view().iter().eq(twin.iter().copied()) && ints.view().len() == twin.len());
                let copy = Ints::copied(ints.stored());
                prop_assert!(copy.view().iter().eq(twin.iter().copied()));
                prop_assert_eq!(ints.heap_bytes() == 0, twin.is_empty());
            }
        }
    }

    #[test]
    fn they_take_what_the_widest_needs() {
        let mut ints = Ints::default();
        (0..100).for_each(|n| ints.insert(n as usize, n * 37));
        assert_eq!((ints.stored().len(), ints.heap_bytes()), (201, 224));
        ints.insert(100, 1 << 20);
        assert_eq!(ints.stored().len(), 405);
        ints.insert(101, 1 << 40);
        assert_eq!(ints.stored().len(), 817);
        (0..100).for_each(|_| ints.remove(0));
        assert!(ints.heap_bytes() < 128, "{}", ints.heap_bytes());
    }
}
