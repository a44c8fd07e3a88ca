//! The differential test: random requests, seeded, sent to Debian's redis-server and to the node, replies and state
//! compared. What redis 7.0 lacks is sent to a plain slow model instead: [`plan`] says what is different then.
//!
//! Requests leave in pipelines. Before each, both are asked for the encoding of its first key: so it is known which keys
//! exist when the next ones are chosen, how many requests met one, and which encodings were crossed. What is compared
//! loosely is what transcripts compare loosely ([`compare::LOOSE`]), and moments of expiry, which may be a second apart;
//! what may differ is in [`accepted`]. What differs is sent again, shorter and shorter, to show by how little.

pub mod accepted;
pub mod acl;
pub mod generate;
pub mod grammar;
pub mod judge;
pub mod model;
pub mod plan;
pub mod report;
pub mod shrink;
pub mod steps;
pub mod walks;
pub mod wire;
pub mod words;

use std::time::Duration;

use larder_node::resp::Reply;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::transcript::play::Request;
use crate::transcript::server::Server;
use crate::transcript::shortened;
use generate::Forms;
use grammar::Form;
use judge::Verdict;
use plan::{Oracle, Plan, Side};
use report::{Happening, Report};
use steps::{Source, Step, Unit};
use wire::{Wire, encoded, read, request};
use words::{Known, World};

/// Requests of one pipeline, about.
const BATCH: usize = 300;
/// Differences after which a run ends.
const DIFFERENCES_MAX: usize = 20;
/// What has a millisecond to live is over by then.
const MOMENT: Duration = Duration::from_millis(4);
/// Parameters that decide encodings, with what they may be.
const THRESHOLDS: &[(&str, &[&str])] = &[
    ("hash-max-listpack-entries", &["512", "8", "32"]),
    ("hash-max-listpack-value", &["64", "16"]),
    ("zset-max-listpack-entries", &["128", "8", "32"]),
    ("zset-max-listpack-value", &["64", "16"]),
    ("set-max-intset-entries", &["512", "8", "32"]),
];

/// A run in progress.
struct Run {
    plan: &'static Plan,
    seed: u64,
    protocol: u8,
    oracle: Oracle,
    node: Wire,
    forms: Forms,
    /// Those whose effect is over in a moment.
    moments: Option<Forms>,
    world: World,
    report: Report,
    random: Xoshiro256PlusPlus,
    /// The settings of this chunk.
    thresholds: Vec<String>,
    /// What was sent since both were emptied.
    past: Vec<Unit>,
    /// What differed in this pipeline.
    found: Vec<Found>,
    differences: Vec<String>,
    /// Keys that are over, and may not have been removed yet.
    over: Vec<(usize, Vec<u8>)>,
}

/// A difference.
struct Found {
    /// How many units had been sent then, the one that differs included.
    units: usize,
    text: String,
}

/// What a run brought.
pub struct Outcome {
    /// What was done.
    pub report: Report,
    /// Each difference, with the requests that lead to it. After [`DIFFERENCES_MAX`] of them the run ended early.
    pub differences: Vec<String>,
}

/// The forms that requests of a plan are drawn from.
///
/// # Panics
/// The file of forms is broken.
#[must_use]
pub fn forms(plan: &Plan) -> Forms {
    let forms = Forms::new(read_forms(plan, false));
    match plan.side {
        Side::Redis => forms,
        // It does not know which errors are one when they are queued.
        Side::Model => forms.unspoiled_in_multi(),
        // What is an error to it, and what it only does not know, nobody can tell.
        Side::Fakeredis => forms.unspoiled(),
    }
}

/// Those that are over in a moment, or the others.
fn read_forms(plan: &Plan, is_moment: bool) -> Vec<Form> {
    let all = grammar::read(plan.forms).expect("the forms of a plan");
    all.into_iter().filter(|form| form.is_moment == is_moment).collect()
}

