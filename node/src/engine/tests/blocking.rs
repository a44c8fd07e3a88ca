//! Clients that wait: who is served, by whom, in which order, and what ends a wait otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::commands::{Effect, Serve};
use crate::db::Key;
use crate::db::entry::Kind;
use crate::engine::{Cx, Engine, Next};
use crate::error::CommandError;
use crate::resp::{Args, OwnedArgs};
use crate::session::Blocked;
use crate::testing::{Client, Clock, access, dump, engine, guarded};
use crate::waiters::Waiter;

fn blocked(engine: &Arc<Engine>, clock: &Clock, line: &str) -> Client {
    let mut client = Client::new(engine, clock, 0);
    assert_eq!(client.say(line), "");
    assert!(client.session.is_blocked(), "{line}");
    client
}

fn waits(client: &mut Client) -> bool {
    let (heard, next) = client.hear();
    heard.is_empty() && matches!(next, Next::Blocked(_))
}

/// A key whose partition is not that of `other`.
fn apart(engine: &Engine, other: &str) -> String {
    let partition = |key: &str| engine.db.partition_of(engine.db.hash(key.as_bytes()));
    (0..).map(|n| format!("apart{n}")).find(|key| partition(key) != partition(other)).unwrap_or_default()
}

#[test]
fn first_come_first_served_whatever_they_wait_in() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let lines = ["BLPOP x q 0", "BLMOVE q d LEFT RIGHT 0", "BZPOPMIN q 0", "BRPOPLPUSH q d 0", "BLMPOP 0 1 q RIGHT"];
    let mut waiting: Vec<Client> = lines.iter().map(|line| blocked(&engine, &clock, line)).collect();
    let mut pusher = Client::new(&engine, &clock, 1);
    assert_eq!(pusher.say("RPUSH q 1 2 3 4 5"), ":5|");
    let replies = ["*2|$1|q|$1|1|", "$1|2|", "", "$1|5|", "*2|$1|q|*1|$1|4|"];
    for (client, reply) in waiting.iter_mut().zip(replies) {
        assert_eq!(client.hear().0, reply);
    }
    assert_eq!(pusher.say("LRANGE q 0 -1"), "*1|$1|3|");
    assert_eq!(pusher.say("LRANGE d 0 -1"), "*2|$1|5|$1|2|");
    pusher.say("DEL q");
    pusher.say("ZADD q 1 m");
    assert_eq!(waiting[2].hear().0, "*3|$1|q|$1|m|$1|1|");
}

#[test]
fn served_once_an_exec_or_a_script_is_over() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut pusher = Client::new(&engine, &clock, 1);
    let mut mover = blocked(&engine, &clock, "BLMOVE q d LEFT RIGHT 0");
    ["MULTI", "RPUSH q 1", "DEL q", "RPUSH q 2", "LLEN d"].iter().for_each(|line| drop(pusher.say(line)));
    assert_eq!(pusher.say("EXEC"), "*4|:1|:1|:1|:0|");
    assert_eq!(mover.hear().0, "$1|2|");
    let mut popper = blocked(&engine, &clock, "BLPOP q 0");
    let mut mover = blocked(&engine, &clock, "BLMOVE q d LEFT RIGHT 0");
    let script = "redis.call('RPUSH', 'q', 3, 4); return redis.call('LLEN', 'q')";
    assert_eq!(pusher.words(&["EVAL", script, "0"]), ":2|");
    assert_eq!((popper.hear().0.as_str(), mover.hear().0.as_str()), ("*2|$1|q|$1|3|", "$1|4|"));
    let mut popper = blocked(&engine, &clock, "BLPOP q 0");
    ["MULTI", "RPUSH q 1", "DEL q"].iter().for_each(|line| drop(pusher.say(line)));
    assert_eq!(pusher.say("EXEC"), "*2|:1|:1|");
    assert!(waits(&mut popper));
}

