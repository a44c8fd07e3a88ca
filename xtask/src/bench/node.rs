//! GET and SET on the node, redis-server and the node's echo mode.

use super::case::{self, Case};
use super::server::Server;
use super::table::{Aim, Section, cpu_of};
use super::{Bench, load};
use anyhow::Result;

/// More than the processor's caches hold.
const KEYS: u64 = 1_000_000;

/// Pipeline depths, with the most that the node may cost relative to redis-server.
const DEPTHS: [(u64, Option<f64>); 3] = [(1, Some(1.05)), (16, Some(0.65)), (64, None)];

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let servers = [Server::redis(bench)?, Server::node(bench, false)?, Server::node(bench, true)?];
    for server in &servers[..2] {
        load::fill(bench, server.address, KEYS)?;
    }
    let mut cases = Vec::new();
    for (depth, _) in DEPTHS {
        for verb in ["GET", "SET"] {
            let what = what(verb, depth);
            let words = load::resp(&verb.to_lowercase(), depth, KEYS, bench.plan.seconds);
            cases.extend(servers.iter().map(|server| Case { what: what.clone(), server, words: words.clone() }));
        }
    }
    let rows = case::rounds(bench, &cases, || Ok(()))?;
    let mut aims = Vec::new();
    for (depth, most) in DEPTHS {
        for verb in ["GET", "SET"] {
            let what = what(verb, depth);
            let cpu = |server: &Server| cpu_of(&rows, &what, server.name);
            let [redis, node, echo] = [cpu(&servers[0])?, cpu(&servers[1])?, cpu(&servers[2])?];
            aims.push(Aim { what: format!("CPU per {what}, node / redis-server"), measured: node / redis, most });
            aims.push(Aim { what: format!("CPU per {what}, node / its echo"), measured: node / echo, most: None });
        }
    }
    let about = format!(
        "16-byte keys, 64-byte values, {KEYS} keys drawn uniformly, 50 connections; {} worker of the node, \
         redis-server has one thread for commands.",
        bench.plan.workers
    );
    Ok(Section { title: "RESP: node and redis-server", about, rows, aims })
}

fn what(verb: &str, depth: u64) -> String {
    format!("{verb}, pipeline {depth}")
}
