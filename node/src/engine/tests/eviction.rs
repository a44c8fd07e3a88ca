//! Eviction: who goes, who stays, and what the others see of it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::commands::Call;
use crate::db::Policy;
use crate::metrics::{Count, Gauge};
use crate::resp::{Out, OwnedArgs};
use crate::testing::{Client, Clock, draws, dump, engine, engine_with};
use crate::{Engine, Now};

/// Keys that fit, each with a value of 64 bytes.
const FIT: usize = 2000;

/// An engine with room for about [`FIT`] keys, and a client of it.
fn full(policy: Policy) -> (Clock, Arc<Engine>, Client) {
    let clock = Clock::new();
    let engine = engine_with(&clock, |config| config.maxmemory_policy = policy);
    // Each of the 64 partitions has a chunk of buckets at least.
    engine.db.eviction.set_limit(engine.used_bytes() + 64 * 2100 + FIT as u64 * 96);
    let client = Client::new(&engine, &clock, 0);
    (clock, engine, client)
}

fn set(client: &mut Client, key: &str) {
    assert_eq!(client.say(&format!("SET {key} {}", "v".repeat(64))), "+OK|", "{key}");
}

/// How many of the keys `name:0` to `name:n` are there, looked at without using them.
fn there(client: &mut Client, name: &str, n: usize) -> usize {
    (0..n).filter(|n| client.say(&format!("EXISTS {name}:{n}")) == ":1|").count()
}

fn is_within(engine: &Engine) -> bool {
    engine.used_bytes() <= engine.db.eviction.limit() + 1000
}

#[test]
fn what_is_used_stays_under_lru() {
    let (clock, engine, mut client) = full(Policy::AllkeysLru);
    for n in 0..FIT / 4 {
        set(&mut client, &format!("hot:{n}"));
    }
    for n in 0..5 * FIT {
        set(&mut client, &format!("cold:{n}"));
        client.say(&format!("GET hot:{}", n % (FIT / 4)));
        clock.pass(20);
    }
    assert_eq!(there(&mut client, "hot", FIT / 4), FIT / 4);
    assert!(is_within(&engine));
    let evicted = engine.metrics().count(Count::Evicted);
    let keys = engine.metrics().gauge(Gauge::Keys);
    assert_eq!(evicted + keys, (FIT / 4 + 5 * FIT) as u64);
    // The youngest are there, the oldest are not.
    assert!(there(&mut client, "cold", FIT) < FIT / 50);
    assert!(client.say("INFO stats").contains(&format!("evicted_keys:{evicted}|")));
}

#[test]
fn what_is_used_often_stays_under_lfu_even_when_much_comes_once() {
    let (clock, engine, mut client) = full(Policy::AllkeysLfu);
    client.say("CONFIG SET lfu-log-factor 1");
    for n in 0..FIT / 4 {
        for _ in 0..30 {
            set(&mut client, &format!("hot:{n}"));
        }
    }
    // Ten times as many as fit, each used once, in a minute; the hot ones are not used at all meanwhile.
    for n in 0..10 * FIT {
        set(&mut client, &format!("cold:{n}"));
        clock.pass(3);
    }
    assert!(there(&mut client, "hot", FIT / 4) > FIT / 4 * 98 / 100);
    assert!(is_within(&engine));
}

#[test]
fn volatile_policies_take_only_keys_with_a_ttl() {
    for policy in [Policy::VolatileLru, Policy::VolatileLfu, Policy::VolatileRandom, Policy::VolatileTtl] {
        let (clock, engine, mut client) = full(policy);
        for n in 0..FIT / 2 {
            set(&mut client, &format!("kept:{n}"));
            clock.pass(10);
        }
        for n in 0..3 * FIT {
            assert_eq!(client.say(&format!("SET lent:{n} {} EX {}", "v".repeat(60), 1000 + n)), "+OK|", "{policy:?}");
        }
        assert_eq!(there(&mut client, "kept", FIT / 2), FIT / 2, "{policy:?}");
        assert!(is_within(&engine) && engine.metrics().count(Count::Evicted) > 2 * FIT as u64, "{policy:?}");
        // When none is left that may go, commands that may grow data are refused, others not.
        let refused =
            (0..3 * FIT).find(|n| client.say(&format!("SET more:{n} {}", "v".repeat(64))).starts_with("-OOM"));
        assert!(refused.is_some(), "{policy:?}");
        assert_eq!(engine.metrics().gauge(Gauge::Volatile), 0, "{policy:?}");
        assert_eq!((client.say("EXISTS kept:1"), client.say("DEL kept:1")), (":1|".into(), ":1|".into()));
    }
}

