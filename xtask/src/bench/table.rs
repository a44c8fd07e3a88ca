//! Results as Markdown for docs/performance.md, and as JSON.

use super::Bench;
use crate::run;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::Command;

/// What was measured where, as every published number must say.
pub(super) struct Head {
    machine: String,
    commit: String,
    command: String,
    peers: String,
}

impl Head {
    pub(super) fn read(bench: &Bench, arguments: &[String]) -> Result<Self> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
        let model = cpus.lines().find(|line| line.starts_with("model name")).and_then(value);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism()?;
        let machine = format!("{}, {cores} cores, Linux {}", model.as_deref().unwrap_or("?"), kernel.trim());
        let git = |words: &[&str]| run::output(Command::new("git").current_dir(run::root()).args(words));
        // A copy of the tree without its history can be measured too.
        let hash = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|_| "unknown".to_owned());
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|text| !text.is_empty());
        let commit = format!("{}{}", hash.trim(), if changed { " with changes" } else { "" });
        let command = format!("cargo xtask bench {}", arguments.join(" ")).trim_end().to_owned();
        let peers = bench.peers.iter().map(|(name, program)| {
            let said = run::output(Command::new(program).arg("--version"))?;
            let version = said.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?");
            Ok(format!("{name} {version}"))
        });
        Ok(Self { machine, commit, command, peers: peers.collect::<Result<Vec<_>>>()?.join(", ") })
    }

    pub(super) fn markdown(&self) -> String {
        format!(
            "Machine: {}. Commit: {}. Command: `{}`. Peers: {}. Medians of rounds, least to most behind them.\n",
            self.machine, self.commit, self.command, self.peers
        )
    }
}

/// One load on one server, over the rounds.
#[derive(Debug)]
pub(super) struct Row {
    what: String,
    server: &'static str,
    cpu_us: Vec<f64>,
    per_s: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

/// What one round gave.
pub(super) struct Samples {
    /// Processor time of the server per operation.
    pub(super) cpu_us: f64,
    pub(super) per_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Row {
    pub(super) fn new(what: &str, server: &'static str) -> Self {
        let none = Vec::new;
        Self { what: what.to_owned(), server, cpu_us: none(), per_s: none(), p50_us: none(), p99_us: none() }
    }

    pub(super) fn add(&mut self, samples: Samples) {
        self.cpu_us.push(samples.cpu_us);
        self.per_s.push(samples.per_s);
        self.p50_us.push(samples.p50_us);
        self.p99_us.push(samples.p99_us);
    }
}

/// A number with what it should be, if that is settled.
pub(super) struct Aim {
    pub(super) what: String,
    pub(super) measured: f64,
    pub(super) bound: Option<Bound>,
}

/// What a number should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    Most(f64),
    Least(f64),
}

impl Bound {
    fn is_met(self, measured: f64) -> bool {
        match self {
            Self::Most(most) => measured <= most,
            Self::Least(least) => measured >= least,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Most(most) => write!(f, "<= {most}"),
            Self::Least(least) => write!(f, ">= {least}"),
        }
    }
}

/// One part of the bench.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) about: String,
    pub(super) rows: Vec<Row>,
    pub(super) aims: Vec<Aim>,
}

impl Section {
    pub(super) fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n{}\n", self.title, self.about);
        if !self.rows.is_empty() {
            out.push_str("\n| load | server | server CPU us per op | ops/s | p50 us | p99 us |\n");
            out.push_str("| --- | --- | --- | --- | --- | --- |\n");
        }
        for row in &self.rows {
            let cpu = spread(&row.cpu_us, 3);
            let [per_s, p50, p99] = [(&row.per_s, 0), (&row.p50_us, 0), (&row.p99_us, 0)].map(|(v, n)| spread(v, n));
            let _ = writeln!(out, "| {} | {} | {cpu} | {per_s} | {p50} | {p99} |", row.what, row.server);
        }
        out.push_str("\n| measured | is | aim | |\n| --- | --- | --- | --- |\n");
        for aim in &self.aims {
            let bound = aim.bound.map_or_else(String::new, |bound| bound.to_string());
            let word = aim.bound.map_or("", |bound| if bound.is_met(aim.measured) { "met" } else { "missed" });
            let _ = writeln!(out, "| {} | {:.2} | {bound} | {word} |", aim.what, aim.measured);
        }
        out
    }

    pub(super) fn json(&self, head: &Head) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({ "load": row.what, "server": row.server, "cpu_us": row.cpu_us, "per_s": row.per_s,
                        "p50_us": row.p50_us, "p99_us": row.p99_us })
            })
            .collect();
        let aims: Vec<Value> = self
            .aims
            .iter()
            .map(|aim| json!({ "what": aim.what, "measured": aim.measured, "aim": aim.bound.map(|b| b.to_string()) }))
            .collect();
        json!({ "title": self.title, "about": self.about, "machine": head.machine, "commit": head.commit,
                "command": head.command, "peers": head.peers, "rows": rows, "aims": aims })
    }
}

/// Median processor time per operation of a load on a server, in microseconds.
pub(super) fn cpu_of(rows: &[Row], what: &str, server: &str) -> Result<f64> {
    find(rows, what, server).map(|row| median(&mut row.cpu_us.clone()))
}

/// Median over the rounds of a load's p99 on a server, in microseconds.
pub(super) fn p99_of(rows: &[Row], what: &str, server: &str) -> Result<f64> {
    find(rows, what, server).map(|row| median(&mut row.p99_us.clone()))
}

fn find<'a>(rows: &'a [Row], what: &str, server: &str) -> Result<&'a Row> {
    let row = rows.iter().find(|row| row.what == what && row.server == server);
    row.with_context(|| format!("no row for {what} on {server}"))
}

/// Sorts, and gives the middle; of an even number, the mean of the two in the middle; of none, 0.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn spread(values: &[f64], digits: usize) -> String {
    let mut values = values.to_vec();
    let middle = median(&mut values);
    match (values.first(), values.last()) {
        (Some(least), Some(most)) => format!("{middle:.digits$} ({least:.digits$} to {most:.digits$})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), 0.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(spread(&[3.0, 1.0, 2.0], 1), "2.0 (1.0 to 3.0)");
    }

    #[test]
    fn a_section_says_what_was_met() {
        let mut row = Row::new("GET, pipeline 1", "node");
        row.add(Samples { cpu_us: 1.5, per_s: 1000.0, p50_us: 3.0, p99_us: 4.0 });
        let aim = |measured, bound| Aim { what: "ratio".to_owned(), measured, bound };
        let most = Some(Bound::Most(1.05));
        let aims = vec![aim(1.0, most), aim(1.06, most), aim(9.0, None), aim(1.9, Some(Bound::Least(1.8)))];
        let section = Section { title: "T", about: "A.".to_owned(), rows: vec![row], aims };
        let text = section.markdown();
        assert!(text.contains("| GET, pipeline 1 | node | 1.500 (1.500 to 1.500) | 1000 (1000 to 1000) |"), "{text}");
        assert!(text.contains("| ratio | 1.00 | <= 1.05 | met |"), "{text}");
        assert!(text.contains("| ratio | 1.06 | <= 1.05 | missed |"), "{text}");
        assert!(text.contains("| ratio | 9.00 |  |  |"), "{text}");
        assert!(text.contains("| ratio | 1.90 | >= 1.8 | met |"), "{text}");
        assert_eq!(cpu_of(&section.rows, "GET, pipeline 1", "node").unwrap(), 1.5);
        assert!(cpu_of(&section.rows, "GET, pipeline 2", "node").is_err());
    }
}
