//! A plain slow model of what redis 7.0 lacks, to compare the node with: fields of hashes that expire, references of
//! streams, bit operations, documents, and of older commands as much as those need.
//!
//! Keys are in one map, everything that is due is looked for before each request, and whatever has an order is searched from
//! its beginning. It says what Redis 8 and RedisJSON 2 document and knows nothing of the node but how a reply is written. That
//! a request is an error it says too, but not in which words.

mod documents;
mod hashes;
mod json;
mod sorted_sets;
mod streams;
mod strings;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use larder_node::resp::{Limits, Parsed, Reply, Resume, parse, parse_i64, write_double};

use self::documents::Node;
use self::hashes::Hash;
use self::sorted_sets::SortedSet;
use self::streams::Stream;
use crate::transcript::play::Request;

/// What a request is answered; an error is any text.
type Said = Result<Reply, &'static str>;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "ERR syntax error";
const ARITY: &str = "ERR wrong number of arguments";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";

/// What is at a key.
#[derive(Debug, Clone)]
enum Held {
    Text(Vec<u8>),
    Hash(Hash),
    SortedSet(SortedSet),
    Stream(Stream),
    Json(Node),
}

/// A key's value and when it expires, in unix ms.
#[derive(Debug, Clone)]
struct Key {
    held: Held,
    at_ms: Option<u64>,
}

/// The keys, and what is known of the one connection.
#[derive(Debug)]
struct Model {
    keys: BTreeMap<Vec<u8>, Key>,
    protocol: u8,
    now_ms: u64,
    /// What was said since MULTI.
    queue: Option<Vec<Request>>,
}

/// A connection to a model of its own, which ends with it.
///
/// # Panics
/// There are no sockets.
#[must_use]
pub fn connect() -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let ours = TcpStream::connect(listener.local_addr().expect("a bound socket has an address")).expect("it listens");
    let (theirs, _) = listener.accept().expect("somebody has connected");
    std::thread::spawn(move || serve(theirs));
    ours
}

/// Answers requests until the other side is gone.
fn serve(mut stream: TcpStream) {
    let mut model = Model { keys: BTreeMap::new(), protocol: 2, now_ms: 0, queue: None };
    let (mut input, mut bytes) = (Vec::new(), [0; 64 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        input.extend_from_slice(&bytes[..count]);
        let mut replies = Vec::new();
        let mut from = 0;
        while let Some((request, end)) = whole(&input, from) {
            model.answer(&request).write(&mut replies);
            from = end;
        }
        input.drain(..from);
        if stream.write_all(&replies).is_err() {
            return;
        }
    }
}

/// The request that begins at `from`, if all of it is there, and where the next one begins.
fn whole(input: &[u8], from: usize) -> Option<(Request, usize)> {
    let mut ranges = Vec::new();
    match parse(input, from, &mut ranges, &Limits::DEFAULT, &mut Resume::default()) {
        Ok(Parsed::Complete { end, .. }) => {
            Some((ranges.iter().map(|(a, b)| input[*a as usize..*b as usize].to_vec()).collect(), end))
        }
        _ => None,
    }
}

impl Model {
    fn answer(&mut self, request: &Request) -> Reply {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        self.now_ms = since_epoch.as_millis() as u64;
        let reply = match (request[0].as_slice(), self.queue.take()) {
            (b"MULTI", None) => {
                self.queue = Some(Vec::new());
                Reply::Simple(b"OK".to_vec())
            }
            (b"DISCARD", Some(_)) => Reply::Simple(b"OK".to_vec()),
            (b"EXEC", Some(queue)) => Reply::Array(queue.iter().map(|request| self.act(request)).collect()),
            (_, Some(mut queue)) => {
                queue.push(request.clone());
                self.queue = Some(queue);
                Reply::Simple(b"QUEUED".to_vec())
            }
            (_, None) => self.act(request),
        };
        spoken(reply, self.protocol)
    }

    fn act(&mut self, request: &Request) -> Reply {
        self.let_expire();
        let words: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        let said = self.run(&words).unwrap_or_else(|text| Reply::Error(text.into()));
        self.let_expire();
        said
    }

    /// Removes what is due, and what is empty.
    fn let_expire(&mut self) {
        let now_ms = self.now_ms;
        self.keys.retain(|_, key| {
            if let Held::Hash(hash) = &mut key.held {
                hash.let_expire(now_ms);
            }
            let is_empty = match &key.held {
                Held::Hash(hash) => hash.fields.is_empty(),
                Held::SortedSet(set) => set.is_empty(),
                _ => false,
            };
            !is_empty && key.at_ms.is_none_or(|at_ms| at_ms > now_ms)
        });
    }

    fn run(&mut self, words: &[&[u8]]) -> Said {
        let (name, rest) = words.split_first().ok_or(ARITY)?;
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        let said = self.run_keyspace(&name, rest).or_else(|| self.run_string(&name, rest));
        let said = said.or_else(|| self.run_hash(&name, rest)).or_else(|| self.run_sorted_set(&name, rest));
        let said = said.or_else(|| self.run_stream(&name, rest)).or_else(|| self.run_json(&name, rest));
        said.unwrap_or(Err("ERR unknown command"))
    }

    /// What is asked of any key, and of the server.
    fn run_keyspace(&mut self, name: &str, words: &[&[u8]]) -> Option<Said> {
        let count = |is: bool| Ok(Reply::Int(is.into()));
        Some(match (name, words) {
            ("HELLO", [version, ..]) => {
                self.protocol = if *version == b"3" { 3 } else { 2 };
                ok()
            }
            ("CONFIG" | "SELECT", _) => ok(),
            ("FLUSHALL", []) => {
                self.keys.clear();
                ok()
            }
            ("TYPE", [key]) => Ok(Reply::Simple(self.kind(key).into())),
            ("EXISTS", keys) if !keys.is_empty() => {
                Ok(int(keys.iter().filter(|key| self.keys.contains_key(**key)).count()))
            }
            ("DEL", keys) if !keys.is_empty() => {
                Ok(int(keys.iter().filter(|key| self.keys.remove(**key).is_some()).count()))
            }
            ("RENAME", [from, to]) => match self.keys.remove(*from) {
                None => Err("ERR no such key"),
                Some(key) => {
                    self.keys.insert(to.to_vec(), key);
                    ok()
                }
            },
            ("COPY", [from, to, rest @ ..]) => self.copy(from, to, rest),
            ("PEXPIRE" | "EXPIRE", [key, time]) => {
                let unit = if name == "EXPIRE" { 1000 } else { 1 };
                let Some(time) = parse_i64(time) else { return Some(Err(NO_INTEGER)) };
                let Some(at_ms) = time.checked_mul(unit).and_then(|ms| ms.checked_add(self.now_ms as i64)) else {
                    return Some(Err("ERR invalid expire time"));
                };
                let found = self.keys.get_mut(*key).map(|key| key.at_ms = Some(at_ms.max(0) as u64));
                count(found.is_some())
            }
            ("PERSIST", [key]) => count(self.keys.get_mut(*key).is_some_and(|key| key.at_ms.take().is_some())),
            ("EXPIRETIME", [key]) => Ok(Reply::Int(match self.keys.get(*key) {
                None => -2,
                Some(key) => key.at_ms.map_or(-1, |at_ms| (at_ms as i64 + 500) / 1000),
            })),
            ("TYPE" | "EXISTS" | "DEL" | "RENAME" | "PEXPIRE" | "EXPIRE" | "PERSIST" | "EXPIRETIME", _) => Err(ARITY),
            _ => return None,
        })
    }

    fn kind(&self, key: &[u8]) -> &'static str {
        match self.keys.get(key).map(|key| &key.held) {
            None => "none",
            Some(Held::Text(_)) => "string",
            Some(Held::Hash(_)) => "hash",
            Some(Held::SortedSet(_)) => "zset",
            Some(Held::Stream(_)) => "stream",
            Some(Held::Json(_)) => "ReJSON-RL",
        }
    }

    fn copy(&mut self, from: &[u8], to: &[u8], rest: &[&[u8]]) -> Said {
        let replaces = !rest.is_empty();
        if rest.iter().any(|word| !is(word, "REPLACE")) {
            return Err(SYNTAX);
        }
        if from == to {
            return Err("ERR source and destination objects are the same");
        }
        let (found, is_free) = (self.keys.get(from).cloned(), replaces || !self.keys.contains_key(to));
        let done = found.filter(|_| is_free).map(|key| self.keys.insert(to.to_vec(), key)).is_some();
        Ok(Reply::Int(done.into()))
    }

    /// Puts a value at a key, which never expires then.
    fn put(&mut self, key: &[u8], held: Held) {
        self.keys.insert(key.to_vec(), Key { held, at_ms: None });
    }
}