#[test]
fn few_keys_with_a_ttl_among_many_are_found() {
    for policy in [Policy::VolatileLru, Policy::VolatileRandom, Policy::VolatileTtl] {
        let (_, engine, mut client) = full(policy);
        for n in 0..10 {
            assert_eq!(client.say(&format!("SET lent:{n} v EX 1000")), "+OK|");
        }
        let mut n = 0;
        while !client.say(&format!("SET kept:{n} {}", "v".repeat(64))).starts_with("-OOM") {
            n += 1;
        }
        assert_eq!(engine.metrics().count(Count::Evicted), 10, "{policy:?}");
    }
}

#[test]
fn the_soonest_goes_first_under_volatile_ttl() {
    let (_, _, mut client) = full(Policy::VolatileTtl);
    // The later a key is written, the sooner it expires.
    for n in 0..FIT {
        assert_eq!(client.say(&format!("SET lent:{n} {} EX {}", "v".repeat(60), 100_000 - n)), "+OK|");
    }
    let before = there(&mut client, "lent", FIT);
    for n in 0..FIT / 4 {
        set(&mut client, &format!("kept:{n}"));
    }
    let stay: Vec<usize> = (0..FIT).filter(|n| client.say(&format!("EXISTS lent:{n}")) == ":1|").collect();
    let gone = before - stay.len();
    assert!(gone > FIT / 8, "{gone}");
    // With exact order the last would have gone; five samples of each look come close.
    let wrong = stay.iter().filter(|n| **n >= before - gone).count();
    assert!(wrong < gone / 3, "{wrong} of {gone}");
}

#[test]
fn anything_goes_under_random() {
    let (_, engine, mut client) = full(Policy::AllkeysRandom);
    for n in 0..3 * FIT {
        set(&mut client, &format!("k:{n}"));
    }
    assert!(is_within(&engine));
    let early = there(&mut client, "k", FIT);
    assert!((FIT / 20..FIT * 2 / 3).contains(&early), "{early}");
}

/// Hits of a cache that is filled on a miss, for keys drawn by a Zipf-like law, and those of an exact LRU of its size.
fn hits(policy: Policy, samples: u32, same_law: bool) -> (f64, f64) {
    let (clock, engine, mut client) = full(policy);
    engine.db.eviction.samples.store(samples, std::sync::atomic::Ordering::Relaxed);
    let mut draw = draws(11);
    let mut exact = lru::LruCache::unbounded();
    let (mut hits, mut exact_hits, mut counted) = (0, 0, 0);
    for step in 0..60_000 {
        // The inverse of the law's distribution, with an exponent of 1: keys below 20,000.
        let uniform = (draw() >> 11) as f64 / (1u64 << 53) as f64;
        let mut key = (20_000f64.powf(uniform)) as u64;
        if !same_law && step > 30_000 {
            key = (key + 7777) % 20_000;
        }
        let hit = client.say(&format!("GET k:{key}")) != "$-1|";
        if !hit {
            set(&mut client, &format!("k:{key}"));
        }
        let exact_hit = exact.get(&key).is_some();
        exact.put(key, ());
        let size = engine.metrics().gauge(Gauge::Keys) as usize;
        if step > 20_000 {
            exact.resize(NonZeroUsize::new(size).unwrap());
            (hits, exact_hits, counted) = (hits + usize::from(hit), exact_hits + usize::from(exact_hit), counted + 1);
        }
        clock.pass(5);
    }
    (hits as f64 / counted as f64, exact_hits as f64 / counted as f64)
}

