//! The differential test: random requests, seeded, sent to Debian's redis-server and to the node, replies and state
//! compared.
//!
//! Requests leave in pipelines. Before each, both are asked for the encoding of its first key: so it is known which keys
//! exist when the next ones are chosen, how many requests met one, and which encodings were crossed. What is compared
//! loosely is what transcripts compare loosely ([`compare::LOOSE`]), and moments of expiry, which may be a second apart.

pub mod generate;
pub mod grammar;
pub mod report;
pub mod words;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use larder_node::commands::{self, keys};
use larder_node::resp::{Limits, OwnedArgs, Reply, encode_request, read_reply};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::transcript::compare::{self, Verdict};
use crate::transcript::play::{Answer, Got, Request};
use crate::transcript::server::Server;
use crate::transcript::shortened;
use generate::Forms;
use report::Report;
use words::World;

const FORMS: &str = include_str!("../differential/commands.txt");
/// Requests of one pipeline, about.
const BATCH: usize = 300;
/// Requests between two comparisons of everything, after which both are emptied and get other thresholds.
const CHUNK: u64 = 50_000;
/// Requests remembered to explain a difference.
const REMEMBERED: usize = 20_000;
/// Differences after which a run ends.
const DIFFERENCES_MAX: usize = 40;
/// Moments of expiry may be so far apart, in their own unit: seconds and milliseconds.
const APART: [(&str, i64); 4] = [("TTL", 3), ("EXPIRETIME", 3), ("PEXPIRETIME", 3_000), ("PTTL", 3_000)];
/// Parameters that decide encodings, with what they may be.
const THRESHOLDS: &[(&str, &[&str])] = &[
    ("hash-max-listpack-entries", &["512", "8", "32"]),
    ("hash-max-listpack-value", &["64", "16"]),
    ("zset-max-listpack-entries", &["128", "8", "32"]),
    ("zset-max-listpack-value", &["64", "16"]),
    ("set-max-intset-entries", &["512", "8", "32"]),
];

/// One end of the comparison.
struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    read: usize,
}

impl Wire {
    fn open(address: SocketAddr, protocol: u8) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout can be set");
        let mut wire = Self { stream, input: Vec::new(), read: 0 };
        if protocol == 3 {
            wire.ask(&request("HELLO 3"));
        }
        wire
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The bytes of the next reply.
    fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some((_, length)) = read_reply(&self.input[self.read..], &Limits::DEFAULT).expect("a reply") {
                let reply = self.input[self.read..self.read + length].to_vec();
                self.read += length;
                return reply;
            }
            self.input.drain(..self.read);
            self.read = 0;
            let mut bytes = [0; 64 * 1024];
            let count = self.stream.read(&mut bytes).expect("the server answers");
            assert!(count > 0, "the server closed the connection");
            self.input.extend_from_slice(&bytes[..count]);
        }
    }

    fn ask(&mut self, words: &Request) -> Vec<u8> {
        self.send(&encoded(words));
        self.reply()
    }
}

/// What to send, and how its reply is to be read.
struct Step {
    request: Request,
    /// Asked before it: the encoding of this key.
    probe: Option<Vec<u8>>,
    /// The requests that this EXEC answers.
    queued: Vec<Request>,
}

/// A run in progress.
struct Run {
    redis: Wire,
    node: Wire,
    forms: Forms,
    world: World,
    report: Report,
    random: Xoshiro256PlusPlus,
    past: VecDeque<Request>,
    differences: Vec<String>,
    /// Keys that differ, to be removed.
    differing: Vec<Vec<u8>>,
}

