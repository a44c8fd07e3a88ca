//! Events of keys: who is told, and of what that no command did.

use crate::commands::Classes;
use crate::metrics::Count;
use crate::testing::{Client, Clock, engine, guarded};

#[test]
fn a_key_is_told_of_only_to_whom_may_read_it() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let login = |words: &str| {
        let mut client = Client::new(&engine, &clock, 0);
        assert_eq!(client.say(&format!("AUTH {words}")), "+OK|");
        client
    };
    let (mut root, mut watcher, mut by_pattern) =
        (login("root-token"), login("watcher watcher-password"), login("watcher watcher-password"));
    assert_eq!(root.say("CONFIG SET notify-keyspace-events KEA"), "+OK|");
    assert!(watcher.say("SUBSCRIBE __keyevent@0__:set __keyspace@0__:b:1").ends_with(":2|"));
    assert!(by_pattern.say("PSUBSCRIBE *").ends_with(":1|"));
    root.say("SET b:1 x");
    assert_eq!(watcher.hear().0, "", "not of a key that it may not read");
    assert_eq!(by_pattern.hear().0, "");
    root.say("SET a:1 x");
    assert_eq!(watcher.hear().0, "*3|$7|message|$18|__keyevent@0__:set|$3|a:1|");
    let heard = by_pattern.hear().0;
    assert!(heard.contains("__keyspace@0__:a:1|$3|set|") && heard.contains("__keyevent@0__:set|$3|a:1|"), "{heard}");
    let mut app = login("app app-password");
    assert!(app.say("SUBSCRIBE __keyevent@0__:set").starts_with("-NOPERM"), "its channels are others");
}

#[test]
fn only_what_reads_hits_and_misses() {
    let clock = Clock::new();
    let mut client = Client::new(&engine(&clock), &clock, 0);
    for made in ["SET s 1", "RPUSH l 1 2 3 4", "XADD x 1-1 a b", "XGROUP CREATE x g 0", "PFADD p a"] {
        client.say(made);
    }
    let cases = [
        ("GET s", 1, 0),
        ("MGET s nosuch", 1, 1),
        ("SET s 1 GET", 1, 0),
        ("SETRANGE s 0 1", 0, 0),
        ("SETBIT s 7 1", 0, 0),
        ("BITFIELD s GET u1 0", 1, 0),
        ("BITCOUNT s", 1, 0),
        ("BITPOS s 1", 1, 0),
        ("BITFIELD s SET u1 0 0", 0, 0),
        ("INCRBYFLOAT f 1", 0, 0),
        ("LPOP l", 0, 0),
        ("LPOP nosuch", 0, 0),
        ("LMOVE l l LEFT RIGHT", 0, 0),
        ("LRANGE l 0 -1", 1, 0),
        ("BLPOP l 0", 0, 0),
        ("HINCRBY h f 1", 0, 0),
        ("PFCOUNT p nosuch", 1, 1),
        ("PFADD p b", 0, 0),
        ("PFMERGE p nosuch", 1, 1),
        ("DUMP s", 1, 0),
        ("XACK x g 1-1", 1, 0),
        ("XACK nosuch g 1-1", 0, 1),
        ("XDEL nosuch 1-1", 0, 0),
        ("EVAL return{redis.call('LPOP','l'),redis.call('GET','s')} 0", 1, 0),
    ];
    for (command, hits, misses) in cases {
        client.say("CONFIG RESETSTAT");
        let answer = client.say(command);
        assert!(!answer.starts_with('-'), "{command}: {answer}");
        let stats = client.say("INFO stats");
        let want = format!("keyspace_hits:{hits}|keyspace_misses:{misses}|");
        assert!(stats.contains(&want), "{command}: {stats}");
    }
}