#[test]
fn unblocked_by_its_number() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut other = Client::new(&engine, &clock, 1);
    for (reason, reply) in
        [("", "*-1|"), (" TIMEOUT", "*-1|"), (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK|")]
    {
        for line in ["BLPOP q 0", "BLMOVE q d LEFT RIGHT 100", "BZMPOP 0 1 q MIN"] {
            let mut client = blocked(&engine, &clock, line);
            let unblock = format!("CLIENT UNBLOCK {}{reason}", client.session.id());
            assert_eq!(other.say(&unblock), ":1|");
            assert_eq!(client.hear().0, reply);
            assert_eq!(client.say("PING"), "+PONG|");
            assert_eq!(other.say(&unblock), ":0|", "it waits no more");
            // Nor is its next wait cut short.
            assert_eq!(client.say("BLPOP p 0"), "");
            assert!(waits(&mut client));
        }
    }
    assert_eq!(other.say("RPUSH q 1"), ":1|");
    assert_eq!(other.say("LLEN q"), ":1|");
}

#[test]
fn what_was_served_first_wins_over_being_unblocked() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut other = Client::new(&engine, &clock, 1);
    let mut client = blocked(&engine, &clock, "BLPOP q 0");
    other.say("RPUSH q 1");
    other.say(&format!("CLIENT UNBLOCK {} ERROR", client.session.id()));
    assert_eq!(client.hear().0, "*2|$1|q|$1|1|");
    assert_eq!(client.say("BLPOP q 0"), "");
    assert!(waits(&mut client), "that call was for the wait before");
}

#[test]
fn killed_by_its_number_it_takes_nothing() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut other = Client::new(&engine, &clock, 1);
    let mut client = blocked(&engine, &clock, "BLMOVE q d LEFT RIGHT 0");
    assert_eq!(other.say(&format!("CLIENT KILL ID {}", client.session.id())), ":1|");
    assert_eq!(client.hear(), (String::new(), Next::Close));
    drop(client);
    assert_eq!(other.say("RPUSH q 1"), ":1|");
    assert_eq!((other.say("LLEN q"), other.say("EXISTS d")), (":1|".to_owned(), ":0|".to_owned()));
}

#[test]
fn time_is_up_to_the_millisecond_and_for_whom_it_is() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut short = blocked(&engine, &clock, "BLMOVE q d LEFT RIGHT 0.5");
    let mut long = blocked(&engine, &clock, "BRPOPLPUSH q d 1");
    clock.pass(499);
    assert!(waits(&mut short));
    clock.pass(1);
    assert_eq!(short.hear().0, "*-1|");
    assert!(waits(&mut long));
    let mut other = Client::new(&engine, &clock, 1);
    other.say("RPUSH q 1");
    assert_eq!(long.hear().0, "$1|1|");
}

#[test]
fn a_waiter_at_several_keys_is_served_once_by_the_first() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = blocked(&engine, &clock, "BLPOP a b c 0");
    let mut other = Client::new(&engine, &clock, 1);
    ["MULTI", "RPUSH c 1", "RPUSH a 2", "EXEC"].iter().for_each(|line| drop(other.say(line)));
    assert_eq!(client.hear().0, "*2|$1|c|$1|1|");
    assert_eq!(other.say("LLEN a"), ":1|");
    assert_eq!(client.say("BLPOP a b c 0"), "*2|$1|a|$1|2|");
    assert_eq!(client.say("BLPOP a a 0"), "");
    assert_eq!(other.say("RPUSH a 1 2"), ":2|");
    assert_eq!(client.hear().0, "*2|$1|a|$1|1|");
    assert_eq!(other.say("LLEN a"), ":1|");
}

