//! Random stream commands that redis 7.0 lacks, against a twin that is plain maps: replies as Redis 8.2 documents them.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::testing::draws;

/// A stream whose ids are `n-0`.
#[derive(Default)]
struct Twin {
    entries: BTreeSet<u64>,
    last: u64,
    groups: BTreeMap<&'static str, Group>,
}

/// A group: the last entry it was given, and whose each is that was not acknowledged.
#[derive(Default)]
struct Group {
    last: u64,
    pending: BTreeMap<u64, &'static str>,
}

#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Keep,
    Delete,
    Acked,
}

const GROUPS: [&str; 3] = ["g", "h", "i"];
const CONSUMERS: [&str; 2] = ["alice", "bob"];

impl Twin {
    fn is_needed(&self, id: u64) -> bool {
        self.groups.values().any(|group| group.last < id || group.pending.contains_key(&id))
    }

    fn forget(&mut self, id: u64) {
        self.groups.values_mut().for_each(|group| _ = group.pending.remove(&id));
    }

    fn delete(&mut self, id: u64, policy: Policy) -> i64 {
        if policy == Policy::Acked && self.is_needed(id) {
            return 2;
        }
        if policy == Policy::Delete {
            self.forget(id);
        }
        if self.entries.remove(&id) { 1 } else { -1 }
    }

    fn acknowledge_and_delete(&mut self, name: &str, id: u64, policy: Policy) -> i64 {
        if self.groups.get_mut(name).and_then(|group| group.pending.remove(&id)).is_none() {
            return -1;
        }
        // What was deleted before counts as deleted now.
        self.delete(id, policy).abs()
    }

    /// Trims as long as `goes_on`, told how many there are and which is next.
    fn trim(&mut self, policy: Policy, goes_on: impl Fn(usize, u64) -> bool) -> usize {
        let mut gone = 0;
        for id in self.entries.clone() {
            if !goes_on(self.entries.len(), id) {
                break;
            }
            gone += usize::from(self.delete(id, policy) == 1);
        }
        gone
    }

    /// How many entries a group is given.
    fn read(&mut self, name: &str, consumer: &'static str, count: usize) -> usize {
        let Some(group) = self.groups.get_mut(name) else { return 0 };
        let given: Vec<u64> = self.entries.range(group.last + 1..).take(count).copied().collect();
        given.iter().for_each(|id| _ = group.pending.insert(*id, consumer));
        group.last = given.last().copied().unwrap_or(group.last);
        given.len()
    }
}

/// The ids in an answer.
fn ids(reply: &str) -> Vec<u64> {
    reply.split('|').filter_map(|word| word.strip_suffix("-0")?.parse().ok()).collect()
}

fn compare(client: &mut Client, key: &str, twin: &Twin) {
    let entries: Vec<u64> = twin.entries.iter().copied().collect();
    assert_eq!(ids(&client.say(&format!("XRANGE {key} - +"))), entries);
    for (name, group) in &twin.groups {
        for consumer in CONSUMERS {
            let own = group.pending.iter().filter(|(_, whose)| **whose == consumer).map(|(id, _)| *id);
            let shown = client.say(&format!("XPENDING {key} {name} - + 100000 {consumer}"));
            assert_eq!(ids(&shown), own.collect::<Vec<_>>(), "{name} {consumer}");
        }
        assert_eq!(client.say(&format!("XPENDING {key} {name}")).starts_with("*4|:0|"), group.pending.is_empty());
    }
}

