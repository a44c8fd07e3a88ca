#![allow(clippy::unwrap_used)]

mod access;
mod blocking;
mod burden;
mod databases;
mod events;
mod eviction;
mod linear;
mod model;
mod monitors;
mod newer;
mod pauses;
mod soak;
mod stream_model;
mod streams;

use super::*;
use crate::commands::Call;
use crate::engine::{Change, TtlChange, Updated};
use crate::resp::{Out, OwnedArgs};
use crate::testing::{Client, Clock, dump, engine, engine_with};

#[test]
fn a_pipeline_is_answered_in_order() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let mut input = Vec::new();
    for n in 0..100 {
        input.extend_from_slice(format!("SET k{n} {n}\r\nGET k{n}\r\nPING\r\n").as_bytes());
    }
    input.extend_from_slice(b"GET half");
    let (replies, next) = client.bytes(&input);
    assert_eq!(replies.matches("+OK|").count(), 100);
    assert!(replies.ends_with("$2|99|+PONG|"));
    assert_eq!(next, Next::Read { missing: 1 });
    let (replies, _) = client.bytes(b"GET half\r\nGET k5\r\n");
    assert_eq!(replies, "$-1|$1|5|");
}

#[test]
fn a_framing_fault_ends_the_connection_after_what_came_before() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (replies, next) = Client::new(&engine, &clock, 0).bytes(b"PING\r\n*1\r\n+x\r\n");
    assert_eq!(replies, "+PONG|-ERR Protocol error: expected '$', got '+'|");
    assert_eq!(next, Next::Close);
}

#[test]
fn http_on_a_resp_port_is_closed() {
    let clock = Clock::new();
    let engine = engine(&clock);
    for request in ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "Host: x\r\n", "DELETE /k HTTP/1.1\r\n"] {
        let (_, next) = Client::new(&engine, &clock, 0).bytes(request.as_bytes());
        assert_eq!(next, Next::Close, "{request}");
    }
}

#[test]
fn expiry_is_lazy_active_and_exact() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    client.say("SET a 1 PX 100");
    client.say("SET b 1 PX 100");
    clock.pass(100);
    assert_eq!(client.say("GET a"), "$1|1|");
    clock.pass(1);
    assert_eq!(client.say("GET a"), "$-1|");
    assert_eq!(client.say("DBSIZE"), ":1|");
    clock.pass(2000);
    let swept = engine.sweep(0, 1, clock.now(), 10_000);
    assert_eq!((swept.expired, swept.more), (1, false));
    assert_eq!(client.say("DBSIZE"), ":0|");
    assert_eq!(engine.metrics().count(crate::metrics::Count::Expired), 2);
    assert_eq!(engine.metrics().gauge(crate::metrics::Gauge::Volatile), 0);
}

#[test]
fn memory_is_counted_and_bounded() {
    let clock = Clock::new();
    let engine = engine(&clock);
    engine.db.eviction.set_limit(engine.used_bytes() + 250_000);
    let mut client = Client::new(&engine, &clock, 0);
    let mut refused = 0;
    for n in 0..3000 {
        refused += usize::from(client.say(&format!("SET key:{n} {}", "v".repeat(64))).starts_with("-OOM command not"));
    }
    assert!((500..2900).contains(&refused), "{refused}");
    client.say("MULTI");
    assert!(client.say("SET x 1").starts_with("-OOM"));
    assert!(client.say("EXEC").starts_with("-EXECABORT"));
    assert_eq!(client.say("DEL key:1"), ":1|");
    client.say("FLUSHALL");
    assert_eq!(client.say("SET x 1"), "+OK|");
    client.say("DEL x");
    assert_eq!(engine.metrics().gauge(crate::metrics::Gauge::UsedBytes), 0);
    assert_eq!(engine.metrics().gauge(crate::metrics::Gauge::Keys), 0);
}

