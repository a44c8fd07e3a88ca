//! The environments of one function: who serves, who is refused, who stays.
//!
//! One environment handles one request at a time and Lambda queues nothing: no idle environment and no permission to add
//! one means a refusal at once. Not modelled: provisioned and reserved concurrency, SnapStart, asynchronous invokes.

use crate::bucket::Bucket;
use crate::gauge::{Gauge, StateTimes};
use crate::scenario::{Function, KeepAlive, Pick};
use crate::stream::Stream;
use serde::Serialize;
use std::collections::BTreeSet;

/// Why an invoke got no environment; the names are Lambda's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Refusal {
    /// As many environments busy as the limit allows.
    ConcurrentInvocationLimitExceeded,
    /// More invokes a second than the concurrency allows.
    FunctionInvocationRateLimitExceeded,
    /// None idle, and no more may be added just now.
    ScalingRateExceeded,
}

/// An environment that got a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// Number of the environment; numbers are used again after an environment ends.
    pub id: u32,
    /// Whether it was created for this request.
    pub cold: bool,
}

/// When to look whether an idle environment has ended: enter [`Pool::expire`] at `at_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Nanoseconds.
    pub at_ns: u64,
    /// The environment.
    pub id: u32,
    /// Its creation, since `id` may be another's by then.
    pub creation: u64,
}

#[derive(Clone, Debug)]
struct Environment {
    creation: u64,
    created_ns: u64,
    /// Place in the order of idle environments; `None` while busy.
    rank: Option<u64>,
    ends_ns: u64,
    /// When its pending [`Expiry`] is due; `u64::MAX` for none pending.
    look_ns: u64,
}

/// All environments of a function.
#[derive(Debug)]
pub struct Pool {
    concurrency_max: u64,
    keep_alive: KeepAlive,
    age_ns_max: u64,
    pick: Pick,
    scaling: Bucket,
    invokes: Bucket,
    keep_alive_stream: Stream,
    environments: Vec<Option<Environment>>,
    free: Vec<u32>,
    idle: BTreeSet<(u64, u32)>,
    creations: u64,
    releases: u64,
    /// Environments there are, busy or idle.
    total: Gauge,
    busy: StateTimes,
    busy_gauge: Gauge,
}

impl Pool {
    /// No environments yet, measuring from `from_ns` on.
    pub fn new(spec: &Function, seed: u64, from_ns: u64) -> Self {
        Self {
            concurrency_max: spec.concurrency_max,
            keep_alive: spec.keep_alive,
            age_ns_max: spec.age_ns_max,
            pick: spec.pick,
            scaling: Bucket::new(spec.environments_per_s, spec.environments_burst),
            // The quota is a rate over a second: a second's worth may come at once.
            invokes: Bucket::new(spec.invokes_per_s, spec.invokes_per_s),
            keep_alive_stream: Stream::named(seed, "keep-alive"),
            environments: Vec::new(),
            free: Vec::new(),
            idle: BTreeSet::new(),
            creations: 0,
            releases: 0,
            total: Gauge::from(from_ns),
            busy: StateTimes::from(from_ns),
            busy_gauge: Gauge::from(from_ns),
        }
    }

    /// An environment for a request at `now_ns`; it is busy from now on.
    ///
    /// # Errors
    /// The first limit that says no, in the order concurrency, invoke rate, scaling.
    pub fn acquire(&mut self, now_ns: u64) -> Result<Acquired, Refusal> {
        if self.busy_gauge.level() >= self.concurrency_max {
            return Err(Refusal::ConcurrentInvocationLimitExceeded);
        }
        if !self.invokes.take(now_ns) {
            return Err(Refusal::FunctionInvocationRateLimitExceeded);
        }
        let next = match self.pick {
            Pick::MostRecentlyUsed | Pick::Newest => self.idle.pop_last(),
            Pick::LeastRecentlyUsed | Pick::Oldest => self.idle.pop_first(),
        };
        let acquired = match next {
            Some((_, id)) => Acquired { id, cold: false },
            None if self.scaling.take(now_ns) => Acquired { id: self.create(now_ns), cold: true },
            None => return Err(Refusal::ScalingRateExceeded),
        };
        if let Some(environment) = &mut self.environments[acquired.id as usize] {
            environment.rank = None;
        }
        self.set_busy(now_ns, self.busy_gauge.level() + 1);
        Ok(acquired)
    }

