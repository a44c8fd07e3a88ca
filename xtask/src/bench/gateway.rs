//! Signed GETs over HTTP/1.1, against the gateway's echo mode.

use super::Bench;
use super::case::{self, Case};
use super::load::{self, Words};
use super::server::Server;
use super::table::{Aim, Bound, Section, cpu_of};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Signatures are good for 5 minutes; older files are signed again.
const AGE_MAX: Duration = Duration::from_secs(150);

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let servers = [Server::up(bench)?, Server::gateway_echo(bench)?];
    let keys = bench.plan.signed_keys;
    let resp = servers[0].resp()?;
    load::fill_at(bench, resp, "SET key:{n} {x64}", keys)?;
    let mut cases = Vec::new();
    let mut files = Vec::new();
    for server in &servers {
        let file = bench.folder.join("files").join(format!("{}.requests", server.name.replace(' ', "")));
        let file = file.to_str().context("the target folder's name is not UTF-8")?.to_owned();
        // Longer than the others: there are only two.
        let words = Words::new("http").with("file", &file).with("seconds", bench.plan.turn_seconds() * 4.0);
        cases.push(Case { what: "signed GET".to_owned(), server, who: server.name, words, prepare: None });
        files.push((server.address, file));
    }
    let mut signed: Option<Instant> = None;
    let rows = case::rounds(bench, &cases, bench.plan.turns, || {
        if signed.is_none_or(|at| at.elapsed() > AGE_MAX) {
            files.iter().try_for_each(|(address, file)| load::sign(bench, *address, keys, file))?;
            signed = Some(Instant::now());
        }
        Ok(())
    })?;
    let cpu = |server: &Server| cpu_of(&rows, "signed GET", server.name);
    let ratio = cpu(&servers[0])? / cpu(&servers[1])?;
    let aims = vec![Aim {
        what: "CPU per signed GET, gateway / its echo".to_owned(),
        measured: ratio,
        bound: Some(Bound::Most(1.5)),
    }];
    let about = format!(
        "`GET /v1/caches/default/keys/{{key}}` of 64 bytes over 50 kept HTTP/1.1 connections; {keys} keys, each request \
         with a SigV4 signature of its own, authorised and allow-listed; embedded cache; {} worker.",
        bench.plan.workers
    );
    Ok(Section { title: "HTTP: gateway and its echo mode", about, rows, aims })
}
