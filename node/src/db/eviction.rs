//! What is evicted when memory is short: redis's policies, and the settings that choose among them.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::warmth::Warmth;

/// Which keys may go, and which goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Policy {
    /// Of those with a TTL, the one that was not used for longest.
    VolatileLru,
    /// Of those with a TTL, the one that is used least often.
    VolatileLfu,
    /// Any with a TTL.
    VolatileRandom,
    /// The one that expires first.
    VolatileTtl,
    /// The one that was not used for longest.
    AllkeysLru,
    /// The one that is used least often.
    AllkeysLfu,
    /// Any.
    AllkeysRandom,
    /// None: commands that may grow data are refused.
    #[default]
    Noeviction,
}

impl Policy {
    /// Redis's names, in the order in which it lists them.
    pub const NAMES: &'static [&'static str] = &[
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "noeviction",
    ];

    /// All, in the order of [`Policy::NAMES`].
    pub const ALL: [Policy; 8] = [
        Policy::VolatileLru,
        Policy::VolatileLfu,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
        Policy::AllkeysLru,
        Policy::AllkeysLfu,
        Policy::AllkeysRandom,
        Policy::Noeviction,
    ];

    /// The policy of a name, in lower case.
    pub fn named(name: &str) -> Option<Policy> {
        let at = Self::NAMES.iter().position(|each| *each == name)?;
        Self::ALL.get(at).copied()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Only keys with a TTL may go.
    pub(crate) fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }

    pub(crate) fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }

    pub(crate) fn is_random(self) -> bool {
        matches!(self, Self::VolatileRandom | Self::AllkeysRandom)
    }
}

/// Redis's settings of the same names, at its defaults; changed while others read them.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `maxmemory`: bytes, 0 for no limit.
    limit: AtomicU64,
    policy: AtomicU8,
    /// `maxmemory-samples`.
    pub(crate) samples: AtomicU32,
    /// `lfu-log-factor`.
    pub(crate) lfu_log_factor: AtomicU32,
    /// `lfu-decay-time`: minutes.
    pub(crate) lfu_decay_minutes: AtomicU32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: AtomicU64::new(0),
            policy: AtomicU8::new(Policy::Noeviction as u8),
            samples: AtomicU32::new(5),
            lfu_log_factor: AtomicU32::new(10),
            lfu_decay_minutes: AtomicU32::new(1),
        }
    }
}

impl Settings {
    /// `maxmemory`: bytes, 0 for no limit.
    #[inline]
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::ALL.get(usize::from(self.policy.load(Ordering::Relaxed))).copied().unwrap_or_default()
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as u8, Ordering::Relaxed);
    }

    /// What keys are touched with now.
    #[inline]
    pub(crate) fn warmth(&self, now_ms: u64) -> Warmth {
        if self.policy().is_lfu() {
            let load = |setting: &AtomicU32| setting.load(Ordering::Relaxed);
            Warmth::lfu(now_ms, load(&self.lfu_decay_minutes), load(&self.lfu_log_factor))
        } else {
            Warmth::lru(now_ms)
        }
    }
}

/// Keys that a pool holds: redis's.
const POOL: usize = 16;

/// A key that may be evicted.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// How good a victim it is: the most is the best.
    pub(crate) score: u64,
    pub(crate) hash: u64,
    pub(crate) database: u8,
    pub(crate) key: Box<[u8]>,
}

/// The best victims among the keys that were looked at lately, the best last.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    candidates: Vec<Candidate>,
    /// What they were chosen by.
    policy: Policy,
}

impl Pool {
    /// Forgets candidates chosen by another policy.
    pub(crate) fn choose_by(&mut self, policy: Policy) {
        if self.policy != policy {
            self.candidates.clear();
            self.policy = policy;
        }
    }

    /// Forgets all candidates.
    pub(crate) fn clear(&mut self) {
        self.candidates.clear();
    }

    /// Whether a key with this score would be among the best.
    pub(crate) fn wants(&self, score: u64) -> bool {
        self.candidates.len() < POOL || self.candidates.first().is_some_and(|worst| score > worst.score)
    }

    /// Offers a key; it is copied only if it is among the best.
    pub(crate) fn offer(&mut self, score: u64, hash: u64, database: u8, key: &[u8]) {
        if !self.wants(score) {
            return;
        }
        self.candidates.retain(|other| (other.hash, other.database) != (hash, database));
        if self.candidates.len() == POOL {
            self.candidates.remove(0);
        }
        let at = self.candidates.partition_point(|other| other.score <= score);
        self.candidates.insert(at, Candidate { score, hash, database, key: key.into() });
    }

    /// Takes the best.
    pub(crate) fn take(&mut self) -> Option<Candidate> {
        self.candidates.pop()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_policies_go_together() {
        for (policy, name) in Policy::ALL.into_iter().zip(Policy::NAMES) {
            assert_eq!((policy.name(), Policy::named(name)), (*name, Some(policy)));
            let settings = Settings::default();
            settings.set_policy(policy);
            assert_eq!(settings.policy(), policy);
        }
        assert_eq!(Policy::named("lru"), None);
    }

    #[test]
    fn a_pool_keeps_the_best_each_once() {
        let mut pool = Pool::default();
        (0..100u64).for_each(|n| pool.offer(n * 37 % 100, n, 0, b"k"));
        pool.offer(99, 99 * 73 % 100, 0, b"again");
        let taken: Vec<u64> = std::iter::from_fn(|| pool.take()).map(|it| it.score).collect();
        assert_eq!(taken.len(), POOL);
        assert!(taken.is_sorted_by(|a, b| a >= b) && taken[0] == 99, "{taken:?}");
        pool.offer(1, 1, 0, b"k");
        pool.choose_by(Policy::AllkeysLfu);
        assert!(pool.take().is_none());
    }
}
