//! Several databases: each a keyspace of its own, and the log tells which.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::testing::{Client, Clock, dump, engine, engine_with};

#[test]
fn expiry_reaches_every_database() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    for database in [0, 3, 15] {
        client.say(&format!("SELECT {database}"));
        client.say("SET k v PX 100");
        client.say("SET kept v");
    }
    clock.pass(3000);
    let log = engine.subscribe_log();
    assert_eq!(engine.sweep(0, 1, clock.now(), 10_000).expired, 3);
    let text = String::from_utf8(log.read().unwrap().1).unwrap();
    let words: Vec<_> = text.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect();
    assert_eq!(words.join(" ").trim(), "DEL k SELECT 3 DEL k SELECT 15 DEL k");
    assert_eq!(engine.metrics().gauge(crate::metrics::Gauge::Keys), 3);
    assert_eq!(engine.metrics().gauge(crate::metrics::Gauge::Volatile), 0);
    let keyspace = client.say("INFO keyspace");
    for line in ["db0:keys=1,expires=0", "db3:keys=1,expires=0", "db15:keys=1,expires=0"] {
        assert!(keyspace.contains(line), "{keyspace}");
    }
}

#[test]
fn a_cache_has_the_databases_it_was_given() {
    let clock = Clock::new();
    let one = engine_with(&clock, |config| config.databases = 1);
    let mut client = Client::new(&one, &clock, 0);
    assert_eq!(client.say("SELECT 0"), "+OK|");
    assert_eq!(client.say("SELECT 1"), "-ERR DB index is out of range|");
    assert_eq!(client.say("SWAPDB 0 1"), "-ERR DB index is out of range|");
    assert_eq!(client.say("CONFIG GET databases"), "*2|$9|databases|$1|1|");
    let many = engine_with(&clock, |config| config.databases = 256);
    let mut client = Client::new(&many, &clock, 0);
    assert_eq!(client.say("SELECT 255"), "+OK|");
    assert_eq!(client.say("SET k v"), "+OK|");
    assert_eq!(client.say("SELECT 256"), "-ERR DB index is out of range|");
    assert!(client.say("INFO keyspace").contains("db255:keys=1,"));
}

#[test]
fn the_log_says_which_database_a_change_is_in() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let log = engine.subscribe_log();
    let mut client = Client::new(&engine, &clock, 0);
    let logged = |client: &mut Client, lines: &[&str]| {
        lines.iter().for_each(|line| drop(client.say(line)));
        let text = String::from_utf8(log.read().unwrap().1).unwrap();
        text.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ").trim().to_owned()
    };
    assert_eq!(logged(&mut client, &["SET a 1", "SELECT 2", "GET a", "SELECT 3"]), "SET a 1");
    assert_eq!(logged(&mut client, &["SET b 1", "SET c 1"]), "SELECT 3 SET b 1 SET c 1");
    let mut other = Client::new(&engine, &clock, 0);
    assert_eq!(logged(&mut other, &["INCR n"]), "SELECT 0 INCR n");
    assert_eq!(
        logged(&mut client, &["MULTI", "INCR n", "SELECT 4", "GET n", "SELECT 5", "INCR n", "SELECT 6", "EXEC"]),
        "SELECT 3 MULTI INCR n SELECT 5 INCR n EXEC"
    );
    assert_eq!(logged(&mut client, &["SET m 1", "MOVE m 1", "MOVE m 1"]), "SELECT 6 SET m 1 MOVE m 1");
    assert_eq!(logged(&mut client, &["MULTI", "SELECT 7", "EXEC", "FLUSHDB", "FLUSHALL"]), "SELECT 7 FLUSHDB FLUSHALL");
    let script = "redis.call('SET', 'k', '1') redis.call('SELECT', '2') redis.call('INCR', 'k')";
    client.words(&["EVAL", script, "0"]);
    assert_eq!(logged(&mut client, &["INCR k"]), "MULTI SET k 1 SELECT 2 INCR k EXEC SELECT 7 INCR k");
    other.say("BLPOP l 0");
    assert_eq!(logged(&mut client, &["RPUSH l a", "MOVE l 0"]), "RPUSH l a MOVE l 0 SELECT 0 LPOP l");
    assert_eq!(other.hear().0, "*2|$1|l|$1|a|");
    // A reader that comes later begins in database 0 too.
    client.say("SET k 1");
    let late = engine.subscribe_log();
    client.say("SET k 2");
    let text = String::from_utf8(late.read().unwrap().1).unwrap();
    assert!(text.starts_with("*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n"), "{text}");
}

