//! Loads on servers that take turns, round by round.

use super::Bench;
use super::load::{self, Login, Words};
use super::server::Server;
use super::table::{Row, Samples};
use super::workload::Workload;
use anyhow::{Context, Result};
use std::time::Instant;

/// One load on one server.
pub(super) struct Case<'a> {
    pub(super) what: String,
    pub(super) server: &'a Server,
    /// Who asks, as the table shows it.
    pub(super) who: &'static str,
    pub(super) words: Words,
    /// What is laid out before each run, and by whom.
    pub(super) prepare: Option<(&'a Workload, Option<Login>)>,
}

/// Runs every case once per round, in order; `before` runs ahead of each round. The first round is preceded by one that
/// is not counted.
pub(super) fn rounds(bench: &Bench, cases: &[Case<'_>], mut before: impl FnMut() -> Result<()>) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = cases.iter().map(|case| Row::new(&case.what, case.who)).collect();
    for round in 0..=bench.plan.rounds {
        before()?;
        let start = Instant::now();
        for (case, row) in cases.iter().zip(&mut rows) {
            let samples = run(bench, case).with_context(|| format!("{} on {}", case.what, case.who))?;
            if round > 0 {
                row.add(samples);
            }
        }
        eprintln!("   round {round} of {}: {:.1} s", bench.plan.rounds, start.elapsed().as_secs_f64());
    }
    Ok(rows)
}

fn run(bench: &Bench, case: &Case<'_>) -> Result<Samples> {
    if let Some((workload, login)) = case.prepare {
        load::prepare(bench, case.server, login, workload)?;
    }
    let measured = load::run(bench, case.server, &case.words)?;
    let cpu_ns = measured.cpu_ns.context("the load generator did not tell the processor time")?;
    Ok(Samples {
        cpu_us: cpu_ns as f64 / 1000.0 / measured.operations as f64,
        per_s: measured.per_s,
        p50_us: measured.p50_us,
        p99_us: measured.p99_us,
    })
}
