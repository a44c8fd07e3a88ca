//! MONITOR.

use super::*;
use crate::testing::guarded;

/// What a monitor was shown since it was asked last, without the time.
fn seen(monitor: &mut Client) -> Vec<String> {
    let (text, next) = monitor.hear();
    assert_eq!(next, Next::Read { missing: 0 });
    let lines = text.split_terminator('|');
    lines.map(|line| line.strip_prefix("+1700000000.000000 ").unwrap_or_else(|| panic!("{text}")).to_owned()).collect()
}

#[test]
fn a_monitor_sees_what_runs_as_redis_shows_it() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (mut monitor, mut client) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    client.say("SET before 1");
    assert_eq!((monitor.say("MONITOR"), monitor.say("MONITOR")), ("+OK|".to_owned(), String::new()));
    client.words(&[&b"SET"[..], b"k", b"a\x00\n\r\t\\\"\x07\x08\xc3\xa9"]);
    client.say("get k");
    // What does not run is not shown, and neither is what administers.
    for line in ["GET", "NOSUCH x", "CONFIG GET timeout", "CLIENT LIST"] {
        client.say(line);
    }
    client.say("SELECT 3");
    client.say("AUTH user password");
    client.say("HELLO 3 AUTH user password");
    let from = |line: &str| line.replace("FROM", "127.0.0.1:4000");
    assert_eq!(
        seen(&mut monitor),
        [
            "[0 FROM] \"SET\" \"k\" \"a\\x00\\n\\r\\t\\\\\\\"\\a\\b\\xc3\\xa9\"",
            "[0 FROM] \"get\" \"k\"",
            "[3 FROM] \"SELECT\" \"3\"",
            "[3 FROM] \"AUTH\" \"(redacted)\" \"(redacted)\"",
            "[3 FROM] \"HELLO\" \"3\" \"AUTH\" \"(redacted)\" \"(redacted)\"",
        ]
        .map(from)
    );
    client.say("SELECT 0");
    client.say("MULTI");
    client.say("INCR n");
    client.say("EXEC");
    client.words(&["EVAL", "redis.call('set', 'x', 'v') return redis.pcall('nosuch')", "1", "x"]);
    assert_eq!(
        seen(&mut monitor),
        [
            "[0 FROM] \"SELECT\" \"0\"",
            "[0 FROM] \"MULTI\"",
            "[0 FROM] \"INCR\" \"n\"",
            "[0 FROM] \"EXEC\"",
            "[0 FROM] \"EVAL\" \"redis.call('set', 'x', 'v') return redis.pcall('nosuch')\" \"1\" \"x\"",
            "[0 lua] \"set\" \"x\" \"v\"",
        ]
        .map(from)
    );
    // Many at once come in their order.
    client.bytes(&b"INCR n\r\nPING\r\n".repeat(40));
    assert_eq!(seen(&mut monitor).len(), 80);
    assert!(client.say("CLIENT LIST").contains(" flags=O "));
    monitor.say("RESET");
    client.say("GET k");
    assert!(monitor.hear().0.is_empty() && !engine.monitors.any());
}

#[test]
fn a_monitor_is_no_transaction_and_leaves_nothing_behind() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut monitor = Client::new(&engine, &clock, 0);
    monitor.say("MULTI");
    monitor.say("MONITOR");
    assert_eq!(monitor.say("EXEC"), "*1|-ERR MONITOR isn't allowed for DENY BLOCKING client|");
    monitor.say("MONITOR");
    assert!(engine.monitors.any());
    drop(monitor);
    assert!(!engine.monitors.any());
}

#[test]
fn a_monitor_sees_only_what_it_may_read() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let (mut monitor, mut root) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    assert_eq!(monitor.say("AUTH watcher watcher-password"), "+OK|");
    assert_eq!(root.say("AUTH root-token"), "+OK|");
    assert_eq!(monitor.say("MONITOR"), "+OK|");
    for line in ["SET a:1 v", "SET b:1 v", "MGET a:1 b:1", "PUBLISH c m", "EVAL return_1 0", "PING"] {
        root.say(line);
    }
    root.words(&["SCRIPT", "LOAD", "return 'secret'"]);
    root.words(&["FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() end)"]);
    root.words(&["FUNCTION", "RESTORE", "dump"]);
    root.say("FCALL f 0");
    let shown = seen(&mut monitor);
    let words: Vec<_> = shown.iter().filter_map(|line| line.split_once("] ")).map(|(_, words)| words).collect();
    assert_eq!(words, ["\"SET\" \"a:1\" \"v\"", "\"PUBLISH\" \"c\" \"m\"", "\"PING\""]);
    let mut reader = Client::new(&engine, &clock, 0);
    reader.say("AUTH reader reader-password");
    assert!(reader.say("MONITOR").starts_with("-NOPERM"));
}