#[test]
fn both_keys_of_a_move_are_asked_about_again() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let login = |words: &str| {
        let mut client = Client::new(&engine, &clock, 0);
        assert_eq!(client.say(&format!("AUTH {words}")), "+OK|");
        client
    };
    let (mut root, mut app, mut tenant) = (login("root-token"), login("app app-password"), login("tenant-token"));
    assert!(app.say("BLMOVE a:q b:d LEFT RIGHT 0").starts_with("-NOPERM"));
    assert!(app.say("BLMOVE b:q a:d LEFT RIGHT 0").starts_with("-NOPERM"));
    assert_eq!(app.say("BLMOVE a:q a:d LEFT RIGHT 0"), "");
    root.say("RPUSH a:q 1");
    assert_eq!(app.hear().0, "$1|1|");
    // The tenant may write only what dies within a minute, and that is the destination's to say.
    root.say("EXPIRE a:d 50");
    assert_eq!(tenant.say("BLMOVE a:q a:d LEFT RIGHT 0"), "");
    root.say("RPUSH a:q 2");
    assert_eq!(tenant.hear().0, "$1|2|");
    assert_eq!(tenant.say("BLMOVE a:q a:d LEFT RIGHT 0"), "");
    root.say("PERSIST a:d");
    root.say("RPUSH a:q 3");
    assert!(tenant.hear().0.starts_with("-NOPERM"));
    assert_eq!(root.say("LLEN a:q"), ":1|");
    root.say("DEL a:q");
    assert_eq!(app.say("BLMOVE a:q a:d LEFT RIGHT 0"), "");
    engine.access().publish(access(true));
    let mut other = Client::new(&engine, &clock, 1);
    other.say("RPUSH a:q 4");
    assert_eq!((other.say("LLEN a:q"), app.hear().1), (":1|".to_owned(), Next::Close));
}

/// Holds the partition of a key and the gate while `act` runs: who needs it can neither have it nor wait for it.
fn while_held(engine: &Engine, key: &str, act: impl FnOnce()) {
    let partition = engine.db.partition_of(engine.db.hash(key.as_bytes()));
    let held = engine.db.lock_gated(&[partition as u16]);
    assert!(held.is_ok());
    act();
    drop(held);
}

#[test]
fn a_move_whose_destination_is_held_is_owed_and_keeps_its_place() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let far = apart(&engine, "q");
    let mut pusher = Client::new(&engine, &clock, 1);
    let mut mover = blocked(&engine, &clock, &format!("BLMOVE q {far} LEFT RIGHT 0"));
    let mut popper = blocked(&engine, &clock, "BLPOP q 0");
    while_held(&engine, &far, || {
        assert_eq!(pusher.say("RPUSH q 1 2 3"), ":3|");
        assert!(waits(&mut mover) && waits(&mut popper));
    });
    assert_eq!(mover.hear().0, "$1|1|");
    assert_eq!(popper.hear().0, "*2|$1|q|$1|2|");
    assert_eq!((pusher.say("LLEN q"), pusher.say(&format!("LLEN {far}"))), (":1|".to_owned(), ":1|".to_owned()));
    // A later push pays the debt too; what its own worker finds then is nothing.
    pusher.say("DEL q");
    let mut mover = blocked(&engine, &clock, &format!("BRPOPLPUSH q {far} 0"));
    while_held(&engine, &far, || drop(pusher.say("RPUSH q 4")));
    pusher.say("LPOP q");
    assert!(waits(&mut mover), "what it was owed is gone");
    pusher.say("RPUSH q 5");
    assert_eq!(mover.hear().0, "$1|5|");
}

#[test]
fn who_leaves_while_owed_hands_it_on() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let far = apart(&engine, "q");
    let mut pusher = Client::new(&engine, &clock, 1);
    let gone = blocked(&engine, &clock, &format!("BLMOVE q {far} LEFT RIGHT 0"));
    let mut popper = blocked(&engine, &clock, "BLPOP q 0");
    while_held(&engine, &far, || drop(pusher.say("RPUSH q 1")));
    assert!(waits(&mut popper));
    drop(gone);
    assert_eq!(popper.hear().0, "*2|$1|q|$1|1|");
}

#[test]
fn chains_and_circles_of_moves_end() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut pusher = Client::new(&engine, &clock, 1);
    let ring = |from: usize| format!("BLMOVE r{from} r{} LEFT RIGHT 0", (from + 1) % 20);
    let mut waiting: Vec<Client> = (0..20).map(|from| blocked(&engine, &clock, &ring(from))).collect();
    assert_eq!(pusher.say("RPUSH r7 x"), ":1|");
    waiting.iter_mut().for_each(|client| assert_eq!(client.hear().0, "$1|x|"));
    assert_eq!(pusher.say("LRANGE r7 0 -1"), "*1|$1|x|");
}