/// Sends `requests` random requests, decided by `seed`, in RESP2 or RESP3.
///
/// # Errors
/// Replies or states differ: each difference, with the requests that led to it.
///
/// # Panics
/// A server does not start, or goes away.
pub fn run(seed: u64, requests: u64, protocol: u8) -> Result<Report, String> {
    let (redis, node) = (Server::redis(false), Server::node(false));
    let mut run = Run {
        redis: Wire::open(redis.address(), protocol),
        node: Wire::open(node.address(), protocol),
        forms: Forms::new(grammar::read(FORMS).expect("differential/commands.txt")),
        world: World::default(),
        report: Report::default(),
        random: Xoshiro256PlusPlus::seed_from_u64(seed),
        past: VecDeque::new(),
        differences: Vec::new(),
        differing: Vec::new(),
    };
    let mut sent = 0;
    while sent < requests && run.differences.len() < DIFFERENCES_MAX {
        run.begin_chunk();
        let end = requests.min(sent + CHUNK);
        while sent < end && run.differences.len() < DIFFERENCES_MAX {
            sent += run.batch();
            run.let_some_expire();
        }
        run.compare_everything();
    }
    match run.differences.len() {
        0 => Ok(run.report),
        count => Err(format!("{count} differences\n\n{}", run.differences.join("\n\n"))),
    }
}

impl Run {
    /// Empties both and draws the thresholds of encodings.
    fn begin_chunk(&mut self) {
        self.both(&request("FLUSHALL"));
        self.world.encodings.clear();
        for (name, values) in THRESHOLDS {
            let value = values[self.random.random_range(0..values.len())];
            self.both(&request(&format!("CONFIG SET {name} {value}")));
        }
    }