#[test]
fn a_rate_is_kept_and_says_when_to_come_back() {
    let clock = Clock::new();
    let engine = engine_with(&clock, |config| (config.requests_per_second, config.burst) = (10, 2));
    let mut client = Client::new(&engine, &clock, 0);
    assert_eq!(client.say("SET a 1"), "+OK|");
    assert_eq!(client.say("GET a"), "$1|1|");
    assert!(client.say("GET a").starts_with("-THROTTLED"));
    clock.pass(100);
    assert_eq!(client.say("GET a"), "$1|1|");
}

#[test]
fn transactions_are_bounded() {
    let clock = Clock::new();
    let engine = engine_with(&clock, |config| {
        (config.limits.queued_commands_max, config.limits.watched_keys_max, config.limits.channels_max) = (2, 2, 2);
    });
    let mut client = Client::new(&engine, &clock, 0);
    assert_eq!(client.say("WATCH a b a"), "-ERR a connection may watch 2 keys at most|");
    assert_eq!(client.say("WATCH a b"), "+OK|");
    client.say("MULTI");
    assert_eq!((client.say("GET a"), client.say("GET b")), ("+QUEUED|".into(), "+QUEUED|".into()));
    assert!(client.say("GET c").starts_with("-ERR transaction is over its limits"));
    assert!(client.say("EXEC").starts_with("-EXECABORT"));
    assert!(client.say("SUBSCRIBE a b c").starts_with("-ERR a connection may listen to 2"));
    assert!(client.say("SUBSCRIBE a b").ends_with(":2|"));
}

#[test]
fn a_watched_key_that_dies_aborts() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    client.say("SET w 1 PX 50");
    client.say("WATCH w");
    clock.pass(60);
    client.say("MULTI");
    client.say("PING");
    assert_eq!(client.say("EXEC"), "*-1|");
    client.say("WATCH w");
    client.say("MULTI");
    client.say("PING");
    assert_eq!(client.say("EXEC"), "*1|+PONG|");
}

#[test]
fn sessions_leave_nothing_behind() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    client.say("WATCH a b");
    client.say("SELECT 3");
    client.say("WATCH a b");
    client.say("SUBSCRIBE c");
    client.say("SSUBSCRIBE s");
    drop(client);
    let mut client = Client::new(&engine, &clock, 1);
    client.say("SELECT 2");
    assert_eq!(client.say("BLPOP x y 0"), "");
    assert!(client.session.is_blocked());
    drop(client);
    for partition in 0..engine.db.partitions() {
        let mut held = engine.db.lock_patiently(partition);
        for database in std::iter::once(0).chain(held.slice(partition).others()) {
            let shard = held.shard(partition, database);
            assert!(shard.watched.is_empty() && shard.waiters.is_empty());
        }
    }
    assert_eq!(engine.pubsub.channels.len() + engine.pubsub.shards.len(), 0);
    for gauge in crate::metrics::Gauge::ALL {
        assert_eq!(engine.metrics().gauge(*gauge), 0, "{}", gauge.name());
    }
}

#[test]
fn blocked_clients_are_served_in_turn_and_time_out() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut waiting: Vec<Client> = (0..3).map(|_| Client::new(&engine, &clock, 0)).collect();
    for client in &mut waiting {
        client.say("BLPOP a b 1");
    }
    let mut pusher = Client::new(&engine, &clock, 1);
    assert_eq!(pusher.say("RPUSH b 1 2"), ":2|");
    assert_eq!(pusher.say("EXISTS b"), ":0|");
    assert_eq!(waiting[0].hear().0, "*2|$1|b|$1|1|");
    assert_eq!(waiting[1].hear().0, "*2|$1|b|$1|2|");
    let (nothing, next) = waiting[2].hear();
    assert!(nothing.is_empty() && matches!(next, Next::Blocked(Some(_))));
    clock.pass(1000);
    assert_eq!(waiting[2].hear(), ("*-1|".to_owned(), Next::Again));
    assert_eq!(pusher.say("RPUSH b 3"), ":1|");
    assert_eq!(pusher.say("LRANGE b 0 -1"), "*1|$1|3|");
}