#[test]
fn the_log_of_what_was_moved_replays_to_the_same_state() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let log = engine.subscribe_log();
    let mut pusher = Client::new(&engine, &clock, 1);
    pusher.say("RPUSH d 0");
    pusher.say("EXPIRE d 1000");
    let lines = ["BLMOVE q d RIGHT LEFT 0", "BRPOPLPUSH q q 0", "BLPOP q 0", "BRPOPLPUSH d e 0"];
    let _waiting: Vec<Client> = lines[..3].iter().map(|line| blocked(&engine, &clock, line)).collect();
    ["MULTI", "RPUSH q a b", "LPUSH q c", "EXEC", "BLMOVE d e LEFT RIGHT 0", "BRPOPLPUSH e f 0"]
        .iter()
        .for_each(|line| drop(pusher.say(line)));
    let bytes = log.read().unwrap().1;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let words: Vec<&str> =
        text.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$'])).collect();
    let at = clock.now().wall_ms + 1_000_000;
    let expected = format!(
        "RPUSH d 0 PEXPIREAT d {at} MULTI RPUSH q a b LPUSH q c EXEC LMOVE q d RIGHT LEFT RPOPLPUSH q q LPOP q \
         LMOVE d e LEFT RIGHT RPOPLPUSH e f"
    );
    assert_eq!(words.join(" "), expected);
    let twin = crate::testing::engine(&clock);
    twin.replay(&bytes, clock.now()).unwrap();
    assert_eq!(dump(&engine, clock.now()), dump(&twin, clock.now()));
}

/// Serves who waits for a list that long, and takes nothing.
fn look(cx: &mut Cx<'_>, key: Key<'_>, request: Args<'_>) -> Result<Option<Effect>, CommandError> {
    let wanted: usize = std::str::from_utf8(request.get(2)).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    let length = cx.keys.collection::<crate::db::entry::List>(key)?.map_or(0, |list| list.len());
    if length < wanted {
        return Ok(None);
    }
    cx.out.int(length as i64);
    Ok(Some(Effect::new()))
}

const LOOK: Serve = Serve { kind: Kind::List, take: look, gone: Some("UNBLOCKED it is gone"), ..Serve::WAITING };

/// Makes a client wait in `BLPOP q n` as if that were a command that reads once there are `n`.
fn looking(engine: &Arc<Engine>, clock: &Clock, wanted: usize) -> Client {
    let mut client = Client::new(engine, clock, 0);
    let inside = client.session.identity.as_ref().unwrap().inside.clone();
    let request = OwnedArgs::from_slices(["BLPOP", "q", &wanted.to_string()]);
    let waiter = Arc::new(Waiter::new(request, inside, LOOK, &client.session, 0));
    let partition = engine.db.partition_of(engine.db.hash(b"q"));
    engine.db.lock_patiently(partition).shard(partition, 0).waiters.push(b"q", waiter.clone());
    engine.metrics.of(0).shift(crate::metrics::Gauge::Blocked, 1);
    client.session.blocked = Some(Blocked { waiter, deadline_us: None });
    client
}

#[test]
fn who_only_reads_is_served_beside_others_or_passed_over() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let log = engine.subscribe_log();
    let mut pusher = Client::new(&engine, &clock, 1);
    let mut waiting: Vec<Client> = [3, 1, 2, 1].map(|wanted| looking(&engine, &clock, wanted)).into();
    pusher.say("RPUSH q 1 2");
    assert!(waits(&mut waiting[0]));
    [1, 2, 3].iter().for_each(|at| assert_eq!(waiting[*at].hear().0, ":2|"));
    pusher.say("RPUSH q 3");
    assert_eq!(waiting[0].hear().0, ":3|");
    let logged = String::from_utf8_lossy(&log.read().unwrap().1).matches("RPUSH").count();
    assert_eq!(logged, 2, "who reads leaves no record");
}

#[test]
fn who_minds_is_told_of_what_went_while_somebody_served_it_from_another_key() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut other = Client::new(&engine, &clock, 1);
    other.say("RPUSH q 1");
    let mut minds = looking(&engine, &clock, 9);
    let waiter = minds.session.blocked.as_ref().unwrap().waiter.clone();
    assert!(waiter.claim());
    other.say("DEL q");
    // There was nothing for it at the other key.
    waiter.unclaim();
    assert_eq!(minds.hear().0, "-UNBLOCKED it is gone|");
}