#[test]
fn sampled_lru_hits_nearly_as_often_as_exact_lru() {
    for (samples, within) in [(5, 0.03), (10, 0.02)] {
        for same_law in [true, false] {
            let (hits, exact) = hits(Policy::AllkeysLru, samples, same_law);
            assert!((hits - exact).abs() < within, "{samples} samples: {hits:.3} of {exact:.3}");
        }
    }
    let (random, exact) = hits(Policy::AllkeysRandom, 5, true);
    let (lfu, _) = hits(Policy::AllkeysLfu, 5, true);
    assert!(random < exact && lfu > exact, "random {random:.3}, LRU {exact:.3}, LFU {lfu:.3}");
}

#[test]
fn a_replica_loses_what_was_evicted() {
    let (clock, engine, mut client) = full(Policy::AllkeysLru);
    let log = engine.subscribe_log();
    for n in 0..2 * FIT {
        set(&mut client, &format!("k:{n}"));
        if n % 100 == 0 {
            client.say(&format!("EVAL return+redis.call('set',KEYS[1],'{n}') 1 s:{n}").replace('+', " "));
        }
        clock.pass(7);
    }
    assert!(engine.metrics().count(Count::Evicted) > FIT as u64 / 2);
    let replica = crate::testing::engine(&clock);
    let (_, bytes) = log.read().unwrap();
    replica.replay(&bytes, clock.now()).unwrap();
    assert_eq!(dump(&replica, clock.now()), dump(&engine, clock.now()));
}

#[test]
fn watchers_see_an_eviction() {
    let (clock, engine, mut client) = full(Policy::AllkeysLru);
    set(&mut client, "watched");
    let mut watcher = Client::new(&engine, &clock, 1);
    assert_eq!((watcher.say("WATCH watched"), watcher.say("MULTI")), ("+OK|".into(), "+OK|".into()));
    watcher.say("SET other 1");
    clock.pass(10_000);
    for n in 0..3 * FIT {
        set(&mut client, &format!("k:{n}"));
    }
    assert_eq!(client.say("EXISTS watched"), ":0|");
    assert_eq!(watcher.say("EXEC"), "*-1|");
}

#[test]
fn what_others_hold_is_not_waited_for() {
    let (_, engine, mut client) = full(Policy::AllkeysLru);
    for n in 0..FIT / 2 {
        set(&mut client, &format!("k:{n}"));
    }
    engine.db.eviction.set_limit(engine.used_bytes() - 20_000);
    let held: Vec<_> = (0..engine.db.partitions()).filter_map(|at| engine.db.try_lock(at)).collect();
    // Nothing can go now: the command that asks is let through, not stopped.
    assert!(engine.make_room(engine.metrics().of(1), Now { wall_ms: 0, mono_us: 0 }));
    assert_eq!(engine.metrics().count(Count::Evicted), 0);
    drop(held);
    set(&mut client, "one");
    assert!(is_within(&engine));
}

#[test]
fn scripts_and_transactions_are_refused_as_in_redis() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let mut queueing = Client::new(&engine, &clock, 1);
    client.say("SET k 1");
    assert_eq!(queueing.say("MULTI"), "+OK|");
    assert_eq!(queueing.say("SET k 2"), "+QUEUED|");
    assert_eq!(client.say("CONFIG SET maxmemory 1"), "+OK|");
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(queueing.say("EXEC"), format!("-EXECABORT Transaction discarded because of: {oom}|"));
    assert_eq!(queueing.say("MULTI"), "+OK|");
    // The queue would grow, whatever is queued.
    assert_eq!(queueing.say("GET k"), format!("-{oom}|"));
    assert!(queueing.say("EXEC").starts_with("-EXECABORT"));
    let mut script = |body: &str| client.words(&["EVAL", body, "1", "k"]);
    assert_eq!(script("return redis.call('get', KEYS[1])"), "$1|1|");
    assert!(script("return redis.call('set', KEYS[1], 2)").starts_with("-OOM command not allowed"));
    assert_eq!(script("redis.call('del', KEYS[1]); return redis.call('set', KEYS[1], 2)"), "+OK|");
    assert_eq!(client.say("CONFIG SET maxmemory-policy allkeys-lru"), "+OK|");
    // It empties the cache, and what remains is not data.
    assert!(client.say("SET k 1").starts_with("-OOM"));
    assert_eq!((client.say("DBSIZE"), client.say("GET k")), (":0|".into(), "$-1|".into()));
    assert_eq!(client.say("CONFIG SET maxmemory 0"), "+OK|");
    assert_eq!(client.say("SET k 1"), "+OK|");
}

