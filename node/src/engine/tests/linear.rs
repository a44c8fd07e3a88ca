//! Per-key linearizability: what clients of several workers saw of one key fits some order of single steps.
//!
//! Each thread's operations are sequential, so a history is checked by walking all ways to interleave the threads that
//! respect time: an operation may be next if no other pending one had returned before it was called (Wing and Gong, with
//! the states reached remembered). A transaction is one step; a blocked pop is one somewhere between call and reply;
//! a key with an expiry may be gone at any step, as the clock is nobody's.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::testing::{Client, Clock, engine};

const THREADS: usize = 3;
const STEPS: usize = 40;

/// One operation on the key, as its thread saw it: a command without its key, or several for one transaction.
#[derive(Debug, Clone)]
struct Seen {
    called: u64,
    returned: u64,
    lines: Vec<String>,
    reply: String,
}

/// What the key holds: a string, which may expire, or a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct State {
    text: Option<String>,
    volatile: bool,
    list: VecDeque<String>,
}

fn bulk(value: Option<&String>) -> String {
    value.map_or("$-1|".to_owned(), |value| format!("${}|{value}|", value.len()))
}

impl State {
    /// What a single command makes of the key, and what it answers.
    fn step(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "RPUSH" | "LPUSH" | "LPOP" | "RPOP" | "BLPOP" | "LRANGE" => self.list_step(&words),
            "GET" => bulk(self.text.as_ref()),
            "EXISTS" => format!(":{}|", i32::from(self.text.is_some())),
            "SET" => {
                let old = self.text.replace(words[1].to_owned());
                self.volatile = words.contains(&"PX");
                if words.contains(&"GET") { bulk(old.as_ref()) } else { "+OK|".to_owned() }
            }
            "GETDEL" => bulk(std::mem::take(self).text.as_ref()),
            "DEL" => format!(":{}|", i32::from(std::mem::take(self).text.is_some())),
            "PERSIST" => {
                format!(":{}|", i32::from(std::mem::take(&mut self.volatile) && self.text.is_some()))
            }
            "APPEND" => {
                let whole = self.text.get_or_insert_default();
                whole.push_str(words[1]);
                format!(":{}|", whole.len())
            }
            "INCR" => match self.text.as_deref().unwrap_or("0").parse::<i64>() {
                Ok(number) => {
                    self.text = Some((number + 1).to_string());
                    format!(":{}|", number + 1)
                }
                Err(_) => "-ERR value is not an integer or out of range|".to_owned(),
            },
            other => panic!("{other} has no model"),
        }
    }

    fn list_step(&mut self, words: &[&str]) -> String {
        match words[0] {
            "RPUSH" => {
                self.list.extend(words[1..].iter().map(|word| (*word).to_owned()));
                format!(":{}|", self.list.len())
            }
            "LPUSH" => {
                words[1..].iter().for_each(|word| self.list.push_front((*word).to_owned()));
                format!(":{}|", self.list.len())
            }
            "LPOP" => bulk(self.list.pop_front().as_ref()),
            "RPOP" => bulk(self.list.pop_back().as_ref()),
            // In vain, it saw an empty list when it began to wait.
            "BLPOP" => match self.list.pop_front() {
                Some(element) => format!("*2|$1|k|{}", bulk(Some(&element))),
                None => "*-1|".to_owned(),
            },
            _ => format!("*{}|{}", self.list.len(), self.list.iter().map(|one| bulk(Some(one))).collect::<String>()),
        }
    }

    /// The states one operation may lead to from here, if its reply is right there.
    fn after(&self, seen: &Seen) -> Vec<State> {
        let expired = self.volatile.then(State::default);
        let tried = |mut state: State| {
            let replies: String = seen.lines.iter().map(|line| state.step(line)).collect();
            let reply = if seen.lines.len() == 1 { replies } else { format!("*{}|{replies}", seen.lines.len()) };
            (reply == seen.reply).then_some(state)
        };
        [Some(self.clone()), expired].into_iter().flatten().filter_map(tried).collect()
    }
}

