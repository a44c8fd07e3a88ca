//! Per-key linearizability: what clients of several workers saw of one key fits some order of single steps.
//!
//! Each thread's operations are sequential, so a history is checked by walking all ways to interleave the threads that
//! respect time: an operation may be next if no other pending one had returned before it was called (Wing and Gong, with
//! the states reached remembered).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::testing::{Client, Clock, engine};

const THREADS: usize = 3;

/// One operation on the key, as its thread saw it.
#[derive(Debug, Clone)]
struct Seen {
    called: u64,
    returned: u64,
    line: String,
    reply: String,
}

fn bulk(value: &Option<String>) -> String {
    value.as_ref().map_or("$-1|".to_owned(), |value| format!("${}|{value}|", value.len()))
}

/// What a single step makes of the key, and what it answers.
fn model(value: &Option<String>, line: &str) -> (Option<String>, String) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[0] {
        "GET" => (value.clone(), bulk(value)),
        "SET" if words.len() == 3 => (Some(words[2].to_owned()), "+OK|".to_owned()),
        "SET" => (Some(words[2].to_owned()), bulk(value)),
        "GETDEL" => (None, bulk(value)),
        "DEL" => (None, format!(":{}|", i32::from(value.is_some()))),
        "APPEND" => {
            let whole = value.clone().unwrap_or_default() + words[2];
            (Some(whole.clone()), format!(":{}|", whole.len()))
        }
        _ => {
            let number: i64 = value.as_ref().map_or(0, |value| value.parse().unwrap());
            (Some((number + 1).to_string()), format!(":{}|", number + 1))
        }
    }
}

fn is_linearizable(threads: &[Vec<Seen>]) -> bool {
    let mut frontier = HashSet::from([(vec![0; threads.len()], None::<String>)]);
    let total: usize = threads.iter().map(Vec::len).sum();
    for _ in 0..total {
        let mut next = HashSet::new();
        for (places, value) in &frontier {
            let pending = |t: usize| threads[t].get(places[t]);
            for t in 0..threads.len() {
                let Some(seen) = pending(t) else { continue };
                let too_late = (0..threads.len()).any(|o| pending(o).is_some_and(|other| other.returned < seen.called));
                let (after, reply) = model(value, &seen.line);
                if !too_late && reply == seen.reply {
                    let mut places = places.clone();
                    places[t] += 1;
                    next.insert((places, after));
                }
            }
        }
        frontier = next;
    }
    !frontier.is_empty()
}

fn history(key: &str, seed: u64, engine: &Arc<crate::Engine>, clock: &Clock) -> Vec<Vec<Seen>> {
    let ticks = Arc::new(AtomicU64::new(0));
    let start = Arc::new(std::sync::Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (engine, clock, ticks, start) = (engine.clone(), clock.clone(), ticks.clone(), start.clone());
            let key = key.to_owned();
            std::thread::spawn(move || {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed * 31 + thread as u64);
                let mut client = Client::new(&engine, &clock, thread);
                start.wait();
                let one = |step: usize| {
                    let unique = 1_000_000 * (thread + 1) + step;
                    let line = match random.random_range(0..8_u32) {
                        0 | 1 => format!("GET {key}"),
                        2 => format!("SET {key} {unique}"),
                        3 => format!("SET {key} {unique} GET"),
                        4 => format!("GETDEL {key}"),
                        5 => format!("DEL {key}"),
                        6 => format!("INCR {key}"),
                        _ => format!("APPEND {key} 7"),
                    };
                    let called = ticks.fetch_add(1, Ordering::SeqCst);
                    let reply = client.say(&line);
                    Seen { called, returned: ticks.fetch_add(1, Ordering::SeqCst), line, reply }
                };
                (0..40).map(one).filter(|seen| !seen.reply.starts_with('-')).collect::<Vec<_>>()
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn one_key_is_seen_alike_from_every_worker() {
    let clock = Clock::new();
    let engine = engine(&clock);
    for round in 0..300 {
        let seen = history(&format!("key{round}"), round, &engine, &clock);
        assert!(is_linearizable(&seen), "seed {round}: {seen:#?}");
    }
}

#[test]
fn the_checker_sees_a_lost_update() {
    let seen = |called, returned, line: &str, reply: &str| Seen {
        called,
        returned,
        line: line.to_owned(),
        reply: reply.to_owned(),
    };
    let concurrent = |second: &str| {
        vec![vec![seen(0, 3, "INCR k", ":1|")], vec![seen(1, 2, "INCR k", second), seen(4, 5, "GET k", "$1|2|")]]
    };
    assert!(is_linearizable(&concurrent(":2|")));
    assert!(!is_linearizable(&concurrent(":1|")));
    let stale = vec![vec![seen(0, 1, "SET k 5", "+OK|")], vec![seen(2, 3, "GET k", "$-1|")]];
    assert!(!is_linearizable(&stale));
}
