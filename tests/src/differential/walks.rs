//! What is asked between pipelines, as the next request depends on a reply: keys that expire, payloads that are restored
//! by the other server, listings step by step; and, now and then, everything.

use std::collections::BTreeSet;

use larder_node::resp::Reply;
use rand::RngExt;

use super::judge::{Verdict, judge};
use super::report::Happening;
use super::steps::{Step, Unit};
use super::wire::{Wire, read, request};
use super::words;
use super::{MOMENT, Run};
use crate::transcript::play::Request;

/// Share of pipelines behind which each of these is done.
const SHARE: f64 = 0.2;
/// A listing of more steps than this does not end.
const STEPS_MAX: usize = 10_000;

impl Run {
    /// Removes the keys that are over, wherever that was not done yet.
    pub(super) fn settle(&mut self) {
        let here = self.world.database;
        for (database, key) in std::mem::take(&mut self.over) {
            self.select(database);
            self.compare(vec![b"EXISTS".to_vec(), key]);
        }
        self.select(here);
    }

    fn select(&mut self, database: usize) {
        if database != self.world.database {
            self.world.database = database;
            self.compare(request(&format!("SELECT {database}")));
        }
    }

    /// Gives some keys a millisecond to live, and waits until it is over.
    pub(super) fn let_some_expire(&mut self) {
        if !self.found.is_empty() || !self.random.random_bool(SHARE) {
            return;
        }
        let steps = if self.moments.is_some() { self.momentary() } else { self.expiring() };
        // Not compared: what the second one finds depends on how soon it comes.
        steps.iter().for_each(|step| self.both(&step.request));
        self.past.push(Unit { steps, pause: true });
        std::thread::sleep(MOMENT);
        // Either they are looked at now, or whatever comes finds them as they are.
        if self.random.random_bool(0.5) {
            self.settle();
        }
    }

    /// Requests of the plan that are over in a moment.
    fn momentary(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..self.random.random_range(1..4u8) {
            let Self { moments: Some(forms), world, report, random, .. } = self else { break };
            steps.extend(forms.draw(false, world, report, random).into_iter().map(Step::plain));
            self.report.happened(Happening::Expired);
        }
        steps
    }

    /// Requests that let keys expire, each in one of the ways there are.
    fn expiring(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..self.random.random_range(1..4u8) {
            let Some(key) = self.some_key() else { continue };
            let ways: [&[&[u8]]; 3] =
                [&[b"PEXPIRE", &key, b"1"], &[b"SET", &key, b"v", b"PX", b"1"], &[b"GETEX", &key, b"PX", b"1"]];
            let way = ways[self.random.random_range(0..3usize)];
            steps.push(Step::plain(way.iter().map(|word| word.to_vec()).collect()));
            steps.push(Step::plain(vec![b"PEXPIRE".to_vec(), key.clone(), b"1".to_vec()]));
            self.over.push((self.world.database, key));
            self.report.happened(Happening::Expired);
        }
        steps
    }

    /// Restores here what was dumped there, or lists something step by step.
    pub(super) fn walk(&mut self) {
        if !self.found.is_empty() || !self.over.is_empty() || !self.plan.is_redis() {
            return;
        }
        if self.random.random_bool(SHARE) {
            self.transplant();
        }
        if self.random.random_bool(SHARE) {
            self.scan();
        }
    }

    fn some_key(&mut self) -> Option<Vec<u8>> {
        let keys: Vec<Vec<u8>> = self.world.there().map(|(key, _)| key.clone()).collect();
        (!keys.is_empty()).then(|| keys[self.random.random_range(0..keys.len())].clone())
    }