/// Sends `requests` random requests by a plan, decided by `seed`, in RESP2 or RESP3.
///
/// # Panics
/// A server does not start, or goes away.
#[must_use]
pub fn run(plan: &'static Plan, seed: u64, requests: u64, protocol: u8) -> Outcome {
    let (oracle, node) = (plan.oracle(protocol), Server::node(false));
    let moments = read_forms(plan, true);
    let mut run = Run {
        plan,
        seed,
        protocol,
        oracle,
        node: Wire::open(node.address(), protocol),
        forms: forms(plan),
        moments: (!moments.is_empty()).then(|| Forms::new(moments).unspoiled()),
        world: World::default(),
        report: Report::default(),
        random: Xoshiro256PlusPlus::seed_from_u64(seed),
        thresholds: Vec::new(),
        past: Vec::new(),
        found: Vec::new(),
        differences: Vec::new(),
        over: Vec::new(),
    };
    run.prepare();
    while run.report.requests < requests && run.differences.len() < DIFFERENCES_MAX {
        run.chunk(requests);
    }
    Outcome { report: run.report, differences: run.differences }
}

impl Run {
    /// Gives both the script and the functions by which requests are scripted.
    fn prepare(&mut self) {
        self.forms.register(&mut self.report);
        self.moments.iter().for_each(|forms| forms.register(&mut self.report));
        if !self.plan.is_redis() {
            return;
        }
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Request>();
        self.both(&words(&["SCRIPT", "LOAD", steps::SCRIPT]));
        self.both(&words(&["FUNCTION", "LOAD", steps::LIBRARY]));
        // The node's payloads are not compressed either.
        self.oracle.wire.ask(&request("CONFIG SET rdbcompression no"));
    }

    /// Sends requests until everything is to be compared, or something differs.
    fn chunk(&mut self, requests: u64) {
        self.begin_chunk();
        let end = requests.min(self.report.requests + self.plan.chunk);
        while self.report.requests < end && self.found.is_empty() {
            self.batch();
            self.settle();
            self.let_some_expire();
            self.walk();
        }
        if self.found.is_empty() {
            self.settle();
            self.compare_everything();
        }
        self.explain();
    }

    /// Empties both and draws the thresholds of encodings.
    fn begin_chunk(&mut self) {
        self.empty();
        self.world.databases.iter_mut().for_each(std::collections::BTreeMap::clear);
        self.world.database = 0;
        self.world.entries.clear();
        self.past.clear();
        self.over.clear();
        self.thresholds.clear();
        for (name, values) in THRESHOLDS {
            let value = values[self.random.random_range(0..values.len())];
            self.thresholds.push(format!("CONFIG SET {name} {value}"));
        }
        self.thresholds.clone().iter().for_each(|line| self.both(&request(line)));
    }

    fn empty(&mut self) {
        self.both(&request("FLUSHALL"));
        self.both(&request("SELECT 0"));
    }

    /// Sends one pipeline and compares.
    fn batch(&mut self) {
        self.world.set_clock();
        let mut units = Vec::new();
        let mut count = 0;
        while count < BATCH {
            let Self { forms, world, report, random, .. } = self;
            let mut source = Source { forms, world, report, random };
            let unit = match self.plan.side {
                Side::Redis => source.draw(),
                Side::Model => source.draw_plain(),
                // It gives up an EXEC with an error in it.
                Side::Fakeredis => source.draw_alone(),
            };
            // A key that is over counts until it is removed, which each does in its own time.
            if self.over.is_empty() || !unit.steps.iter().any(|step| step.answers()[0] == b"DBSIZE") {
                count += unit.steps.len();
                units.push(unit);
            }
        }
        self.report.requests += count as u64;
        let bytes: Vec<u8> = units.iter().flat_map(|unit| &unit.steps).flat_map(|step| sent(self.plan, step)).collect();
        self.oracle.wire.send(&bytes);
        self.node.send(&bytes);
        for unit in units {
            self.past.push(unit.clone());
            unit.steps.iter().for_each(|step| self.receive(step));
        }
    }

