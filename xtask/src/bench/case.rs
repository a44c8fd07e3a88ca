//! Loads on servers that take turns, round by round.

use super::Bench;
use super::load::{self, Login, Measured, Words};
use super::server::Server;
use super::table::{Row, Samples, median};
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

/// Runs every case once per round, in order, those of one load in `turns` turns; `before` runs ahead of each round. The first
/// round is preceded by one that is not counted.
pub(super) fn rounds(
    bench: &Bench,
    cases: &[Case<'_>],
    turns: u32,
    mut before: impl FnMut() -> Result<()>,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = cases.iter().map(|case| Row::new(&case.what, case.who)).collect();
    for round in 0..=bench.plan.rounds {
        before()?;
        let start = Instant::now();
        let mut rows = rows.iter_mut();
        for load in cases.chunk_by(|one, next| one.what == next.what) {
            for (samples, row) in one_round(bench, load, turns)?.into_iter().zip(rows.by_ref()) {
                if round > 0 {
                    row.add(samples);
                }
            }
        }
        eprintln!("   round {round} of {}: {:.1} s", bench.plan.rounds, start.elapsed().as_secs_f64());
    }
    Ok(rows)
}

/// One load on its servers, which take turns; what each gave.
fn one_round(bench: &Bench, cases: &[Case<'_>], turns: u32) -> Result<Vec<Samples>> {
    let named = |case: &Case<'_>| format!("{} on {}", case.what, case.who);
    for case in cases {
        if let Some((workload, login)) = case.prepare {
            load::prepare(bench, case.server, login, workload).with_context(|| named(case))?;
        }
    }
    let mut measured = vec![Vec::new(); cases.len()];
    for turn in 0..turns {
        let mut order = cases.iter().zip(&mut measured).collect::<Vec<_>>();
        if turn % 2 == 1 {
            order.reverse();
        }
        for (case, measured) in order {
            measured.push(load::run(bench, case.server, &case.words).with_context(|| named(case))?);
        }
    }
    measured.iter().map(|turns| sum(turns)).collect()
}

/// All turns of a load on a server as one: of times to an answer, the median.
fn sum(turns: &[Measured]) -> Result<Samples> {
    let cpu_ns = turns.iter().map(|turn| turn.cpu_ns).sum::<Option<u64>>();
    let cpu_ns = cpu_ns.context("the load generator did not tell the processor time")?;
    let operations = turns.iter().map(|turn| turn.operations as f64).sum::<f64>();
    let seconds = turns.iter().map(|turn| turn.operations as f64 / turn.per_s).sum::<f64>();
    let middle = |of: fn(&Measured) -> f64| median(&mut turns.iter().map(of).collect::<Vec<_>>());
    Ok(Samples {
        cpu_us: cpu_ns as f64 / 1000.0 / operations,
        per_s: operations / seconds,
        p50_us: middle(|turn| turn.p50_us),
        p99_us: middle(|turn| turn.p99_us),
    })
}
