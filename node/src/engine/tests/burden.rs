//! Clients that make the engine hold too much.

use super::*;
use crate::buffers::Cut;

fn connected(client: &mut Client) -> usize {
    client.say("CLIENT LIST").matches("laddr=").count()
}

#[test]
fn a_subscriber_may_be_slow_for_so_long() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (mut listener, mut publisher) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    publisher.words(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 1000 10"]);
    listener.say("SUBSCRIBE c");
    let pass = |seconds: u64| {
        for _ in 0..seconds {
            clock.pass(1000);
            engine.sample(clock.now());
        }
        engine.buffers.cuts(Cut::Output)
    };
    publisher.say(&format!("PUBLISH c {}", "x".repeat(1000)));
    assert_eq!(pass(10), 0);
    // It reads in time, and may be slow again for as long.
    listener.hear();
    assert_eq!(pass(1), 0);
    publisher.say(&format!("PUBLISH c {}", "x".repeat(1000)));
    assert_eq!(pass(11), 0);
    assert_eq!(connected(&mut publisher), 2);
    assert_eq!(pass(2), 1);
    assert_eq!((connected(&mut publisher), listener.hear().1), (1, Next::Close));
    assert!(publisher.say("INFO stats").contains("|client_output_buffer_limit_disconnections:1|"));
    publisher.say("CONFIG RESETSTAT");
    assert!(publisher.say("INFO stats").contains("|client_output_buffer_limit_disconnections:0|"));
}

#[test]
fn the_largest_clients_are_evicted_but_for_those_that_said_no() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut clients: Vec<_> = (0..6).map(|_| Client::new(&engine, &clock, 0)).collect();
    let mut admin = Client::new(&engine, &clock, 1);
    for (n, client) in clients.iter_mut().enumerate() {
        client.say("MULTI");
        client.say(&format!("SET k {}", "v".repeat(20_000 + n * 1000)));
    }
    let mut kept = Client::new(&engine, &clock, 0);
    kept.say("CLIENT NO-EVICT ON");
    kept.say("MULTI");
    kept.say(&format!("SET k {}", "v".repeat(100_000)));
    engine.sample(clock.now());
    assert_eq!(connected(&mut admin), 8);
    // A percentage is of maxmemory; without that it is no limit.
    admin.say("CONFIG SET maxmemory-clients 20%");
    assert_eq!(connected(&mut admin), 8);
    admin.say("CONFIG SET maxmemory 1000000");
    clock.pass(100);
    engine.sample(clock.now());
    let left = connected(&mut admin) as u64;
    assert!((4..8).contains(&left), "{left}");
    assert_eq!(engine.buffers.cuts(Cut::Evicted), 8 - left);
    // The largest went, and are told nothing more.
    assert_eq!(clients[5].bytes(b"PING\r\n").1, Next::Close);
    assert_eq!(clients[0].say("EXEC"), "*1|+OK|");
    assert_eq!(kept.say("EXEC"), "*1|+OK|");
    admin.say("CONFIG SET maxmemory-clients 1");
    assert_eq!(kept.say("PING"), "+PONG|");
}

/// What a client's connection says that it holds.
fn holds(client: &Client, query_bytes: u64) {
    client.session.record.state.query_bytes.store(query_bytes, std::sync::atomic::Ordering::Relaxed);
    client.session.engine.weigh(&client.session.record, 0);
}

#[test]
fn what_connections_hold_counts_against_maxmemory_at_once_and_while_they_are_there() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (slow, mut admin) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    admin.say("CONFIG SET maxmemory 10000000");
    let before = engine.used_bytes();
    holds(&slow, 20_000_000);
    assert!(engine.used_bytes() >= before + 20_000_000);
    assert!(admin.say("SET k v").starts_with("-OOM "));
    holds(&slow, 1_000);
    assert!(engine.used_bytes() < before + 10_000);
    assert_eq!(admin.say("SET k v"), "+OK|");
    holds(&slow, 20_000_000);
    drop(slow);
    assert!(engine.used_bytes() < before + 10_000);
    // As the sum has it that is made once a second.
    let counted = engine.used_bytes();
    engine.usage();
    assert!(engine.used_bytes().abs_diff(counted) < 10_000);
}

#[test]
fn the_largest_client_is_evicted_as_soon_as_all_hold_too_much_and_no_key_is() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (small, large) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 0));
    let mut admin = Client::new(&engine, &clock, 1);
    admin.say("CONFIG SET maxmemory 10000000 maxmemory-policy allkeys-lru maxmemory-clients 3000000");
    admin.say("SET k v");
    holds(&small, 1_000_000);
    holds(&large, 1_900_000);
    assert_eq!((engine.buffers.cuts(Cut::Evicted), connected(&mut admin)), (0, 3));
    holds(&small, 1_200_000);
    assert_eq!((engine.buffers.cuts(Cut::Evicted), connected(&mut admin)), (1, 2));
    assert!(large.session.record.calls.has(super::Calls::CLOSE));
    assert_eq!(admin.say("EXISTS k"), ":1|");
}

#[test]
fn names_of_channels_are_their_listeners_memory() {
    let clock = Clock::new();
    let engine = engine_with(&clock, |config| config.limits.channel_bytes_max = 4 << 20);
    let (mut listener, mut admin) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    let before = engine.usage().total();
    let long = |name: char| name.to_string().repeat(1 << 20);
    listener.words(&["SUBSCRIBE", &long('a'), "short"]);
    listener.words(&["PSUBSCRIBE", &long('b')]);
    listener.words(&["SSUBSCRIBE", &long('c')]);
    let told = engine.usage().total() - before;
    assert!((3 << 20..7 << 19).contains(&told), "{told}");
    let refused = "-ERR a connection may listen to channels whose names have 4194304 bytes at most|";
    assert_eq!(listener.words(&["SSUBSCRIBE", &long('d')]), refused);
    listener.words(&["PUNSUBSCRIBE", &long('b')]);
    assert!(listener.words(&["SSUBSCRIBE", &long('d')]).starts_with("*3|$10|ssubscribe|"));
    listener.say("RESET");
    assert!(engine.usage().total() - before < 1 << 19);
    listener.words(&["SUBSCRIBE", &long('a')]);
    admin.say("CONFIG SET maxmemory-clients 1000000");
    engine.sample(clock.now());
    assert_eq!((engine.buffers.cuts(Cut::Evicted), connected(&mut admin)), (1, 1));
}

#[test]
fn lists_of_clients_show_what_waits_for_them() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (mut listener, mut publisher) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    listener.say("SUBSCRIBE c");
    publisher.say(&format!("PUBLISH c {}", "x".repeat(1000)));
    let list = publisher.say("CLIENT LIST TYPE pubsub");
    let field = |name: &str| -> u64 {
        let value = list.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{list}"))
    };
    assert!((1000..1200).contains(&field("omem")) && field("tot-mem") > field("omem") && field("oll") == 1, "{list}");
    listener.hear();
    assert!(publisher.say("CLIENT LIST TYPE pubsub").contains(" oll=0 omem=0 "));
}
