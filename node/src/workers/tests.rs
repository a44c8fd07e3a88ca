#![allow(clippy::unwrap_used)]

use super::*;
use std::sync::mpsc;
use std::time::Duration;

fn place(workers: &Workers, task: impl Future<Output = ()> + Send + 'static) -> usize {
    workers.place(move |_| task).map_err(drop).unwrap()
}

#[test]
fn connections_spread_over_workers_and_are_counted() {
    let workers = Workers::start(2).unwrap();
    let drain = Drain::new();
    let hold = |drain: &Drain| {
        let (drain, guest) = (drain.clone(), drain.enter(10).unwrap());
        async move {
            let _guest = guest;
            drain.reached(Phase::Draining).await;
        }
    };
    let mut placed: Vec<usize> = (0..4).map(|_| place(&workers, hold(&drain))).collect();
    placed.sort_unstable();
    assert_eq!(placed, [0, 0, 1, 1]);
    assert_eq!(workers.stats().iter().map(|one| one.live).collect::<Vec<_>>(), [2, 2]);
    let control = Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(control.block_on(drain.finish(Duration::from_secs(10))), 0);
    assert_eq!(drain.guests(), 0);
    workers.stop();
    assert_eq!(workers.stats().iter().map(|one| (one.live, one.placed)).collect::<Vec<_>>(), [(0, 2), (0, 2)]);
}

#[test]
fn a_connection_that_does_not_end_is_cut() {
    let workers = Workers::start(1).unwrap();
    let drain = Drain::new();
    let (stubborn, guest) = (drain.clone(), drain.enter(1).unwrap());
    assert!(drain.enter(1).is_none());
    place(&workers, async move {
        let _guest = guest;
        stubborn.reached(Phase::Cutting).await;
    });
    let control = Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(control.block_on(drain.finish(Duration::from_millis(1))), 1);
    assert_eq!(drain.guests(), 0);
    workers.stop();
}

#[test]
fn a_panic_ends_its_task_alone() {
    let workers = Workers::start(1).unwrap();
    let (done, wait) = mpsc::channel();
    place(&workers, async { panic!("on purpose") });
    place(&workers, async move { done.send(()).unwrap() });
    wait.recv_timeout(Duration::from_secs(10)).unwrap();
    workers.stop();
    let stats = workers.stats()[0];
    assert_eq!((stats.panics, stats.live, stats.placed), (1, 0, 2));
}

#[test]
fn a_worker_that_is_held_takes_no_connection() {
    let workers = Workers::start(1).unwrap();
    let (entered, wait) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    place(&workers, async move {
        entered.send(()).unwrap();
        held.recv().unwrap_or(());
    });
    wait.recv_timeout(Duration::from_secs(10)).unwrap();
    // The pulse ages by real time: spin until it has, rather than sleep for a guess.
    let clock = Clock::start();
    while workers.choose().is_some() {
        assert!(clock.mono_us() < 10_000_000, "the worker still seems to respond");
        std::hint::spin_loop();
    }
    assert!(workers.place(|_| async {}).is_err());
    drop(release);
    while workers.choose().is_none() {
        assert!(clock.mono_us() < 20_000_000, "the worker does not come back");
        std::thread::yield_now();
    }
    workers.stop();
}