    /// Reads both replies to a step and compares them.
    fn receive(&mut self, step: &Step) {
        let existed = step.probe.as_ref().map(|key| self.read_probe(step, key));
        let (redis, node) = (self.oracle.wire.reply(), self.node.reply());
        let is_error = redis.first() == Some(&b'-');
        self.report.called(wire::name(&step.request), existed, is_error);
        self.note_transaction(step, &redis);
        match (self.plan.judge)(step.answers(), &step.queued, &redis, &node) {
            Verdict::Same => {}
            Verdict::Loose => self.report.loose += 1,
            Verdict::Accepted(name) => self.report.accepted(name),
            Verdict::Different(why) => self.differs(step, &why, &redis, &node),
        }
    }

    fn note_transaction(&mut self, step: &Step, redis: &[u8]) {
        let name = step.request[0].as_slice();
        match (name, redis) {
            (b"EXEC", _) if redis.starts_with(b"-EXECABORT") => self.report.happened(Happening::Aborted),
            (b"EXEC", b"*-1\r\n" | b"_\r\n") => self.report.happened(Happening::WatchBroken),
            (b"EXEC", _) => self.report.happened(Happening::Executed),
            (b"DISCARD", b"+OK\r\n") => self.report.happened(Happening::Discarded),
            (b"SELECT", b"+OK\r\n") => self.report.happened(Happening::Selected),
            _ => {}
        }
    }

    /// Reads the answers about a key's encoding; whether there is such a key.
    fn read_probe(&mut self, step: &Step, key: &[u8]) -> bool {
        let (redis, node) = (self.oracle.wire.reply(), self.node.reply());
        let asked = self.plan.ask_of(key);
        match (self.plan.judge)(&asked, &[], &redis, &node) {
            Verdict::Accepted(name) => self.report.accepted(name),
            Verdict::Different(why) => {
                let asked = Step { database: step.database, ..Step::plain(asked) };
                self.differs(&asked, &why, &redis, &node);
            }
            _ => {}
        }
        let known = &mut self.world.databases[step.database];
        let (Some(redis), Some(node)) = (held(&redis), held(&node)) else {
            // What it was stays known, to see what it becomes.
            known.entry(key.to_vec()).and_modify(|known| known.is_there = false);
            return false;
        };
        let encodings = [redis, node].map(|encoding| String::from_utf8_lossy(&encoding).into_owned());
        if let Some(before) = known.insert(key.to_vec(), Known { encodings: encodings.clone(), is_there: true }) {
            for ((from, to), by) in before.encodings.iter().zip(&encodings).zip(["redis", "node"]) {
                if let Some(kind) = words::kind(key, from, to).filter(|_| from != to) {
                    self.report.crossed(by, kind, from, to);
                }
            }
        }
        true
    }

    /// Notes a difference.
    fn differs(&mut self, step: &Step, why: &str, redis: &[u8], node: &[u8]) {
        let queued: Vec<String> = step.queued.iter().map(shown).collect();
        let from = redis.iter().zip(node).position(|(a, b)| a != b).unwrap_or(0);
        let text = format!(
            "{} {}\n  {why}\n  {}: {}\n  node:  {}",
            shown(&step.request),
            queued.join("; "),
            self.plan.oracle,
            around(redis, from),
            around(node, from),
        );
        self.found.push(Found { units: self.past.len(), text });
    }

