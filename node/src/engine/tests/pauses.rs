//! How long partitions are held while much goes on at once: growth, expiry, eviction, and large values and many fields that
//! go.

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
    for n in 0..large / 10 {
        let fields: Vec<String> = (0..10).map(|m| format!("field{n}.{m} v")).collect();
        client.say(&format!("HSETEX fields PX 1 FIELDS 10 {}", fields.join(" ")));
    }
    phase(&engine, "fields built");
    clock.pass(2);
    client.say("HLEN fields");
    phase(&engine, "fields gone");
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
fn holds_are_timed_by_the_cpu_they_take() {
    let engine = busy(100_000, 20_000);
    let within = engine.db.holds.within();
    let all: u64 = within.iter().sum();
    assert!(all > 100_000, "{all}");
    // How long the longest is says something of a release build alone; it is printed for whoever asks.
    println!("{}; the longest {} us", shown(&engine), engine.db.holds.longest_us());
    let longest_place = within.iter().rposition(|count| *count > 0).unwrap();
    let longest_us = engine.db.holds.longest_us();
    assert!(longest_us <= 1 << longest_place && longest_us > (1 << longest_place) / 2 || longest_place == 0);
}