/// One of `blocks` blocks: with one, all trims are the plain map's; with more, one by length that minds references ends
/// where a block does.
fn run(seed: u64, many_blocks: bool, steps: usize) {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let mut draw = draws(seed);
    let mut twin = Twin::default();
    let (mut deleted, mut kept) = (0, 0);
    for step in 0..steps {
        let mut below = |n: u64| draw() % n;
        let group = GROUPS[below(3) as usize];
        let consumer = CONSUMERS[below(2) as usize];
        let (word, policy) =
            [("KEEPREF", Policy::Keep), ("DELREF", Policy::Delete), ("ACKED", Policy::Acked)][below(3) as usize];
        let some = |below: &mut dyn FnMut(u64) -> u64, last: u64| (last + 2).saturating_sub(below(60)).max(1);
        let picked = [some(&mut below, twin.last), some(&mut below, twin.last), some(&mut below, twin.last)];
        let listed = picked.map(|id| format!("{id}-0")).join(" ");
        let (line, want) = match below(16) {
            0..=5 => {
                twin.last += 1 + below(2);
                twin.entries.insert(twin.last);
                let id = format!("{}-0", twin.last);
                (format!("XADD s {id} f v"), format!("${}|{id}|", id.len()))
            }
            6 => {
                let last = twin.last.saturating_sub(below(20));
                let line = format!("XGROUP CREATE s {group} {last}-0 MKSTREAM");
                if twin.groups.contains_key(group) {
                    (line, "-BUSYGROUP Consumer Group name already exists|".to_owned())
                } else {
                    twin.groups.insert(group, Group { last, ..Group::default() });
                    (line, "+OK|".to_owned())
                }
            }
            7 if below(20) == 0 => {
                let gone = twin.groups.remove(group).is_some();
                client.say("XGROUP CREATE s other 0 MKSTREAM");
                client.say("XGROUP DESTROY s other");
                (format!("XGROUP DESTROY s {group}"), format!(":{}|", u8::from(gone)))
            }
            7..=9 if twin.groups.contains_key(group) => {
                let count = 1 + below(6);
                let given = twin.read(group, consumer, count as usize);
                let reply = client.say(&format!("XREADGROUP GROUP {group} {consumer} COUNT {count} STREAMS s >"));
                assert_eq!(ids(&reply).len(), given);
                continue;
            }
            10 => {
                let done = twin
                    .groups
                    .get_mut(group)
                    .map_or(0, |group| picked.iter().filter(|id| group.pending.remove(id).is_some()).count());
                (format!("XACK s {group} {listed}"), format!(":{done}|"))
            }
            11 | 12 => {
                let is_there = client.say("EXISTS s") == ":1|";
                let codes = picked.map(|id| if is_there { twin.delete(id, policy) } else { -1 });
                deleted += codes.iter().filter(|code| **code == 1).count();
                kept += codes.iter().filter(|code| **code == 2).count();
                (format!("XDELEX s {word} IDS 3 {listed}"), codes_shown(&codes))
            }
            13 => {
                let codes = picked.map(|id| twin.acknowledge_and_delete(group, id, policy));
                deleted += codes.iter().filter(|code| **code == 1).count();
                (format!("XACKDEL s {group} IDS 3 {listed} {word}"), codes_shown(&codes))
            }
            14 if !many_blocks || policy != Policy::Acked => {
                let most = below(60) as usize;
                let gone = twin.trim(policy, |len, _| len > most);
                (format!("XTRIM s MAXLEN {most} {word}"), format!(":{gone}|"))
            }
            15 => {
                let from = picked[0].saturating_sub(below(80));
                let gone = twin.trim(policy, |_, id| id < from);
                (format!("XTRIM s {word} MINID = {from}-0"), format!(":{gone}|"))
            }
            _ => continue,
        };
        assert_eq!(client.say(&line), want, "{seed} {step} {line}");
        if step % 100 == 0 {
            compare(&mut client, "s", &twin);
        }
        // A block has room for a hundred.
        if !many_blocks && twin.last > 90 {
            client.say("DEL s");
            twin = Twin::default();
        }
    }
    compare(&mut client, "s", &twin);
    assert!(deleted > steps / 100 && kept > steps / 100, "the run proves too little: {deleted} deleted, {kept} kept");
}

fn codes_shown(codes: &[i64]) -> String {
    let each: Vec<String> = codes.iter().map(|code| format!(":{code}|")).collect();
    format!("*{}|{}", codes.len(), each.concat())
}

#[test]
fn deletes_that_mind_references_are_those_of_plain_maps() {
    for seed in 0..3 {
        run(seed, false, 5000);
        run(seed, true, 5000);
    }
}