    /// Environment `id` has finished its request and is idle. Enter the expiry this gives, if any, in the agenda.
    pub fn release(&mut self, now_ns: u64, id: u32) -> Option<Expiry> {
        self.set_busy(now_ns, self.busy_gauge.level() - 1);
        let ends_ns = self.idle_until(now_ns);
        self.releases += 1;
        let (pick, releases, age_ns_max) = (self.pick, self.releases, self.age_ns_max);
        let environment = self.environments[id as usize].as_mut()?;
        let rank = match pick {
            Pick::MostRecentlyUsed | Pick::LeastRecentlyUsed => releases,
            Pick::Newest | Pick::Oldest => environment.creation,
        };
        environment.rank = Some(rank);
        environment.ends_ns = match age_ns_max {
            0 => ends_ns,
            age => ends_ns.min(environment.created_ns.saturating_add(age)).max(now_ns),
        };
        self.idle.insert((rank, id));
        environment.pending(id)
    }

    /// Environment `id` is lost with its request: a timeout.
    pub fn lose(&mut self, now_ns: u64, id: u32) {
        self.set_busy(now_ns, self.busy_gauge.level() - 1);
        self.end(now_ns, id);
    }

    /// Looks whether the environment has ended at `expiry.at_ns`. If it may still end later, gives the next look.
    pub fn expire(&mut self, expiry: Expiry) -> Option<Expiry> {
        let environment = self.environments.get_mut(expiry.id as usize)?.as_mut()?;
        if environment.creation != expiry.creation || environment.look_ns != expiry.at_ns {
            return None;
        }
        environment.look_ns = u64::MAX;
        let rank = environment.rank?;
        if environment.ends_ns > expiry.at_ns {
            return environment.pending(expiry.id);
        }
        self.idle.remove(&(rank, expiry.id));
        self.end(expiry.at_ns, expiry.id);
        None
    }

    /// Brings the gauges up to `now_ns`.
    pub fn settle(&mut self, now_ns: u64) {
        self.total.settle(now_ns);
        self.busy.settle(now_ns);
        self.busy_gauge.settle(now_ns);
    }

    /// Environments over time.
    pub fn total(&self) -> &Gauge {
        &self.total
    }

    /// Busy environments over time.
    pub fn busy(&self) -> &Gauge {
        &self.busy_gauge
    }

    /// Share of time with 0, 1, 2, … environments busy.
    pub fn busy_shares(&self) -> Vec<f64> {
        self.busy.shares()
    }

    fn create(&mut self, now_ns: u64) -> u32 {
        self.creations += 1;
        let environment = Environment {
            creation: self.creations,
            created_ns: now_ns,
            rank: None,
            ends_ns: u64::MAX,
            look_ns: u64::MAX,
        };
        self.total.set(now_ns, self.total.level() + 1);
        if let Some(id) = self.free.pop() {
            self.environments[id as usize] = Some(environment);
            return id;
        }
        self.environments.push(Some(environment));
        (self.environments.len() - 1) as u32
    }

    fn end(&mut self, now_ns: u64, id: u32) {
        self.environments[id as usize] = None;
        self.free.push(id);
        self.total.set(now_ns, self.total.level() - 1);
    }

    fn idle_until(&mut self, now_ns: u64) -> u64 {
        match self.keep_alive {
            KeepAlive::Fixed { idle_ns } => now_ns.saturating_add(idle_ns),
            KeepAlive::Uniform { least_ns, most_ns } => {
                now_ns.saturating_add(least_ns).saturating_add(self.keep_alive_stream.below(most_ns - least_ns + 1))
            }
            KeepAlive::Never => u64::MAX,
        }
    }

    fn set_busy(&mut self, now_ns: u64, busy: u64) {
        self.busy.set(now_ns, busy as usize);
        self.busy_gauge.set(now_ns, busy);
    }
}

