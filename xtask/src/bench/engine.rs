//! The engine without sockets: what two threads do against one.

use super::Bench;
use super::table::{Aim, Bound, Section, median};
use crate::run;
use anyhow::Result;
use serde::Deserialize;
use std::process::Command;

const KEYS: u64 = 3_000_000;
/// The least that two threads do, in what one does.
const TWO_LEAST: f64 = 1.8;

/// What the example `engine_bench` prints.
#[derive(Deserialize)]
struct Printed {
    one: Shape,
    two: Shape,
    apart: Shape,
}

#[derive(Deserialize)]
struct Shape {
    /// Millions of requests a second, round by round.
    per_s: Vec<f64>,
    /// The same, of processor time.
    per_cpu_s: Vec<f64>,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let [keys, seconds, rounds] = [KEYS.to_string(), bench.plan.seconds.to_string(), (bench.plan.rounds).to_string()];
    let line = run::output(Command::new(&bench.engine).args([keys, seconds, rounds]))?;
    let Printed { one, two, apart } = serde_json::from_str(&line)?;
    // Of each round, as what else the machine does is alike within one.
    let ratio = |shape: &Shape| {
        let mut ratios: Vec<f64> = shape.per_s.iter().zip(&one.per_s).map(|(shape, one)| shape / one).collect();
        median(&mut ratios)
    };
    let number = |what: &str, measured| Aim { what: what.to_owned(), measured, bound: None };
    let middle = |values: &[f64]| median(&mut values.to_vec());
    let aims = vec![
        number("one thread, million requests a second", middle(&one.per_s)),
        number("two threads, million requests a second", middle(&two.per_s)),
        Aim { bound: Some(Bound::Least(TWO_LEAST)), ..number("two threads / one", ratio(&two)) },
        number("two threads with an engine each / one: what the machine allows", ratio(&apart)),
        number("CPU per request, two threads / one", middle(&one.per_cpu_s) / middle(&two.per_cpu_s)),
    ];
    let about = format!("{KEYS} keys, values of 64 B, nine GETs to a SET in batches of 16, in one process.");
    Ok(Section { title: "Engine without sockets", about, rows: Vec::new(), aims })
}