fn is_linearizable(threads: &[Vec<Seen>]) -> bool {
    let mut frontier = HashSet::from([(vec![0; threads.len()], State::default())]);
    let total: usize = threads.iter().map(Vec::len).sum();
    for _ in 0..total {
        let mut next = HashSet::new();
        for (places, state) in &frontier {
            let pending = |t: usize| threads[t].get(places[t]);
            for t in 0..threads.len() {
                let Some(seen) = pending(t) else { continue };
                let too_late = (0..threads.len()).any(|o| pending(o).is_some_and(|other| other.returned < seen.called));
                if too_late {
                    continue;
                }
                let mut places = places.clone();
                places[t] += 1;
                next.extend(state.after(seen).into_iter().map(|state| (places.clone(), state)));
            }
        }
        frontier = next;
    }
    !frontier.is_empty()
}

/// What a thread does next with a string.
fn string_lines(random: &mut impl Rng, unique: usize) -> Vec<String> {
    let one = |line: &str| vec![line.to_owned()];
    match random.random_range(0..14_u32) {
        0 | 1 => one("GET"),
        2 => one(&format!("SET {unique}")),
        3 => one(&format!("SET {unique} GET")),
        4 => one("GETDEL"),
        5 => one("DEL"),
        6 => one("INCR"),
        7 => one("EXISTS"),
        8 => one(&format!("SET {unique} PX {}", random.random_range(1..4_u32))),
        9 => one("PERSIST"),
        10 => vec!["GET".into(), "INCR".into(), "GET".into()],
        11 => vec!["DEL".into(), format!("SET {unique} PX 2"), "APPEND 7".into()],
        _ => one("APPEND 7"),
    }
}

/// What a thread does next with a list.
fn list_lines(random: &mut impl Rng, unique: usize) -> Vec<String> {
    let one = |line: &str| vec![line.to_owned()];
    match random.random_range(0..10_u32) {
        0 => one(&format!("RPUSH {unique}")),
        1 => one(&format!("LPUSH {unique}")),
        2 => one(&format!("RPUSH {unique} {unique}1 {unique}2")),
        3 => one("LPOP"),
        4 => one("RPOP"),
        5 => one("LRANGE 0 -1"),
        6 => vec![format!("LPUSH {unique}"), "RPOP".into(), format!("RPUSH {unique}9")],
        7 => vec!["LPOP".into(), "LPOP".into()],
        _ => one("BLPOP 0.002"),
    }
}

/// Sends one operation on `key` and waits for its reply, as the model would give it for a key named `k`.
fn ask(client: &mut Client, key: &str, lines: &[String]) -> String {
    let full = |line: &str| match line.split_once(' ') {
        Some((name, rest)) => format!("{name} {key} {rest}"),
        None => format!("{line} {key}"),
    };
    if let [line] = lines {
        let mut reply = client.say(&full(line));
        while client.session.is_blocked() {
            reply = client.hear().0;
            std::thread::yield_now();
        }
        return reply.replace(&format!("${}|{key}|", key.len()), "$1|k|");
    }
    client.say("MULTI");
    lines.iter().for_each(|line| assert_eq!(client.say(&full(line)), "+QUEUED|"));
    client.say("EXEC")
}

type Lines = fn(&mut Xoshiro256PlusPlus, usize) -> Vec<String>;

