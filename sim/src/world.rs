//! The simulated world: requests come, pass the API Gateway, run in a function, read and write their session.
//!
//! One request's road: [`World::arrive`] → (cold: [`World::start`] when INIT is done) → [`World::handle`] →
//! [`World::finish`]. Simplifications, on purpose: the gateway's overhead lengthens the client's wait and moves nothing
//! in time; the session is read when the handler starts and written when it ends; clients do not retry.

use crate::NS_PER_MS;
use crate::agenda::{Agenda, Turn};
use crate::bucket::Bucket;
use crate::function::{Expiry, Pool, Refusal};
use crate::law::Law;
use crate::scenario::{Arrivals, OnHit, Scenario};
use crate::sessions::Population;
use crate::store::Store;
use crate::stream::Stream;
use hdrhistogram::Histogram;

/// What happens at an instant.
#[derive(Debug)]
enum Event {
    Arrive,
    Start(u32),
    Finish(u32),
    Expire(Expiry),
}

/// A request inside an environment.
#[derive(Clone, Debug, Default)]
struct Request {
    user: u32,
    cold: bool,
    counted: bool,
    arrived_ns: u64,
    init_ns: u64,
    started_ns: u64,
    timed_out: bool,
    /// Whether its session was in the cache.
    hit: bool,
}

/// Waiting times of answered requests, in microseconds with three digits.
pub type Waits = Histogram<u64>;

/// What was counted, of requests that arrived after the warm-up.
#[derive(Debug)]
pub struct Tally {
    /// Requests that arrived.
    pub requests: u64,
    /// Answered by the function in time.
    pub answered: u64,
    /// Refused by the API Gateway's throttle.
    pub throttled: u64,
    /// Refused by Lambda, by reason.
    pub refused_concurrency: u64,
    /// As above.
    pub refused_rate: u64,
    /// As above.
    pub refused_scaling: u64,
    /// Stopped at the function's timeout.
    pub timed_out: u64,
    /// Finished after the client was told 503 at the integration timeout.
    pub integration_timed_out: u64,
    /// Still inside when the run ended.
    pub unfinished: u64,
    /// Requests that Lambda took, and those of them that created their environment.
    pub invokes: u64,
    /// See `invokes`.
    pub cold: u64,
    /// Sessions found in the cache, and not found.
    pub hits: u64,
    /// See `hits`.
    pub misses: u64,
    /// Calls to the cache.
    pub cache_calls: u64,
    /// Thousandths of an ECPU.
    pub ecpu_milli: u64,
    /// Billed milliseconds of INIT and handler.
    pub billed_ms: u64,
    /// Waits of answered requests: all, cold, warm.
    pub waits: Waits,
    /// See `waits`.
    pub waits_cold: Waits,
    /// See `waits`.
    pub waits_warm: Waits,
}

impl Tally {
    fn new() -> Self {
        let waits = Histogram::new_with_bounds(1, 366 * 86_400_000_000, 3).expect("bounds and digits are allowed ones");
        Self {
            requests: 0,
            answered: 0,
            throttled: 0,
            refused_concurrency: 0,
            refused_rate: 0,
            refused_scaling: 0,
            timed_out: 0,
            integration_timed_out: 0,
            unfinished: 0,
            invokes: 0,
            cold: 0,
            hits: 0,
            misses: 0,
            cache_calls: 0,
            ecpu_milli: 0,
            billed_ms: 0,
            waits_cold: waits.clone(),
            waits_warm: waits.clone(),
            waits,
        }
    }
}

/// The random streams of a run, one per purpose.
#[derive(Debug)]
struct Streams {
    arrivals: Stream,
    placement: Stream,
    init: Stream,
    service: Stream,
    overhead: Stream,
    round_trip: Stream,
    origin: Stream,
    logout: Stream,
}

impl Streams {
    fn new(seed: u64) -> Self {
        let named = |name| Stream::named(seed, name);
        Self {
            arrivals: named("arrivals"),
            placement: named("placement"),
            init: named("init"),
            service: named("service"),
            overhead: named("overhead"),
            round_trip: named("round trip"),
            origin: named("origin"),
            logout: named("logout"),
        }
    }
}

/// A run in progress, and after [`World::run`] its result.
#[derive(Debug)]
pub struct World<'a> {
    spec: &'a Scenario,
    agenda: Agenda<Event>,
    streams: Streams,
    throttle: Bucket,
    pool: Pool,
    population: Population,
    store: Store,
    /// The request in each environment, by its number.
    running: Vec<Request>,
    inside: u64,
    tally: Tally,
}