#[test]
fn an_inbox_that_overflows_ends_its_connection() {
    let clock = Clock::new();
    let engine = engine(&clock);
    Client::new(&engine, &clock, 0).words(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1000 0 0"]);
    let mut listener = Client::new(&engine, &clock, 0);
    listener.say("SUBSCRIBE c");
    let mut publisher = Client::new(&engine, &clock, 1);
    publisher.say("PUBLISH c hello");
    assert_eq!(listener.hear().0, "*3|$7|message|$1|c|$5|hello|");
    (0..20).for_each(|_| drop(publisher.say(&format!("PUBLISH c {}", "x".repeat(100)))));
    assert_eq!(listener.hear().1, Next::Close);
}

#[test]
fn scan_walks_every_key_once_it_is_left_alone() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    (0..1000).for_each(|n| drop(client.say(&format!("SET key:{n} {n}"))));
    client.say("RPUSH list 1");
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    let mut calls = 0;
    loop {
        let reply = client.say(&format!("SCAN {cursor} COUNT 50 TYPE string MATCH key:*"));
        let fields: Vec<&str> = reply.split('|').collect();
        seen.extend(fields.iter().filter(|field| field.starts_with("key:")).map(|field| (*field).to_owned()));
        fields[2].clone_into(&mut cursor);
        calls += 1;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 1000);
    assert!((10..200).contains(&calls), "{calls}");
}

fn paid<'a>(engine: &Arc<Engine>, session: &Session, args: &'a OwnedArgs, now: Now) -> Paid<Call<'a>> {
    let call = Call::new(args.as_args(), now).unwrap();
    let identity = session.identity.as_ref().unwrap();
    let permit = identity.grant.permit(&identity.inside, call, now.wall_ms).unwrap();
    engine.meters().charge(permit, now).unwrap()
}

#[test]
fn an_update_does_what_was_authorised_and_no_more() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let now = clock.now();
    let mut session = client.detached();
    let mut update = |words: &[&str], change: Change| {
        let args = OwnedArgs::from_slices(words);
        let paid = paid(&engine, &session, &args, now);
        let mut seen = None;
        let done = engine.update(&mut session, paid, now, &mut |current| {
            seen = current.map(|current| (current.value.to_vec(), current.content_type.map(<[u8]>::to_vec)));
            change.clone()
        });
        (done.map_err(|error| format!("{error:?}").split('(').next().unwrap().to_owned()), seen)
    };
    let put = |value: &str, ttl| Change::Put { value: value.into(), content_type: Some(b"text/plain".to_vec()), ttl };
    let set_ms = now.wall_ms + 500;
    assert_eq!(
        update(&["SET", "k", "abc", "PX", "500"], put("abc", TtlChange::Set(500))),
        (Ok(Updated::Put(Some(set_ms))), None)
    );
    let seen = Some((b"abc".to_vec(), Some(b"text/plain".to_vec())));
    assert_eq!(update(&["GET", "k"], Change::Keep), (Ok(Updated::Kept), seen.clone()));
    let refused = Err("NotAsAuthorized".to_owned());
    assert_eq!(update(&["GET", "k"], Change::Delete), (refused.clone(), seen.clone()));
    assert_eq!(update(&["GET", "k"], put("x", TtlChange::Clear)), (refused.clone(), seen.clone()));
    assert_eq!(update(&["SET", "k", "x"], put("xx", TtlChange::Clear)), (refused.clone(), seen.clone()));
    assert_eq!(update(&["SET", "k", "x", "PX", "5"], put("x", TtlChange::Set(6))), (refused, seen.clone()));
    assert_eq!(
        update(&["SET", "k", "abd", "KEEPTTL"], put("7", TtlChange::Keep)),
        (Ok(Updated::Put(Some(set_ms))), seen)
    );
    assert_eq!(update(&["GET", "k"], Change::Keep).1, Some((b"7".to_vec(), Some(b"text/plain".to_vec()))));
    client.say("INCR k");
    assert_eq!(client.say("PTTL k"), ":500|");
    assert_eq!(update(&["DEL", "k"], Change::Delete), (Ok(Updated::Deleted(true)), Some((b"8".to_vec(), None))));
    client.say("RPUSH k 1");
    assert_eq!(update(&["GET", "k"], Change::Keep).0, Err("WrongType".to_owned()));
}

