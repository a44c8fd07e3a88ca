//! `cargo xtask bench`: the node against redis-server and the gateway against its echo mode, in one run on one machine.
//!
//! What counts is the server's own processor time per operation: throughput on a small shared machine mostly measures
//! the load generator. Servers take turns within each round, so that what else the machine does hits all alike; the
//! tables give medians over the rounds with their spread. A difference under 10 % is noise.

mod case;
mod gateway;
mod load;
mod memory;
mod node;
mod server;
mod start;
mod table;

use crate::run;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use table::Section;

/// What was asked for.
struct Plan {
    rounds: usize,
    /// Of one load.
    seconds: f64,
    /// Worker threads of the node and the gateway.
    workers: usize,
    /// Keys of the memory measurement.
    memory_keys: u64,
    /// Signed requests, each with a key of its own.
    signed_keys: u64,
    only: Option<String>,
}

/// Measures one part.
type Measure = fn(&Bench) -> Result<Section>;

const PARTS: [(&str, Measure); 4] =
    [("node", node::measure), ("memory", memory::measure), ("gateway", gateway::measure), ("start", start::measure)];

/// A run in progress: where its programs and files are.
struct Bench {
    plan: Plan,
    larder: PathBuf,
    load: PathBuf,
    redis: PathBuf,
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
    let release = run::target_dir().join("release");
    let folder = run::target_dir().join("bench");
    std::fs::create_dir_all(folder.join("files"))?;
    let redis = run::on_path("redis-server").context("no redis-server on PATH; `cargo xtask test` installs it")?;
    let bench = Bench { plan, larder: release.join("larder"), load: release.join("larder-load"), redis, folder };
    let head = table::Head::read(&bench, arguments)?;
    println!("{}", head.markdown());
    for (name, measure) in PARTS {
        if bench.plan.only.as_ref().is_some_and(|only| only != name) {
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
    let mut plan =
        Plan { rounds: 5, seconds: 2.0, workers: 1, memory_keys: 2_000_000, signed_keys: 100_000, only: None };
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).filter(|&number: &usize| number > 0);
        match word {
            "--quick" => {
                plan.rounds = 3;
                plan.seconds = 0.5;
                plan.memory_keys = 200_000;
                plan.signed_keys = 20_000;
            }
            "--rounds" => plan.rounds = number().context("--rounds needs a number from 1")?,
            "--workers" => plan.workers = number().context("--workers needs a number from 1")?,
            "--only" => {
                let part = words.next().unwrap_or_default();
                if !PARTS.iter().any(|(name, _)| *name == part) {
                    bail!("--only {part}: can be node, memory, gateway, start");
                }
                plan.only = Some(part.to_owned());
            }
            _ => bail!("bench takes --quick, --rounds N, --workers N, --only node|memory|gateway|start; not `{word}`"),
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
        assert_eq!(plan(&[]).unwrap().rounds, 5);
        let quick = plan(&words("--quick --rounds 4 --only memory")).unwrap();
        assert_eq!((quick.rounds, quick.memory_keys, quick.only.as_deref()), (4, 200_000, Some("memory")));
        for wrong in ["--rounds", "--rounds 0", "--rounds x", "--only all", "--quik"] {
            assert!(plan(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
