//! The other commands, on the node and its peers.

use super::Bench;
use super::case::{self, Case};
use super::load;
use super::server::Server;
use super::table::{Aim, Bound, Section, cpu_of, median};
use super::workload::{self, Workload};
use anyhow::Result;

const PIPELINES: [u64; 2] = [1, 16];
/// The most that the node may cost relative to redis-server: any of them, and the one in the middle.
const MOST: f64 = 1.15;
const MEDIAN_MOST: f64 = 1.0;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let peers = Server::peers(bench)?;
    let node = Server::node(bench, false)?;
    let workloads = workload::others();
    let mut loads = loads(&workloads);
    loads.retain(|(workload, pipeline)| bench.plan.wants("commands", &what(workload, *pipeline)));
    let mut cases = Vec::new();
    for &(workload, pipeline) in &loads {
        cases.extend(peers.iter().chain([&node]).map(|server| Case {
            what: what(workload, pipeline),
            server,
            who: server.name,
            words: load::words(bench, workload, None, pipeline),
            prepare: Some((workload, None)),
        }));
    }
    let rows = case::rounds(bench, &cases, bench.plan.turns, || Ok(()))?;
    let mut aims = Vec::new();
    for peer in &peers {
        let bound = |most| (peer.name == "redis-server").then_some(Bound::Most(most));
        let mut ratios = Vec::new();
        for &(workload, pipeline) in &loads {
            let what = what(workload, pipeline);
            let measured = cpu_of(&rows, &what, node.name)? / cpu_of(&rows, &what, peer.name)?;
            ratios.push(measured);
            aims.push(Aim { what: format!("CPU per {what}, node / {}", peer.name), measured, bound: bound(MOST) });
        }
        let what = format!("median of these, node / {}", peer.name);
        aims.push(Aim { what, measured: median(&mut ratios), bound: bound(MEDIAN_MOST) });
    }
    let about = format!(
        "50 connections, values of 64 B; lists of 100, hashes of 10 fields, sorted sets of 1000 members for reads; {} worker \
         of the node. What a load runs on is laid out afresh before each round, outside the measure.",
        bench.plan.workers
    );
    Ok(Section { title: "RESP: other commands", about, rows, aims })
}

/// All of them.
pub(super) fn rows() -> Vec<String> {
    loads(&workload::others()).iter().map(|(workload, pipeline)| what(workload, *pipeline)).collect()
}

fn loads(workloads: &[Workload]) -> Vec<(&Workload, u64)> {
    workloads.iter().flat_map(|workload| PIPELINES.map(|pipeline| (workload, pipeline))).collect()
}

fn what(workload: &Workload, pipeline: u64) -> String {
    format!("{}, pipeline {pipeline}", workload.name)
}
