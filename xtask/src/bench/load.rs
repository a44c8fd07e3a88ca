//! Calling the load generator.

use super::Bench;
use crate::run;
use anyhow::{Result, bail};
use serde::Deserialize;
use std::net::SocketAddr;
use std::process::Command;

/// What `larder-load` prints of a run.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Measured {
    pub(super) operations: u64,
    pub(super) errors: u64,
    pub(super) misses: u64,
    pub(super) per_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Runs one load. Errors and misses mean that something else than intended would be measured.
pub(super) fn run(bench: &Bench, address: SocketAddr, words: &[String]) -> Result<Measured> {
    let address = address.to_string();
    let line = run::output(Command::new(&bench.load).args(words).args(["--address", &address]))?;
    let measured: Measured = serde_json::from_str(&line)?;
    if measured.operations == 0 || measured.errors > 0 || measured.misses > 0 {
        bail!("larder-load {} to {address}: not all were answered with a value: {}", words.join(" "), line.trim());
    }
    Ok(measured)
}

/// The words of a RESP load.
pub(super) fn resp(verb: &str, pipeline: u64, keys: u64, seconds: f64) -> Vec<String> {
    let pairs =
        [("--pipeline", pipeline.to_string()), ("--keys", keys.to_string()), ("--seconds", seconds.to_string())];
    let mut words = vec!["resp".to_owned(), "--verb".to_owned(), verb.to_owned()];
    words.extend(pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    words
}

/// Writes every key from 0 to `keys` once.
pub(super) fn fill(bench: &Bench, address: SocketAddr, keys: u64) -> Result<Measured> {
    run(bench, address, &resp("fill", 64, keys, 0.0))
}

/// Signs a GET for every key from 0 to `keys` into `file`.
pub(super) fn sign(bench: &Bench, host: SocketAddr, keys: u64, file: &str) -> Result<()> {
    let (host, keys) = (host.to_string(), keys.to_string());
    let words = ["sign", "--host", &host, "--keys", &keys, "--file", file];
    run::output(Command::new(&bench.load).args(words)).map(drop)
}