#[test]
fn scripts_in_a_transaction_over_http_are_told_that_memory_is_short() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    client.say("SET k 1");
    assert_eq!(client.say("CONFIG SET maxmemory 1"), "+OK|");
    let (identity, now) = (client.session.identity.clone().unwrap(), clock.now());
    let mut session = engine.detached(identity.inside.clone(), identity.grant.clone(), 0);
    let mut run = |script: &str| {
        let args = OwnedArgs::from_slices(["EVAL", script, "1", "k"]);
        let permit = identity.grant.permit(&identity.inside, Call::new(args.as_args(), now).unwrap(), now.wall_ms);
        let paid = engine.meters().charge(permit.unwrap(), now).unwrap();
        let mut out = Out::new(2);
        engine.run_transaction(&mut session, vec![paid], now, &mut out).unwrap();
        String::from_utf8(out.take()).unwrap()
    };
    assert_eq!(run("return redis.call('get', KEYS[1])"), "*1\r\n$1\r\n1\r\n");
    assert!(run("return redis.call('set', KEYS[1], 2)").starts_with("*1\r\n-OOM command not allowed"));
}

#[test]
fn idle_times_and_frequencies_are_told_by_the_policy() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    client.say("SET k 1");
    clock.pass(5000);
    assert_eq!(client.say("OBJECT IDLETIME k"), ":5|");
    // Neither of these uses the key.
    for look in ["OBJECT ENCODING k", "TTL k", "TYPE k", "EXISTS k", "OBJECT IDLETIME k", "MEMORY USAGE k"] {
        client.say(look);
    }
    assert_eq!(client.say("OBJECT IDLETIME k"), ":5|");
    for using in ["GET k", "TOUCH k", "APPEND k 1", "EXPIRE k 100000", "STRLEN k"] {
        clock.pass(3000);
        client.say(using);
        assert_eq!(client.say("OBJECT IDLETIME k"), ":0|", "{using}");
    }
    // The sweeper comes by every ten minutes at least; an hour and a day later the time is still told.
    for _ in 0..150 {
        clock.pass(600_000);
        engine.sweep(0, 1, clock.now(), 10_000_000);
    }
    client.say("SET l 1");
    let idle = |reply: String| reply.trim_matches([':', '|']).parse::<u64>().unwrap();
    client.say("PERSIST k");
    client.say("SET day 1");
    for _ in 0..144 {
        clock.pass(600_000);
        engine.sweep(0, 1, clock.now(), 10_000_000);
    }
    let day = idle(client.say("OBJECT IDLETIME day"));
    assert!(day.abs_diff(86_400) < 130, "{day}");
    assert!(client.say("OBJECT FREQ l").starts_with("-ERR An LFU maxmemory policy is not selected"));
    client.say("CONFIG SET maxmemory-policy volatile-lfu");
    assert!(client.say("OBJECT IDLETIME l").starts_with("-ERR An LFU maxmemory policy is selected"));
    assert_eq!(client.say("OBJECT FREQ l"), ":5|");
    client.say("CONFIG SET lfu-log-factor 0");
    (0..10).for_each(|_| drop(client.say("GET l")));
    assert_eq!(client.say("OBJECT FREQ l"), ":15|");
    clock.pass(3 * 60_000);
    assert_eq!(client.say("OBJECT FREQ l"), ":12|");
    assert_eq!((client.say("OBJECT FREQ none"), client.say("OBJECT IDLETIME none")), ("$-1|".into(), "$-1|".into()));
}
