//! DUMP and RESTORE between redis-server and the node, both ways, over every type and encoding.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use larder_node::resp::{Limits, OwnedArgs, Reply, encode_request, read_reply};
use larder_tests::larder::Redis;
use larder_tests::node::{Node, Setup};

/// A connection that speaks bytes.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let mut it = Self { stream: TcpStream::connect(address).unwrap(), input: Vec::new() };
        it.ask(&[b"HELLO", b"3"]);
        it
    }

    fn ask(&mut self, words: &[&[u8]]) -> Reply {
        let mut request = Vec::new();
        encode_request(OwnedArgs::from_slices(words).as_args(), &mut request);
        self.stream.write_all(&request).unwrap();
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some((reply, length)) = read_reply(&self.input, &Limits::DEFAULT).unwrap() {
                self.input.drain(..length);
                return reply;
            }
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "closed");
            self.input.extend_from_slice(&buffer[..count]);
        }
    }

    fn text(&mut self, words: &[&[u8]]) -> String {
        match self.ask(words) {
            Reply::Bulk(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            reply => format!("{reply:?}"),
        }
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        match self.ask(&[b"KEYS", b"*"]) {
            Reply::Array(keys) => keys.into_iter().map(bulk).collect(),
            reply => panic!("{reply:?}"),
        }
    }

    fn dump(&mut self, key: &[u8]) -> Vec<u8> {
        bulk(self.ask(&[b"DUMP", key]))
    }

    /// What is at a key, in order where there is one.
    fn content(&mut self, key: &[u8]) -> Vec<Vec<u8>> {
        let is_ordered = matches!(self.kind(key).as_str(), "list" | "zset" | "stream");
        let reply = match self.kind(key).as_str() {
            "string" => self.ask(&[b"GET", key]),
            "list" => self.ask(&[b"LRANGE", key, b"0", b"-1"]),
            "hash" => self.ask(&[b"HGETALL", key]),
            "set" => self.ask(&[b"SMEMBERS", key]),
            "zset" => self.ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
            "stream" => self.stream(key),
            kind => panic!("{} is a {kind}", key.escape_ascii()),
        };
        let written = |reply: &Reply| {
            let mut bytes = Vec::new();
            reply.write(&mut bytes);
            bytes
        };
        let mut parts: Vec<Vec<u8>> = match &reply {
            Reply::Array(items) | Reply::Set(items) => items.iter().map(written).collect(),
            Reply::Map(pairs) => pairs.iter().map(|(field, value)| [written(field), written(value)].concat()).collect(),
            reply => vec![written(reply)],
        };
        if !is_ordered {
            parts.sort();
        }
        parts
    }

    /// All that XINFO tells of a stream, but how redis's tree is built.
    fn stream(&mut self, key: &[u8]) -> Reply {
        match self.ask(&[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"]) {
            Reply::Map(mut pairs) => {
                pairs.retain(|(name, _)| bulk(name.clone()) != b"radix-tree-nodes");
                Reply::Map(pairs)
            }
            reply => panic!("{reply:?}"),
        }
    }

    fn kind(&mut self, key: &[u8]) -> String {
        match self.ask(&[b"TYPE", key]) {
            Reply::Simple(kind) => String::from_utf8_lossy(kind.as_ref()).into_owned(),
            reply => panic!("{reply:?}"),
        }
    }

    fn encoding(&mut self, key: &[u8]) -> String {
        self.text(&[b"OBJECT", b"ENCODING", key])
    }
}

fn bulk(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) => bytes.to_vec(),
        reply => panic!("{reply:?}"),
    }
}