    fn transplant(&mut self) {
        let Some(key) = self.some_key() else { return };
        let dump = vec![b"DUMP".to_vec(), key.clone()];
        let (redis, node) = (self.oracle.wire.ask(&dump), self.node.ask(&dump));
        let (Some(Reply::Bulk(theirs)), Some(Reply::Bulk(ours))) = (read(&redis), read(&node)) else {
            if redis != node {
                self.differs(&Step::plain(dump), "not both have it", &redis, &node);
            }
            return;
        };
        let encoding = request_of(&["OBJECT", "ENCODING"], &key);
        let is_same_encoding = self.oracle.wire.ask(&encoding) == self.node.ask(&encoding);
        if let Verdict::Different(why) = judge(&dump, &[], &redis, &node)
            && is_same_encoding
        {
            self.differs(&Step::plain(dump), &why, &redis, &node);
        }
        let number = self.random.random_range(0..words::KEYS).to_string();
        let target = [key.get(..1).unwrap_or(b"s"), number.as_bytes()].concat();
        let restore =
            |payload: Vec<u8>| vec![b"RESTORE".to_vec(), target.clone(), b"0".to_vec(), payload, b"REPLACE".to_vec()];
        let (redis, node) = (self.oracle.wire.ask(&restore(ours)), self.node.ask(&restore(theirs.clone())));
        let step = Step { database: self.world.database, ..Step::plain(restore(theirs)) };
        self.past.push(Unit { steps: vec![step.clone()], pause: false });
        if redis != node || !redis.starts_with(b"+OK") {
            self.differs(&step, "not restored by both", &redis, &node);
        }
        self.report.happened(Happening::Transplanted);
        self.compare_key(&target);
    }

    fn scan(&mut self) {
        let command = ["SCAN", "HSCAN", "SSCAN", "ZSCAN"][self.random.random_range(0..4usize)];
        let kind = match command {
            "HSCAN" => "h",
            "SSCAN" => "t",
            _ => "z",
        };
        let key = (command != "SCAN").then(|| words::fill(kind, &mut self.world, &mut self.random));
        let mut options = request(&format!("COUNT {}", self.random.random_range(1..20u8)));
        if self.random.random_bool(0.3) {
            options.extend([b"MATCH".to_vec(), words::fill("pattern", &mut self.world, &mut self.random)]);
        }
        let width = if matches!(command, "HSCAN" | "ZSCAN") { 2 } else { 1 };
        let theirs = listed(&mut self.oracle.wire, command, key.as_ref(), &options, width);
        let ours = listed(&mut self.node, command, key.as_ref(), &options, width);
        self.report.happened(Happening::Scanned);
        if theirs != ours {
            let step = Step::plain(page(command, key.as_ref(), b"0", &options));
            let shown = |listed: Result<BTreeSet<String>, Vec<u8>>| match listed {
                Ok(all) => format!("{all:?}").into_bytes(),
                Err(error) => error,
            };
            self.differs(&step, "not the same elements", &shown(theirs), &shown(ours));
        }
    }

    /// Compares what every key holds.
    pub(super) fn compare_everything(&mut self) {
        let databases = if self.plan.is_redis() { self.world.databases.len() } else { 1 };
        for database in 0..databases {
            self.select(database);
            for key in words::all_keys() {
                self.compare_key(&key);
            }
            if self.plan.is_redis() {
                self.compare(request("DBSIZE"));
            }
        }
    }

    fn compare_key(&mut self, key: &[u8]) {
        let kind = self.oracle.wire.ask(&request_of(&["TYPE"], key));
        self.compare(request_of(&["TYPE"], key));
        self.compare(self.plan.ask_of(key));
        self.compare(request_of(&["EXPIRETIME"], key));
        self.plan.contents(&kind, key).into_iter().for_each(|request| self.compare(request));
    }
}

fn request_of(words: &[&str], key: &[u8]) -> Request {
    words.iter().map(|word| word.as_bytes().to_vec()).chain([key.to_vec()]).collect()
}

fn page(command: &str, key: Option<&Vec<u8>>, cursor: &[u8], options: &Request) -> Request {
    let head = [command.as_bytes().to_vec()].into_iter().chain(key.cloned()).chain([cursor.to_vec()]);
    head.chain(options.iter().cloned()).collect()
}

/// All that a server lists, in groups of `width`; or its error.
fn listed(
    wire: &mut Wire,
    command: &str,
    key: Option<&Vec<u8>>,
    options: &Request,
    width: usize,
) -> Result<BTreeSet<String>, Vec<u8>> {
    let mut all = BTreeSet::new();
    let mut cursor = b"0".to_vec();
    for _ in 0..STEPS_MAX {
        let reply = wire.ask(&page(command, key, &cursor, options));
        let Some(Reply::Array(parts)) = read(&reply) else { return Err(reply) };
        let [Reply::Bulk(next), Reply::Array(elements)] = &parts[..] else { return Err(reply) };
        all.extend(elements.chunks(width).map(|group| format!("{group:?}")));
        if next == b"0" {
            return Ok(all);
        }
        cursor.clone_from(next);
    }
    Err(b"no end".to_vec())
}