#[test]
fn a_log_in_parts_goes_on_where_it_left_off() {
    let clock = Clock::new();
    let (first, twin) = (engine(&clock), engine(&clock));
    let log = first.subscribe_log();
    let mut client = Client::new(&first, &clock, 0);
    for lines in [&["SELECT 2", "SET k 2"][..], &["SET l 2"], &["SELECT 0", "SET k 0", "SELECT 9"], &["SET k 9"]] {
        lines.iter().for_each(|line| drop(client.say(line)));
        twin.replay(&log.read().unwrap().1, clock.now()).unwrap();
        assert_eq!(dump(&first, clock.now()), dump(&twin, clock.now()));
    }
    assert_eq!(dump(&twin, clock.now()).len(), 4);
}

const DATABASES: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Select(u8),
    Set(u8, u8),
    Get(u8),
    Del(u8),
    Push(u8),
    Expire(u8),
    Move(u8, u8),
    Copy(u8, u8, u8, bool),
    Swap(u8, u8),
    Size,
    Flush,
    FlushAll,
    Pass,
    /// SELECT, SET and MOVE in one transaction.
    Together(u8, u8, u8),
    /// The same in a script, which leaves the client where it is.
    Script(u8, u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (key, database) = (0..4_u8, 0..DATABASES);
    prop_oneof![
        3 => database.clone().prop_map(Step::Select),
        4 => (key.clone(), any::<u8>()).prop_map(|(k, v)| Step::Set(k, v)),
        2 => key.clone().prop_map(Step::Get),
        1 => key.clone().prop_map(Step::Del),
        2 => key.clone().prop_map(Step::Push),
        1 => key.clone().prop_map(Step::Expire),
        4 => (key.clone(), database.clone()).prop_map(|(k, d)| Step::Move(k, d)),
        3 => (key.clone(), key.clone(), database.clone(), any::<bool>()).prop_map(|(a, b, d, r)| Step::Copy(a, b, d, r)),
        2 => (database.clone(), database.clone()).prop_map(|(a, b)| Step::Swap(a, b)),
        2 => Just(Step::Size),
        1 => Just(Step::Flush),
        1 => Just(Step::FlushAll),
        1 => Just(Step::Pass),
        1 => (database.clone(), key.clone(), database.clone()).prop_map(|(a, k, b)| Step::Together(a, k, b)),
        1 => (database.clone(), key, database).prop_map(|(a, k, b)| Step::Script(a, k, b)),
    ]
}

/// A value and when it dies; what a list holds does not matter here, only that it is one.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    text: Option<u8>,
    at: Option<u64>,
}

#[derive(Default)]
struct Twin {
    databases: [BTreeMap<u8, Kept>; DATABASES as usize],
    now: u64,
}

impl Twin {
    fn of(&mut self, database: u8) -> &mut BTreeMap<u8, Kept> {
        let now = self.now;
        let held = &mut self.databases[usize::from(database)];
        held.retain(|_, kept| kept.at.is_none_or(|at| now <= at));
        held
    }

    fn shift(&mut self, from: u8, key: u8, to: u8) -> String {
        if from == to {
            return "-ERR source and destination objects are the same|".into();
        }
        if !self.of(from).contains_key(&key) || self.of(to).contains_key(&key) {
            return ":0|".into();
        }
        let kept = self.of(from).remove(&key).unwrap();
        self.of(to).insert(key, kept);
        ":1|".into()
    }

