//! Metering: the stage between a permit and a run.
//!
//! A cache with a request rate has one token bucket, kept as the time at which it will be full again (GCRA): one
//! compare-and-swap per request, none at all when the cache has no limit. What a request cost is counted in the
//! worker's own cells ([`crate::metrics`]).

use std::sync::atomic::{AtomicU64, Ordering};

use larder_iam_policies::access::Permit;

use crate::time::Now;

/// A call that was allowed and paid for; the only thing the engine runs. Made by [`Meters::charge`] alone.
#[derive(Debug)]
pub struct Paid<C> {
    call: C,
}

impl<C> Paid<C> {
    /// The call, to look at.
    pub fn call(&self) -> &C {
        &self.call
    }

    pub(crate) fn into_call(self) -> C {
        self.call
    }
}

/// The cache's request rate is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    /// When one more request will be taken, in milliseconds from now, at least 1.
    pub retry_after_ms: u64,
}

/// The budgets of one cache.
#[derive(Debug)]
pub struct Meters {
    rate: Option<Rate>,
}

#[derive(Debug)]
struct Rate {
    /// Nanoseconds one request costs.
    cost_ns: u64,
    /// How far ahead of time the bucket may run.
    burst_ns: u64,
    /// When the bucket will be full again, in monotonic nanoseconds.
    full_at_ns: AtomicU64,
}

impl Meters {
    /// Budgets of `requests_per_second` with room for `burst` at once; no rate for 0 requests.
    pub fn new(requests_per_second: u32, burst: u32) -> Self {
        let rate = (requests_per_second > 0).then(|| {
            let cost_ns = 1_000_000_000 / u64::from(requests_per_second);
            Rate { cost_ns, burst_ns: cost_ns * u64::from(burst.max(1)), full_at_ns: AtomicU64::new(0) }
        });
        Self { rate }
    }

    /// Whether any budget can run out.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.rate.is_some()
    }

    /// Takes one request from the budget.
    ///
    /// # Errors
    /// [`Throttled`] when the budget is used up; nothing was taken.
    #[inline]
    pub fn charge<C>(&self, permit: Permit<C>, now: Now) -> Result<Paid<C>, Throttled> {
        self.take(1, now)?;
        Ok(Paid { call: permit.spend() })
    }

    /// Takes as many requests as there are permits, or none.
    ///
    /// # Errors
    /// [`Throttled`] when the budget does not hold them all.
    pub fn charge_all<C>(&self, permits: Vec<Permit<C>>, now: Now) -> Result<Vec<Paid<C>>, Throttled> {
        self.take(permits.len() as u64, now)?;
        Ok(permits.into_iter().map(|permit| Paid { call: permit.spend() }).collect())
    }

    /// A command that was charged when MULTI queued it and is asked about again at EXEC, or when a blocked one wakes.
    pub(crate) fn charged_before<C>(&self, permit: Permit<C>) -> Paid<C> {
        Paid { call: permit.spend() }
    }

    #[inline]
    fn take(&self, requests: u64, now: Now) -> Result<(), Throttled> {
        match &self.rate {
            None => Ok(()),
            Some(rate) => rate.take(requests, now.mono_us.saturating_mul(1000)),
        }
    }
}

impl Rate {
    fn take(&self, requests: u64, now_ns: u64) -> Result<(), Throttled> {
        let cost_ns = self.cost_ns.saturating_mul(requests);
        let mut full_at_ns = self.full_at_ns.load(Ordering::Relaxed);
        loop {
            let next_ns = full_at_ns.max(now_ns).saturating_add(cost_ns);
            let ahead_ns = next_ns - now_ns;
            if ahead_ns > self.burst_ns {
                let wait_ns = ahead_ns - self.burst_ns;
                return Err(Throttled { retry_after_ms: wait_ns.div_ceil(1_000_000).max(1) });
            }
            match self.full_at_ns.compare_exchange_weak(full_at_ns, next_ns, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => full_at_ns = seen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_us: u64) -> Now {
        Now { wall_ms: 0, mono_us }
    }

    #[test]
    fn no_rate_never_throttles() {
        let meters = Meters::new(0, 0);
        assert!((0..10_000).all(|_| meters.take(1, at(0)).is_ok()));
    }

    #[test]
    fn a_burst_then_the_rate() {
        let meters = Meters::new(1000, 3);
        assert!((0..3).all(|_| meters.take(1, at(50)).is_ok()));
        assert_eq!(meters.take(1, at(50)), Err(Throttled { retry_after_ms: 1 }));
        assert_eq!(meters.take(1, at(1050)), Ok(()));
        assert!(meters.take(1, at(1100)).is_err());
    }

    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let meters = Meters::new(10, 5);
        assert!(meters.take(6, at(0)).is_err());
        assert_eq!(meters.take(5, at(0)), Ok(()));
        assert_eq!(meters.take(2, at(0)), Err(Throttled { retry_after_ms: 200 }));
    }
}
