#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::engine::Next;
use crate::testing::{Client, Clock, engine};

fn client(clock: &Clock) -> Client {
    Client::new(&engine(clock), clock, 0)
}

/// Replies as Redis 8 documents them.
#[test]
fn replies() {
    let clock = Clock::new();
    let mut c = client(&clock);
    let mut says = |line: &str, want: &str| assert_eq!(c.say(line), want.replace(' ', "|") + "|", "{line}");
    says("HSET h a 1 b 2 c 3", ":3");
    says("HEXPIRE h 10 FIELDS 3 a b x", "*3 :1 :1 :-2");
    says("HTTL h FIELDS 4 a b c x", "*4 :10 :10 :-1 :-2");
    says("HPTTL h FIELDS 1 a", "*1 :10000");
    says("HEXPIRETIME h FIELDS 2 a c", "*2 :1700000010 :-1");
    says("HPEXPIRETIME h FIELDS 1 a", "*1 :1700000010000");
    says("HEXPIRE h 20 NX FIELDS 2 a c", "*2 :0 :1");
    says("HEXPIRE h 20 xx FIELDS 2 a c", "*2 :1 :1");
    says("HEXPIRE h 10 GT FIELDS 1 a", "*1 :0");
    says("HEXPIRE h 30 GT FIELDS 1 a", "*1 :1");
    says("HEXPIRE h 30 LT FIELDS 2 a b", "*2 :0 :0");
    says("HPEXPIRE h 1500 LT FIELDS 1 a", "*1 :1");
    says("HTTL h FIELDS 1 a", "*1 :2");
    says("HPERSIST h FIELDS 3 a a x", "*3 :1 :-1 :-2");
    says("HEXPIRE h 5 GT FIELDS 1 a", "*1 :0");
    says("HEXPIRE h 5 LT FIELDS 1 a", "*1 :1");
    says("HEXPIREAT h 1700000000 FIELDS 1 a", "*1 :2");
    says("HPEXPIREAT h 1700000000001 FIELDS 1 b", "*1 :1");
    says("HEXPIRE h 0 FIELDS 2 c x", "*2 :2 :-2");
    says("HGETALL h", "*2 $1 b $1 2");
    says("HTTL none FIELDS 1 a", "*1 :-2");
    says("HEXPIRE none 5 FIELDS 2 a b", "*2 :-2 :-2");
    says("HPERSIST none FIELDS 1 a", "*1 :-2");
    says("HGETDEL h FIELDS 3 b b x", "*3 $1 2 $-1 $-1");
    says("EXISTS h", ":0");
    says("HGETDEL h FIELDS 1 b", "*1 $-1");
    says("HSETEX s EX 60 FIELDS 2 a 1 b 2", ":1");
    says("HTTL s FIELDS 2 a b", "*2 :60 :60");
    says("HSETEX s FNX FIELDS 2 a 9 c 9", ":0");
    says("HSETEX s FXX FIELDS 2 a 9 c 9", ":0");
    says("HSETEX s FXX KEEPTTL FIELDS 1 a 3", ":1");
    says("HSETEX s FNX PXAT 1700000005000 FIELDS 1 c 4", ":1");
    says("HTTL s FIELDS 3 a b c", "*3 :60 :60 :5");
    says("HSETEX s FIELDS 1 a 5", ":1");
    says("HTTL s FIELDS 1 a", "*1 :-1");
    says("HSETEX s EXAT 1 FIELDS 1 a 5", ":1");
    says("HGETEX s FIELDS 3 a b c", "*3 $-1 $1 2 $1 4");
    says("HGETEX s EX 7 FIELDS 2 b x", "*2 $1 2 $-1");
    says("HTTL s FIELDS 2 b x", "*2 :7 :-2");
    says("HGETEX s PERSIST FIELDS 1 b", "*1 $1 2");
    says("HTTL s FIELDS 1 b", "*1 :-1");
    says("HGETEX s PXAT 5 FIELDS 3 b c b", "*3 $1 2 $1 4 $-1");
    says("EXISTS s", ":0");
    says("HGETEX s EX 5 FIELDS 1 b", "*1 $-1");
    says("HSETEX s FXX FIELDS 1 a 1", ":0");
    says("HSETEX s PX 0 FIELDS 1 a 1", ":1");
    says("EXISTS s", ":0");
}

