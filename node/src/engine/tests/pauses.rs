//! How long partitions are held while much goes on at once: growth, expiry, eviction, and large values that go.

use std::sync::Arc;

use crate::Engine;
use crate::testing::{Client, Clock, engine_with};

/// Fills an engine by pipelines, lets keys expire, drops and overwrites large values, evicts, flushes; every hold is timed.
fn busy(keys: usize, large: usize) -> Arc<Engine> {
    let clock = Clock::new();
    let engine = engine_with(&clock, |config| config.partitions = 256);
    engine.db.holds.time_one_in(1);
    let mut client = Client::new(&engine, &clock, 0);
    let mut batch = Vec::new();
    for n in 0..keys {
        let line = match n % 4 {
            0 => format!("SET key:{n} value EX {}\r\n", 10 + n % 7),
            _ => format!("SET key:{n} value\r\n"),
        };
        batch.extend_from_slice(line.as_bytes());
        if batch.len() > 16_000 {
            client.bytes(&batch);
            batch.clear();
        }
    }
    phase(&engine, "filled");
    // Built by small steps, so that none of them is large work of its own.
    for (command, name) in [("RPUSH", "list"), ("SADD", "set"), ("HSET", "hash"), ("ZADD", "zset")] {
        for copy in ["taken", "overwritten", "expired"] {
            for n in 0..large / 10 {
                let words: Vec<String> = (0..10)
                    .map(|m| match command {
                        "HSET" => format!("field{n}.{m} v"),
                        "ZADD" => format!("{m} member{n}.{m}"),
                        _ => format!("member{n}.{m}"),
                    })
                    .collect();
                client.say(&format!("{command} {name}:{copy} {}", words.join(" ")));
            }
        }
        phase(&engine, &format!("{name} built"));
        client.say(&format!("DEL {name}:taken"));
        client.say(&format!("SET {name}:overwritten v"));
        client.say(&format!("PEXPIRE {name}:expired 1"));
        phase(&engine, &format!("{name} gone"));
    }
    clock.pass(20_000);
    client.say("GET list:expired");
    for _ in 0..20_000 {
        if !engine.sweep(0, 1, clock.now(), 4096).more {
            break;
        }
    }
    phase(&engine, "expired");
    client.say("CONFIG SET maxmemory-policy allkeys-lru");
    engine.db.eviction.set_limit(engine.used_bytes() / 2);
    for n in 0..200 {
        client.say(&format!("SET new:{n} v"));
    }
    phase(&engine, "evicted");
    client.say("CONFIG SET maxmemory 0");
    client.say("FLUSHALL");
    phase(&engine, "flushed");
    engine
}

fn phase(engine: &Engine, name: &str) {
    println!("{name}: {}", shown(engine));
}

fn shown(engine: &Engine) -> String {
    let within = engine.db.holds.within();
    let all = within.iter().enumerate().filter(|(_, count)| **count > 0);
    all.map(|(place, count)| format!("<= {} us: {count}", 1_u64 << place)).collect::<Vec<_>>().join(", ")
}

#[test]
fn partitions_are_held_for_short_times() {
    let engine = busy(100_000, 20_000);
    let within = engine.db.holds.within();
    let (all, long): (u64, u64) = (within.iter().sum(), within[11..].iter().sum());
    assert!(all > 100_000, "{all}");
    // An unoptimised build is slow; holds that grow with what is there would be many.
    assert!(long <= all / 2000, "{}; the longest took {} us", shown(&engine), engine.db.holds.longest_us());
}

/// `cargo test --release -p larder-node ten_million -- --ignored --nocapture`
#[test]
#[ignore = "takes gigabytes and is for release builds"]
fn ten_million_keys_are_held_for_less_than_a_millisecond() {
    let engine = busy(10_000_000, 1_000_000);
    println!("{}; the longest {} us", shown(&engine), engine.db.holds.longest_us());
    assert!(engine.db.holds.longest_us() < 1000);
}
