//! Token buckets, in whole numbers.

/// A token bucket that starts full and refills continuously; unused refill over the capacity is lost.
///
/// Counts in billionths of a token: at a whole number of tokens per second, one nanosecond refills exactly that many.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_s: u64,
    capacity: u64,
    level: u64,
    at_ns: u64,
}

const TOKEN: u64 = 1_000_000_000;

impl Bucket {
    /// Largest burst and largest rate.
    pub const TOKENS_MAX: u64 = 1_000_000_000;

    /// A full bucket of `burst` tokens, refilled at `per_s`. Both at most [`Self::TOKENS_MAX`]. A rate of 0 means no limit.
    pub fn new(per_s: u64, burst: u64) -> Self {
        let capacity = burst.min(Self::TOKENS_MAX) * TOKEN;
        Self { per_s: per_s.min(Self::TOKENS_MAX), capacity, level: capacity, at_ns: 0 }
    }

    /// Whether a whole token is there at `now_ns`. Time never goes back.
    pub fn has(&mut self, now_ns: u64) -> bool {
        if self.per_s == 0 {
            return true;
        }
        let refill = (now_ns - self.at_ns).saturating_mul(self.per_s);
        self.level = self.level.saturating_add(refill).min(self.capacity);
        self.at_ns = now_ns;
        self.level >= TOKEN
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let has = self.has(now_ns);
        if has && self.per_s > 0 {
            self.level -= TOKEN;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NS_PER_S;

    #[test]
    fn burst_then_rate_exactly() {
        let mut bucket = Bucket::new(100, 3);
        assert_eq!((0..5).filter(|_| bucket.take(0)).count(), 3);
        assert!(!bucket.take(9_999_999));
        assert!(bucket.take(10_000_000));
        assert!(!bucket.take(10_000_000));
        // A long rest fills it to its capacity and no further.
        assert_eq!((0..9).filter(|_| bucket.take(3600 * NS_PER_S)).count(), 3);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut bucket = Bucket::new(0, 0);
        assert!((0..1000).all(|_| bucket.take(0)));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut bucket = Bucket::new(u64::MAX, u64::MAX);
        assert!(bucket.take(0));
        assert!(bucket.take(u64::MAX));
    }
}