    /// Sends one pipeline and compares; how many requests it had.
    fn batch(&mut self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        self.world.now_ms = since_epoch.as_millis() as u64;
        let mut steps = Vec::new();
        while steps.len() < BATCH {
            if self.random.random_bool(0.03) { self.transaction(&mut steps) } else { self.plain(&mut steps) }
        }
        let probe = |step: &Step| {
            step.probe.as_ref().map(|key| encoded(&vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.clone()]))
        };
        let each = |step: &Step| [probe(step).unwrap_or_default(), encoded(&step.request)].concat();
        let requests: Vec<u8> = steps.iter().flat_map(each).collect();
        self.redis.send(&requests);
        self.node.send(&requests);
        let count = steps.len() as u64;
        steps.into_iter().for_each(|step| self.receive(step));
        self.heal();
        count
    }

    fn plain(&mut self, steps: &mut Vec<Step>) {
        let requests = self.forms.draw(false, &mut self.world, &mut self.report, &mut self.random);
        for (at, request) in requests.into_iter().enumerate() {
            // What follows in the same form undoes what the two did differently on purpose.
            let probe = first_key(&request).filter(|_| at == 0);
            steps.push(Step { probe, request, queued: Vec::new() });
        }
    }

    fn transaction(&mut self, steps: &mut Vec<Step>) {
        let mut queued = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            queued.extend(self.forms.draw(true, &mut self.world, &mut self.report, &mut self.random));
        }
        // Compared by moments that may be apart, which EXEC's elements are not; or not queued at all.
        // So are encodings.
        queued
            .retain(|request| request[0] != b"OBJECT" && !APART.iter().any(|(name, _)| request[0] == name.as_bytes()));
        let step = |request, queued| Step { request, probe: None, queued };
        steps.push(step(request("MULTI"), Vec::new()));
        steps.extend(queued.iter().map(|request| step(request.clone(), Vec::new())));
        steps.push(step(request("EXEC"), queued));
    }

    /// Reads both replies to a step and compares them.
    fn receive(&mut self, step: Step) {
        let existed = step.probe.as_ref().map(|key| self.read_probe(&step, key));
        let (redis, node) = (self.redis.reply(), self.node.reply());
        let is_error = redis.first() == Some(&b'-');
        self.report.called(&name(&step.request), existed, is_error);
        self.report.transactions += u64::from(!step.queued.is_empty() && !is_error);
        let answer = |bytes: &Vec<u8>| Answer {
            line: 0,
            request: step.request.clone(),
            queued: if is_error { Vec::new() } else { step.queued.clone() },
            got: Got::Reply(bytes.clone()),
        };
        match compare::compare(&answer(&redis), &answer(&node)) {
            Verdict::Exact => {}
            Verdict::Loose(_) => self.report.loose += 1,
            Verdict::Different(_) if are_moments_apart(&step.request, &redis, &node) => self.report.loose += 1,
            Verdict::Different(_) if are_encodings_alike(&redis, &node) => self.report.loose += 1,
            // The least rank has no opposite; redis 7.0 takes it all the same.
            Verdict::Different(_)
                if step.request[0] == b"LPOS" && node.starts_with(b"-ERR value is out of range, v") =>
            {
                self.report.loose += 1;
            }
            // Redis 7.0 asks for `errno` without having cleared it, and finds what an earlier command left.
            Verdict::Different(_) if step.request[0] == b"SORT" && redis.starts_with(b"-ERR One or more scores") => {
                self.report.loose += 1;
            }
            Verdict::Different(why) => self.differs(&step, &why, &redis, &node),
        }
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(step.request);
    }

    /// Reads redis's answer about a key's encoding; whether there is such a key.
    fn read_probe(&mut self, step: &Step, key: &[u8]) -> bool {
        let (reply, ours) = (self.redis.reply(), self.node.reply());
        if reply != ours && !are_encodings_alike(&reply, &ours) {
            self.differs_about(vec![key.to_vec()], step, "not the same encoding before it", &reply, &ours);
        }
        match read_reply(&reply, &Limits::DEFAULT) {
            Ok(Some((Reply::Bulk(encoding), _))) => {
                let encoding = String::from_utf8_lossy(&encoding).into_owned();
                if let Some(before) = self.world.encodings.insert(key.to_vec(), encoding.clone())
                    && before != encoding
                {
                    self.report.crossed(&before, &encoding);
                }
                true
            }
            _ => {
                // What it was stays known, to see what it becomes.
                if let Some(encoding) = self.world.encodings.get_mut(key)
                    && !encoding.ends_with('?')
                {
                    encoding.push('?');
                }
                false
            }
        }
    }

    /// Notes a difference.
    fn differs(&mut self, step: &Step, why: &str, redis: &[u8], node: &[u8]) {
        let keys = std::iter::once(&step.request).chain(&step.queued).flat_map(all_keys).collect();
        self.differs_about(keys, step, why, redis, node);
    }

    fn differs_about(&mut self, keys: Vec<Vec<u8>>, step: &Step, why: &str, redis: &[u8], node: &[u8]) {
        let about = |request: &&Request| request.iter().any(|word| keys.contains(word));
        let mut before: Vec<String> = self.past.iter().rev().filter(about).take(12).map(shown).collect();
        before.reverse();
        let queued: Vec<String> = step.queued.iter().map(shown).collect();
        let from = redis.iter().zip(node).position(|(a, b)| a != b).unwrap_or(0);
        self.differences.push(format!(
            "{} {}\n  {why}\n  redis: {}\n  node:  {}\n  before it:\n    {}",
            shown(&step.request),
            queued.join("; "),
            around(redis, from),
            around(node, from),
            before.join("\n    ")
        ));
        self.differing.extend(keys);
    }

    /// Removes keys that differ, so that each difference is found once.
    fn heal(&mut self) {
        for key in std::mem::take(&mut self.differing) {
            self.both(&vec![b"DEL".to_vec(), key]);
        }
    }

    /// Gives some keys a millisecond to live and waits until both servers have lost them.
    fn let_some_expire(&mut self) {
        if !self.random.random_bool(0.2) {
            return;
        }
        let there: Vec<Vec<u8>> = self
            .world
            .encodings
            .iter()
            .filter(|(_, encoding)| !encoding.ends_with('?'))
            .map(|(key, _)| key.clone())
            .collect();
        if there.is_empty() {
            return;
        }
        let key = there[self.random.random_range(0..there.len())].clone();
        let ways: [&[&[u8]]; 3] =
            [&[b"PEXPIRE", &key, b"1"], &[b"SET", &key, b"v", b"PX", b"1"], &[b"GETEX", &key, b"PX", b"1"]];
        let way = ways[self.random.random_range(0..3usize)];
        self.both(&way.iter().map(|word| word.to_vec()).collect());
        self.both(&vec![b"PEXPIRE".to_vec(), key.clone(), b"1".to_vec()]);
        let exists = vec![b"EXISTS".to_vec(), key.clone()];
        for wire in [&mut self.redis, &mut self.node] {
            while wire.ask(&exists) != b":0\r\n" {}
        }
        self.report.expired += 1;
    }

    /// Compares what every key holds.
    fn compare_everything(&mut self) {
        for key in words::all_keys() {
            let name = String::from_utf8_lossy(&key).into_owned();
            let kind = self.redis.ask(&request(&format!("TYPE {name}")));
            let contents = match kind.as_slice() {
                b"+string\r\n" => format!("GET {name}"),
                b"+list\r\n" => format!("LRANGE {name} 0 -1"),
                b"+hash\r\n" => format!("HGETALL {name}"),
                b"+set\r\n" => format!("SMEMBERS {name}"),
                b"+zset\r\n" => format!("ZRANGE {name} 0 -1 WITHSCORES"),
                b"+stream\r\n" => format!("XRANGE {name} - +"),
                _ => format!("EXISTS {name}"),
            };
            for line in
                [format!("TYPE {name}"), format!("OBJECT ENCODING {name}"), format!("EXPIRETIME {name}"), contents]
            {
                let request = request(&line);
                let (redis, node) = (encoded(&request), encoded(&request));
                self.redis.send(&redis);
                self.node.send(&node);
                self.receive(Step { request, probe: None, queued: Vec::new() });
            }
        }
    }

    /// Asks both, and compares nothing.
    fn both(&mut self, request: &Request) {
        self.redis.ask(request);
        self.node.ask(request);
    }
}

