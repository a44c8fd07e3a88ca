//! Calling the load generator.

use super::Bench;
use super::server::Server;
use super::workload::Workload;
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
    /// Processor time of the server meanwhile.
    pub(super) cpu_ns: Option<u64>,
}

/// A user's name and password.
pub(super) type Login = (&'static str, &'static str);

/// The words of a load, all but its address.
#[derive(Clone, Debug)]
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) fn new(verb: &str) -> Self {
        Self(vec![verb.to_owned()])
    }

    /// One command in a closed loop, until it ends by itself.
    fn resp(command: &str, login: Option<Login>) -> Self {
        let words = Self::new("resp").with("command", command);
        match login {
            Some((user, password)) => words.with("user", user).with("password", password),
            None => words,
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.extend([format!("--{name}"), value.to_string()]);
        self
    }
}

/// Runs one load. Errors and misses mean that something else than intended would be measured.
pub(super) fn run(bench: &Bench, server: &Server, words: &Words) -> Result<Measured> {
    run_at(bench, server.address, &words.clone().with("server", server.pid()))
}

fn run_at(bench: &Bench, address: SocketAddr, words: &Words) -> Result<Measured> {
    let address = address.to_string();
    let line = run::output(Command::new(&bench.load).args(&words.0).args(["--address", &address]))?;
    let measured: Measured = serde_json::from_str(&line)?;
    if measured.operations == 0 || measured.errors > 0 || measured.misses > 0 {
        bail!("larder-load {} to {address}: not all were answered with a value: {line}", words.0.join(" "));
    }
    Ok(measured)
}

/// Asks `command` `times` over, 16 at a time, once the server rests.
pub(super) fn fill(bench: &Bench, server: &Server, login: Option<Login>, command: &str, times: u64) -> Result<()> {
    run(bench, server, &filling(command, login, times)).map(drop)
}

/// The same at one address of a server that has several.
pub(super) fn fill_at(bench: &Bench, address: SocketAddr, command: &str, times: u64) -> Result<()> {
    run_at(bench, address, &filling(command, None, times)).map(drop)
}

fn filling(command: &str, login: Option<Login>, times: u64) -> Words {
    Words::resp(command, login).with("pipeline", 16).with("operations", times)
}

/// Empties the server and lays out what `workload` runs on.
pub(super) fn prepare(bench: &Bench, server: &Server, login: Option<Login>, workload: &Workload) -> Result<()> {
    run(bench, server, &Words::resp("FLUSHALL", login).with("connections", 1).with("operations", 1))?;
    workload.prepare.iter().try_for_each(|(command, times)| fill(bench, server, login, command, *times))
}

/// The words of a workload.
pub(super) fn words(bench: &Bench, workload: &Workload, login: Option<Login>, pipeline: u64) -> Words {
    let words = Words::resp(&workload.command, login);
    let words = words.with("pipeline", pipeline).with("keys", workload.keys).with("seconds", bench.plan.turn_seconds());
    match workload.operations {
        Some(most) => words.with("operations", most / u64::from(bench.plan.turns)),
        None => words,
    }
}

/// Signs a GET for every key from 0 to `keys` into `file`.
pub(super) fn sign(bench: &Bench, host: SocketAddr, keys: u64, file: &str) -> Result<()> {
    let (host, keys) = (host.to_string(), keys.to_string());
    let words = ["sign", "--host", &host, "--keys", &keys, "--file", file];
    run::output(Command::new(&bench.load).args(words)).map(drop)
}
