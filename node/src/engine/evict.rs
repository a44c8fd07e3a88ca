//! Making room when `maxmemory` is reached.
//!
//! A writer that finds the engine over its limit takes keys out before it goes on, from any partition that nobody holds:
//! it waits for none. As redis does, it looks at a few keys (`maxmemory-samples`), keeps the best victims of these and of
//! earlier looks in a pool, and takes the best of all. What one command does is bounded; the sweepers do the rest.

use smallvec::SmallVec;

use super::Engine;
use super::random::Random;
use crate::db::{Held, Keyspace, Policy, Pool, Warmth};
use crate::metrics::{Cells, Gauge};
use crate::time::Now;

/// Keys one command takes out.
const KEYS_MAX: usize = 512;
/// As many where memory is over its limit by more than a [`FAR_OVER`]th: a few milliseconds' work. So large values that
/// push out small ones are slowed down, not let in without bounds.
const KEYS_MAX_FAR_OVER: usize = 16 * 1024;
const FAR_OVER: u64 = 16;
/// Keys one slice of a sweeper takes out.
const KEYS_MAX_SWEPT: usize = 256;
/// Rounds of looking for one victim before that counts as in vain.
const ROUNDS_MAX: usize = 16;

/// Most keys looked at for one victim, whatever `maxmemory-samples` says.
const SAMPLES_MAX: u32 = 1000;

/// How an attempt to take one key out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evicted {
    One,
    /// There is none that may go.
    None,
    /// Those that may go are held by others now, or were used just now.
    NotNow,
}

impl Engine {
    /// Whether there is a limit at all: one load.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.db.eviction.limit() > 0
    }

    /// Takes keys out until memory is below its limit; false when it is not, and no key may go.
    #[inline]
    pub(crate) fn make_room(&self, cells: &Cells, now: Now) -> bool {
        self.excess() == 0 || self.evict(cells, now)
    }

    /// Bytes above the limit.
    #[inline]
    fn excess(&self) -> u64 {
        match self.db.eviction.limit() {
            0 => 0,
            limit => self.used_bytes().saturating_sub(limit),
        }
    }

    #[cold]
    fn evict(&self, cells: &Cells, now: Now) -> bool {
        let far_over = self.excess() > self.db.eviction.limit() / FAR_OVER;
        self.evict_some(cells, now, if far_over { KEYS_MAX_FAR_OVER } else { KEYS_MAX })
    }

    /// A slice of a sweeper; whether there is more to do.
    pub(super) fn evict_behind(&self, cells: &Cells, now: Now) -> bool {
        if self.excess() == 0 || self.db.eviction.policy() == Policy::Noeviction {
            return false;
        }
        self.evict_some(cells, now, KEYS_MAX_SWEPT) && self.excess() > 0
    }

    /// Takes at most `keys_max` keys out, as long as memory is above its limit; false when it is and none may go.
    fn evict_some(&self, cells: &Cells, now: Now, keys_max: usize) -> bool {
        let policy = self.db.eviction.policy();
        if policy == Policy::Noeviction {
            return false;
        }
        // Whoever evicts while another does has a pool of its own for that long.
        let mut shared = self.victims.try_lock();
        let mut own = Pool::default();
        let pool = shared.as_deref_mut().unwrap_or(&mut own);
        pool.choose_by(policy);
        let mut hunt = Hunt {
            engine: self,
            keys: Keyspace::new(&self.db, &self.log, cells, 0, now.wall_ms),
            warmth: self.db.eviction.warmth(now.wall_ms),
            random: self.random(),
            policy,
        };
        for _ in 0..keys_max {
            if self.excess() == 0 {
                return true;
            }
            match hunt.evict_one(pool) {
                Evicted::One => {}
                Evicted::NotNow => return true,
                Evicted::None => return false,
            }
        }
        true
    }
}

