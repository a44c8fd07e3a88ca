//! Bytes per key: what the process grows by.

use super::server::Server;
use super::table::{Aim, Bound, Section};
use super::{Bench, load};
use anyhow::{Result, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;

/// What the node may take of redis-server's total.
const TOTAL_MOST: f64 = 0.66;
/// The same of collections of integers.
const INTEGERS_MOST: f64 = 1.0;
/// How far the numbers of keys from one power of two to the next may lie from their middle, in bytes per key.
const SWING_MOST: f64 = 3.0;
/// Of strings of 64 bytes without a TTL, over key and value.
const OVER_MOST: f64 = 36.0;

/// Connections that have asked one thing.
const CONNECTIONS: &str = "connections that sent a PING";
const CONNECTIONS_HELD: usize = 500;
/// What the node may take for each of what redis-server does.
const CONNECTIONS_MOST: f64 = 1.0;

/// Keys of one kind.
struct Shape {
    what: String,
    command: String,
    keys: u64,
    /// Bytes of the key, fields and values themselves.
    payload: u64,
    /// The most that the node may hold over the payload.
    over_most: Option<f64>,
    /// The most that it may hold of what redis-server does.
    total_most: f64,
}

impl Shape {
    fn new(what: &str, keys: u64, payload: u64, command: String) -> Self {
        Self { what: format!("{what}, {keys} keys"), command, keys, payload, over_most: None, total_most: TOTAL_MOST }
    }
}

fn shapes(power: u64) -> Vec<Shape> {
    let string = |keys| {
        let shape = Shape::new("strings of 64 B", keys, 80, "SET key:{n} {x64}".to_owned());
        Shape { over_most: Some(OVER_MOST), ..shape }
    };
    let some = |part: &str, count: u64| {
        let one = |n: u64| part.replace('#', &n.to_string()).replace('@', &(1_700_000_000 + n).to_string());
        (0..count).map(one).collect::<Vec<_>>().join(" ")
    };
    let ten = |part: &str| some(part, 10);
    // Redis has a form of their own for them, too.
    let integers = |what: &str, payload, command| {
        let shape = Shape::new(what, power / 4, payload, command);
        Shape { total_most: INTEGERS_MOST, ..shape }
    };
    vec![
        string(power),
        string(power * 3 / 2),
        string(power * 2),
        Shape::new("strings of 64 B with a TTL", power, 80, "SET key:{n} {x64} EX 100000".to_owned()),
        Shape::new("strings of 16 B", power, 32, "SET key:{n} {x16}".to_owned()),
        Shape::new(
            "hashes of 10 fields of 8 B",
            power / 4,
            16 + 10 * 14,
            format!("HSET key:{{n}} {}", ten("field# {x8}")),
        ),
        Shape::new(
            "sorted sets of 10 fields",
            power / 4,
            16 + 10 * 15,
            format!("ZADD key:{{n}} {}", ten("#.5 member#")),
        ),
        integers("sets of 10 integers", 16 + 10, format!("SADD key:{{n}} {}", ten("#"))),
        integers("sets of 100 integers", 16 + 190, format!("SADD key:{{n}} {}", some("#", 100))),
        integers("hashes of 10 timestamps", 16 + 10 * 16, format!("HSET key:{{n}} {}", ten("field# @"))),
        integers("lists of 10 timestamps", 16 + 10 * 10, format!("RPUSH key:{{n}} {}", ten("@"))),
    ]
}

/// All of them, but for how many keys they have.
pub(super) fn rows() -> Vec<String> {
    shapes(1 << 20).into_iter().map(|shape| shape.what).chain([CONNECTIONS.to_owned()]).collect()
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let power = bench.plan.memory_keys;
    let mut aims = Vec::new();
    let mut at_powers = Vec::new();
    for (n, shape) in shapes(power).iter().enumerate() {
        if !bench.plan.wants("memory", &shape.what) {
            continue;
        }
        let node = bytes_per_key(bench, Server::node(bench, false)?, shape)?;
        let mut totals = Vec::new();
        for peer in Server::peers(bench)? {
            let name = peer.name;
            totals.push((name, bytes_per_key(bench, peer, shape)?));
        }
        let over = |total: f64| total - shape.payload as f64;
        let what = |who: &str| format!("{}: bytes per key over key and value, {who}", shape.what);
        aims.extend(totals.iter().map(|(name, total)| Aim { what: what(name), measured: over(*total), bound: None }));
        aims.push(Aim { what: what("node"), measured: over(node), bound: shape.over_most.map(Bound::Most) });
        for (name, total) in totals {
            let bound = (name == "redis-server").then_some(Bound::Most(shape.total_most));
            aims.push(Aim { what: format!("{}: all bytes, node / {name}", shape.what), measured: node / total, bound });
        }
        if n < 3 {
            at_powers.push(node);
        }
    }
    if let [one, middle, two] = at_powers[..] {
        let (least, most) = (one.min(middle).min(two), one.max(middle).max(two));
        let what = "node: bytes per key at 1, 1.5 and 2 times a power of two, distance from their middle".to_owned();
        aims.push(Aim { what, measured: (most - least) / 2.0, bound: Some(Bound::Most(SWING_MOST)) });
    }
    if bench.plan.wants("memory", CONNECTIONS) {
        let node = bytes_per_connection(&Server::node(bench, false)?)?;
        let what = |who: &str| format!("{CONNECTIONS}: bytes of each, {who}");
        aims.push(Aim { what: what("node"), measured: node, bound: None });
        for peer in Server::peers(bench)? {
            let theirs = bytes_per_connection(&peer)?;
            let bound = (peer.name == "redis-server").then_some(Bound::Most(CONNECTIONS_MOST));
            aims.push(Aim { what: what(peer.name), measured: theirs, bound: None });
            let what = format!("{CONNECTIONS}: node / {}", peer.name);
            aims.push(Aim { what, measured: node / theirs, bound });
        }
    }
    let about = "Keys of 16 bytes, each kind in a fresh process; resident memory.".to_owned();
    Ok(Section { title: "Memory", about, rows: Vec::new(), aims })
}

fn bytes_per_key(bench: &Bench, server: Server, shape: &Shape) -> Result<f64> {
    let before = server.rss_bytes()?;
    load::fill(bench, &server, None, &shape.command, shape.keys)?;
    Ok(server.rss_bytes()?.saturating_sub(before) as f64 / shape.keys as f64)
}

/// What a server's process grows by for each of many connections. Those of before show it what its workers need once.
fn bytes_per_connection(server: &Server) -> Result<f64> {
    let _warm = connections(server, CONNECTIONS_HELD)?;
    let before = server.rss_bytes()?;
    let _held = connections(server, CONNECTIONS_HELD)?;
    Ok(server.rss_bytes()?.saturating_sub(before) as f64 / CONNECTIONS_HELD as f64)
}

fn connections(server: &Server, count: usize) -> Result<Vec<TcpStream>> {
    let connect = |_| {
        let mut stream = TcpStream::connect(server.address)?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 7];
        stream.read_exact(&mut reply)?;
        ensure!(&reply == b"+PONG\r\n", "a server does not answer PING");
        Ok(stream)
    };
    (0..count).map(connect).collect()
}