/// Values of every type and encoding, and at the bounds between encodings and between the forms of lengths.
fn fill(server: &mut Connection) {
    let mut ask = |words: &[&[u8]]| {
        let reply = server.ask(words);
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    };
    for number in [0i64, 127, 128, -128, -129, 32767, -32769, 8_388_607, -8_388_609, 1 << 31, i64::MAX, i64::MIN] {
        let text = number.to_string();
        ask(&[b"SET", format!("int:{number}").as_bytes(), text.as_bytes()]);
        ask(&[b"RPUSH", b"list:ints", text.as_bytes()]);
        ask(&[b"SADD", b"set:ints", text.as_bytes()]);
        ask(&[b"HSET", b"hash:ints", text.as_bytes(), text.as_bytes()]);
        ask(&[b"ZADD", b"zset:ints", text.as_bytes(), text.as_bytes()]);
    }
    for number in [4095, 4096, -4096, -4097, 32768, 8_388_608] {
        ask(&[b"RPUSH", b"list:ints", number.to_string().as_bytes()]);
        ask(&[b"SADD", b"set:small-ints", number.to_string().as_bytes()]);
    }
    for len in [0, 1, 20, 63, 64, 127, 128, 4095, 4096, 8191, 16_383, 16_384, 20_000, 100_000, 1 << 20] {
        let same = vec![b'x'; len];
        let varied: Vec<u8> = (0..len).map(|at| (at * at % 251) as u8).collect();
        for (name, value) in [("same", &same), ("varied", &varied)] {
            ask(&[b"SET", format!("string:{name}:{len}").as_bytes(), value]);
            ask(&[b"RPUSH", b"list:long", value]);
            ask(&[b"RPUSH", format!("list:{name}:{len}").as_bytes(), value, b"1", value]);
            ask(&[b"HSET", format!("hash:{name}:{len}").as_bytes(), b"field", value, value, b"1"]);
            ask(&[b"SADD", format!("set:{name}:{len}").as_bytes(), b"member", value]);
            ask(&[b"ZADD", format!("zset:{name}:{len}").as_bytes(), b"1.5", b"member", b"-2", value]);
        }
    }
    for count in [1, 2, 127, 128, 129, 512, 513, 700, 20_000] {
        let numbers = || (0..count).map(|n: u32| n.to_string());
        let members = || numbers().map(|n| format!("member:{n}"));
        let pairs = || members().zip(numbers()).flat_map(<[String; 2]>::from);
        let mut scored = numbers().map(|n| n + ".25").zip(members()).flat_map(<[String; 2]>::from);
        let mut add = |command: &str, name: &str, elements: &mut dyn Iterator<Item = String>| {
            let words: Vec<String> =
                [command.to_owned(), format!("{name}:{count}")].into_iter().chain(elements).collect();
            ask(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        };
        add("RPUSH", "list", &mut pairs());
        add("HSET", "hash", &mut pairs());
        add("SADD", "set", &mut members());
        add("SADD", "intset", &mut numbers());
        add("ZADD", "zset", &mut scored);
    }
    for score in ["inf", "-inf", "0.1", "1e300", "-1e-300", "3.0000000000000004", "1e17", "4611686018427387904", "-0.5"]
    {
        ask(&[b"ZADD", b"zset:scores", score.as_bytes(), score.as_bytes()]);
        ask(&[b"ZADD", b"zset:scores-big", score.as_bytes(), score.as_bytes(), b"1", &[b'm'; 65]]);
    }
}

/// Streams of one node and of many, with fields that are alike and that are not, deleted and trimmed entries, and groups.
fn fill_streams(server: &mut Connection) {
    let mut ask = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let reply = server.ask(&words);
        assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
    };
    ask("XADD stream:one 1-1 field value");
    for n in 1..=350 {
        ask(&format!("XADD stream:alike {}-{} n {n} text value-{n}", 1_700_000_000_000u64 + n * n * 1000, n % 3));
        let fields = (0..n % 4).map(|field| format!(" f{field} {}", "v".repeat(n as usize % 90)));
        ask(&format!("XADD stream:varied {n}-{} x {}{}", n % 7, n * 99_999, fields.collect::<String>()));
    }
    for id in ["1-18446744073709551615", "2-0", "2-18446744073709551614", "18446744073709551615-5"] {
        ask(&format!("XADD stream:far {id} -5000 70000 {id} 12345678901234567890"));
    }
    for len in [63, 64, 4095, 4096, 70_000] {
        ask(&format!("XADD stream:long * {} {}", "n".repeat(len), "v".repeat(len)));
    }
    ask("XDEL stream:alike 1700000001000-1 1700000016000-1 1700122500000-2");
    for id in [3, 4, 5, 140, 141, 350] {
        ask(&format!("XDEL stream:varied {id}-{}", id % 7));
    }
    ask("XTRIM stream:varied MAXLEN 300");
    ask("XTRIM stream:alike MINID 1700010000001");
    ask("XGROUP CREATE stream:empty 12 $ MKSTREAM");
    ask("XADD stream:gone 5-5 a b");
    ask("XDEL stream:gone 5-5");
    ask("XADD stream:bare 5-5 a b");
    ask("XTRIM stream:bare MAXLEN 0");
    for key in ["alike", "varied", "far"] {
        ask(&format!("XGROUP CREATE stream:{key} readers 0"));
        ask(&format!("XGROUP CREATE stream:{key} idle 3-3"));
        ask(&format!("XGROUP CREATE stream:{key} -5 $ ENTRIESREAD 7"));
        ask(&format!("XGROUP CREATECONSUMER stream:{key} idle nobody"));
        ask(&format!("XREADGROUP GROUP readers alice COUNT 150 STREAMS stream:{key} >"));
        ask(&format!("XREADGROUP GROUP readers 7000 COUNT 3 STREAMS stream:{key} >"));
        ask(&format!("XREADGROUP GROUP readers alice COUNT 20 STREAMS stream:{key} 0"));
        ask(&format!("XREADGROUP GROUP idle alice COUNT 2 NOACK STREAMS stream:{key} >"));
    }
    ask("XACK stream:varied readers 60-4 61-5 62-6");
    ask("XDEL stream:varied 70-0 71-1");
    ask("XSETID stream:far 18446744073709551615-9 ENTRIESADDED 300 MAXDELETEDID 2-5");
}