/// Looks for victims.
struct Hunt<'e> {
    engine: &'e Engine,
    keys: Keyspace<'e>,
    warmth: Warmth,
    random: Random,
    policy: Policy,
}

impl Hunt<'_> {
    fn evict_one(&mut self, pool: &mut Pool) -> Evicted {
        let any = if self.policy.is_volatile() { Gauge::Volatile } else { Gauge::Keys };
        if self.engine.metrics.gauge(any) == 0 {
            return Evicted::None;
        }
        for _ in 0..ROUNDS_MAX {
            if self.policy.is_random() {
                pool.clear();
            }
            if !self.look(pool) {
                break;
            }
            while let Some(victim) = pool.take() {
                let partition = self.engine.db.partition_of(victim.hash);
                let Some(guard) = self.engine.db.try_lock(partition) else { continue };
                self.keys.hold(Held::One(partition, guard));
                self.keys.database = victim.database;
                let key = crate::db::Key { bytes: &victim.key, hash: victim.hash };
                let evicted = self.still_is(key, victim.score) && self.keys.evict(key);
                super::events::tell_gone(self.engine, &mut self.keys);
                self.keys.tell_waiters();
                self.keys.release();
                if evicted {
                    return Evicted::One;
                }
            }
        }
        Evicted::NotNow
    }

    /// Looks at some keys of a partition that has any, and offers them; whether there was one.
    fn look(&mut self, pool: &mut Pool) -> bool {
        let db = &self.engine.db;
        let (policy, warmth, volatile) = (self.policy, self.warmth, self.policy.is_volatile());
        let samples = db.eviction.samples.load(std::sync::atomic::Ordering::Relaxed).clamp(1, SAMPLES_MAX) as usize;
        let wanted = if policy.is_random() { 1 } else { samples };
        let (start, draw) = (self.random.below(db.partitions()), self.random.next());
        let mut seen = 0;
        for partition in (start..db.partitions()).chain(0..start) {
            let Some(mut slice) = db.try_lock(partition) else { continue };
            // None of the databases is first every time.
            let mut databases: SmallVec<[u8; 16]> = std::iter::once(0).chain(slice.others()).collect();
            let first = draw as usize % databases.len();
            databases.rotate_left(first);
            for database in databases {
                let shard = slice.of(database);
                if seen >= wanted || shard.table.is_empty() || volatile && shard.table.volatile_len() == 0 {
                    continue;
                }
                shard.settle_heats(warmth, self.keys.now_ms / 1000);
                // One of a bucket's keys has to be chosen at random, whatever stands first in it.
                let mut order = draw;
                shard.table.sample(draw >> 8, volatile, wanted - seen, &mut |entry, heat| {
                    seen += 1;
                    order = order.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let score = match policy {
                        Policy::VolatileTtl => u64::MAX - entry.expire_at_ms().unwrap_or(u64::MAX),
                        _ if policy.is_random() => order,
                        _ => warmth.coldness(heat),
                    };
                    if pool.wants(score) {
                        pool.offer(score, db.hash(entry.key()), database, entry.key());
                    }
                });
            }
            if seen >= wanted {
                break;
            }
        }
        seen > 0
    }

    /// Whether a candidate is still as good a victim as it was.
    fn still_is(&mut self, key: crate::db::Key<'_>, score: u64) -> bool {
        let (policy, warmth) = (self.policy, self.warmth);
        let table = &mut self.keys.shard(key.hash).table;
        let Some(entry) = table.find(key.hash, key.bytes) else { return false };
        let expire_at_ms = entry.expire_at_ms();
        match policy {
            _ if policy.is_volatile() && expire_at_ms.is_none() => false,
            Policy::VolatileTtl => expire_at_ms.is_some_and(|at_ms| u64::MAX - at_ms >= score),
            _ if policy.is_random() => true,
            _ => table.heat(key.hash, key.bytes).is_some_and(|heat| warmth.coldness(heat) >= score),
        }
    }
}
