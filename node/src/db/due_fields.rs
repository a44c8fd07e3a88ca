//! Which keys of a partition hold hashes with fields that expire, and when the first of each does.
//!
//! A key's time here is never later than that of its first field, and may be earlier, or of a key that is gone: whoever
//! takes a key out looks, and puts it back with the true time. So commands that only lengthen a field's life, take fields
//! away or remove keys need not know of this. What is left of gone keys is cleared away before it is half of all.

use std::collections::{BTreeMap, BTreeSet};

/// Keys kept before the first clearing.
const KEYS_MIN: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct DueFields {
    /// The first of all times.
    earliest_ms: u64,
    at_ms: BTreeMap<Box<[u8]>, u64>,
    order: BTreeSet<(u64, Box<[u8]>)>,
    /// Keys from which on it is cleared.
    clear_at: usize,
}

impl Default for DueFields {
    fn default() -> Self {
        Self { earliest_ms: u64::MAX, at_ms: BTreeMap::new(), order: BTreeSet::new(), clear_at: KEYS_MIN }
    }
}

impl DueFields {
    /// Whether no key is noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.at_ms.is_empty()
    }

    /// Whether some field may be due.
    #[inline]
    pub(crate) fn any_due(&self, now_ms: u64) -> bool {
        self.earliest_ms < now_ms
    }

    /// Notes that a field of the hash at `key` expires then; whether [`DueFields::clear`] is due.
    pub(crate) fn note(&mut self, key: &[u8], at_ms: u64) -> bool {
        match self.at_ms.get(key) {
            Some(known) if *known <= at_ms => return false,
            Some(known) => {
                self.order.remove(&(*known, key.into()));
            }
            None => {}
        }
        self.at_ms.insert(key.into(), at_ms);
        self.order.insert((at_ms, key.into()));
        self.earliest_ms = self.earliest_ms.min(at_ms);
        self.at_ms.len() >= self.clear_at
    }

    /// Takes out a key of which a field may be due.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<Box<[u8]>> {
        if !self.any_due(now_ms) {
            return None;
        }
        let popped = self.order.pop_first();
        self.earliest_ms = self.order.first().map_or(u64::MAX, |(at_ms, _)| *at_ms);
        let (_, key) = popped?;
        self.at_ms.remove(&key);
        Some(key)
    }

    /// How many keys.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.at_ms.len()
    }

    /// Keeps only the keys that are still `alive`.
    pub(crate) fn clear(&mut self, alive: impl Fn(&[u8]) -> bool) {
        self.at_ms.retain(|key, _| alive(key));
        let at_ms = &self.at_ms;
        self.order.retain(|(_, key)| at_ms.contains_key(key));
        self.earliest_ms = self.order.first().map_or(u64::MAX, |(at_ms, _)| *at_ms);
        self.clear_at = KEYS_MIN.max(2 * self.at_ms.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_comes_first_and_each_once() {
        let mut due = DueFields::default();
        assert!(!due.any_due(u64::MAX - 1));
        for (key, at_ms) in [("a", 50), ("b", 20), ("a", 30), ("a", 90)] {
            assert!(!due.note(key.as_bytes(), at_ms));
        }
        assert!(!due.any_due(20) && due.any_due(21));
        assert_eq!(due.pop_due(20), None);
        assert_eq!(due.pop_due(100).as_deref(), Some(&b"b"[..]));
        assert_eq!(due.pop_due(100).as_deref(), Some(&b"a"[..]));
        assert_eq!(due.pop_due(100), None);
    }

    #[test]
    fn gone_keys_are_cleared_away() {
        let mut due = DueFields::default();
        let full = (0..1000u32).filter(|n| due.note(&n.to_le_bytes(), u64::from(*n) + 5)).count();
        assert_eq!(full, 1000 - KEYS_MIN + 1);
        due.clear(|key| key == 7u32.to_le_bytes());
        assert!(!due.any_due(12) && due.any_due(13));
        assert!(due.pop_due(100).is_some() && due.pop_due(100).is_none());
    }
}
