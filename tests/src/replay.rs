//! The effect log against the commands of every family: random requests, seeded, run in one engine; its log replayed into
//! a second; everything that both hold compared.
//!
//! Several clients ask by turns, some of them wait, some requests go through scripts and transactions, and the clock moves
//! by jumps, so that keys and fields expire while others are used.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_iam_policies::access::{LiveAccess, Source};
use larder_iam_policies::config::{RawAccess, RawCacheAccess};
use larder_node::commands::{self, Vocabulary, keys};
use larder_node::resp::{Limits, Out, OwnedArgs, Reply, encode_request, read_reply};
use larder_node::{Engine, EngineConfig, Next, Now, Peer, Session};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::differential::generate::Forms;
use crate::differential::grammar;
use crate::differential::report::Report;
use crate::differential::words::{Known, World};
use crate::transcript::play::Request;
use crate::transcript::shortened;

const FORMS: [&str; 2] = [include_str!("../differential/commands.txt"), include_str!("../differential/replay.txt")];
/// Clients that ask by turns.
const CLIENTS: usize = 6;
/// Requests between two comparisons.
const BETWEEN: u64 = 400;
/// Databases that are used.
const DATABASES: u8 = 3;
const LIBRARIES: [&str; 3] = [
    "#!lua name=one\nredis.register_function('push', function(k, a) return redis.call('rpush', k[1], unpack(a)) end)",
    "#!lua name=two\nredis.register_function('pop', function(k, a) return redis.call('spop', k[1]) end)",
    "#!lua name=one\nredis.register_function('count', function(k, a) return redis.call('incr', k[1]) end)",
];

/// Runs so many requests and compares every few hundred; how many of them were no errors.
///
/// # Errors
/// The two engines differ, or the log cannot be replayed: where, with what the log says of it.
///
/// # Panics
/// A reply is not whole.
pub fn run(seed: u64, requests: u64) -> Result<u64, String> {
    let mut now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };
    let (engine, twin) = (engine(now), engine(now));
    let log = engine.subscribe_log();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let forms = FORMS.iter().map(|text| grammar::read(text)).collect::<Result<Vec<_>, _>>()?;
    let forms = Forms::new(forms.into_iter().flatten().collect());
    let (mut world, mut report) = (World::default(), Report::default());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::new(&engine, now)).collect();
    let (mut sent, mut good, mut told, mut compared) = (0, 0, Vec::new(), 0);
    while sent < requests {
        world.now_ms = now.wall_ms;
        let client = &mut clients[random.random_range(0..CLIENTS)];
        if client.session.is_blocked() {
            // Now and then one gives up.
            if random.random_bool(0.02) {
                *client = Client::new(&engine, now);
            }
        } else {
            let asked = draw(&forms, client, &mut world, &mut report, &mut random, now);
            for request in asked {
                sent += 1;
                let reply = client.say(&request, now);
                good += u64::from(reply.as_ref().is_some_and(|reply| !matches!(reply, Reply::Error(_))));
                look(client, &request, &mut world, now);
            }
        }
        clients.iter_mut().for_each(|client| client.hear(now));
        let ms = match random.random_range(0..40u8) {
            0 => random.random_range(0..1_000_000),
            1..=10 => random.random_range(0..40),
            _ => 0,
        };
        (now.wall_ms, now.mono_us) = (now.wall_ms + ms, now.mono_us + ms * 1000);
        if random.random_bool(0.01) {
            engine.sweep(0, 1, now, 10_000);
        }
        if sent >= compared + BETWEEN {
            compared = sent;
            let (_, bytes) = log.read().map_err(|_| "the reader lags")?;
            told.extend_from_slice(&bytes);
            twin.replay(&bytes, now).map_err(|error| format!("{error}: {}", about(&bytes, b"", error.offset)))?;
            compare(&engine, &twin, now, &told)?;
        }
    }
    Ok(good)
}