    /// Sends again what led to the first difference, with less and less before it, and writes down the least that shows it.
    fn explain(&mut self) {
        let mut found = std::mem::take(&mut self.found).into_iter();
        let Some(first) = found.next() else { return };
        let units = self.past[..first.units].to_vec();
        let candidates = [shrink::related(&units, false), shrink::related(&units, true), units];
        let shows = candidates.into_iter().find(|units| self.shows(units));
        let led = match shows {
            Some(units) => {
                let shortest = shrink::shrink(units, &mut |units| self.shows(units));
                // Once more, to leave in the report what the shortest one shows.
                let steps = shortest.iter().flat_map(|unit| unit.steps.iter().map(|step| shown(&step.request)));
                format!("shown by:\n    {}", steps.collect::<Vec<_>>().join("\n    "))
            }
            None => {
                let before = shrink::related(&self.past[..first.units], false);
                let steps = before.iter().rev().take(12).rev().flat_map(|unit| &unit.steps);
                let steps: Vec<String> = steps.map(|step| shown(&step.request)).collect();
                format!("not shown when sent again; the last ones were:\n    {}", steps.join("\n    "))
            }
        };
        self.differences.push(format!(
            "RESP{}, seed {}, request {} or before; {}\n{}\n  {led}\n  and {} more in this pipeline",
            self.protocol,
            self.seed,
            self.report.requests,
            self.thresholds.join("; "),
            first.text,
            found.len(),
        ));
        // Where servers part that often, whoever runs this wants to see the first one now.
        eprintln!("{}\n", self.differences.last().map_or("", String::as_str));
    }

    /// Whether these units, sent to empty servers, show a difference.
    fn shows(&mut self, units: &[Unit]) -> bool {
        self.empty();
        let mut differs = false;
        for pipeline in units.chunk_by(|unit, _| !unit.pause) {
            let bytes: Vec<u8> =
                pipeline.iter().flat_map(|unit| &unit.steps).flat_map(|step| sent(self.plan, step)).collect();
            self.oracle.wire.send(&bytes);
            self.node.send(&bytes);
            for step in pipeline.iter().flat_map(|unit| &unit.steps) {
                if step.probe.is_some() {
                    let (redis, node) = (self.oracle.wire.reply(), self.node.reply());
                    let asked = self.plan.ask_of(b"key");
                    differs |= matches!((self.plan.judge)(&asked, &[], &redis, &node), Verdict::Different(_));
                }
                let (redis, node) = (self.oracle.wire.reply(), self.node.reply());
                differs |=
                    matches!((self.plan.judge)(step.answers(), &step.queued, &redis, &node), Verdict::Different(_));
            }
            if pipeline.last().is_some_and(|unit| unit.pause) {
                std::thread::sleep(MOMENT);
            }
        }
        differs
    }

    /// Asks both, and compares nothing.
    fn both(&mut self, request: &Request) {
        self.oracle.wire.ask(request);
        self.node.ask(request);
    }

    /// Asks both something that belongs to no pipeline, and compares.
    fn compare(&mut self, request: Request) {
        let step = Step { database: self.world.database, ..Step::plain(request) };
        let bytes = encoded(&step.request);
        self.oracle.wire.send(&bytes);
        self.node.send(&bytes);
        self.past.push(Unit { steps: vec![step.clone()], pause: false });
        self.receive(&step);
    }
}

/// The encoding or the type that a reply says a key has, if it is there.
fn held(reply: &[u8]) -> Option<Vec<u8>> {
    match read(reply)? {
        Reply::Bulk(encoding) => Some(encoding),
        Reply::Simple(kind) if kind != b"none" => Some(kind),
        _ => None,
    }
}

/// The bytes of a step, with those that ask what its key holds before it.
fn sent(plan: &Plan, step: &Step) -> Vec<u8> {
    let probe = step.probe.as_ref().map(|key| encoded(&plan.ask_of(key)));
    [probe.unwrap_or_default(), encoded(&step.request)].concat()
}

/// Bytes for a person to read, from a little before a place.
fn around(bytes: &[u8], place: usize) -> String {
    let from = place.saturating_sub(60).min(bytes.len());
    format!("{}{}", if from > 0 { "… " } else { "" }, shortened(&bytes[from..]))
}

fn shown(request: &Request) -> String {
    request.iter().map(|word| shortened(word)).collect::<Vec<_>>().join(" ")
}