fn request(line: &str) -> Request {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn encoded(words: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_request(OwnedArgs::from_slices(words).as_args(), &mut bytes);
    bytes
}

fn name(request: &Request) -> Vec<u8> {
    request.first().cloned().unwrap_or_default()
}

fn first_key(request: &Request) -> Option<Vec<u8>> {
    all_keys(request).into_iter().next()
}

fn all_keys(request: &Request) -> Vec<Vec<u8>> {
    let args = OwnedArgs::from_slices(request);
    let mut found = Vec::new();
    if let Ok(spec) = commands::resolve(args.as_args()) {
        // A broken request may have no keys to find.
        let _ = keys::each(spec, args.as_args(), &mut |at, _| found.push(request[at].clone()));
    }
    found
}

fn are_moments_apart(request: &Request, redis: &[u8], node: &[u8]) -> bool {
    let number = |bytes: &[u8]| match read_reply(bytes, &Limits::DEFAULT) {
        Ok(Some((Reply::Int(number @ 0..), _))) => Some(number),
        _ => None,
    };
    let most = APART.iter().find(|(name, _)| request[0] == name.as_bytes());
    match (most, number(redis), number(node)) {
        (Some((_, most)), Some(redis), Some(node)) => redis.abs_diff(node) <= most.unsigned_abs(),
        _ => false,
    }
}

/// Whether these are encodings that differ on purpose: small sets are packed as redis 7.2 packs them, and what APPEND,
/// SETRANGE and INCRBYFLOAT leave is stored as if it had been SET.
fn are_encodings_alike(redis: &[u8], node: &[u8]) -> bool {
    match redis {
        b"$9\r\nhashtable\r\n" => node == b"$8\r\nlistpack\r\n",
        b"$3\r\nraw\r\n" => [&b"$6\r\nembstr\r\n"[..], b"$3\r\nint\r\n"].contains(&node),
        b"$6\r\nembstr\r\n" => node == b"$3\r\nint\r\n",
        _ => false,
    }
}

/// Bytes for a person to read, from a little before a place.
fn around(bytes: &[u8], place: usize) -> String {
    let from = place.saturating_sub(60).min(bytes.len());
    format!("{}{}", if from > 0 { "… " } else { "" }, shortened(&bytes[from..]))
}

fn shown(request: &Request) -> String {
    request.iter().map(|word| shortened(word)).collect::<Vec<_>>().join(" ")
}