#[test]
fn who_minds_is_told_that_the_key_is_gone() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut pusher = Client::new(&engine, &clock, 1);
    let told = "-UNBLOCKED it is gone|";
    for lines in [&["DEL q"][..], &["SET q v"], &["GETDEL q"], &["RENAME q x"], &["FLUSHALL"], &["FLUSHDB"]] {
        pusher.say("FLUSHALL");
        pusher.say("RPUSH q 1");
        let (mut minds, mut pops) = (looking(&engine, &clock, 9), blocked(&engine, &clock, "BZPOPMIN x 0"));
        lines.iter().for_each(|line| drop(pusher.say(line)));
        let expected = if lines[0].starts_with("GETDEL") { "" } else { told };
        assert_eq!(minds.hear().0, expected, "{lines:?}");
        assert!(waits(&mut pops));
    }
    pusher.say("FLUSHALL");
    pusher.say("RPUSH q 1");
    let mut minds = looking(&engine, &clock, 2);
    ["MULTI", "DEL q", "RPUSH q 1", "EXEC"].iter().for_each(|line| drop(pusher.say(line)));
    assert!(waits(&mut minds), "it is there again");
    // By its time, found by someone or by the sweep.
    pusher.say("PEXPIRE q 10");
    clock.pass(11);
    pusher.say("EXISTS q");
    assert_eq!(minds.hear().0, told);
    pusher.say("RPUSH q 1");
    pusher.say("PEXPIRE q 10");
    let mut minds = looking(&engine, &clock, 2);
    clock.pass(3000);
    engine.sweep(0, 1, clock.now(), 100_000);
    assert_eq!(minds.hear().0, told);
}

/// Says `line`, waiting until it is answered; `None` when `done` comes first.
fn say_patiently(client: &mut Client, line: &str, done: &AtomicBool) -> Option<String> {
    let mut reply = client.say(line);
    while client.session.is_blocked() {
        if done.load(Ordering::Relaxed) {
            return None;
        }
        reply = client.hear().0;
        std::thread::yield_now();
    }
    Some(reply)
}

#[test]
fn moves_of_many_threads_lose_nothing_keep_the_order_and_leave_nobody_waiting() {
    const ELEMENTS: usize = 1000;
    let clock = Clock::new();
    let engine = engine(&clock);
    let log = engine.subscribe_log();
    let done = Arc::new(AtomicBool::new(false));
    let spawn = |worker: usize, run: fn(Client, &AtomicBool)| {
        let (client, done) = (Client::new(&engine, &clock, worker), done.clone());
        std::thread::spawn(move || run(client, &done))
    };
    // None gives up by itself: an element that nobody is told of would end this by its time limit.
    let first: fn(Client, &AtomicBool) =
        |mut client, done| while say_patiently(&mut client, "BLMOVE a b LEFT RIGHT 0", done).is_some() {};
    let second: fn(Client, &AtomicBool) =
        |mut client, done| while say_patiently(&mut client, "BLMOVE b c LEFT RIGHT 0", done).is_some() {};
    let mut threads: Vec<_> = [first, first, second, second].map(|run| spawn(0, run)).into();
    threads.push(spawn(1, |mut client, _| {
        for n in 0..ELEMENTS {
            client.say(&format!("RPUSH a {n}"));
            // So that the movers are waiting when the next comes.
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }));
    // Somebody in the way of everyone.
    threads.push(spawn(2, |client, done| {
        let db = &client.session.engine.db;
        for key in [&b"b"[..], b"c"].iter().cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
            let held = db.lock_gated(&[db.partition_of(db.hash(key)) as u16]);
            std::thread::sleep(std::time::Duration::from_micros(100));
            drop(held);
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
    }));
    let mut consumer = Client::new(&engine, &clock, 3);
    let started = std::time::Instant::now();
    for n in 0..ELEMENTS {
        let text = n.to_string();
        let watchdog = |client: &mut Client| {
            let mut reply = client.say("BLPOP c 0");
            while client.session.is_blocked() {
                assert!(started.elapsed().as_secs() < 120, "element {n} of {ELEMENTS} does not come");
                reply = client.hear().0;
                std::thread::yield_now();
            }
            reply
        };
        assert_eq!(watchdog(&mut consumer), format!("*2|$1|c|${}|{text}|", text.len()));
    }
    done.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let twin = crate::testing::engine(&clock);
    twin.replay(&log.read().unwrap().1, clock.now()).unwrap();
    assert!(dump(&engine, clock.now()).is_empty() && dump(&twin, clock.now()).is_empty());
}

#[test]
fn who_is_served_from_another_key_just_now_is_not_forgotten_at_this_one() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut pusher = Client::new(&engine, &clock, 1);
    let mut client = blocked(&engine, &clock, "BLPOP p q 0");
    let waiter = client.session.blocked.as_ref().unwrap().waiter.clone();
    // As somebody does who looks at `p` and finds nothing for it.
    assert!(waiter.claim());
    assert_eq!(pusher.say("RPUSH q 1"), ":1|");
    waiter.unclaim();
    assert_eq!(client.hear().0, "*2|$1|q|$1|1|");
    assert_eq!(client.say("BLPOP p q 0"), "");
    let waiter = client.session.blocked.as_ref().unwrap().waiter.clone();
    assert!(waiter.claim());
    pusher.say("RPUSH q 2");
    pusher.say("LPOP q");
    waiter.unclaim();
    assert!(waits(&mut client));
    pusher.say("RPUSH q 3");
    assert_eq!(client.hear().0, "*2|$1|q|$1|3|");
}