#[test]
fn http_calls_run_and_refuse_what_needs_a_connection() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let client = Client::new(&engine, &clock, 0);
    let now = clock.now();
    let mut session = client.detached();
    let mut run = |words: &[&str]| {
        let args = OwnedArgs::from_slices(words);
        let paid = paid(&engine, &session, &args, now);
        let mut out = Out::new(2);
        assert!(matches!(engine.run(&mut session, paid, now, &mut out), Flow::Done));
        String::from_utf8(out.take()).unwrap()
    };
    assert_eq!(run(&["SET", "k", "v"]), "+OK\r\n");
    assert_eq!(run(&["MGET", "k", "x"]), "*2\r\n$1\r\nv\r\n$-1\r\n");
    for refused in [&["BLPOP", "l", "0"][..], &["SUBSCRIBE", "c"], &["MULTI"], &["CLIENT", "ID"], &["WATCH", "k"]] {
        assert!(run(refused).contains("is not available over HTTP"), "{refused:?}");
    }
    let lines = [&["INCR", "n"][..], &["INCR", "k"], &["MSET", "a", "1", "b", "2"], &["DBSIZE"]];
    let args: Vec<_> = lines.iter().map(|words| OwnedArgs::from_slices(*words)).collect();
    let calls = args.iter().map(|args| paid(&engine, &session, args, now)).collect();
    let mut out = Out::new(2);
    engine.run_transaction(&mut session, calls, now, &mut out).unwrap();
    let replies = String::from_utf8(out.take()).unwrap();
    assert_eq!(replies, "*4\r\n:1\r\n-ERR value is not an integer or out of range\r\n+OK\r\n:4\r\n");
}

#[test]
fn the_log_holds_effects_not_questions() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let log = engine.subscribe_log();
    let logged = |client: &mut Client, lines: &[&str]| {
        lines.iter().for_each(|line| drop(client.say(line)));
        let text = String::from_utf8(log.read().unwrap().1).unwrap();
        text.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ").trim().to_owned()
    };
    let at = |ms: u64| (clock.now().wall_ms + ms).to_string();
    assert_eq!(logged(&mut client, &["GET a", "DEL a", "INCR x", "SET a 1 NX", "SET a 1 NX"]), "INCR x SET a 1 NX");
    assert_eq!(logged(&mut client, &["SET a 1 EX 5"]), format!("SET a 1 PXAT {}", at(5000)));
    assert_eq!(
        logged(&mut client, &["EXPIRE a 7", "PERSIST a", "PERSIST a"]),
        format!("PEXPIREAT a {} PERSIST a", at(7000))
    );
    assert_eq!(logged(&mut client, &["GETEX a PX 9", "GETDEL a"]), format!("PEXPIREAT a {} DEL a", at(9)));
    assert_eq!(logged(&mut client, &["MULTI", "GET x", "EXEC"]), "");
    assert_eq!(logged(&mut client, &["MULTI", "SET a 1", "GET a", "INCR a", "EXEC"]), "MULTI SET a 1 INCR a EXEC");
    let mut waiter = Client::new(&engine, &clock, 1);
    waiter.say("BLPOP l 0");
    assert_eq!(logged(&mut client, &["RPUSH l 1 2"]), "RPUSH l 1 2 LPOP l");
    assert_eq!(logged(&mut client, &["BLPOP l 0", "FLUSHDB"]), "LPOP l FLUSHDB");
    logged(&mut client, &["SET d 1 PX 5"]);
    clock.pass(10);
    assert_eq!(logged(&mut client, &["GET d"]), "DEL d");
    assert!(dump(&engine, clock.now()).is_empty());
}

