//! The fuzz bodies that need an engine: the arguments of every command, and what scripts return.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_iam_policies::access::{LiveAccess, Source};
use larder_iam_policies::config::{RawAccess, RawCacheAccess};

use super::{Engine, Next};
use crate::commands::{Vocabulary, find, table};
use crate::config::{EngineConfig, Limits};
use crate::metrics::Gauge;
use crate::resp::{Out, OwnedArgs, Reply, encode_request, read_reply};
use crate::session::{Peer, Session};
use crate::time::Now;

/// Longest string a command may make.
const BULK_BYTES_MAX: usize = 64 * 1024;
/// Most requests of one input.
const REQUESTS_MAX: usize = 64;
/// Most bytes of one input.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// What every reply nests less deep than.
const DEPTH_MAX: usize = 200;

/// The longest wait of a client that its connection lives to see: a year. Clocks would come to their end by longer ones.
const WAIT_US_MAX: u64 = 365 * 24 * 3_600 * 1_000_000;

/// Runs `data` as requests, a line each, its words divided by blanks: no panic, each answered by one whole reply, memory
/// in proportion, and the effect log tells the same story.
///
/// A first word that is no command stands for one, so that most lines reach a command's own parser.
///
/// # Panics
/// A finding.
pub fn fuzz_commands(data: &[u8]) {
    let mut node = Node::new();
    let twin = Node::new();
    let log = node.engine.subscribe_log();
    let data = &data[..data.len().min(INPUT_BYTES_MAX)];
    let mut requests = 0;
    for line in data.split(|byte| *byte == b'\n').take(REQUESTS_MAX) {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let named = named(&words);
        // What other clients meet, and what takes long by itself.
        if matches!(named.first(), Some(&b"DEBUG" | &b"CLIENT")) {
            continue;
        }
        node.say(&named);
        requests += 1;
    }
    let used = node.engine.metrics().gauge(Gauge::UsedBytes) as usize;
    let fair = (1 << 20) + 256 * data.len() + requests * 4 * BULK_BYTES_MAX;
    assert!(used <= fair, "{used} bytes are used after {requests} requests of {} bytes", data.len());
    let Ok((_, told)) = log.read() else { return };
    if let Err(error) = twin.engine.replay(&told, node.now) {
        panic!("the log cannot be replayed: {error}");
    }
    assert_eq!(twin.state(node.now), node.state(node.now), "the log tells another story");
}

/// The request, under a command's name in any case: its own, or one that its first word stands for.
fn named<'a>(words: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let first = words.first().copied().unwrap_or_default();
    let rest = words.get(1..).unwrap_or_default();
    if find(first).is_some() {
        return words.to_vec();
    }
    let sum = first.iter().fold(7usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let name = table()[sum % table().len()].name;
    name.split('|').map(str::as_bytes).chain(rest.iter().copied()).collect()
}

/// Makes a Lua expression of `data`, returns it from a script, and reads the reply in both protocols.
///
/// # Panics
/// A finding.
pub fn fuzz_lua_replies(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let asks_resp3 = bytes.next().is_some_and(|byte| byte & 1 == 1);
    let mut source = String::from(if asks_resp3 { "redis.setresp(3) return " } else { "return " });
    expression(&mut bytes, 0, &mut source);
    let mut node = Node::new();
    for protocol in ["2", "3"] {
        node.say(&[b"HELLO", protocol.as_bytes()]);
        let reply = node.say(&[b"EVAL", source.as_bytes(), b"0"]).unwrap_or_else(|| panic!("no reply: {source}"));
        assert!(depth(&reply) <= DEPTH_MAX, "{source}");
        if protocol == "2" {
            assert!(is_resp2(&reply), "{source}: {reply:?}");
        }
        // The state is as good as before.
        assert_eq!(node.say(&[b"EVAL", b"return 7", b"0"]), Some(Reply::Int(7)), "{source}");
    }
}