    /// The replies a client in database `at` must get; it may be in another afterwards.
    fn step(&mut self, step: &Step, at: &mut u8) -> Option<String> {
        let count = |truth: bool| format!(":{}|", i32::from(truth));
        Some(match *step {
            Step::Pass => return None,
            Step::Select(database) => {
                *at = database;
                "+OK|".into()
            }
            Step::Set(key, value) => {
                self.of(*at).insert(key, Kept { text: Some(value), at: None });
                "+OK|".into()
            }
            Step::Get(key) => match self.of(*at).get(&key) {
                None => "$-1|".into(),
                Some(Kept { text: None, .. }) => {
                    "-WRONGTYPE Operation against a key holding the wrong kind of value|".into()
                }
                Some(Kept { text: Some(text), .. }) => format!("${}|{text}|", text.to_string().len()),
            },
            Step::Del(key) => count(self.of(*at).remove(&key).is_some()),
            Step::Push(key) => match self.of(*at).get(&key) {
                Some(_) => return None,
                None => {
                    self.of(*at).insert(key, Kept { text: None, at: None });
                    ":1|".into()
                }
            },
            Step::Expire(key) => {
                let dies = self.now + 20;
                count(self.of(*at).get_mut(&key).map(|kept| kept.at = Some(dies)).is_some())
            }
            Step::Move(key, to) => self.shift(*at, key, to),
            Step::Copy(from, to, database, replace) => {
                if from == to && database == *at {
                    return Some("-ERR source and destination objects are the same|".into());
                }
                match self.of(*at).get(&from).cloned() {
                    Some(kept) if replace || !self.of(database).contains_key(&to) => {
                        self.of(database).insert(to, kept);
                        ":1|".into()
                    }
                    _ => ":0|".into(),
                }
            }
            Step::Swap(one, other) => {
                self.databases.swap(one.into(), other.into());
                "+OK|".into()
            }
            Step::Size => format!(":{}|", self.of(*at).len()),
            Step::Flush => {
                self.of(*at).clear();
                "+OK|".into()
            }
            Step::FlushAll => {
                self.databases = Default::default();
                "+OK|".into()
            }
            Step::Together(database, key, to) => {
                *at = database;
                self.of(database).insert(key, Kept { text: Some(key), at: None });
                let moved = self.shift(database, key, to);
                format!("+OK|+QUEUED|+QUEUED|+QUEUED|*3|+OK|+OK|{moved}")
            }
            Step::Script(database, key, to) => {
                self.of(database).insert(key, Kept { text: Some(key), at: None });
                match self.shift(database, key, to) {
                    error if error.starts_with('-') => return None,
                    moved => moved,
                }
            }
        })
    }
}