#[test]
fn a_pause_holds_what_comes_behind_it_in_its_pipeline() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let (replies, next) = client.bytes(b"CLIENT PAUSE 100 WRITE\r\nGET a\r\nSET a 1\r\n");
    assert_eq!((replies.as_str(), next), ("+OK|$-1|", Next::Blocked(Some(clock.now().mono_us + 100_000))));
}

#[test]
fn the_log_tells_what_died_before_a_transaction_that_did_nothing() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let log = engine.subscribe_log();
    let mut client = Client::new(&engine, &clock, 0);
    client.say("SET k 1 PX 5");
    clock.pass(10);
    let now = clock.now();
    log.read().unwrap();
    let identity = client.session.identity.clone().unwrap();
    let args = OwnedArgs::from_slices(["GETEX", "k"]);
    let call = Call::new(args.as_args(), now).unwrap().with_observed_ttl(None);
    let permit = identity.grant.permit(&identity.inside, call, now.wall_ms).unwrap();
    let paid = engine.meters().charge(permit, now).unwrap();
    let mut session = client.detached();
    engine.run_transaction(&mut session, vec![paid], now, &mut Out::new(2)).unwrap();
    let told = String::from_utf8(log.read().unwrap().1).unwrap();
    assert_eq!(told, "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n");
}

#[test]
fn what_http_put_is_replayed_with_its_content_type_and_is_warm() {
    let clock = Clock::new();
    let (engine, twin) = (engine(&clock), engine(&clock));
    let log = engine.subscribe_log();
    let client = Client::new(&engine, &clock, 0);
    let now = clock.now();
    let mut session = client.detached();
    let content_type = Some(b"text/plain".to_vec());
    for (words, ttl) in
        [(&["SET", "k", "v"][..], TtlChange::Clear), (&["SET", "t", "v", "PX", "90"], TtlChange::Set(90))]
    {
        let args = OwnedArgs::from_slices(words);
        let put = Change::Put { value: b"v".to_vec(), content_type: content_type.clone(), ttl };
        let paid = paid(&engine, &session, &args, now);
        engine.update(&mut session, paid, now, &mut |_| put.clone()).unwrap();
    }
    let told = log.read().unwrap().1;
    twin.replay(&told, now).unwrap();
    let mut reader = Client::new(&twin, &clock, 0);
    let mut session = reader.detached();
    for (key, expire_at_ms) in [("k", None), ("t", Some(now.wall_ms + 90))] {
        let args = OwnedArgs::from_slices(["GET", key]);
        let paid = paid(&twin, &session, &args, now);
        let mut seen = None;
        let look = &mut |current: Option<Current<'_>>| {
            seen = current.map(|it| (it.value.to_vec(), it.content_type.map(<[u8]>::to_vec), it.expire_at_ms));
            Change::Keep
        };
        twin.update(&mut session, paid, now, look).unwrap();
        assert_eq!(seen, Some((b"v".to_vec(), content_type.clone(), expire_at_ms)));
    }
    twin.replay(&told, now).unwrap();
    assert_eq!(reader.say("OBJECT IDLETIME k"), ":0|");
    // No client can say so.
    assert_eq!(reader.say("SET k v CONTENT-TYPE text/html"), "-ERR syntax error|");
}

#[test]
fn an_exec_that_meets_a_busy_partition_is_charged_once() {
    let clock = Clock::new();
    let engine = engine_with(&clock, |config| (config.requests_per_second, config.burst) = (10, 3));
    let mut client = Client::new(&engine, &clock, 0);
    client.say("MULTI");
    assert_eq!(client.say("SET k v"), "+QUEUED|");
    let partition = engine.db.partition_of(engine.db.hash(b"k"));
    let held = engine.db.lock_gated(&[partition as u16]);
    let mut out = Out::new(2);
    for _ in 0..3 {
        let progress = engine.exec_batch(&mut client.session, b"EXEC\r\n", clock.now(), &mut out);
        assert_eq!(progress, Progress { consumed: 0, next: Next::Busy });
    }
    drop(held);
    assert_eq!(client.say("EXEC"), "*1|+OK|");
    assert!(client.say("GET k").starts_with("-THROTTLED"));
}

