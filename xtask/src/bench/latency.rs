//! Latency under a load that does not wait: GETs at random times, at 60 % of what the servers can do.
//!
//! A request's time counts from when it was meant to be sent, so a stall is felt by all that were due meanwhile.

use super::Bench;
use super::case::{self, Case};
use super::load::{self, Words};
use super::server::Server;
use super::table::{Aim, Bound, Row, Section, median, p99_of};
use anyhow::Result;

const KEYS: u64 = 1_000_000;
const SHARE: f64 = 0.6;
/// The most that the node's p99 may be of redis-server's.
const MOST: f64 = 1.15;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let peers = Server::peers(bench)?;
    let node = Server::node(bench, false)?;
    let servers: Vec<&Server> = peers.iter().chain([&node]).collect();
    let mut capacities = Vec::new();
    for server in &servers {
        load::fill(bench, server, None, "SET key:{n} {x64}", KEYS)?;
        capacities.push(capacity(bench, server)?);
    }
    let least = capacities.iter().copied().fold(f64::INFINITY, f64::min);
    let alike = format!("GET at {:.0} a second, {:.0} % of the slower's capacity", least * SHARE, SHARE * 100.0);
    let own = format!("GET at {:.0} % of each one's own capacity", SHARE * 100.0);
    let mut cases = Vec::new();
    for (what, rates) in [(&alike, vec![least; servers.len()]), (&own, capacities)] {
        cases.extend(servers.iter().zip(rates).map(|(server, rate)| Case {
            what: what.clone(),
            server,
            who: server.name,
            words: words("open", bench.plan.seconds * 2.0).with("rate", (rate * SHARE) as u64),
            prepare: None,
        }));
    }
    let rows = case::rounds(bench, &cases, 1, || Ok(()))?;
    let mut aims = Vec::new();
    for peer in &peers {
        for (what, most) in [(&alike, Some(MOST)), (&own, None)] {
            let p99 = |rows: &[Row], server: &Server| p99_of(rows, what, server.name);
            let measured = p99(&rows, &node)? / p99(&rows, peer)?;
            let bound = most.filter(|_| peer.name == "redis-server").map(Bound::Most);
            aims.push(Aim { what: format!("p99 of {what}, node / {}", peer.name), measured, bound });
        }
    }
    let about =
        "50 connections that take turns, Poisson arrivals, values of 64 B; times count from the intended moment. \
                 Capacity is what 50 closed loops get."
            .to_owned();
    Ok(Section { title: "Latency under an open load", about, rows, aims })
}

fn words(verb: &str, seconds: f64) -> Words {
    Words::new(verb).with("command", "GET key:{key}").with("keys", KEYS).with("seconds", seconds)
}

/// GETs a second that 50 closed loops get: the median of three runs.
fn capacity(bench: &Bench, server: &Server) -> Result<f64> {
    let words = words("resp", bench.plan.seconds);
    let runs = (0..3).map(|_| load::run(bench, server, &words).map(|measured| measured.per_s));
    Ok(median(&mut runs.collect::<Result<Vec<_>>>()?))
}