fn ok() -> Said {
    Ok(Reply::Simple(b"OK".to_vec()))
}

fn int(count: usize) -> Reply {
    Reply::Int(count as i64)
}

fn bulk(bytes: &[u8]) -> Reply {
    Reply::Bulk(bytes.to_vec())
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// A moment that is told: in so many of a unit, or at so many of it since 1970. In unix ms.
fn moment(unit: &[u8], time: &[u8], now_ms: u64) -> Result<u64, &'static str> {
    let time = parse_i64(time).ok_or(NO_INTEGER)?;
    let ms = if is(unit, "EX") || is(unit, "EXAT") { time.checked_mul(1000) } else { Some(time) };
    let is_relative = is(unit, "EX") || is(unit, "PX");
    let at_ms = ms.and_then(|ms| ms.checked_add(if is_relative { now_ms as i64 } else { 0 }));
    at_ms.and_then(|at_ms| u64::try_from(at_ms).ok()).filter(|_| time >= 0).ok_or("ERR invalid expire time")
}

fn is_unit(word: &[u8]) -> bool {
    ["EX", "PX", "EXAT", "PXAT"].iter().any(|unit| is(word, unit))
}

/// A reply as a protocol has it.
fn spoken(reply: Reply, protocol: u8) -> Reply {
    let all = |items: Vec<Reply>| items.into_iter().map(|item| spoken(item, protocol)).collect();
    match reply {
        Reply::Array(items) => Reply::Array(all(items)),
        Reply::Null if protocol == 2 => Reply::NullBulk,
        Reply::NullArray if protocol == 3 => Reply::Null,
        Reply::Double(value) if protocol == 2 => {
            let mut text = Vec::new();
            write_double(value, &mut text);
            Reply::Bulk(text)
        }
        Reply::Map(pairs) if protocol == 2 => {
            Reply::Array(all(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()))
        }
        Reply::Map(pairs) => {
            Reply::Map(pairs.into_iter().map(|(name, value)| (spoken(name, 3), spoken(value, 3))).collect())
        }
        other => other,
    }
}