#[test]
fn errors() {
    let clock = Clock::new();
    let mut c = client(&clock);
    c.say("HSET h a 1");
    c.say("SET s x");
    let missing = "-ERR Mandatory argument FIELDS is missing or not at the right position|";
    let mismatch = "-ERR The `numfields` parameter must match the number of arguments|";
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value|";
    for (line, want) in [
        ("HEXPIRE h 5 FIELDS 1", "-ERR wrong number of arguments for 'hexpire' command|"),
        ("HEXPIRE h x FIELDS 1 a", "-ERR value is not an integer or out of range|"),
        ("HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0|"),
        ("HEXPIRE h 70368744177664 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command|"),
        ("HPEXPIREAT h 70368744177664 FIELDS 1 a", "-ERR invalid expire time in 'hpexpireat' command|"),
        ("HPEXPIREAT h 70368744177663 FIELDS 1 a", "*1|:1|"),
        ("HPEXPIRE h 70368744177663 FIELDS 1 a", "-ERR invalid expire time in 'hpexpire' command|"),
        ("HEXPIRE h 9223372036854775807 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command|"),
        ("HEXPIRE h 5 NX XX FIELDS 1 a", missing),
        ("HEXPIRE h 5 FIELD 1 a", missing),
        ("HEXPIRE h 5 FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0|"),
        ("HEXPIRE h 5 FIELDS x a", "-ERR Parameter `numFields` should be greater than 0|"),
        ("HEXPIRE h 5 FIELDS 2 a", mismatch),
        ("HEXPIRE h 5 FIELDS 1 a b", mismatch),
        ("HEXPIRE s 5 FIELDS 1 a", wrong),
        ("HTTL h FIELD 1 a", missing),
        ("HTTL h FIELDS 0 a", "-ERR Number of fields must be a positive integer|"),
        ("HTTL h FIELDS 3 a", mismatch),
        ("HPERSIST s FIELDS 1 a", wrong),
        ("HTTL s FIELDS 1 a", wrong),
        ("HGETDEL s FIELDS 1 a", wrong),
        ("HGETDEL h FIELDS 0 a", "-ERR Number of fields must be a positive integer|"),
        ("HGETEX s FIELDS 1 a", wrong),
        ("HGETEX h EX 5 PX 5 FIELDS 1 a", "-ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified|"),
        ("HGETEX h EX x FIELDS 1 a", "-ERR value is not an integer or out of range|"),
        ("HGETEX h EXAT 99999999999 FIELDS 1 a", "-ERR invalid expire time in 'hgetex' command|"),
        ("HGETEX h BOGUS FIELDS 1 a", missing),
        ("HGETEX h FIELDS 2 a", mismatch),
        ("HSETEX s FIELDS 1 a 1", wrong),
        ("HSETEX h BOGUS FIELDS 1 a 1", "-ERR unknown argument: BOGUS|"),
        ("HSETEX h FNX FXX FIELDS 1 a 1", "-ERR Only one of FXX or FNX arguments can be specified|"),
        (
            "HSETEX h EX 5 KEEPTTL FIELDS 1 a 1",
            "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified|",
        ),
        ("HSETEX h FIELDS 0 a 1", "-ERR invalid number of fields|"),
        ("HSETEX h FIELDS 2 a 1", "-ERR wrong number of arguments for 'hsetex' command|"),
        ("HSETEX h FIELDS 1 a 1 b", "-ERR wrong number of arguments for 'hsetex' command|"),
        ("HSETEX h EX 5 FNX FNX FNX", "-ERR Only one of FXX or FNX arguments can be specified|"),
        ("HSETEX h EX -5 FIELDS 1 a 1", "-ERR invalid expire time, must be >= 0|"),
    ] {
        assert_eq!(c.say(line), want, "{line}");
    }
}

/// A field that is due is in no answer, and the key goes with its last one.
#[test]
fn due_fields_are_never_seen() {
    let clock = Clock::new();
    let mut c = client(&clock);
    let mut says = |line: &str, want: &str| assert_eq!(c.say(line), want.replace(' ', "|") + "|", "{line}");
    says("HSET h a 1 b 2", ":2");
    says("HPEXPIRE h 100 FIELDS 1 a", "*1 :1");
    clock.pass(100);
    says("HLEN h", ":2");
    clock.pass(1);
    says("HLEN h", ":1");
    says("HGET h a", "$-1");
    says("HGETALL h", "*2 $1 b $1 2");
    says("HSCAN h 0", "*2 $1 0 *2 $1 b $1 2");
    says("HRANDFIELD h 5", "*1 $1 b");
    says("HSETNX h a 3", ":1");
    says("HPTTL h FIELDS 1 a", "*1 :-1");
    says("HPEXPIRE h 100 FIELDS 2 a b", "*2 :1 :1");
    says("HSET h a 4", ":0");
    says("HINCRBY h b 5", ":7");
    says("HINCRBYFLOAT h b 1.5", "$3 8.5");
    says("HPTTL h FIELDS 2 a b", "*2 :-1 :100");
    says("COPY h i", ":1");
    says("RENAME h j", "+OK");
    says("HPTTL i FIELDS 2 a b", "*2 :-1 :100");
    says("HPTTL j FIELDS 2 a b", "*2 :-1 :100");
    clock.pass(101);
    says("HKEYS i", "*1 $1 a");
    says("HVALS j", "*1 $1 4");
    for line in ["GET", "TYPE", "EXISTS", "LLEN", "STRLEN", "HLEN", "TTL"] {
        says("HSET gone f v", ":1");
        says("HPEXPIRE gone 5 FIELDS 1 f", "*1 :1");
        clock.pass(6);
        let nothing = match line {
            "GET" => "$-1",
            "TYPE" => "+none",
            "TTL" => ":-2",
            _ => ":0",
        };
        says(&format!("{line} gone"), nothing);
    }
    says("HSET gone f v", ":1");
    says("HPEXPIRE gone 5 FIELDS 1 f", "*1 :1");
    clock.pass(6);
    says("HINCRBY gone f 5", ":5");
    says("HPTTL gone FIELDS 1 f", "*1 :-1");
}