/// The next requests of a client: one form's, a transaction, or one within a script.
fn draw(
    forms: &Forms,
    client: &mut Client,
    world: &mut World,
    report: &mut Report,
    random: &mut Xoshiro256PlusPlus,
    now: Now,
) -> Vec<Request> {
    let mut one =
        |in_multi, world: &mut World, random: &mut Xoshiro256PlusPlus| forms.draw(in_multi, world, report, random);
    match random.random_range(0..100u8) {
        0 => {
            let library = LIBRARIES[random.random_range(0..LIBRARIES.len())];
            vec![words(&["FUNCTION", "LOAD", "REPLACE", library])]
        }
        1 => {
            let call = [["FUNCTION", "DELETE", "one"], ["FUNCTION", "FLUSH", "SYNC"], ["FUNCTION", "DELETE", "two"]];
            vec![words(&call[random.random_range(0..call.len())])]
        }
        2 | 3 => {
            let call = [
                &["FCALL", "push", "1", "l1", "a", "b"][..],
                &["FCALL", "pop", "1", "t1"],
                &["FCALL", "count", "1", "n1"],
            ];
            vec![words(call[random.random_range(0..call.len())])]
        }
        4..=11 => {
            let calls = [one(true, world, random), one(true, world, random)].concat();
            calls.into_iter().map(scripted).collect()
        }
        12..=19 => {
            let mut calls = vec![words(&["MULTI"])];
            (0..random.random_range(1..5u8)).for_each(|_| calls.extend(one(true, world, random)));
            let script = one(true, world, random).into_iter().map(scripted);
            calls.extend(script);
            calls.push(words(&["EXEC"]));
            calls
        }
        20 => {
            let from = crate::differential::words::fill("k", world, random);
            let to = crate::differential::words::fill("k", world, random);
            let dumped = client.say(&vec![b"DUMP".to_vec(), from], now);
            let Some(Reply::Bulk(payload)) = dumped else { return Vec::new() };
            let ttl = ["0", "20", "5000"][random.random_range(0..3usize)];
            vec![vec![b"RESTORE".to_vec(), to, ttl.into(), payload.to_vec(), b"REPLACE".to_vec()]]
        }
        _ => one(false, world, random),
    }
}

/// The same request as a script's only call.
fn scripted(request: Request) -> Request {
    [words(&["EVAL", "return redis.call(unpack(ARGV))", "0"]), request].concat()
}

fn words(words: &[&str]) -> Request {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Remembers what the first key of a request holds now.
fn look(client: &mut Client, request: &Request, world: &mut World, now: Now) {
    let args = OwnedArgs::from_slices(request);
    let mut first = None;
    if let Ok(spec) = commands::resolve(args.as_args()) {
        // A broken request may have no keys to find.
        let _ =
            keys::each(spec, args.as_args(), &mut |at, _| first = first.take().or_else(|| request.get(at).cloned()));
    }
    let Some(key) = first.filter(|_| !client.session.is_blocked()) else { return };
    match client.say(&vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.clone()], now) {
        Some(Reply::Bulk(encoding)) => {
            let encoding = String::from_utf8_lossy(&encoding).into_owned();
            let known = Known { encodings: [encoding.clone(), encoding], is_there: true };
            world.databases[world.database].insert(key, known);
        }
        _ => drop(world.databases[world.database].remove(&key)),
    }
}

fn compare(engine: &Arc<Engine>, twin: &Arc<Engine>, now: Now, told: &[u8]) -> Result<(), String> {
    let (ours, theirs) = (state(engine, now), state(twin, now));
    let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for name in names {
        let (one, other) = (ours.get(name), theirs.get(name));
        if one != other {
            let (database, key) = name;
            return Err(format!(
                "{} in database {database}\n  holds  {}\n  replay {}\n  told:\n{}",
                shortened(key),
                one.map_or("nothing", |text| text),
                other.map_or("nothing", |text| text),
                about(told, key, told.len()),
            ));
        }
    }
    Ok(())
}

/// The last records of a log up to a place that name a key, or make a frame around those that may.
fn about(log: &[u8], key: &[u8], end: usize) -> String {
    let mut lines = Vec::new();
    let (mut at, mut ranges) = (0, Vec::new());
    while at < log.len() && at <= end {
        ranges.clear();
        let parsed = larder_node::resp::parse(log, at, &mut ranges, &Limits::DEFAULT, &mut Default::default());
        let Ok(larder_node::resp::Parsed::Complete { end, .. }) = parsed else { break };
        let words: Vec<&[u8]> = ranges.iter().filter_map(|(from, to)| log.get(*from as usize..*to as usize)).collect();
        let frames =
            ["SELECT", "SWAPDB", "FLUSHDB", "FLUSHALL"].iter().any(|name| words.first() == Some(&name.as_bytes()));
        if frames || words.iter().any(|word| *word == key || key.is_empty()) {
            lines.push(words.iter().map(|word| shortened(word)).collect::<Vec<_>>().join(" "));
        }
        at = end;
    }
    lines.split_off(lines.len().saturating_sub(30)).join("\n")
}

/// What an engine holds: by database and key, in words; under no key, its libraries.
fn state(engine: &Arc<Engine>, now: Now) -> BTreeMap<(u8, Vec<u8>), String> {
    let mut client = Client::new(engine, now);
    let mut all = BTreeMap::new();
    for database in 0..DATABASES {
        client.say(&words(&["SELECT", &database.to_string()]), now);
        for key in bulks(client.say(&words(&["KEYS", "*"]), now)) {
            let text = shown(&mut client, &key, now);
            all.insert((database, key), text);
        }
    }
    all.insert((u8::MAX, Vec::new()), format!("{:?}", client.say(&words(&["FUNCTION", "LIST", "WITHCODE"]), now)));
    all
}