impl<'a> World<'a> {
    /// Runs a scenario from beginning to end.
    pub fn run(spec: &'a Scenario, seed: u64) -> Self {
        let mut world = Self {
            spec,
            agenda: Agenda::default(),
            streams: Streams::new(seed),
            throttle: Bucket::new(spec.api_gateway.rate_per_s, spec.api_gateway.burst),
            pool: Pool::new(&spec.function, seed, spec.warm_up_ns),
            population: Population::new(&spec.sessions, seed),
            store: Store::new(&spec.cache, spec.sessions.users, spec.warm_up_ns),
            running: Vec::new(),
            inside: 0,
            tally: Tally::new(),
        };
        world.schedule_arrival(0);
        while let Some((now_ns, event)) = world.agenda.next_before(spec.duration_ns) {
            match event {
                Event::Arrive => world.arrive(now_ns),
                Event::Start(id) => world.handle(now_ns, id),
                Event::Finish(id) => world.finish(now_ns, id),
                Event::Expire(expiry) => world.expire(expiry),
            }
        }
        world.pool.settle(spec.duration_ns);
        world.store.settle(spec.duration_ns);
        world.tally.unfinished = world.inside;
        world
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The environments.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The cache.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Events the run was made of.
    pub fn events(&self) -> u64 {
        self.agenda.entered()
    }

    fn schedule_arrival(&mut self, now_ns: u64) {
        let mut at = now_ns as f64;
        let stream = &mut self.streams.arrivals;
        let gap_ns = match self.spec.arrivals {
            Arrivals::Poisson { gap_ns } => gap_ns * stream.exponential(),
            Arrivals::Deterministic { gap_ns } => gap_ns,
            Arrivals::Diurnal { gap_ns, amplitude, period_ns } => loop {
                // Thinning: candidates come at the highest rate; each stays with the share that its instant has of it.
                at += gap_ns / (1.0 + amplitude) * stream.exponential();
                let share = 1.0 + amplitude * libm::sin(std::f64::consts::TAU * (at / period_ns));
                if stream.unit() * (1.0 + amplitude) < share || at > self.spec.duration_ns as f64 {
                    break at - now_ns as f64;
                }
            },
        };
        self.agenda.add(now_ns.saturating_add(libm::round(gap_ns) as u64), Turn::Arrive, Event::Arrive);
    }

    fn arrive(&mut self, now_ns: u64) {
        self.schedule_arrival(now_ns);
        let user = self.population.user();
        let counted = now_ns >= self.spec.warm_up_ns;
        self.tally.requests += u64::from(counted);
        if !self.throttle.take(now_ns) {
            self.tally.throttled += u64::from(counted);
            return;
        }
        let acquired = match self.pool.acquire(now_ns) {
            Ok(acquired) => acquired,
            Err(refusal) => return self.refuse(refusal, counted),
        };
        self.tally.invokes += u64::from(counted);
        self.tally.cold += u64::from(counted && acquired.cold);
        self.inside += u64::from(counted);
        let mut request = Request { user, cold: acquired.cold, counted, arrived_ns: now_ns, ..Request::default() };
        let mut ready_ns = now_ns;
        if acquired.cold {
            request.init_ns = self.spec.function.init.draw(&mut self.streams.init);
            let placement_ns = self.spec.function.placement.draw(&mut self.streams.placement);
            ready_ns = ready_ns.saturating_add(placement_ns).saturating_add(request.init_ns);
        }
        let slot = acquired.id as usize;
        if self.running.len() <= slot {
            self.running.resize(slot + 1, Request::default());
        }
        self.running[slot] = request;
        if acquired.cold {
            self.agenda.add(ready_ns, Turn::Start, Event::Start(acquired.id));
        } else {
            self.handle(now_ns, acquired.id);
        }
    }

    fn refuse(&mut self, refusal: Refusal, counted: bool) {
        let count = match refusal {
            Refusal::ConcurrentInvocationLimitExceeded => &mut self.tally.refused_concurrency,
            Refusal::FunctionInvocationRateLimitExceeded => &mut self.tally.refused_rate,
            Refusal::ScalingRateExceeded => &mut self.tally.refused_scaling,
        };
        *count += u64::from(counted);
    }

    /// The handler starts: it reads its session, and how long it will take is known.
    fn handle(&mut self, now_ns: u64, id: u32) {
        let (user, cold, counted) = {
            let request = &self.running[id as usize];
            (request.user, request.cold, request.counted)
        };
        let found = self.store.get(now_ns, user);
        self.tally_read(found, counted);
        let mut takes_ns = self.spec.function.service.draw(&mut self.streams.service);
        takes_ns = takes_ns.saturating_add(self.round_trip());
        if cold {
            takes_ns = takes_ns.saturating_add(self.spec.function.first_invocation_ns);
        }
        if found.is_none() {
            takes_ns = takes_ns.saturating_add(self.spec.origin_load.draw(&mut self.streams.origin));
        }
        if found.is_none() || self.spec.sessions.on_hit != OnHit::Nothing {
            takes_ns = takes_ns.saturating_add(self.round_trip());
        }
        let request = &mut self.running[id as usize];
        request.hit = found.is_some();
        request.started_ns = now_ns;
        request.timed_out = takes_ns > self.spec.function.timeout_ns;
        let finish_ns = now_ns.saturating_add(takes_ns.min(self.spec.function.timeout_ns));
        self.agenda.add(finish_ns, Turn::Finish, Event::Finish(id));
    }

    fn finish(&mut self, now_ns: u64, id: u32) {
        let request = self.running[id as usize].clone();
        if request.timed_out {
            self.pool.lose(now_ns, id);
        } else {
            self.write_session(now_ns, &request);
            if let Some(expiry) = self.pool.release(now_ns, id) {
                self.agenda.add(expiry.at_ns, Turn::Expire, Event::Expire(expiry));
            }
        }
        let overhead_ns = self.spec.api_gateway.overhead.draw(&mut self.streams.overhead);
        if request.counted {
            self.tally_finish(now_ns, &request, overhead_ns);
        }
    }

    fn expire(&mut self, expiry: Expiry) {
        if let Some(again) = self.pool.expire(expiry) {
            self.agenda.add(again.at_ns, Turn::Expire, Event::Expire(again));
        }
    }

    fn write_session(&mut self, now_ns: u64, request: &Request) {
        let sessions = &self.spec.sessions;
        let share = sessions.logout_share;
        if share > 0.0 && self.streams.logout.unit() < share {
            self.store.delete(now_ns, request.user);
            return self.tally_call(0, request.counted);
        }
        let touched = match (request.hit, sessions.on_hit) {
            (true, OnHit::Nothing) => true,
            (true, OnHit::Touch) => {
                self.tally_call(0, request.counted);
                self.store.touch(now_ns, request.user)
            }
            _ => false,
        };
        // A touched entry that has expired or was evicted since it was read is written anew by the handler.
        if !touched {
            let value_bytes = self.population.value_bytes();
            let item_bytes = u64::from(value_bytes) + sessions.key_bytes;
            let bytes = item_bytes + self.spec.cache.entry_overhead_bytes;
            self.store.put(now_ns, request.user, u32::try_from(bytes).unwrap_or(u32::MAX));
            self.tally_call(item_bytes, request.counted);
        }
    }

    fn round_trip(&mut self) -> u64 {
        let law: &Law = &self.spec.cache.round_trip;
        law.draw(&mut self.streams.round_trip)
    }

    fn tally_read(&mut self, found: Option<u32>, counted: bool) {
        if counted {
            self.tally.hits += u64::from(found.is_some());
            self.tally.misses += u64::from(found.is_none());
        }
        self.tally_call(u64::from(found.unwrap_or(0)), counted);
    }

    /// A call costs one ECPU per KB moved, and at least one.
    fn tally_call(&mut self, bytes: u64, counted: bool) {
        if counted {
            self.tally.cache_calls += 1;
            self.tally.ecpu_milli += (bytes * 1000 / 1024).max(1000);
        }
    }

    fn tally_finish(&mut self, now_ns: u64, request: &Request, overhead_ns: u64) {
        self.inside -= 1;
        let run_ns = now_ns - request.started_ns;
        self.tally.billed_ms += (request.init_ns + run_ns).div_ceil(NS_PER_MS);
        let inside_ns = now_ns - request.arrived_ns;
        if inside_ns > self.spec.api_gateway.integration_timeout_ns {
            self.tally.integration_timed_out += 1;
        } else if request.timed_out {
            self.tally.timed_out += 1;
        } else {
            self.tally.answered += 1;
            let wait_us = inside_ns.saturating_add(overhead_ns) / 1000;
            self.tally.waits.saturating_record(wait_us);
            let waits = if request.cold { &mut self.tally.waits_cold } else { &mut self.tally.waits_warm };
            waits.saturating_record(wait_us);
        }
    }
}

#[cfg(test)]
mod tests;
