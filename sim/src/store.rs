//! The session cache: one entry per user at most, a TTL, a capacity, least recently used first out.
//!
//! All entries have one TTL, so their order of expiry is the order in which it was last set: a second list, no heap, and
//! every entry leaves at the very nanosecond it expires.

mod list;

use crate::gauge::Gauge;
use crate::scenario::Cache;
use list::List;

/// What the cache did in the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that left because their TTL ended.
    pub expired: u64,
    /// Entries that left to make room.
    pub evicted: u64,
    /// Writes that did not fit.
    pub refused: u64,
}

/// A cache with room for one entry per user.
#[derive(Debug)]
pub struct Store {
    ttl_ns: u64,
    entries_max: u64,
    bytes_max: u64,
    evicts: bool,
    from_ns: u64,
    /// Bytes of each user's entry, overhead included; 0 = none.
    bytes: Vec<u32>,
    expires_ns: Vec<u64>,
    used: List,
    aged: List,
    entries: Gauge,
    memory: Gauge,
    counts: Counts,
}

impl Store {
    /// An empty cache for users `0..users`, measuring from `from_ns` on.
    pub fn new(spec: &Cache, users: u64, from_ns: u64) -> Self {
        let users = users as usize;
        Self {
            ttl_ns: spec.ttl_ns,
            entries_max: spec.entries_max,
            bytes_max: spec.memory_bytes_max,
            evicts: spec.evicts,
            from_ns,
            bytes: vec![0; users],
            expires_ns: vec![0; users],
            used: List::new(users),
            aged: List::new(users),
            entries: Gauge::from(from_ns),
            memory: Gauge::from(from_ns),
            counts: Counts::default(),
        }
    }

    /// Bytes of the user's entry, if there is one; it is now the most recently used.
    pub fn get(&mut self, now_ns: u64, user: u32) -> Option<u32> {
        self.expire(now_ns);
        let bytes = self.bytes[user as usize];
        if bytes == 0 {
            return None;
        }
        self.used.remove(user);
        self.used.push(user);
        Some(bytes)
    }

    /// Starts the entry's TTL again; false if there is no entry.
    pub fn touch(&mut self, now_ns: u64, user: u32) -> bool {
        let found = self.get(now_ns, user).is_some();
        if found {
            self.aged.remove(user);
            self.age(now_ns, user);
        }
        found
    }

    /// Writes an entry of `bytes`, overhead included, making room first; false if it does not fit.
    pub fn put(&mut self, now_ns: u64, user: u32, bytes: u32) -> bool {
        self.delete(now_ns, user);
        let bytes = bytes.max(1);
        while !self.fits(bytes) {
            let Some(oldest) = self.used.first().filter(|_| self.evicts && u64::from(bytes) <= self.bytes_max) else {
                self.counts.refused += u64::from(now_ns >= self.from_ns);
                return false;
            };
            self.drop_entry(now_ns, oldest);
            self.counts.evicted += u64::from(now_ns >= self.from_ns);
        }
        self.bytes[user as usize] = bytes;
        self.used.push(user);
        self.age(now_ns, user);
        self.entries.set(now_ns, self.entries.level() + 1);
        self.memory.set(now_ns, self.memory.level() + u64::from(bytes));
        true
    }

    /// Deletes the entry, if there is one.
    pub fn delete(&mut self, now_ns: u64, user: u32) {
        self.expire(now_ns);
        if self.bytes[user as usize] > 0 {
            self.drop_entry(now_ns, user);
        }
    }

    /// Expires what is due at `now_ns` and brings the gauges up to it.
    pub fn settle(&mut self, now_ns: u64) {
        self.expire(now_ns);
        self.entries.settle(now_ns);
        self.memory.settle(now_ns);
    }

    /// Live entries over time.
    pub fn entries(&self) -> &Gauge {
        &self.entries
    }

    /// Bytes over time, overhead included.
    pub fn memory(&self) -> &Gauge {
        &self.memory
    }

    /// What happened in the measured time.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn fits(&self, bytes: u32) -> bool {
        self.entries.level() < self.entries_max
            && self.memory.level().saturating_add(u64::from(bytes)) <= self.bytes_max
    }

    fn age(&mut self, now_ns: u64, user: u32) {
        self.expires_ns[user as usize] = now_ns.saturating_add(self.ttl_ns);
        self.aged.push(user);
    }

    fn expire(&mut self, now_ns: u64) {
        while let Some(oldest) = self.aged.first() {
            let at_ns = self.expires_ns[oldest as usize];
            if at_ns > now_ns {
                break;
            }
            self.drop_entry(at_ns, oldest);
            self.counts.expired += u64::from(at_ns >= self.from_ns);
        }
    }

    fn drop_entry(&mut self, at_ns: u64, user: u32) {
        let bytes = std::mem::take(&mut self.bytes[user as usize]);
        self.used.remove(user);
        self.aged.remove(user);
        self.entries.set(at_ns, self.entries.level() - 1);
        self.memory.set(at_ns, self.memory.level() - u64::from(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::Law;

    fn store(entries_max: u64, memory_bytes_max: u64, evicts: bool) -> Store {
        let round_trip = Law::Constant { mean_ns: 0.0 };
        let spec = Cache { ttl_ns: 100, entry_overhead_bytes: 0, entries_max, memory_bytes_max, evicts, round_trip };
        Store::new(&spec, 8, 0)
    }

    #[test]
    fn entries_expire_to_the_nanosecond_and_touch_slides() {
        let mut store = store(u64::MAX, u64::MAX, true);
        assert!(store.put(0, 1, 10));
        assert!(store.put(10, 2, 20));
        assert!(store.touch(50, 1));
        assert_eq!(store.get(109, 2), Some(20));
        assert_eq!(store.get(110, 2), None);
        assert_eq!(store.get(149, 1), Some(10));
        assert!(!store.touch(150, 1));
        store.settle(200);
        assert_eq!(store.counts().expired, 2);
        assert_eq!(store.memory().area(), 150 * 10 + 100 * 20);
        assert_eq!(store.entries().peak(), 2);
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let mut store = store(3, u64::MAX, true);
        for user in 0..3 {
            store.put(u64::from(user), user, 1);
        }
        store.get(5, 0);
        store.put(6, 3, 1);
        let there: Vec<_> = (0..4).map(|user| store.get(7, user).is_some()).collect();
        assert_eq!(there, [true, false, true, true]);
        assert_eq!(store.counts().evicted, 1);
    }

    #[test]
    fn bytes_bound_too_and_giants_are_refused_without_harm() {
        let mut store = store(u64::MAX, 100, true);
        assert!(store.put(0, 0, 60));
        assert!(store.put(0, 1, 40));
        assert!(!store.put(1, 2, 101));
        assert_eq!(store.memory().level(), 100);
        assert!(store.put(1, 2, 100));
        assert_eq!((store.entries().level(), store.counts().evicted), (1, 2));
    }

    #[test]
    fn without_eviction_a_full_cache_refuses() {
        let mut store = store(1, u64::MAX, false);
        assert!(store.put(0, 0, 1));
        assert!(!store.put(1, 1, 1));
        assert!(store.put(2, 0, 5));
        assert!(store.put(102, 1, 1), "the first has expired");
        assert_eq!(store.counts(), Counts { expired: 1, evicted: 0, refused: 1 });
    }
}