fn shown(client: &mut Client, key: &[u8], now: Now) -> String {
    let mut ask = |command: &[&str], rest: &[&[u8]]| {
        let request = words(command).into_iter().chain([key.to_vec()]).chain(rest.iter().map(|word| word.to_vec()));
        client.say(&request.collect(), now)
    };
    let (kind, expiry, encoding) = (ask(&["TYPE"], &[]), ask(&["PEXPIRETIME"], &[]), ask(&["OBJECT", "ENCODING"], &[]));
    let Some(Reply::Simple(name)) = &kind else { return format!("{kind:?}") };
    let holds = match &**name {
        b"string" => format!("{:?}", ask(&["GET"], &[])),
        b"list" => format!("{:?}", ask(&["LRANGE"], &[b"0", b"-1"])),
        b"zset" => format!("{:?}", ask(&["ZRANGE"], &[b"0", b"-1", b"WITHSCORES"])),
        b"set" => {
            let mut members = bulks(ask(&["SMEMBERS"], &[]));
            members.sort();
            format!("{members:?}")
        }
        b"hash" => {
            let pairs = bulks(ask(&["HGETALL"], &[]));
            let mut fields: Vec<_> = pairs.chunks(2).map(<[_]>::to_vec).collect();
            fields.sort();
            let expiry = |pair: Vec<Vec<u8>>| {
                let at = ask(&["HPEXPIRETIME"], &[b"FIELDS", b"1", &pair[0]]);
                format!("{pair:?} until {at:?}")
            };
            fields.into_iter().map(expiry).collect::<Vec<_>>().join(", ")
        }
        b"stream" => format!("{:?}", ask(&["XINFO", "STREAM"], &[b"FULL", b"COUNT", b"0"]).map(without_seen)),
        _ => format!("{:?}", ask(&["DUMP"], &[])),
    };
    format!("{} {encoding:?} until {expiry:?}: {holds}", String::from_utf8_lossy(name))
}

/// A stream without the moments at which its consumers were seen: a read that found nothing leaves no record.
fn without_seen(reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) => {
            let mut kept = Vec::new();
            let mut items = items.into_iter();
            while let Some(item) = items.next() {
                if matches!(&item, Reply::Bulk(name) if **name == *b"seen-time" || **name == *b"active-time") {
                    items.next();
                } else {
                    kept.push(without_seen(item));
                }
            }
            Reply::Array(kept)
        }
        other => other,
    }
}

fn bulks(reply: Option<Reply>) -> Vec<Vec<u8>> {
    let Some(Reply::Array(items)) = reply else { return Vec::new() };
    let bulk = |item| if let Reply::Bulk(bytes) = item { Some(bytes.to_vec()) } else { None };
    items.into_iter().filter_map(bulk).collect()
}

/// A connection without the socket.
struct Client {
    engine: Arc<Engine>,
    session: Session,
    out: Out,
}

impl Client {
    fn new(engine: &Arc<Engine>, now: Now) -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 4000));
        let source = Source::new([127, 0, 0, 1].into(), false, 6379);
        let peer = Peer { source, address: address.into(), local: address.into() };
        let session = engine.open(peer, 0, now).unwrap_or_else(|_| panic!("an anonymous caller is admitted"));
        Self { engine: engine.clone(), session, out: Out::new(2) }
    }

    /// Sends a request; the reply, unless the client waits for it.
    fn say(&mut self, request: &Request, now: Now) -> Option<Reply> {
        let mut input = Vec::new();
        encode_request(OwnedArgs::from_slices(request).as_args(), &mut input);
        let mut from = 0;
        loop {
            let progress = self.engine.exec_batch(&mut self.session, &input[from..], now, &mut self.out);
            from += progress.consumed;
            match progress.next {
                Next::Again | Next::Busy => {}
                Next::Close => *self = Self::new(&self.engine, now),
                Next::Read { .. } | Next::Blocked(_) => break,
            }
            if from == input.len() {
                break;
            }
        }
        let bytes = self.out.take();
        let limits = Limits { bulk_bytes_max: usize::MAX, ..Limits::DEFAULT };
        read_reply(&bytes, &limits)
            .unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()))
            .map(|(reply, _)| reply)
    }

    /// Takes what came for a client that waits.
    fn hear(&mut self, now: Now) {
        if self.session.is_blocked() {
            self.engine.deliver(&mut self.session, now, &mut self.out);
            self.out.take();
        }
    }
}

fn engine(now: Now) -> Arc<Engine> {
    let raw = RawAccess { account: "000000000000".into(), region: "us-east-1".into(), ..Default::default() };
    let cache =
        RawCacheAccess { name: "default".into(), engine: "valkey".into(), anonymous: true, ..Default::default() };
    let mut mistakes = Vec::new();
    let access = raw.check(&[cache], &Vocabulary, &mut mistakes).unwrap_or_else(|| panic!("{mistakes:?}"));
    let mut config = EngineConfig::new("default");
    config.partitions = 64;
    Engine::new(config, Arc::new(LiveAccess::new(access)), 7, now)
}