fn history(key: &str, seed: u64, engine: &Arc<crate::Engine>, clock: &Clock, lines: Lines) -> Vec<Vec<Seen>> {
    let ticks = Arc::new(AtomicU64::new(0));
    let start = Arc::new(std::sync::Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (engine, clock, ticks, start) = (engine.clone(), clock.clone(), ticks.clone(), start.clone());
            let key = key.to_owned();
            std::thread::spawn(move || {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed * 31 + thread as u64);
                let mut client = Client::new(&engine, &clock, thread);
                start.wait();
                let one = |step: usize| {
                    // Time passes with the steps, however the threads are scheduled.
                    if step.is_multiple_of(3) {
                        clock.pass(1);
                    }
                    let lines = lines(&mut random, 1_000_000 * (thread + 1) + step);
                    let called = ticks.fetch_add(1, Ordering::SeqCst);
                    let reply = ask(&mut client, &key, &lines);
                    Seen { called, returned: ticks.fetch_add(1, Ordering::SeqCst), lines, reply }
                };
                (0..STEPS).map(one).collect::<Vec<_>>()
            })
        })
        .collect();
    // Keys expire and pops give up by this clock; the sweeper takes what nobody asks for.
    while threads.iter().any(|thread| !thread.is_finished()) {
        clock.pass(1);
        engine.sweep(THREADS, 1, clock.now(), 10_000);
        std::thread::yield_now();
    }
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Something that has to happen in a history, or it proves nothing about it: what, and how it is seen.
type Happens = (&'static str, fn(&Seen) -> bool);

/// Checks many histories; answers how many keys expired in them.
fn all_linearizable(name: &str, lines: Lines, happened: &[Happens]) -> u64 {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut counts = vec![0; happened.len()];
    for round in 0..300 {
        let seen = history(&format!("{name}{round}"), round, &engine, &clock, lines);
        assert!(is_linearizable(&seen), "seed {round}: {seen:#?}");
        for (count, (_, is_it)) in counts.iter_mut().zip(happened) {
            *count += seen.iter().flatten().filter(|seen| is_it(seen)).count();
        }
    }
    for (count, (what, _)) in counts.iter().zip(happened) {
        assert!(*count > 0, "no history had {what}");
    }
    engine.metrics().count(crate::metrics::Count::Expired)
}

#[test]
fn one_string_is_seen_alike_from_every_worker() {
    let happened: [Happens; 2] = [
        ("a transaction", |seen| seen.lines.len() == 3 && seen.reply.starts_with("*3|")),
        ("an expiry taken away", |seen| seen.lines[0] == "PERSIST" && seen.reply == ":1|"),
    ];
    assert!(all_linearizable("string", string_lines, &happened) > 0);
}

#[test]
fn one_list_is_seen_alike_from_every_worker() {
    let happened: [Happens; 3] = [
        ("a blocking pop", |seen| seen.lines[0].starts_with("BLPOP") && seen.reply.starts_with("*2|")),
        ("one in vain", |seen| seen.lines[0].starts_with("BLPOP") && seen.reply == "*-1|"),
        ("a transaction", |seen| seen.lines.len() == 3 && seen.reply.starts_with("*3|")),
    ];
    all_linearizable("list", list_lines, &happened);
}

#[test]
fn the_checker_sees_lost_updates_and_what_comes_back() {
    let seen = |called, returned, lines: &str, reply: &str| Seen {
        called,
        returned,
        lines: lines.split(';').map(str::to_owned).collect(),
        reply: reply.to_owned(),
    };
    let concurrent = |second: &str| {
        vec![vec![seen(0, 3, "INCR", ":1|")], vec![seen(1, 2, "INCR", second), seen(4, 5, "GET", "$1|2|")]]
    };
    assert!(is_linearizable(&concurrent(":2|")));
    assert!(!is_linearizable(&concurrent(":1|")));
    let stale = vec![vec![seen(0, 1, "SET 5", "+OK|")], vec![seen(2, 3, "GET", "$-1|")]];
    assert!(!is_linearizable(&stale));
    // What can expire may be gone, and then stays so.
    let expiring =
        |last: &str| vec![vec![seen(0, 1, "SET 5 PX 1", "+OK|"), seen(2, 3, "GET", "$-1|"), seen(4, 5, "GET", last)]];
    assert!(is_linearizable(&expiring("$-1|")) && !is_linearizable(&expiring("$1|5|")));
    // Nobody sees the middle of a transaction.
    let amid = |seen_amid: &str| {
        vec![vec![seen(0, 3, "DEL;SET 5;APPEND 7", "*3|:0|+OK|:2|")], vec![seen(1, 2, "GET", seen_amid)]]
    };
    assert!(is_linearizable(&amid("$2|57|")) && !is_linearizable(&amid("$1|5|")));
    // One element is popped once.
    let popped = |second: &str| {
        vec![
            vec![seen(0, 5, "RPUSH 1", ":1|")],
            vec![seen(1, 6, "BLPOP 1", "*2|$1|k|$1|1|")],
            vec![seen(2, 7, "BLPOP 1", second)],
        ]
    };
    assert!(is_linearizable(&popped("*-1|")) && !is_linearizable(&popped("*2|$1|k|$1|1|")));
}
