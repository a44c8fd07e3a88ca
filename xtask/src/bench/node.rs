//! GET and SET on the node and its peers, over sizes, connections and pipelines; at 64 bytes also on the node's echo mode.

use super::Bench;
use super::case::{self, Case};
use super::load::{self, Words};
use super::server::Server;
use super::table::{Aim, Bound, Section, cpu_of};
use anyhow::Result;

/// More than the processor's caches hold, of 64 bytes.
const KEYS: u64 = 1_000_000;

/// One load, asked as GET and as SET.
struct Shape {
    value_bytes: u64,
    connections: u64,
    pipeline: u64,
    /// The most that the node may cost relative to redis-server.
    most: Option<f64>,
}

const fn shape(value_bytes: u64, connections: u64, pipeline: u64, most: Option<f64>) -> Shape {
    Shape { value_bytes, connections, pipeline, most }
}

const SHAPES: [Shape; 13] = [
    shape(64, 50, 1, Some(1.0)),
    shape(64, 50, 16, Some(0.57)),
    shape(64, 50, 64, Some(0.45)),
    shape(16, 50, 1, None),
    shape(16, 50, 16, None),
    shape(1024, 50, 1, None),
    shape(1024, 50, 16, None),
    shape(16_384, 50, 1, None),
    shape(16_384, 50, 16, None),
    shape(64, 1, 1, None),
    shape(64, 1, 16, None),
    shape(64, 1000, 1, None),
    shape(64, 1000, 16, None),
];

impl Shape {
    /// Each size has keys of its own, so that it is laid out once; all together fit in a few hundred megabytes.
    fn keys(&self) -> u64 {
        (KEYS * 64 / self.value_bytes).min(KEYS)
    }

    fn key(&self) -> String {
        format!("k{:02}:", self.value_bytes.ilog2())
    }

    /// What writes its keys, each once.
    fn fill(&self) -> String {
        format!("SET {}{{n}} {{x{}}}", self.key(), self.value_bytes)
    }

    fn what(&self, verb: &str) -> String {
        let Self { value_bytes, connections, pipeline, .. } = self;
        let size = match value_bytes {
            1024.. => format!("{} KB", value_bytes / 1024),
            _ => format!("{value_bytes} B"),
        };
        format!("{verb} {size}, {connections} connections, pipeline {pipeline}")
    }

    fn words(&self, bench: &Bench, verb: &str) -> Words {
        let value = if verb == "SET" { format!(" {{x{}}}", self.value_bytes) } else { String::new() };
        let words = Words::new("resp").with("command", format!("{verb} {}{{key}}{value}", self.key()));
        let words = words.with("pipeline", self.pipeline).with("connections", self.connections);
        words.with("keys", self.keys()).with("seconds", bench.plan.turn_seconds())
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let peers = Server::peers(bench)?;
    let (node, echo) = (Server::node(bench, false)?, Server::node(bench, true)?);
    let mut sizes: Vec<&Shape> = loads(bench).map(|(shape, _)| shape).collect();
    sizes.sort_by_key(|shape| shape.value_bytes);
    sizes.dedup_by_key(|shape| shape.value_bytes);
    for shape in sizes {
        for server in peers.iter().chain([&node]) {
            load::fill(bench, server, None, &shape.fill(), shape.keys())?;
        }
    }
    let mut cases = Vec::new();
    for (shape, verb) in loads(bench) {
        let with_echo = (shape.value_bytes == 64).then_some(&echo);
        cases.extend(peers.iter().chain([&node]).chain(with_echo).map(|server| Case {
            what: shape.what(verb),
            server,
            who: server.name,
            words: shape.words(bench, verb),
            prepare: None,
        }));
    }
    let rows = case::rounds(bench, &cases, bench.plan.turns, || Ok(()))?;
    let mut aims = Vec::new();
    for (shape, verb) in loads(bench) {
        let what = shape.what(verb);
        let cpu = |server: &Server| cpu_of(&rows, &what, server.name);
        for peer in &peers {
            let bound = shape.most.filter(|_| peer.name == "redis-server").map(Bound::Most);
            let measured = cpu(&node)? / cpu(peer)?;
            aims.push(Aim { what: format!("CPU per {what}, node / {}", peer.name), measured, bound });
        }
        if shape.value_bytes == 64 {
            let measured = cpu(&node)? / cpu(&echo)?;
            aims.push(Aim { what: format!("CPU per {what}, node / its echo"), measured, bound: None });
        }
    }
    let about = format!(
        "16-byte keys drawn uniformly, {KEYS} of them up to 64 B, of larger values as many as hold as much; {} worker of \
         the node, redis-server has one thread for commands.",
        bench.plan.workers
    );
    Ok(Section { title: "RESP: GET and SET", about, rows, aims })
}

/// All of them.
pub(super) fn rows() -> Vec<String> {
    all().map(|(shape, verb)| shape.what(verb)).collect()
}

fn all() -> impl Iterator<Item = (&'static Shape, &'static str)> {
    SHAPES.iter().flat_map(|shape| ["GET", "SET"].map(|verb| (shape, verb)))
}

/// Those asked for.
fn loads(bench: &Bench) -> impl Iterator<Item = (&'static Shape, &'static str)> {
    all().filter(|(shape, verb)| bench.plan.wants("node", &shape.what(verb)))
}