#[test]
fn a_monitor_sees_what_the_resource_dialect_asks() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (mut monitor, client) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    monitor.say("MONITOR");
    let mut session = client.detached();
    for words in [&["SET", "k", "v"][..], &["GET", "k"]] {
        let args = OwnedArgs::from_slices(words);
        let paid = paid(&engine, &session, &args, clock.now());
        engine.update(&mut session, paid, clock.now(), &mut |_| Change::Keep).unwrap();
    }
    let shown = seen(&mut monitor);
    let words: Vec<_> = shown.iter().filter_map(|line| line.split_once("] ")).map(|(_, words)| words).collect();
    assert_eq!(words, ["\"SET\" \"k\" \"v\"", "\"GET\" \"k\""]);
}

#[test]
fn a_monitor_that_does_not_read_is_cut() {
    let clock = Clock::new();
    let engine = engine_with(&clock, |config| config.limits.inbox_bytes_max = 10_000);
    let (mut monitor, mut client) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    monitor.say("MONITOR");
    (0..200).for_each(|_| drop(client.say("SET k v")));
    assert_eq!(monitor.hear().1, Next::Close);
    drop(monitor);
    assert_eq!(client.say("GET k"), "$1|v|");
    assert_eq!(client.say("CLIENT LIST").matches("laddr=").count(), 1);
}

#[test]
fn who_touches_not_leaves_keys_as_cold_as_they_are() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    assert_eq!(client.say("SET k v"), "+OK|");
    assert_eq!(client.say("CLIENT NO-TOUCH maybe"), "-ERR syntax error|");
    assert_eq!(client.say("CLIENT NO-TOUCH ON"), "+OK|");
    assert!(client.say("CLIENT INFO").contains(" flags=T "));
    clock.pass(50_000);
    client.say("GET k");
    client.say("SET other v");
    assert_eq!((client.say("OBJECT IDLETIME k"), client.say("OBJECT IDLETIME other")), (":50|".into(), ":0|".into()));
    client.say("TOUCH k");
    assert_eq!(client.say("OBJECT IDLETIME k"), ":0|");
    clock.pass(50_000);
    client.say("CLIENT NO-TOUCH OFF");
    client.say("GET k");
    assert_eq!((client.say("OBJECT IDLETIME k"), client.say("OBJECT IDLETIME other")), (":0|".into(), ":50|".into()));
    client.say("CONFIG SET maxmemory-policy allkeys-lfu lfu-log-factor 0");
    client.say("SET counted v");
    client.say("CLIENT NO-TOUCH ON");
    (0..5).for_each(|_| drop(client.say("GET counted")));
    assert_eq!(client.say("OBJECT FREQ counted"), ":5|");
    client.say("RESET");
    (0..5).for_each(|_| drop(client.say("GET counted")));
    assert_eq!(client.say("OBJECT FREQ counted"), ":10|");
}