fn say(client: &mut Client, step: &Step) -> String {
    match *step {
        Step::Pass => String::new(),
        Step::Select(database) => client.say(&format!("SELECT {database}")),
        Step::Set(key, value) => client.say(&format!("SET {key} {value}")),
        Step::Get(key) => client.say(&format!("GET {key}")),
        Step::Del(key) => client.say(&format!("DEL {key}")),
        Step::Push(key) => {
            // Onto what is there it would not be told apart; only a new list is made.
            if client.say(&format!("EXISTS {key}")) == ":1|" {
                String::new()
            } else {
                client.say(&format!("RPUSH {key} x"))
            }
        }
        Step::Expire(key) => client.say(&format!("PEXPIRE {key} 20")),
        Step::Move(key, to) => client.say(&format!("MOVE {key} {to}")),
        Step::Copy(from, to, database, replace) => {
            client.say(&format!("COPY {from} {to} DB {database}{}", if replace { " REPLACE" } else { "" }))
        }
        Step::Swap(one, other) => client.say(&format!("SWAPDB {one} {other}")),
        Step::Size => {
            // Keys that are due and not swept would be counted.
            client.say("EXISTS 0 1 2 3");
            client.say("DBSIZE")
        }
        Step::Flush => client.say("FLUSHDB"),
        Step::FlushAll => client.say("FLUSHALL"),
        Step::Together(database, key, to) => {
            let lines = ["MULTI".into(), format!("SELECT {database}"), format!("SET {key} {key}")];
            let lines = lines.into_iter().chain([format!("MOVE {key} {to}"), "EXEC".into()]);
            lines.map(|line| client.say(&line)).collect()
        }
        Step::Script(database, key, to) => {
            let script = format!(
                "redis.call('SELECT', {database}) redis.call('SET', {key}, {key}) return redis.call('MOVE', {key}, {to})"
            );
            client.words(&["EVAL", &script, "0"])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Two clients, each in a database of its own, against plain maps; and the log, replayed, gives the same state.
    #[test]
    fn databases_are_plain_maps_and_replay_to_the_same(
        steps in proptest::collection::vec((any::<bool>(), step()), 1..100),
    ) {
        let clock = Clock::new();
        let (engine, replayed) = (engine(&clock), engine(&clock));
        let log = engine.subscribe_log();
        let mut clients = [Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1)];
        let (mut twin, mut at) = (Twin::default(), [0, 0]);
        for (who, step) in &steps {
            let who = usize::from(*who);
            if matches!(step, Step::Pass) {
                clock.pass(11);
            }
            twin.now = clock.now().wall_ms;
            let want = twin.step(step, &mut at[who]);
            let got = say(&mut clients[who], step);
            if let Some(want) = want {
                prop_assert_eq!(got, want, "{:?} in {}", step, at[who]);
            }
            replayed.replay(&log.read().unwrap().1, clock.now()).unwrap();
        }
        prop_assert_eq!(dump(&engine, clock.now()), dump(&replayed, clock.now()));
        // What the tallies say is what is there.
        let keyspace = clients[0].say("INFO keyspace");
        for database in 0..DATABASES {
            clients[0].say(&format!("SELECT {database}"));
            let size = clients[0].say("DBSIZE");
            let line = format!("db{database}:keys={},", size.trim_matches([':', '|']));
            prop_assert_eq!(keyspace.contains(&line), size != ":0|", "{} but {}", keyspace, size);
        }
    }
}

#[test]
fn an_exchange_brings_watchers_only_what_is_alive() {
    for (came, before, expected) in [
        // What is due already is nothing to who watches nothing.
        ("SET k v PX 10", "PING", "*1|+PONG|"),
        ("SET k v PX 100000", "PING", "*-1|"),
        ("PING", "PING", "*1|+PONG|"),
        ("PING", "SET k v", "*-1|"),
        // It was there when the watch began.
        ("PING", "SET k v PX 10", "*-1|"),
    ] {
        let clock = Clock::new();
        let engine = engine(&clock);
        let mut client = Client::new(&engine, &clock, 0);
        client.say("SELECT 1");
        client.say(came);
        client.say("SELECT 0");
        client.say(before);
        client.say("WATCH k");
        clock.pass(20);
        client.say("SWAPDB 0 1");
        client.say("MULTI");
        client.say("PING");
        assert_eq!(client.say("EXEC"), expected, "{came}, {before}");
        assert_eq!(client.say("SELECT 0"), "+OK|");
    }
}

#[test]
fn trackers_are_told_when_databases_are_exchanged() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (mut tracker, mut other) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    other.say("SET k 1");
    tracker.say("HELLO 3");
    tracker.say("CLIENT TRACKING ON");
    assert_eq!(tracker.say("GET k"), "$1|1|");
    other.say("SWAPDB 0 0");
    assert_eq!(tracker.hear().0, "");
    other.say("SWAPDB 0 1");
    assert_eq!(tracker.hear().0, ">2|$10|invalidate|_|");
    assert_eq!(tracker.say("GET k"), "_|");
    other.say("SET k 2");
    assert_eq!(tracker.hear().0, ">2|$10|invalidate|*1|$1|k|");
}

#[test]
fn what_is_tracked_inside_a_transaction_is_told_after_it() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let (mut tracker, mut other) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    other.say("SET k 1");
    tracker.say("HELLO 3");
    tracker.say("CLIENT TRACKING ON");
    tracker.say("GET k");
    tracker.say("MULTI");
    other.say("SET k 2");
    // Others' changes are told while it queues, as in redis.
    assert_eq!(tracker.hear().0, ">2|$10|invalidate|*1|$1|k|");
    tracker.say("SET k 3");
    tracker.say("GET k");
    assert_eq!(tracker.say("EXEC"), "*2|+OK|$1|3|");
    other.say("SET k 4");
    assert_eq!(tracker.hear().0, ">2|$10|invalidate|*1|$1|k|");
    assert_eq!(tracker.hear().0, "");
}