/// What a few bytes ask for many times over is neither made in one turn nor beyond a bound.
#[test]
fn long_replies_end_a_turn_and_have_an_end() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    client.words(&["SET", "k", &"x".repeat(10_000)]);
    let elements = "y".repeat(10_000);
    let push = [vec!["RPUSH", "l"], vec![elements.as_str(); 100]].concat();
    assert_eq!(client.words(&push), ":100|");
    assert_eq!(run_at_once(&engine, &clock, "LRANGE l 0 -1\r\n"), 1);
    let many = [vec!["MGET"], vec!["k"; 7_000]].concat();
    let refused = "-ERR the reply would be longer than 67108864 bytes|";
    assert_eq!(client.words(&many), refused);
    client.say("MULTI");
    (0..80).for_each(|_| drop(client.say("LRANGE l 0 -1")));
    client.say("SET after 1");
    let replies = client.say("EXEC");
    assert_eq!(replies.matches(refused).count(), 13, "of a megabyte each");
    assert!(replies.ends_with("|+OK|"));
    let script = "return #redis.call('MGET', unpack(KEYS))";
    let many = [vec!["EVAL", script, "7000"], vec!["k"; 7_000]].concat();
    assert!(client.words(&many).starts_with("-ERR the reply would be longer than"));
    assert_eq!(client.say("GET after"), "$1|1|");
    // Where there is no room for an answer nothing is written or taken.
    client.say("SET s old");
    client.say("MULTI");
    (0..6_800).for_each(|_| drop(client.say("GET k")));
    let writes =
        ["GETSET s new", "SET s newer GET", "INCRBYFLOAT f 1", "LPOP l", "EVAL return(redis.call('del','s')) 0"];
    writes.iter().for_each(|line| drop(client.say(line)));
    client.say("EXISTS s");
    let replies = client.say("EXEC");
    assert!(replies.ends_with(&format!("{}:1|", refused.repeat(writes.len()))), "{}", &replies[replies.len() - 500..]);
    assert_eq!(client.say("GET s") + &client.say("EXISTS f") + &client.say("LLEN l"), "$3|old|:0|:100|");
    // One that begins with room for it is answered, whatever it is.
    client.words(&["SET", "s", &"x".repeat(10_000_000)]);
    client.say("MULTI");
    (0..6_700).for_each(|_| drop(client.say("GET k")));
    client.say("GETSET s new");
    let replies = client.say("EXEC");
    assert!(!replies.contains("-ERR") && replies.len() > 77_000_000);
    // What is taken away is answered whole: it is nowhere else.
    (0..70).for_each(|_| drop(client.words(&push)));
    let taken = client.say("LPOP l 7100");
    assert!(taken.starts_with("*7100|$10000|") && taken.len() > 71_000_000, "{:.80}", taken);
    assert_eq!(client.say("LLEN l"), ":0|");
}