/// Fields go by themselves within the second, as a watcher notices.
#[test]
fn due_fields_are_swept() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (mut c, mut d) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    for n in 0..50 {
        c.say(&format!("HSET h{n} a 1 b 2"));
        c.say(&format!("HPEXPIRE h{n} {} FIELDS 1 a", 100 + n));
        c.say(&format!("HPEXPIRE h{n} {} FIELDS 1 b", 200 + n));
    }
    d.say("WATCH h7");
    clock.pass(200);
    while engine.sweep(0, 1, clock.now(), 200).more {}
    assert_eq!(d.say("HLEN h49"), ":1|");
    d.say("MULTI");
    assert_eq!(d.say("EXEC"), "*-1|");
    assert_eq!(c.say("DBSIZE"), ":50|");
    clock.pass(1000);
    while engine.sweep(0, 1, clock.now(), 200).more {}
    assert_eq!(c.say("DBSIZE"), ":0|");
}

/// However many fields are due, no hold takes more than a thousand: what asks for the hash waits, and sees none of them.
#[test]
fn many_due_fields_are_taken_in_several_holds() {
    let clock = Clock::new();
    let engine = engine(&clock);
    for (request, holds, want) in [
        ("HLEN h\r\n", 4, ":2|"),
        ("MULTI\r\nSET x 1\r\nHGET h f3\r\nEXEC\r\n", 4, "+OK|+QUEUED|+QUEUED|*2|+OK|$-1|"),
        ("EVAL \"return redis.call('hlen', KEYS[1])\" 1 h\r\n", 4, ":2|"),
        ("EVAL \"return redis.call('hlen', 'h')\" 0\r\n", 1, ":2|"),
        ("RENAME h i\r\nHLEN i\r\n", 4, "+OK|:2|"),
        ("MGET h g\r\n", 7, "*2|$-1|$-1|"),
    ] {
        let mut c = Client::new(&engine, &clock, 0);
        c.say("FLUSHALL");
        for key in ["h", "g"] {
            for n in 0..3500 {
                c.say(&format!("HSETEX {key} PX 100 FIELDS 1 f{n} v"));
            }
            c.say(&format!("HSET {key} a 1 b 2"));
        }
        clock.pass(101);
        let (mut out, mut from, mut busy) = (crate::resp::Out::new(2), 0, 0);
        loop {
            let progress = engine.exec_batch(&mut c.session, &request.as_bytes()[from..], clock.now(), &mut out);
            from += progress.consumed;
            match progress.next {
                Next::Busy => busy += 1,
                Next::Again => {}
                _ => break,
            }
        }
        assert_eq!(String::from_utf8_lossy(&out.take()).replace("\r\n", "|"), want, "{request}");
        assert_eq!(busy + 1, holds, "{request}");
    }
}

/// Keys that are gone do not stay in the index of what is due.
#[test]
fn gone_keys_leave_the_index() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut c = Client::new(&engine, &clock, 0);
    for n in 0..20_000 {
        c.say(&format!("HSETEX h{n} EX 1000000 FIELDS 1 a 1"));
        c.say(&format!("DEL h{n}"));
    }
    let left: usize = (0..engine.db.partitions())
        .map(|partition| engine.db.lock_patiently(partition).shard(partition, 0).due_fields.len())
        .sum();
    assert!(left <= 64 * engine.db.partitions(), "{left}");
}

/// A hash as it ought to be: fields with values and the time they expire at.
type Twin = BTreeMap<String, BTreeMap<String, (i64, Option<u64>)>>;

