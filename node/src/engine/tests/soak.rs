//! Two workers at once: nothing deadlocks, nothing is torn, and the log tells the same story.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::engine::Engine;
use crate::testing::{Client, Clock, dump, engine};

fn key(random: &mut impl Rng) -> String {
    format!("k{}", random.random_range(0..40))
}

/// What happened in a run that the log has to tell.
#[derive(Debug, Default)]
struct Told {
    /// Pops that had to wait and were served.
    served: AtomicU64,
    /// Pops that waited in vain.
    in_vain: AtomicU64,
    /// Transactions that ran.
    executed: AtomicU64,
    /// Transactions that a watched key's change threw away.
    aborted: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One random command or transaction.
fn act(client: &mut Client, random: &mut impl Rng, clock: &Clock, told: &Told) {
    let (a, b, n) = (key(random), key(random), random.random_range(0..100_u32));
    let line = match random.random_range(0..28_u32) {
        0 | 1 => format!("SET {a} {n}"),
        2 => format!("SET {a} {n} PX {}", n + 1),
        3 => format!("MSET {a} {n} {b} {n}"),
        4 => format!("MGET {a} {b}"),
        5 => format!("DEL {a} {b}"),
        6 | 7 => format!("INCR {a}"),
        8 => format!("APPEND {a} x"),
        9 => format!("RENAME {a} {b}"),
        10 | 11 => format!("RPUSH l{a} {n} {n}"),
        12 => format!("LPOP l{a} 2"),
        13 => format!("PEXPIRE {a} {n}"),
        14 => format!("GETEX {a} PX {}", n + 1),
        15 => format!("PERSIST {a}"),
        16 => format!("SET {a} {n} KEEPTTL"),
        17 => {
            clock.pass(1);
            format!("GETDEL {a}")
        }
        18 if n == 0 => "FLUSHALL".to_owned(),
        18 if n < 50 => return blocking_pop(client, &format!("BLMOVE l{a} l{b} LEFT RIGHT 0.001"), told),
        18 | 19 => return blocking_pop(client, &format!("BLPOP l{a} l{b} 0.001"), told),
        // These outlive the run, so that the end compares expiries too.
        20 => format!("SET {a} {n} EX {}", 100_000 + n),
        21 => format!("EXPIRE l{a} {}", 100_000 + n),
        // Mostly in database 0, where the two workers meet.
        22 => format!("SELECT {}", if n < 30 { 1 + n % 2 } else { 0 }),
        23 => format!("MOVE {a} {}", n % 3),
        24 if n < 5 => "SWAPDB 0 1".to_owned(),
        24 | 25 => format!("COPY l{a} l{b} DB {} REPLACE", n % 3),
        _ => return transaction(client, random, told),
    };
    client.say(&line);
}

fn blocking_pop(client: &mut Client, line: &str, told: &Told) {
    client.say(line);
    while client.session.is_blocked() {
        match client.hear().0.as_str() {
            "" => std::thread::yield_now(),
            "*-1|" => count(&told.in_vain),
            _ => count(&told.served),
        }
    }
}

fn transaction(client: &mut Client, random: &mut impl Rng, told: &Told) {
    if random.random_bool(0.5) {
        let watched = key(random);
        client.say(&format!("WATCH {watched}"));
        // The other worker seldom hits the moment before EXEC.
        if random.random_bool(0.2) {
            client.say(&format!("INCR {watched}"));
        }
    }
    client.say("MULTI");
    for _ in 0..random.random_range(1..5) {
        let (a, b) = (key(random), key(random));
        let line = match random.random_range(0..6_u32) {
            5 => format!("SELECT {}", random.random_range(0..4_u32) / 2),
            0 => format!("RENAME {a} {b}"),
            1 => format!("MSET {a} 1 {b} 2"),
            2 => format!("RPUSH l{a} 1"),
            3 => format!("LPOP l{b}"),
            _ => format!("INCR {a}"),
        };
        client.say(&line);
    }
    let executed = client.say("EXEC") != "*-1|";
    count(if executed { &told.executed } else { &told.aborted });
}

/// Runs `steps` on each of two threads; panics when they do not end.
fn both(engine: &Arc<Engine>, clock: &Clock, seed: u64, steps: usize) -> Arc<Told> {
    let told = Arc::new(Told::default());
    let started = Instant::now();
    let threads: Vec<_> = (0..2)
        .map(|worker| {
            let (engine, clock, told) = (engine.clone(), clock.clone(), told.clone());
            std::thread::spawn(move || {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed + worker);
                let mut client = Client::new(&engine, &clock, worker as usize);
                for step in 0..steps {
                    act(&mut client, &mut random, &clock, &told);
                    if step % 1000 == 0 {
                        engine.sweep(worker as usize, 2, clock.now(), 10_000);
                    }
                }
            })
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        assert!(started.elapsed() < Duration::from_secs(120), "two workers wait for each other");
        // A blocked pop waits for this clock.
        clock.pass(1);
        std::thread::sleep(Duration::from_millis(1));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    told
}

#[test]
fn the_log_of_two_workers_replays_to_the_same_state() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let log = engine.subscribe_log();
    let told = both(&engine, &clock, 11, 600_000);
    assert!(engine.metrics().commands() > 1_500_000, "{}", engine.metrics().commands());
    for happened in [&told.served, &told.in_vain, &told.executed, &told.aborted] {
        assert!(happened.load(Ordering::Relaxed) > 100, "the run proves too little: {told:?}");
    }
    let expired = || engine.metrics().count(crate::metrics::Count::Expired);
    assert!(expired() > 500, "{}", expired());
    // At once, while some keys are about to expire; and when they have.
    let twin = crate::testing::engine(&clock);
    for pass_ms in [0, 5000] {
        clock.pass(pass_ms);
        while pass_ms > 0 && engine.sweep(0, 1, clock.now(), 100_000).more {}
        let (_, bytes) = log.read().unwrap();
        twin.replay(&bytes, clock.now()).unwrap();
        let (state, replayed) = (dump(&engine, clock.now()), dump(&twin, clock.now()));
        assert!(state.len() > 20 && state.values().any(|entry| entry.contains("Some(")), "{state:#?}");
        assert_eq!(state, replayed);
    }
}

#[test]
fn transfers_between_keys_lose_nothing() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 2);
    (0..8).for_each(|n| drop(client.say(&format!("SET acc{n} 100"))));
    let threads: Vec<_> = (0..2_u64)
        .map(|worker| {
            let (engine, clock) = (engine.clone(), clock.clone());
            std::thread::spawn(move || {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(worker);
                let mut client = Client::new(&engine, &clock, worker as usize);
                for _ in 0..5000 {
                    let (from, to) = (random.random_range(0..8), random.random_range(0..8));
                    client.say("MULTI");
                    client.say(&format!("DECR acc{from}"));
                    client.say(&format!("INCR acc{to}"));
                    client.say("EXEC");
                }
            })
        })
        .collect();
    let total = |client: &mut Client| {
        let reply = client.say("MGET acc0 acc1 acc2 acc3 acc4 acc5 acc6 acc7");
        reply.split('|').skip(2).step_by(2).filter_map(|n| n.parse::<i64>().ok()).sum::<i64>()
    };
    while threads.iter().any(|thread| !thread.is_finished()) {
        assert_eq!(total(&mut client), 800, "MGET saw half a transaction");
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(total(&mut client), 800);
}