/// Appends an expression that the bytes decide; when there are no more, `nil`.
fn expression(bytes: &mut impl Iterator<Item = u8>, depth: usize, source: &mut String) {
    const NAMES: [&str; 8] = ["err", "ok", "double", "big_number", "map", "set", "verbatim_string", "format"];
    const PLAIN: [&str; 20] = [
        "nil",
        "true",
        "false",
        "0",
        "-1",
        "3.99",
        "-0.0",
        "1e308*10",
        "-1e308*10",
        "0/0",
        "2^63",
        "-2^63",
        "''",
        "'text'",
        "'a\\r\\nb'",
        "'\\0\\255'",
        "redis.call",
        "string",
        "redis.status_reply('s')",
        "redis.error_reply('e')",
    ];
    let byte = bytes.next().unwrap_or_default();
    match byte % 8 {
        0..=2 => source.push_str(PLAIN[usize::from(byte / 8) % PLAIN.len()]),
        3 => {
            // Deeper than a parser nests: made by the script.
            let levels = usize::from(bytes.next().unwrap_or_default());
            source
                .push_str(&format!("(function() local t = {{}} for i = 1, {levels} do t = {{t}} end return t end)()"));
        }
        4 => {
            const CALLS: [&str; 6] =
                ["'ping'", "'hgetall', 'h'", "'get', 'x'", "'nothing'", "'command', 'info', 'get'", "'hello', '3'"];
            source.push_str(&format!("redis.pcall({})", CALLS[usize::from(byte / 8) % CALLS.len()]));
        }
        _ if depth > 60 => source.push_str("{}"),
        kind => {
            source.push('{');
            for _ in 0..bytes.next().unwrap_or_default() % 5 {
                if kind == 6 {
                    let name = NAMES[usize::from(bytes.next().unwrap_or_default()) % NAMES.len()];
                    source.push_str(&format!("{name}="));
                }
                expression(bytes, depth + 1, source);
                source.push(',');
            }
            source.push('}');
        }
    }
}

fn depth(reply: &Reply) -> usize {
    let deepest = |items: &[Reply]| items.iter().map(depth).max().unwrap_or(0);
    1 + match reply {
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => deepest(items),
        Reply::Map(pairs) => pairs.iter().map(|(name, value)| depth(name).max(depth(value))).max().unwrap_or(0),
        _ => 0,
    }
}

fn is_resp2(reply: &Reply) -> bool {
    match reply {
        Reply::Array(items) => items.iter().all(is_resp2),
        Reply::Simple(_) | Reply::Error(_) | Reply::Int(_) | Reply::Bulk(_) => true,
        Reply::NullBulk | Reply::NullArray => true,
        _ => false,
    }
}

/// An engine, one connection to it, and a clock that only requests move.
struct Node {
    engine: Arc<Engine>,
    session: Session,
    out: Out,
    now: Now,
}

/// A search for leaks must not meet what another thread is about to free.
impl Drop for Node {
    fn drop(&mut self) {
        while !self.engine.db.freeing.is_done() {
            std::thread::yield_now();
        }
    }
}