#[test]
fn clients_are_listed_and_killed_by_what_they_are() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut old = Client::new(&engine, &clock, 0);
    old.say("CLIENT SETNAME old");
    clock.pass(100_000);
    let (mut admin, mut other) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    admin.say("CLIENT SETNAME admin");
    other.say("CLIENT SETNAME other");
    other.say("CLIENT SETINFO LIB-NAME lib");
    other.say("CLIENT SETINFO LIB-VER 1.2");
    other.say("CLIENT CAPA redirect nosuch");
    other.say("SELECT 5");
    other.say("SUBSCRIBE c");
    let mut named = |filters: &str| -> Vec<String> {
        let list = admin.say(&format!("CLIENT LIST {filters}"));
        let name = |line: &str| line.split(' ').find_map(|field| field.strip_prefix("name=").map(str::to_owned));
        list.split('\n').filter_map(name).collect()
    };
    let (id, not_id) =
        (format!("ID {}", other.session.id()), format!("NOT-ID {} {}", other.session.id(), old.session.id()));
    for (filters, want) in [
        (id.as_str(), &["other"][..]),
        (&not_id, &["admin"]),
        ("NAME old", &["old"]),
        ("NOT-NAME old", &["admin", "other"]),
        ("LIB-NAME lib LIB-VER 1.2", &["other"]),
        ("NOT-LIB-NAME lib SKIPME yes", &["old"]),
        ("TYPE pubsub", &["other"]),
        ("NOT-TYPE pubsub", &["old", "admin"]),
        ("DB 5", &["other"]),
        ("NOT-DB 5 SKIPME no", &["old", "admin"]),
        ("FLAGS P", &["other"]),
        ("NOT-FLAGS P", &["old", "admin"]),
        ("CAPA r", &["other"]),
        ("CAPA x", &[]),
        ("MAXAGE 100", &["old"]),
        ("IDLE 50", &["old"]),
        ("IP 127.0.0.1 NAME admin NAME other", &["other"]),
        ("NOT-IP 127.0.0.1", &[]),
        ("ADDR 127.0.0.1:4000 LADDR 127.0.0.1:4000", &["old", "admin", "other"]),
        ("NOT-ADDR 127.0.0.1:4000", &[]),
    ] {
        assert_eq!(named(filters), want, "{filters}");
    }
    for (filters, error) in [
        ("MAXAGE x", "maxage is not an integer or out of range"),
        ("MAXAGE 0", "maxage should be greater than 0"),
        ("IDLE -1", "idle should be greater than 0"),
        ("NOT-MAXAGE 1", "syntax error"),
        ("NOT-SKIPME yes", "syntax error"),
        ("SKIPME maybe", "syntax error"),
        ("FLAGS ?", "Unknown flags found in the provided filter: ?"),
        ("NAME", "syntax error"),
        ("USER nosuch", "No such user 'nosuch'"),
    ] {
        for command in ["LIST", "KILL"] {
            let reply = admin.say(&format!("CLIENT {command} ID 1 {filters}"));
            assert_eq!(reply, format!("-ERR {error}|"), "{command} {filters}");
        }
    }
    assert_eq!(admin.say("CLIENT KILL NOT-NAME old NOT-TYPE pubsub"), ":0|");
    assert_eq!(admin.say("CLIENT KILL MAXAGE 50"), ":1|");
    assert_eq!(old.bytes(b"PING\r\n").1, Next::Close);
    assert_eq!(admin.say("CLIENT KILL NOT-DB 5 SKIPME no"), ":1|");
}

#[test]
fn a_script_is_shown_to_whom_it_is_loaded_by() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let sha = client.words(&["SCRIPT", "LOAD", "return 7"]).split('|').nth(1).unwrap().to_owned();
    assert_eq!(client.say(&format!("SCRIPT SHOW {sha}")), "$8|return 7|");
    assert_eq!(client.say("SCRIPT SHOW nosuch"), "-NOSCRIPT No matching script. Please use EVAL.|");
}

#[test]
fn large_requests_and_replies_are_logged_like_slow_ones() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let mut run = |input: &[u8]| {
        let mut out = Out::new(2);
        let before = out.mark();
        let progress = engine.exec_batch(&mut client.session, input, clock.now(), &mut out);
        engine.slow.was_large(&client.session, &input[..progress.consumed], &out, before, clock.now());
    };
    run(b"CONFIG SET commandlog-request-larger-than 100 commandlog-reply-larger-than 200\r\n");
    let value = "v".repeat(150);
    run(format!("SET k {value}\r\n").as_bytes());
    run(b"GET k\r\n");
    run(format!("ECHO {value}{value}\r\nPING\r\nGET k\r\n").as_bytes());
    run(b"GET k\r\nMGET k k\r\n");
    let mut admin = Client::new(&engine, &clock, 0);
    assert_eq!(
        (admin.say("COMMANDLOG LEN large-request"), admin.say("COMMANDLOG LEN LARGE-REPLY")),
        (":2|".into(), ":2|".into())
    );
    let shown = admin.say("COMMANDLOG GET -1 large-request");
    assert!(shown.contains("|:158|*3|$3|SET|$1|k|") && shown.contains("|*2|$4|ECHO|"), "{shown}");
    let shown = admin.say("COMMANDLOG GET 1 large-reply");
    assert!(shown.contains("|:320|*3|$4|MGET|$1|k|$1|k|"), "{shown}");
    assert_eq!(admin.say("COMMANDLOG GET 0 slow"), "*0|");
    let wrong = "-ERR type should be one of the following: slow, large-request, large-reply|";
    assert_eq!((admin.say("COMMANDLOG LEN x"), admin.say("COMMANDLOG GET 1 x")), (wrong.into(), wrong.into()));
    assert_eq!(admin.say("COMMANDLOG GET -2 slow"), "-ERR count should be greater than or equal to -1|");
    assert_eq!(admin.say("COMMANDLOG RESET large-reply"), "+OK|");
    assert_eq!(
        (admin.say("COMMANDLOG LEN large-reply"), admin.say("COMMANDLOG LEN large-request")),
        (":0|".into(), ":2|".into())
    );
    assert_eq!(
        admin.say("CONFIG GET commandlog-execution-slower-than"),
        "*2|$32|commandlog-execution-slower-than|$5|10000|"
    );
}