impl Environment {
    /// One look is pending per environment, never later than its end; a look that comes too early asks for another.
    fn pending(&mut self, id: u32) -> Option<Expiry> {
        if self.ends_ns >= self.look_ns {
            return None;
        }
        self.look_ns = self.ends_ns;
        Some(Expiry { at_ns: self.ends_ns, id, creation: self.creation })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scenario::Scenario;

    fn pool(text: &str) -> Pool {
        Pool::new(&Scenario::parse(text).unwrap().function, 1, 0)
    }

    #[test]
    fn an_idle_environment_ends_exactly_when_its_keep_alive_does() {
        let mut pool = pool("function.keep_alive.idle_ms = 1");
        let first = pool.acquire(0).unwrap();
        assert!(first.cold);
        let look = pool.release(10, first.id).unwrap();
        assert_eq!(look.at_ns, 1_000_010);
        assert!(!pool.acquire(20).unwrap().cold);
        assert_eq!(pool.release(30, first.id), None, "one look is pending already");
        let again = pool.expire(look).unwrap();
        assert_eq!(again.at_ns, 1_000_030);
        assert_eq!(pool.expire(again), None);
        assert_eq!(pool.total().level(), 0);
        assert!(pool.acquire(1_000_030).unwrap().cold);
    }

    #[test]
    fn a_look_at_a_former_holder_of_the_number_does_nothing() {
        let mut pool = pool("function.keep_alive.idle_ms = 1");
        let first = pool.acquire(0).unwrap();
        let look = pool.release(0, first.id).unwrap();
        pool.acquire(1).unwrap();
        pool.lose(2, first.id);
        assert!(pool.acquire(3).unwrap().cold);
        assert_eq!(pool.release(4, first.id).unwrap().at_ns, 1_000_004);
        assert_eq!(pool.expire(look), None);
        assert_eq!(pool.total().level(), 1);
    }

    #[test]
    fn the_limits_say_which_they_are() {
        let mut pool = pool(
            "function = { concurrency_max = 3, environments_per_s = 1, environments_burst = 2, invokes_per_s_per_concurrency = 1 }",
        );
        let one = pool.acquire(0).unwrap();
        pool.acquire(0).unwrap();
        assert_eq!(pool.acquire(0), Err(Refusal::ScalingRateExceeded));
        assert_eq!(pool.acquire(0), Err(Refusal::FunctionInvocationRateLimitExceeded));
        assert!(pool.acquire(1_000_000_000).unwrap().cold);
        assert_eq!(pool.acquire(1_000_000_000), Err(Refusal::ConcurrentInvocationLimitExceeded));
        pool.release(1_000_000_001, one.id);
        assert_eq!(pool.acquire(1_000_000_002), Ok(Acquired { id: one.id, cold: false }));
    }

    #[test]
    fn who_serves_next() {
        // Created 0, 1, 2; released 1, 2, 0.
        for (pick, expected) in [("most_recently_used", 0), ("least_recently_used", 1), ("newest", 2), ("oldest", 0)] {
            let mut pool = pool(&format!("function.pick = \"{pick}\""));
            for _ in 0..3 {
                pool.acquire(0).unwrap();
            }
            for id in [1, 2, 0] {
                pool.release(1, id);
            }
            assert_eq!(pool.acquire(2).unwrap().id, expected, "{pick}");
        }
    }

    #[test]
    fn age_ends_an_idle_environment_early_and_never_stays() {
        let mut aged = pool("function.keep_alive.age_ms_max = 2");
        let id = aged.acquire(0).unwrap().id;
        assert_eq!(aged.release(1_500_000, id).unwrap().at_ns, 2_000_000);
        aged.acquire(1_600_000).unwrap();
        aged.release(2_500_000, id);
        assert_eq!(aged.expire(Expiry { at_ns: 2_000_000, id, creation: 1 }).map(|look| look.at_ns), Some(2_500_000));
        let mut never = pool("function.keep_alive.policy = \"never\"");
        let id = never.acquire(0).unwrap().id;
        assert_eq!(never.release(1, id), None);
    }

    #[test]
    fn uniform_keep_alive_stays_in_its_bounds() {
        let mut pool = pool("function.keep_alive = { policy = \"uniform\", least_ms = 1, most_ms = 3 }");
        for at in 0..1000 {
            let id = pool.acquire(at).unwrap().id;
            if let Some(look) = pool.release(at, id) {
                assert!((at + 1_000_000..=at + 3_000_000).contains(&look.at_ns));
                pool.acquire(at).unwrap();
                pool.lose(at, id);
            }
        }
    }
}
