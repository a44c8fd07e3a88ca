//! `cargo xtask bench`: the node against redis-server (and valkey-server, where there is one) and the gateway against its
//! echo mode, in one run on one machine. A file for each table, its loads as data.
//!
//! What counts is the server's own processor time per operation: throughput on a small shared machine mostly measures
//! the load generator. Servers take turns within each round, so that what else the machine does hits all alike; the
//! tables give medians over the rounds with their spread. A difference under 10 % is noise.

mod case;
mod commands;
mod engine;
mod gateway;
mod latency;
mod load;
mod memory;
mod node;
mod pauses;
mod server;
mod start;
mod table;
mod user;
mod workload;

use crate::run;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use table::Section;

/// What was asked for.
struct Plan {
    rounds: usize,
    /// Servers of one load take so many turns in a round, so that what else the machine does meets all of them.
    turns: u32,
    /// Of one load on one server in one round.
    seconds: f64,
    /// Worker threads of the node and the gateway.
    workers: usize,
    /// Keys of the memory measurement: a power of two.
    memory_keys: u64,
    /// Signed requests, each with a key of its own.
    signed_keys: u64,
    /// Words, one of which a row to be measured has in its name or its table's; none for all rows.
    only: Vec<String>,
}

impl Plan {
    /// Of one turn.
    fn turn_seconds(&self) -> f64 {
        self.seconds / f64::from(self.turns)
    }

    /// Whether a row was asked for.
    fn wants(&self, table: &str, row: &str) -> bool {
        let name = format!("{table}: {row}").to_lowercase();
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word))
    }
}

/// One table.
struct Part {
    name: &'static str,
    /// Names of its rows, where some can be left out.
    rows: fn() -> Vec<String>,
    measure: fn(&Bench) -> Result<Section>,
}

/// In the order they run.
const PARTS: [Part; 9] = [
    Part { name: "node", rows: node::rows, measure: node::measure },
    Part { name: "commands", rows: commands::rows, measure: commands::measure },
    Part { name: "user", rows: user::rows, measure: user::measure },
    Part { name: "memory", rows: memory::rows, measure: memory::measure },
    Part { name: "pauses", rows: Vec::new, measure: pauses::measure },
    Part { name: "engine", rows: Vec::new, measure: engine::measure },
    Part { name: "latency", rows: Vec::new, measure: latency::measure },
    Part { name: "gateway", rows: Vec::new, measure: gateway::measure },
    Part { name: "start", rows: Vec::new, measure: start::measure },
];

/// A run in progress: where its programs and files are.
struct Bench {
    plan: Plan,
    larder: PathBuf,
    load: PathBuf,
    /// The node's example that measures the engine alone.
    engine: PathBuf,
    /// Names and programs of the servers to compare with.
    peers: Vec<(&'static str, PathBuf)>,
    /// `target/bench`: results, and a folder of the servers' files.
    folder: PathBuf,
}

/// Builds the release binaries, measures, prints Markdown and writes `target/bench/*.json`.
///
/// # Errors
/// Wrong arguments, a build that fails, no redis-server, or a server or load that fails. A missed aim is no error.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let plan = plan(arguments)?;
    run::run(&mut run::cargo(["build", "--release", "-p", "larder-cli", "-p", "larder-sim", "--bins"]))?;
    run::run(&mut run::cargo(["build", "--release", "-p", "larder-node", "--example", "engine_bench"]))?;
    let release = run::target_dir().join("release");
    let folder = run::target_dir().join("bench");
    std::fs::create_dir_all(folder.join("files"))?;
    let redis = run::on_path("redis-server").context("no redis-server on PATH; `cargo xtask test` installs it")?;
    let valkey = run::on_path("valkey-server").map(|program| ("valkey-server", program));
    let peers = [("redis-server", redis)].into_iter().chain(valkey).collect();
    let engine = release.join("examples").join("engine_bench");
    let bench =
        Bench { plan, larder: release.join("larder"), load: release.join("larder-load"), engine, peers, folder };
    let head = table::Head::read(&bench, arguments)?;
    println!("{}", head.markdown());
    for Part { name, rows, measure } in PARTS {
        if !bench.plan.wants(name, "") && !rows().iter().any(|row| bench.plan.wants(name, row)) {
            continue;
        }
        let section = run::step(&format!("bench {name}"), || measure(&bench))?;
        println!("{}", section.markdown());
        let path = bench.folder.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&section.json(&head))?;
        std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn plan(arguments: &[String]) -> Result<Plan> {
    let mut plan = Plan {
        rounds: 7,
        turns: 6,
        seconds: 0.6,
        workers: 1,
        memory_keys: 1 << 20,
        signed_keys: 100_000,
        only: Vec::new(),
    };
    let mut words = arguments.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).filter(|&number: &usize| number > 0);
        match word {
            "--quick" => {
                plan.rounds = 3;
                plan.turns = 2;
                plan.seconds = 0.2;
                plan.memory_keys = 1 << 18;
                plan.signed_keys = 20_000;
            }
            "--rounds" => plan.rounds = number().context("--rounds needs a number from 1")?,
            "--workers" => plan.workers = number().context("--workers needs a number from 1")?,
            "--only" => {
                while let Some(word) = words.next_if(|word| !word.starts_with("--")) {
                    plan.only.push(word.to_lowercase());
                }
                if plan.only.is_empty() {
                    bail!("--only needs words of the rows or tables wanted, as in `--only hset memory`");
                }
            }
            _ => bail!("bench takes --quick, --rounds N, --workers N, --only WORDS; not `{word}`"),
        }
    }
    Ok(plan)
}

impl Bench {
    /// A `larder` command with what every server of a bench gets; the file it writes when ready is at the second.
    fn larder(&self, words: &[&str], name: &str) -> (Command, PathBuf) {
        let ready = self.folder.join("files").join(format!("{name}.ready"));
        let mut command = Command::new(&self.larder);
        command.args(words).args(["--log", "off", "--admin", "127.0.0.1:0"]);
        command.args(["--workers", &self.plan.workers.to_string()]);
        command.arg("--ready-file").arg(&ready);
        (command, ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(plan(&[]).unwrap().rounds, 7);
        let quick = plan(&words("--quick --only memory HSET --rounds 4")).unwrap();
        assert_eq!((quick.rounds, quick.memory_keys, quick.only.len()), (4, 1 << 18, 2));
        assert!(quick.wants("memory", "strings") && quick.wants("commands", "HSET, pipeline 1"));
        assert!(!quick.wants("commands", "HGET, pipeline 1") && plan(&[]).unwrap().wants("start", ""));
        for wrong in ["--rounds", "--rounds 0", "--rounds x", "--only", "--only --quick", "--quik"] {
            assert!(plan(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
