//! Streams: what the log says of them rebuilds them.

use super::*;
use crate::testing::draws;

/// A random stream command on one of a few streams, groups and consumers.
fn random_command(draw: &mut impl FnMut() -> u64, now_ms: u64) -> Vec<String> {
    let mut below = |n: u64| draw() % n;
    let key = format!("s{}", below(3));
    let group = format!("g{}", below(3));
    let consumer = format!("c{}", below(4));
    let id = |below: &mut dyn FnMut(u64) -> u64| format!("{}-{}", now_ms - below(400), below(3));
    let some_id = id(&mut below);
    let count = below(8).to_string();
    let idle = below(60).to_string();
    let policy = ["KEEPREF", "DELREF", "ACKED"][below(3) as usize];
    let line = match below(48) {
        0..=7 => format!("XADD {key} * f {}", below(1000)),
        8..=9 => format!("XADD {key} {now_ms}-* f {} g {idle}", below(1000)),
        10 => format!("XADD {key} MAXLEN ~ {} * f x", below(150)),
        11 => format!("XADD {key} MINID ~ {some_id} LIMIT {} * other {}", below(300), "y".repeat(below(900) as usize)),
        12 => format!("XADD {key} MAXLEN {} * f x", 20 + below(150)),
        13 => format!("XADD {key} MINID = {some_id} * f x"),
        14 => format!("XTRIM {key} MAXLEN ~ {}", below(150)),
        15 => format!("XTRIM {key} MINID ~ {some_id}"),
        16 => format!("XTRIM {key} MINID {some_id}"),
        17..=19 => format!("XDEL {key} {some_id} {now_ms}-0"),
        20 => format!("XGROUP CREATE {key} {group} {some_id} MKSTREAM"),
        21 => format!("XGROUP CREATE {key} {group} $ MKSTREAM ENTRIESREAD {}", below(20)),
        22 if below(4) == 0 => format!("XGROUP SETID {key} {group} {some_id} ENTRIESREAD {}", below(200)),
        22 => format!("XGROUP SETID {key} {group} $"),
        23 if below(8) == 0 => format!("XGROUP DESTROY {key} {group}"),
        23 | 24 => format!("XGROUP CREATECONSUMER {key} {group} {consumer}"),
        25 if below(4) == 0 => format!("XGROUP DELCONSUMER {key} {group} {consumer}"),
        25..=28 => format!("XREADGROUP GROUP {group} {consumer} COUNT {count} STREAMS {key} >"),
        29 => format!("XREADGROUP GROUP {group} {consumer} COUNT {count} NOACK STREAMS {key} >"),
        30 => format!("XREADGROUP GROUP {group} {consumer} COUNT {count} STREAMS {key} s0 {some_id} >"),
        31..=32 => format!("XACK {key} {group} {some_id} {} {}", id(&mut below), id(&mut below)),
        33 => format!("XCLAIM {key} {group} {consumer} {idle} {some_id} {} FORCE", id(&mut below)),
        34 => format!("XCLAIM {key} {group} {consumer} {idle} {some_id} TIME {} RETRYCOUNT {count} JUSTID", now_ms - 5),
        35 => format!("XCLAIM {key} {group} {consumer} 0 {some_id} IDLE 7 FORCE LASTID {some_id}"),
        36..=37 => format!("XAUTOCLAIM {key} {group} {consumer} {idle} - COUNT {}", 1 + below(9)),
        38 if below(6) == 0 => format!("XSETID {key} {}-0 ENTRIESADDED {} MAXDELETEDID {some_id}", now_ms, below(3000)),
        38 => format!("COPY {key} s{} REPLACE", below(3)),
        39..=40 => format!("XDELEX {key} {policy} IDS 3 {some_id} {} {}", id(&mut below), id(&mut below)),
        41..=42 => format!("XACKDEL {key} {group} {policy} IDS 2 {some_id} {}", id(&mut below)),
        43 => format!("XTRIM {key} MAXLEN {} {policy}", 10 + below(150)),
        44 => format!("XTRIM {key} {policy} MINID ~ {some_id} LIMIT {}", below(300)),
        45 => format!("XADD {key} {policy} MAXLEN ~ {} * f x", 10 + below(150)),
        46 if below(12) == 0 => format!("DEL {key}"),
        46 if below(4) == 0 => format!("RENAME {key} s{}", below(3)),
        _ => format!("EVAL \"redis.call('XADD', KEYS[1], '*', 'a', '1')\" 1 {key}"),
    };
    match line.split_once('"').and_then(|(before, rest)| Some((before, rest.split_once('"')?))) {
        None => line.split(' ').map(str::to_owned).collect(),
        Some((before, (script, behind))) => {
            let words = before.split_whitespace().map(str::to_owned);
            words.chain([script.to_owned()]).chain(behind.split_whitespace().map(str::to_owned)).collect()
        }
    }
}