/// A client that reads a stream as a member of a group: it minds that the stream goes.
fn reading_in_a_group(engine: &Arc<Engine>, clock: &Clock) -> Client {
    let mut maker = Client::new(engine, clock, 1);
    assert_eq!(maker.say("XGROUP CREATE s g $ MKSTREAM"), "+OK|");
    assert_eq!(maker.say("PEXPIRE s 10"), ":1|");
    blocked(engine, clock, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >")
}

#[test]
fn who_minds_is_told_of_a_key_that_is_evicted_or_found_dead_over_http() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = reading_in_a_group(&engine, &clock);
    let mut other = Client::new(&engine, &clock, 1);
    other.say("CONFIG SET maxmemory-policy volatile-lru");
    engine.db.eviction.set_limit(1);
    assert!(other.say("SET x 1").starts_with("-OOM"));
    assert_eq!(other.say("EXISTS s"), ":0|");
    assert!(client.hear().0.starts_with("-UNBLOCKED"));
    engine.db.eviction.set_limit(0);

    let mut client = reading_in_a_group(&engine, &clock);
    clock.pass(11);
    let now = clock.now();
    let identity = other.session.identity.clone().unwrap();
    let args = OwnedArgs::from_slices(["GET", "s"]);
    let call = crate::commands::Call::new(args.as_args(), now).unwrap();
    let permit = identity.grant.permit(&identity.inside, call, now.wall_ms).unwrap();
    let paid = engine.meters().charge(permit, now).unwrap();
    let mut session = other.detached();
    let kept = engine.update(&mut session, paid, now, &mut |_| crate::engine::Change::Keep);
    assert!(kept.is_ok());
    assert!(client.hear().0.starts_with("-UNBLOCKED"));
}

#[test]
fn who_minds_is_told_of_a_key_found_dead_by_a_call_that_is_denied() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let login = |words: &str| {
        let mut client = Client::new(&engine, &clock, 0);
        assert_eq!(client.say(&format!("AUTH {words}")), "+OK|");
        client
    };
    let (mut root, mut app, mut tenant) = (login("root-token"), login("app app-password"), login("tenant-token"));
    root.say("XGROUP CREATE a:s g $ MKSTREAM");
    root.say("PEXPIRE a:s 10");
    assert_eq!(app.say("XREADGROUP GROUP g c BLOCK 0 STREAMS a:s >"), "");
    clock.pass(11);
    // Its TTL is looked at before the tenant is refused; what follows in the batch holds another partition.
    let (replies, _) = tenant.bytes(b"INCR a:s\r\nGET a:other\r\nGET a:another\r\n");
    assert!(replies.starts_with("-NOPERM") && replies.ends_with("|$-1|$-1|"), "{replies}");
    assert!(app.hear().0.starts_with("-UNBLOCKED"));
}
