//! Random choices of commands.

use std::collections::HashSet;
use std::hash::Hash;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A generator of one command's choices.
pub(crate) struct Random(Xoshiro256PlusPlus);

impl Random {
    pub(super) fn new(seed: u64, number: u64) -> Self {
        // Seeds that differ in few bits give unrelated generators: the seeding mixes them.
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// At most `n` of `len` items, each once, each with the same chance, in no order that holds. `draw` gives one at random,
    /// `all` gives all of them, `name` tells one from another.
    pub(crate) fn pick<T, K: Hash + Eq>(
        &mut self,
        (n, len): (usize, usize),
        all: impl FnOnce() -> Vec<T>,
        mut draw: impl FnMut(&mut Self) -> Option<T>,
        name: impl Fn(&T) -> K,
    ) -> Vec<T> {
        // Of a few among many, those that were drawn before are drawn again seldom: redis draws below a third.
        if n.saturating_mul(3) > len {
            return self.sample(all(), n);
        }
        let mut seen: HashSet<K, foldhash::fast::RandomState> = HashSet::default();
        let mut picked = Vec::with_capacity(n);
        while picked.len() < n
            && let Some(item) = draw(self)
        {
            if seen.insert(name(&item)) {
                picked.push(item);
            }
        }
        picked
    }

    /// At most `n` of the items, each with the same chance, in no order that holds.
    fn sample<T>(&mut self, mut items: Vec<T>, n: usize) -> Vec<T> {
        let n = n.min(items.len());
        for at in 0..n {
            let other = at + self.below(items.len() - at);
            items.swap(at, other);
        }
        items.truncate(n);
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_the_items_and_each_once() {
        let mut random = Random::new(1, 2);
        for n in [0, 1, 33, 34, 50, 100, 101, usize::MAX] {
            let mut sample =
                random.pick((n, 100), || (0..100).collect(), |random| Some(random.below(100)), |item| *item);
            sample.sort_unstable();
            sample.dedup();
            assert_eq!(sample.len(), n.min(100));
        }
        assert_ne!(Random::new(1, 2).next(), Random::new(1, 3).next());
    }
}
