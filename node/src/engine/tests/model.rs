//! Random commands against a twin that is a plain map.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use crate::testing::{Client, Clock, engine};

/// A value of the twin.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
}

#[derive(Debug, Default)]
struct Twin {
    keys: BTreeMap<u8, (Held, Option<u64>)>,
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, i8, Option<u16>, bool),
    Get(u8),
    Del(u8, u8),
    Incr(u8, i8),
    Append(u8, i8),
    Expire(u8, i16),
    Ttl(u8),
    Persist(u8),
    Rename(u8, u8),
    Push(u8, i8, bool),
    Pop(u8, bool),
    Range(u8, i8, i8),
    Pass(u16),
    Exists(u8, u8),
    Getex(u8, u16),
}

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value|";

fn bulk(text: &[u8]) -> String {
    format!("${}|{}|", text.len(), String::from_utf8_lossy(text))
}

impl Twin {
    fn live(&mut self, key: u8, now: u64) -> Option<&mut (Held, Option<u64>)> {
        if self.keys.get(&key).is_some_and(|(_, at)| at.is_some_and(|at| now > at)) {
            self.keys.remove(&key);
        }
        self.keys.get_mut(&key)
    }

    /// The reply the engine must give.
    fn step(&mut self, step: &Step, now: u64) -> String {
        match *step {
            Step::Pass(_) => String::new(),
            Step::Set(key, value, ttl, keep) => {
                let kept = self.live(key, now).and_then(|(_, at)| *at).filter(|_| keep && ttl.is_none());
                let at = ttl.map(|ttl| now + u64::from(ttl)).or(kept);
                self.keys.insert(key, (Held::Text(value.to_string().into()), at));
                "+OK|".into()
            }
            Step::Get(key) => match self.live(key, now) {
                None => "$-1|".into(),
                Some((Held::Text(text), _)) => bulk(text),
                Some(_) => WRONG.into(),
            },
            Step::Getex(key, ttl) => match self.live(key, now) {
                None => "$-1|".into(),
                Some((Held::Text(text), at)) => {
                    *at = Some(now + u64::from(ttl));
                    bulk(text)
                }
                Some(_) => WRONG.into(),
            },
            Step::Del(a, b) => {
                let one =
                    |twin: &mut Self, key| i64::from(twin.live(key, now).is_some() && twin.keys.remove(&key).is_some());
                format!(":{}|", one(self, a) + one(self, b))
            }
            Step::Exists(a, b) => {
                format!(":{}|", i64::from(self.live(a, now).is_some()) + i64::from(self.live(b, now).is_some()))
            }
            Step::Incr(key, by) => self.incr(key, by.into(), now),
            Step::Append(key, value) => match self.live(key, now) {
                None => {
                    self.keys.insert(key, (Held::Text(value.to_string().into()), None));
                    format!(":{}|", value.to_string().len())
                }
                Some((Held::Text(text), _)) => {
                    text.extend_from_slice(value.to_string().as_bytes());
                    format!(":{}|", text.len())
                }
                Some(_) => WRONG.into(),
            },
            Step::Expire(key, ms) => match self.live(key, now) {
                None => ":0|".into(),
                Some((_, at)) => {
                    *at = Some(now.saturating_add_signed(ms.into()));
                    if ms <= 0 {
                        self.keys.remove(&key);
                    }
                    ":1|".into()
                }
            },
            Step::Ttl(key) => match self.live(key, now) {
                None => ":-2|".into(),
                Some((_, None)) => ":-1|".into(),
                Some((_, Some(at))) => format!(":{}|", *at - now),
            },
            Step::Persist(key) => {
                let had = self.live(key, now).is_some_and(|(_, at)| at.take().is_some());
                format!(":{}|", i32::from(had))
            }
            Step::Rename(from, to) => match self.live(from, now) {
                None => "-ERR no such key|".into(),
                Some(_) => {
                    if let Some(value) = self.keys.remove(&from) {
                        self.keys.insert(to, value);
                    }
                    "+OK|".into()
                }
            },
            Step::Push(key, value, left) => {
                self.live(key, now);
                let (held, _) = self.keys.entry(key).or_insert_with(|| (Held::List(VecDeque::new()), None));
                let Held::List(list) = held else { return WRONG.into() };
                let value = value.to_string().into_bytes();
                if left {
                    list.push_front(value)
                } else {
                    list.push_back(value)
                }
                format!(":{}|", list.len())
            }
            Step::Pop(key, left) => match self.live(key, now) {
                None => "$-1|".into(),
                Some((Held::List(list), _)) => {
                    let element = if left { list.pop_front() } else { list.pop_back() }.unwrap();
                    if list.is_empty() {
                        self.keys.remove(&key);
                    }
                    bulk(&element)
                }
                Some(_) => WRONG.into(),
            },
            Step::Range(key, start, stop) => match self.live(key, now) {
                None => "*0|".into(),
                Some((Held::List(list), _)) => {
                    let place = |at: i8| i64::from(at) + if at < 0 { list.len() as i64 } else { 0 };
                    let (start, stop) = (place(start).max(0), place(stop));
                    let chosen: Vec<_> = (0..list.len() as i64)
                        .filter(|at| (start..=stop).contains(at))
                        .map(|at| bulk(&list[at as usize]))
                        .collect();
                    format!("*{}|{}", chosen.len(), chosen.concat())
                }
                Some(_) => WRONG.into(),
            },
        }
    }