/// All of a stream, but when its consumers were seen: a log has no time of a read that found nothing.
fn all_of(client: &mut Client, key: &str) -> String {
    let text = client.words(&["XINFO", "STREAM", key, "FULL", "COUNT", "0"]);
    let mut parts = text.split("seen-time|:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('|').map_or(part, |(_, rest)| rest))
}

#[test]
fn the_log_of_random_stream_commands_replays_to_the_same_streams() {
    let clock = Clock::new();
    let (engine, twin) = (engine(&clock), engine(&clock));
    let log = engine.subscribe_log();
    let (mut client, mut reader) = (Client::new(&engine, &clock, 0), Client::new(&twin, &clock, 0));
    let mut draw = draws(7);
    let (mut failed, mut read) = (0, 0);
    for step in 0..20_000 {
        let command = random_command(&mut draw, clock.now().wall_ms);
        let reply = client.words(&command);
        failed += u32::from(reply.starts_with('-'));
        read += u32::from(command[0].starts_with("XREADGROUP") && reply.starts_with('*') && reply != "*-1|");
        if draw().is_multiple_of(4) {
            clock.pass(draw() % 8);
        }
        if step % 500 == 0 {
            let (_, bytes) = log.read().unwrap();
            twin.replay(&bytes, clock.now()).unwrap();
            for key in ["s0", "s1", "s2"] {
                assert_eq!(all_of(&mut client, key), all_of(&mut reader, key), "{step} {key}");
            }
        }
    }
    assert!(failed < 8000 && read > 200, "the run proves too little: {failed} failed, {read} read");
}

#[test]
fn those_who_wait_are_served_and_the_log_says_what_they_got() {
    let clock = Clock::new();
    let (engine, twin) = (engine(&clock), engine(&clock));
    let log = engine.subscribe_log();
    let mut client = Client::new(&engine, &clock, 0);
    let mut waiting: Vec<Client> = (0..4).map(|_| Client::new(&engine, &clock, 1)).collect();
    client.say("XGROUP CREATE s g $ MKSTREAM");
    assert_eq!(
        waiting[0].say("XREADGROUP GROUP g alice COUNT 1 BLOCK 0 STREAMS t s > >"),
        "-NOGROUP No such key 't' or \
        consumer group 'g' in XREADGROUP with GROUP option|"
    );
    assert_eq!(waiting[0].say("XREADGROUP GROUP g alice COUNT 1 BLOCK 0 STREAMS s >"), "");
    assert_eq!(waiting[1].say("XREADGROUP GROUP g bob BLOCK 0 NOACK STREAMS s >"), "");
    assert_eq!(waiting[2].say("XREAD BLOCK 0 STREAMS t s $ $"), "");
    assert_eq!(waiting[3].say("XREAD BLOCK 0 STREAMS s 5"), "");
    client.bytes(b"MULTI\r\nXADD s 1 f a\r\nXADD s 2 f b\r\nXADD s 3 f c\r\nEXEC\r\n");
    let entry = |id: u8, value: &str| format!("*2|$3|{id}-0|*2|$1|f|$1|{value}|");
    let (a, b, c) = (entry(1, "a"), entry(2, "b"), entry(3, "c"));
    assert_eq!(waiting[0].hear().0, format!("*1|*2|$1|s|*1|{a}"));
    assert_eq!(waiting[1].hear().0, format!("*1|*2|$1|s|*2|{b}{c}"));
    assert_eq!(waiting[2].hear().0, format!("*1|*2|$1|s|*3|{a}{b}{c}"));
    assert_eq!(waiting[3].hear().0, "");
    client.say("XADD s 6 f d");
    assert_eq!(waiting[3].hear().0, format!("*1|*2|$1|s|*1|{}", entry(6, "d")));
    assert_eq!(
        waiting[0].say("XREADGROUP GROUP g alice BLOCK 0 STREAMS s >"),
        format!("*1|*2|$1|s|*1|{}", entry(6, "d"))
    );
    assert_eq!(waiting[0].say("XREADGROUP GROUP g alice BLOCK 0 STREAMS s >"), "");
    let (_, bytes) = log.read().unwrap();
    twin.replay(&bytes, clock.now()).unwrap();
    let mut reader = Client::new(&twin, &clock, 0);
    let all = all_of(&mut client, "s");
    assert_eq!(all, all_of(&mut reader, "s"));
    assert!(all.contains("$5|alice|") && all.contains("$3|bob|"), "{all}");
    client.say("XGROUP DESTROY s g");
    assert_eq!(waiting[0].hear().0, "-NOGROUP the consumer group this client was blocked on no longer exists|");
}

#[test]
fn over_http_nobody_waits_for_a_stream() {
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
    assert_eq!(run(&["XREAD", "STREAMS", "s", "0"]), "*-1\r\n");
    let refused = run(&["XREAD", "BLOCK", "0", "STREAMS", "s", "0"]);
    assert!(refused.starts_with("-ERR XREAD is not available over HTTP"), "{refused}");
    let refused = run(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "9", "STREAMS", "s", ">"]);
    assert!(refused.starts_with("-ERR XREADGROUP is not available over HTTP"), "{refused}");
}