/// A large value is answered by reference, so a connection may have it many times over; not who has the reply copied.
#[test]
fn replies_that_are_copied_have_an_end_whatever_is_shared() {
    let clock = Clock::new();
    let (engine, now) = (engine(&clock), clock.now());
    let mut client = Client::new(&engine, &clock, 0);
    assert_eq!(client.words(&["SET", "k", &"x".repeat(20_000_000)]), "+OK|");
    assert_eq!(client.say("MGET k k k k k").len(), 100_000_000 + 5 * "$20000000||".len() + "*5|".len());
    let refused = "ERR the reply would be longer than 67108864 bytes";
    let script = "return redis.pcall('MGET', 'k', 'k', 'k', 'k', 'k').err";
    assert_eq!(client.words(&["EVAL", script, "0"]), format!("$49|{refused}|"));
    let identity = client.session.identity.clone().unwrap();
    let mut session = engine.detached(identity.inside, identity.grant, 0);
    let mut out = Out::new(2);
    let many = OwnedArgs::from_slices(["MGET", "k", "k", "k", "k", "k"]);
    let paid_for = paid(&engine, &session, &many, now);
    assert!(matches!(engine.run(&mut session, paid_for, now, &mut out), Flow::Done));
    assert_eq!(out.take(), format!("-{refused}\r\n").as_bytes());
    let one = OwnedArgs::from_slices(["GET", "k"]);
    let calls = (0..5).map(|_| paid(&engine, &session, &one, now)).collect();
    engine.run_transaction(&mut session, calls, now, &mut out).unwrap();
    let replies = out.take();
    assert!(replies.len() < 81_000_000 && replies.ends_with(format!("-{refused}\r\n").as_bytes()));
}

/// Others have a turn between what may take long.
#[test]
fn slow_requests_end_a_turn() {
    let clock = Clock::new();
    let engine = engine(&clock);
    assert_eq!(run_at_once(&engine, &clock, "LRANGE l 0 -1\r\n"), 8);
    assert_eq!(run_at_once(&engine, &clock, "EVAL 1 0\r\n"), 8);
    assert_eq!(run_at_once(&engine, &clock, "HGET h a\r\n"), 32);
    assert_eq!(run_at_once(&engine, &clock, "SET s a\r\n"), 32);
}

/// How many of forty such requests are run in one turn.
fn run_at_once(engine: &std::sync::Arc<super::Engine>, clock: &Clock, request: &str) -> usize {
    let mut client = Client::new(engine, clock, 0);
    let mut out = crate::resp::Out::new(2);
    let progress = engine.exec_batch(&mut client.session, request.repeat(40).as_bytes(), clock.now(), &mut out);
    assert!(matches!(progress.next, super::Next::Again));
    progress.consumed / request.len()
}

/// What a client makes the engine remember counts as memory, and goes with it.
#[test]
fn watched_and_tracked_keys_are_counted() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let used = || engine.usage().total();
    let long = |n: usize| format!("{n:04}{}", "k".repeat(2000));
    let keys: Vec<String> = (0..1000).map(long).collect();
    let with = |word: &'static str| [word].into_iter().chain(keys.iter().map(String::as_str)).collect::<Vec<_>>();
    let before = used();
    assert_eq!(client.words(&with("WATCH")), "+OK|");
    assert!((4_000_000..6_000_000).contains(&(used() - before)), "{}", used() - before);
    assert_eq!(client.say("UNWATCH"), "+OK|");
    assert_eq!(used(), before);
    assert!(client.say("HELLO 3").starts_with('%'));
    assert_eq!(client.say("CLIENT TRACKING ON"), "+OK|");
    client.words(&with("MGET"));
    assert!((2_000_000..3_000_000).contains(&(used() - before)), "{}", used() - before);
    client.words(&with("UNLINK"));
    Client::new(&engine, &clock, 0).words(&with("DEL"));
    client.say("CLIENT TRACKING OFF");
    Client::new(&engine, &clock, 0).say("FLUSHALL");
    assert!(used() < before + 10_000, "{}", used() - before);
    let mut waiter = Client::new(&engine, &clock, 0);
    let before = used();
    let mut waits = with("BLPOP");
    waits.push("1");
    assert_eq!(waiter.words(&waits), "");
    assert!((4_000_000..6_000_000).contains(&(used() - before)), "{}", used() - before);
    clock.pass(1001);
    assert_eq!(waiter.hear().0, "*-1|");
    assert!(used() < before + 10_000, "{}", used() - before);
    let huge = "k".repeat(1 << 20);
    let refused = (0..64).map(|n| client.words(&["WATCH", &format!("{n}{huge}")])).find(|reply| reply != "+OK|");
    assert_eq!(refused.unwrap(), "-ERR a connection may watch keys of 67108864 bytes at most|");
}
