//! Active expiry on the workers: short slices, at most a twentieth of each one's time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::engine::Engine;
use crate::workers::{Seat, Workers};

/// Buckets looked at in one slice: about 100 us.
const SLICE_BUCKETS: usize = 4096;
/// The rest between two slices when nothing more is due.
const REST: Duration = Duration::from_millis(100);
/// After a slice the sweeper rests this many times as long as it took: 5 % of a core.
const REST_FACTOR: u64 = 19;
const REST_US_MIN: u64 = 2_000;

/// Starts a sweeper for `engine` on every worker; they end with the engine. Once per engine.
pub fn sweep(engine: &Arc<Engine>, workers: &Workers) {
    let count = workers.count();
    for worker in 0..count {
        let engine = Arc::downgrade(engine);
        workers.spawn_on(worker, move |seat| share(engine, seat, count));
    }
}

async fn share(engine: Weak<Engine>, seat: Seat, workers: usize) {
    loop {
        let Some(rest) = slice(&engine, &seat, workers) else { return };
        tokio::time::sleep(rest).await;
    }
}

/// One slice; how long to rest after it, or `None` when the engine is gone.
fn slice(engine: &Weak<Engine>, seat: &Seat, workers: usize) -> Option<Duration> {
    let engine = engine.upgrade()?;
    let before = seat.now();
    engine.sample(before);
    let swept = engine.sweep(seat.worker(), workers, before, SLICE_BUCKETS);
    let took_us = seat.now().mono_us - before.mono_us;
    Some(if swept.more { Duration::from_micros((took_us * REST_FACTOR).max(REST_US_MIN)) } else { REST })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::buffers::Cut;
    use crate::testing::{Client, Clock, engine};

    #[test]
    fn who_holds_too_much_is_cut_by_any_worker() {
        let clock = Clock::new();
        let engine = engine(&clock);
        let (mut large, mut admin) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 0));
        admin.say("CONFIG SET maxmemory-clients 100000");
        large.say("MULTI");
        large.say(&format!("SET k {}", "v".repeat(200_000)));
        let workers = Workers::start(2).unwrap();
        let (done, wait) = std::sync::mpsc::channel();
        let weak = Arc::downgrade(&engine);
        workers.spawn_on(1, move |seat| async move { done.send(slice(&weak, &seat, 2)).unwrap() });
        assert!(wait.recv().unwrap().is_some());
        assert_eq!(engine.buffers.cuts(Cut::Evicted), 1);
        workers.stop();
    }
}