fn shown(twin: &BTreeMap<String, (i64, Option<u64>)>) -> Vec<(String, String)> {
    twin.iter().map(|(field, (value, _))| (field.clone(), value.to_string())).collect()
}

/// The bulk strings of a reply, as pairs in order of the first.
fn pairs(reply: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = reply.split('|').skip(1).filter(|word| !word.is_empty()).collect();
    let strings: Vec<String> = words.chunks(2).map(|pair| pair[1].to_owned()).collect();
    let mut pairs: Vec<_> = strings.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    pairs.sort();
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever is done, every hash is what a plain map of values and times says, and the log replays to the same.
    #[test]
    fn hashes_are_as_a_plain_model_has_them(ops in proptest::collection::vec((0u8..14, 0u8..3, 0u8..5, 1u64..300), 0..120)) {
        let clock = Clock::new();
        let engine = engine(&clock);
        let log = engine.subscribe_log();
        let mut c = Client::new(&engine, &clock, 0);
        let mut twin = Twin::new();
        for (op, key, field, n) in ops {
            let (key, field, now_ms) = (format!("k{key}"), format!("f{field}"), clock.now().wall_ms);
            let hash = twin.entry(key.clone()).or_default();
            let at_ms = hash.get(&field).and_then(|(_, at_ms)| *at_ms);
            let value = n as i64;
            match op {
                0 | 1 => {
                    c.say(&format!("HSET {key} {field} {value}"));
                    hash.insert(field, (value, None));
                }
                2 => {
                    c.say(&format!("HINCRBY {key} {field} {value}"));
                    hash.entry(field).or_insert((0, None)).0 += value;
                }
                3 => {
                    c.say(&format!("HINCRBYFLOAT {key} {field} {value}"));
                    hash.entry(field).or_insert((0, None)).0 += value;
                }
                4 => {
                    c.say(&format!("HDEL {key} {field}"));
                    hash.remove(&field);
                }
                5 | 6 => {
                    c.say(&format!("HPEXPIRE {key} {n} FIELDS 2 {field} none"));
                    hash.entry(field).and_modify(|own| own.1 = Some(now_ms + n));
                }
                7 => {
                    c.say(&format!("HPERSIST {key} FIELDS 1 {field}"));
                    hash.entry(field).and_modify(|own| own.1 = None);
                }
                8 => {
                    c.say(&format!("HSETEX {key} PX {n} FIELDS 1 {field} {value}"));
                    hash.insert(field, (value, Some(now_ms + n)));
                }
                9 => {
                    c.say(&format!("HSETEX {key} KEEPTTL FIELDS 1 {field} {value}"));
                    hash.insert(field, (value, at_ms));
                }
                10 => {
                    c.say(&format!("HGETEX {key} PX {n} FIELDS 1 {field}"));
                    hash.entry(field).and_modify(|own| own.1 = Some(now_ms + n));
                }
                11 if !hash.is_empty() => {
                    let hash = hash.clone();
                    c.say(&format!("COPY {key} k9 REPLACE"));
                    c.say(&format!("RENAME k9 k{}", n % 3));
                    twin.insert(format!("k{}", n % 3), hash);
                }
                12 => while engine.sweep(0, 1, clock.now(), 200).more {},
                _ => clock.pass(n),
            }
            let now_ms = clock.now().wall_ms;
            for (key, hash) in &mut twin {
                hash.retain(|_, (_, at_ms)| at_ms.is_none_or(|at_ms| now_ms <= at_ms));
                prop_assert_eq!(c.say(&format!("HLEN {key}")), format!(":{}|", hash.len()));
                prop_assert_eq!(pairs(&c.say(&format!("HGETALL {key}"))), shown(hash));
                for (field, (_, at_ms)) in hash {
                    let want = at_ms.map_or(-1, |at_ms| at_ms as i64);
                    prop_assert_eq!(c.say(&format!("HPEXPIRETIME {key} FIELDS 1 {field}")), format!("*1|:{want}|"));
                }
            }
        }
        while engine.sweep(0, 1, clock.now(), 200).more {}
        let replayed = crate::testing::engine(&clock);
        replayed.replay(&log.read().unwrap().1, clock.now()).unwrap();
        let mut again = Client::new(&replayed, &clock, 0);
        for (key, hash) in &twin {
            prop_assert_eq!(pairs(&again.say(&format!("HGETALL {key}"))), shown(hash));
            let fields: Vec<_> = hash.keys().map(String::as_str).collect();
            let line = format!("HPEXPIRETIME {key} FIELDS {} {}", fields.len(), fields.join(" "));
            prop_assert_eq!(again.say(&line), c.say(&line));
        }
    }
}