#[test]
fn what_no_command_did_is_told_too() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let mut listener = Client::new(&engine, &clock, 1);
    listener.say("SUBSCRIBE __keyevent@0__:expired __keyevent@0__:lpop");
    assert!(listener.hear().0.is_empty());
    client.say("SET k v PX 5");
    engine.set_events(Classes::read(b"Exl").unwrap());
    clock.pass(3000);
    engine.sweep(0, 1, clock.now(), 100_000);
    assert_eq!(listener.hear().0, "*3|$7|message|$22|__keyevent@0__:expired|$1|k|");
    client.say("BLPOP q 0");
    let mut pusher = Client::new(&engine, &clock, 1);
    pusher.say("RPUSH q 1");
    assert_eq!(listener.hear().0, "*3|$7|message|$19|__keyevent@0__:lpop|$1|q|");
    engine.set_events(Classes::default());
    pusher.say("RPUSH q 1");
    pusher.say("LPOP q");
    assert!(listener.hear().0.is_empty());
}

#[test]
fn fields_that_expire_are_told_of() {
    let clock = Clock::new();
    let engine = engine(&clock);
    engine.set_events(Classes::read(b"Ehg").unwrap());
    let (mut client, mut listener) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    listener.say("PSUBSCRIBE __keyevent@0__:*");
    let mut told = |line: &str, want: &str| {
        client.say(line);
        assert_eq!(events(&listener.hear().0), want, "{line}");
    };
    told("HSET h a 1 b 2 c 3", "hset");
    told("HPEXPIRE h 10 FIELDS 2 a b", "hexpire");
    told("HPERSIST h FIELDS 1 b", "hpersist");
    told("HPEXPIRE h 10 NX FIELDS 2 a x", "");
    clock.pass(20);
    told("HGET h a", "hexpired");
    told("HPEXPIRE h 0 FIELDS 1 b", "hdel");
    told("HGETEX h PX 10 FIELDS 1 c", "hexpire");
    clock.pass(20);
    told("HSET h c 4", "hexpired del hset");
    told("HEXPIREAT h 1 FIELDS 1 c", "hdel del");
    told("HSETEX h EX 10 FIELDS 1 a 1", "hset hexpire");
    told("HGETEX h FIELDS 1 a", "");
    told("HGETEX h PERSIST FIELDS 1 a", "hpersist");
    told("HSETEX h PX 5 FIELDS 1 a 1", "hset hexpire");
    clock.pass(3000);
    engine.sweep(0, 1, clock.now(), 100_000);
    told("EXISTS h", "hexpired del");
}

#[test]
fn what_takes_the_place_of_a_dead_key_lets_it_expire_first() {
    let clock = Clock::new();
    let engine = engine(&clock);
    engine.set_events(Classes::read(b"EAn").unwrap());
    let (mut client, mut listener) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    listener.say("PSUBSCRIBE __keyevent@0__:*");
    let mut told = |before: &str, line: &str, want: &str| {
        client.say("SET dead 1 PX 5");
        client.say(before);
        clock.pass(10);
        listener.hear();
        let expired = engine.metrics().count(Count::Expired);
        client.say(line);
        assert_eq!(engine.metrics().count(Count::Expired), expired + 1, "{line}");
        assert_eq!(events(&listener.hear().0), want, "{line}");
        client.say("FLUSHALL");
    };
    told("SET a 1", "SET dead 2", "expired new set");
    told("SET a 1", "RENAME a dead", "expired new rename_from rename_to");
    told("SET a 1", "COPY a dead REPLACE", "expired new copy_to");
    told("SADD a 1", "SUNIONSTORE dead a", "expired new sunionstore");
    told("ZADD a 1 1", "ZRANGESTORE dead a 0 -1", "expired new zrangestore");
    told("RPUSH a 1", "SORT a STORE dead", "expired new sortstore");
}

/// The events among messages of `__keyevent@0__:*`.
fn events(heard: &str) -> String {
    let words = heard.split('|').filter_map(|word| word.strip_prefix("__keyevent@0__:"));
    words.filter(|word| *word != "*").collect::<Vec<_>>().join(" ")
}