/// Takes everything from one server to an empty other; the encodings there, by those here.
fn carry(from: &mut Connection, to: &mut Connection) -> BTreeMap<(String, String), usize> {
    let mut encodings = BTreeMap::new();
    for key in from.keys() {
        let shown = key.escape_ascii().to_string();
        let payload = from.dump(&key);
        let restored = to.ask(&[b"RESTORE", &key, b"0", &payload]);
        assert!(matches!(restored, Reply::Simple(_)), "{shown}: {restored:?}");
        assert_eq!(from.kind(&key), to.kind(&key), "{shown}");
        assert!(from.content(&key) == to.content(&key), "{shown} has other content");
        *encodings.entry((from.encoding(&key), to.encoding(&key))).or_default() += 1;
        // What came over goes on as well.
        let again = to.dump(&key);
        let restored = from.ask(&[b"RESTORE", b"again", b"0", &again, b"REPLACE"]);
        assert!(matches!(restored, Reply::Simple(_)), "{shown} again: {restored:?}");
        assert!(from.content(b"again") == from.content(&key), "{shown} has other content when it is back");
        from.ask(&[b"DEL", b"again"]);
    }
    encodings
}

fn both_ways(settings: &[(&[u8], &[u8])]) -> [BTreeMap<(String, String), usize>; 2] {
    let redis = Redis::start();
    let node = Node::start(Setup::default());
    let (mut redis, mut node) = (Connection::open(redis.address()), Connection::open(node.address()));
    for (name, value) in settings {
        let reply = redis.ask(&[b"CONFIG", b"SET", name, value]);
        assert!(matches!(reply, Reply::Simple(_)), "{reply:?}");
    }
    // Whatever arrives is looked into.
    redis.ask(&[b"CONFIG", b"SET", b"sanitize-dump-payload", b"yes"]);
    fill(&mut redis);
    fill_streams(&mut redis);
    let out = carry(&mut redis, &mut node);
    redis.ask(&[b"FLUSHALL"]);
    node.ask(&[b"FLUSHALL"]);
    fill(&mut node);
    fill_streams(&mut node);
    [out, carry(&mut node, &mut redis)]
}

#[test]
fn every_encoding_goes_both_ways() {
    let [to_node, to_redis] = both_ways(&[]);
    println!("{to_node:?}\n{to_redis:?}");
    let has = |all: &BTreeMap<(String, String), usize>, from: &str, to: &str| {
        assert!(all.contains_key(&(from.to_owned(), to.to_owned())), "no {from} became {to}");
    };
    for encoding in ["int", "embstr", "raw", "quicklist", "intset", "hashtable", "listpack", "skiplist", "stream"] {
        has(&to_node, encoding, encoding);
        has(&to_redis, encoding, encoding);
    }
    // A small set of strings, which redis 7.0 has no listpack for.
    has(&to_node, "hashtable", "listpack");
    has(&to_redis, "listpack", "hashtable");
}

#[test]
fn nodes_of_any_size_and_without_compression_are_read() {
    both_ways(&[
        (b"list-max-listpack-size", b"3"),
        (b"list-compress-depth", b"1"),
        (b"rdbcompression", b"no"),
        (b"hash-max-listpack-entries", b"1000"),
        (b"zset-max-listpack-entries", b"1000"),
        (b"zset-max-listpack-value", b"10000"),
        (b"set-max-intset-entries", b"1000"),
    ]);
}

#[test]
fn a_stream_is_dumped_byte_for_byte_as_redis_does() {
    let redis = Redis::start();
    let node = Node::start(Setup::default());
    let (mut redis, mut node) = (Connection::open(redis.address()), Connection::open(node.address()));
    redis.ask(&[b"CONFIG", b"SET", b"rdbcompression", b"no"]);
    fill_streams(&mut redis);
    fill_streams(&mut node);
    for key in redis.keys() {
        let (shown, payload) = (key.escape_ascii().to_string(), redis.dump(&key));
        // What no clock is in is the same from the start.
        if [&b"stream:one"[..], b"stream:empty", b"stream:gone", b"stream:bare"].contains(&key.as_slice()) {
            assert!(node.dump(&key) == payload, "{shown}");
        }
        let restored = node.ask(&[b"RESTORE", &key, b"0", &payload, b"REPLACE"]);
        assert!(matches!(restored, Reply::Simple(_)), "{shown}: {restored:?}");
        assert!(node.dump(&key) == payload, "{shown} as it was restored");
    }
    // And so what comes after: nodes fill up alike.
    for n in 0..500 {
        let (id, text) = (format!("{}-1", 1_900_000_000_000u64 + n), n.to_string());
        for server in [&mut redis, &mut node] {
            server.ask(&[b"XADD", b"stream:alike", id.as_bytes(), b"n", text.as_bytes(), b"text", b"x"]);
            server.ask(&[b"XADD", b"stream:varied", b"MAXLEN", b"~", b"200", id.as_bytes(), b"n", &[b'x'; 50]]);
        }
    }
    for key in [&b"stream:alike"[..], b"stream:varied"] {
        assert!(node.dump(key) == redis.dump(key), "{}", key.escape_ascii());
    }
}