impl Node {
    fn new() -> Self {
        let mut config = EngineConfig::new("default");
        config.partitions = 64;
        config.limits = Limits {
            resp: crate::resp::Limits { bulk_bytes_max: BULK_BYTES_MAX, ..crate::resp::Limits::DEFAULT },
            ..Limits::DEFAULT
        };
        let now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };
        let engine = Engine::new(config, access(), 7, now);
        let session = session(&engine, now);
        Self { engine, session, out: Out::new(2), now }
    }

    /// Sends a request, waits for as long as it may wait, and reads the replies; the last of them.
    fn say(&mut self, words: &[&[u8]]) -> Option<Reply> {
        let mut input = Vec::new();
        encode_request(OwnedArgs::from_slices(words).as_args(), &mut input);
        self.now.wall_ms += 1;
        self.now.mono_us += 1000;
        let mut next = Next::Again;
        let mut from = 0;
        for turn in 0.. {
            assert!(turn < 1000, "it does not end");
            next = match next {
                Next::Again | Next::Busy => {
                    let Self { engine, session, out, now } = self;
                    let progress = engine.exec_batch(session, &input[from..], *now, out);
                    from += progress.consumed;
                    progress.next
                }
                Next::Blocked(Some(until_us)) if until_us < self.now.mono_us.saturating_add(WAIT_US_MAX) => {
                    self.now.wall_ms += until_us.saturating_sub(self.now.mono_us) / 1000 + 1;
                    self.now.mono_us = until_us.max(self.now.mono_us);
                    self.engine.deliver(&mut self.session, self.now, &mut self.out)
                }
                Next::Blocked(_) | Next::Close => {
                    self.session = session(&self.engine, self.now);
                    let reply = self.replies();
                    self.out = Out::new(2);
                    return reply;
                }
                Next::Read { .. } => return self.replies(),
            }
        }
        None
    }

    fn replies(&mut self) -> Option<Reply> {
        let bytes = self.out.take();
        let limits = crate::resp::Limits { depth_max: DEPTH_MAX, ..crate::resp::Limits::DEFAULT };
        let (mut at, mut last) = (0, None);
        while at < bytes.len() {
            match read_reply(&bytes[at..], &limits) {
                Ok(Some((reply, length))) => {
                    at += length;
                    last = Some(reply);
                }
                other => panic!("no whole reply ({other:?}): {}", bytes[at..].escape_ascii()),
            }
        }
        last
    }

    /// Every live key of every database with its expiry and elements.
    fn state(&self, now: Now) -> State {
        let mut all = BTreeMap::new();
        for partition in 0..self.engine.db.partitions() {
            let mut held = self.engine.db.lock_patiently(partition);
            for database in std::iter::once(0).chain(held.slice(partition).others()) {
                let table = &held.shard(partition, database).table;
                for entry in table.iter().filter(|entry| !entry.is_due(now.wall_ms)) {
                    let holds = (entry.expire_at_ms(), crate::rdb::elements(entry.value()));
                    all.insert((database, entry.key().to_vec()), holds);
                }
            }
        }
        all
    }
}

/// Keys by database and name, each with its expiry and elements.
type State = BTreeMap<(u8, Vec<u8>), (Option<u64>, Vec<String>)>;

fn session(engine: &Arc<Engine>, now: Now) -> Session {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 4000));
    let peer = Peer {
        source: Source::new([127, 0, 0, 1].into(), false, 6379),
        address: address.into(),
        local: address.into(),
    };
    engine.open(peer, 0, now).unwrap_or_else(|_| panic!("an anonymous caller is admitted"))
}

/// Everybody may do everything.
fn access() -> Arc<LiveAccess> {
    let raw = RawAccess { account: "000000000000".into(), region: "us-east-1".into(), ..Default::default() };
    let cache =
        RawCacheAccess { name: "default".into(), engine: "valkey".into(), anonymous: true, ..Default::default() };
    let mut mistakes = Vec::new();
    let access = raw.check(&[cache], &Vocabulary, &mut mistakes);
    Arc::new(LiveAccess::new(access.unwrap_or_else(|| panic!("{mistakes:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_arguments(lines in proptest::collection::vec((0..table().len(), proptest::collection::vec(proptest::sample::select(vec![
            "k", "l", "h", "s", "z", "0", "1", "-1", "2", "10", "(1", "[a", "+inf", "-", "*", "", "9223372036854775807", "GET",
            "WITHSCORES", "LIMIT", "COUNT", "EX", "PX", "NX", "BY", "STORE", "MATCH", "LEFT", "RIGHT", "MIN", "BYSCORE", "0.5",
        ]), 0..7)), 1..20)) {
            let line = |(row, words): &(usize, Vec<&str>)| {
                let name = table()[*row].name.replace('|', " ");
                [&[&*name][..], words].concat().join(" ")
            };
            fuzz_commands(lines.iter().map(line).collect::<Vec<_>>().join("\n").as_bytes());
        }

        #[test]
        fn any_return(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            fuzz_lua_replies(&data);
        }
    }
}