    fn incr(&mut self, key: u8, by: i64, now: u64) -> String {
        let Some((held, _)) = self.live(key, now) else {
            self.keys.insert(key, (Held::Text(by.to_string().into()), None));
            return format!(":{by}|");
        };
        let Held::Text(text) = held else { return WRONG.into() };
        let number = String::from_utf8_lossy(text).parse::<i64>().ok().filter(|n| n.to_string().as_bytes() == &**text);
        match number.map(|number| number.checked_add(by)) {
            None => "-ERR value is not an integer or out of range|".into(),
            Some(None) => "-ERR increment or decrement would overflow|".into(),
            Some(Some(sum)) => {
                *text = sum.to_string().into();
                format!(":{sum}|")
            }
        }
    }
}

fn line(step: &Step) -> String {
    match *step {
        Step::Set(key, value, ttl, keep) => {
            let option = match (ttl, keep) {
                (Some(ttl), _) => format!(" PX {ttl}"),
                (None, true) => " KEEPTTL".to_owned(),
                (None, false) => String::new(),
            };
            format!("SET {key} {value}{option}")
        }
        Step::Get(key) => format!("GET {key}"),
        Step::Getex(key, ttl) => format!("GETEX {key} PX {ttl}"),
        Step::Del(a, b) => format!("DEL {a} {b}"),
        Step::Exists(a, b) => format!("EXISTS {a} {b}"),
        Step::Incr(key, by) => format!("INCRBY {key} {by}"),
        Step::Append(key, value) => format!("APPEND {key} {value}"),
        Step::Expire(key, ms) => format!("PEXPIRE {key} {ms}"),
        Step::Ttl(key) => format!("PTTL {key}"),
        Step::Persist(key) => format!("PERSIST {key}"),
        Step::Rename(a, b) => format!("RENAME {a} {b}"),
        Step::Push(key, value, left) => format!("{} {key} {value}", if left { "LPUSH" } else { "RPUSH" }),
        Step::Pop(key, left) => format!("{} {key}", if left { "LPOP" } else { "RPOP" }),
        Step::Range(key, start, stop) => format!("LRANGE {key} {start} {stop}"),
        Step::Pass(_) => String::new(),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6_u8;
    prop_oneof![
        (key.clone(), any::<i8>(), proptest::option::of(1..40_u16), any::<bool>())
            .prop_map(|(k, v, t, b)| Step::Set(k, v, t, b)),
        key.clone().prop_map(Step::Get),
        (key.clone(), 1..40_u16).prop_map(|(k, t)| Step::Getex(k, t)),
        (key.clone(), key.clone()).prop_map(|(a, b)| Step::Del(a, b)),
        (key.clone(), key.clone()).prop_map(|(a, b)| Step::Exists(a, b)),
        (key.clone(), any::<i8>()).prop_map(|(k, v)| Step::Incr(k, v)),
        (key.clone(), any::<i8>()).prop_map(|(k, v)| Step::Append(k, v)),
        (key.clone(), -5..40_i16).prop_map(|(k, t)| Step::Expire(k, t)),
        key.clone().prop_map(Step::Ttl),
        key.clone().prop_map(Step::Persist),
        (key.clone(), key.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
        (key.clone(), any::<i8>(), any::<bool>()).prop_map(|(k, v, l)| Step::Push(k, v, l)),
        (key.clone(), any::<bool>()).prop_map(|(k, l)| Step::Pop(k, l)),
        (key, -4..4_i8, -4..4_i8).prop_map(|(k, a, b)| Step::Range(k, a, b)),
        (0..30_u16).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn replies_are_those_of_a_plain_map(steps in proptest::collection::vec(step(), 1..120)) {
        let clock = Clock::new();
        let engine = engine(&clock);
        let mut client = Client::new(&engine, &clock, 0);
        let mut twin = Twin::default();
        for step in &steps {
            if let Step::Pass(ms) = step {
                clock.pass((*ms).into());
                continue;
            }
            let want = twin.step(step, clock.now().wall_ms);
            prop_assert_eq!(client.say(&line(step)), want, "{}", line(step));
        }
    }
}
