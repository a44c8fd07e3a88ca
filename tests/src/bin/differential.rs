//! `differential REQUESTS [SEED]`: as many random requests to redis-server and to the node, half in RESP2 and half in RESP3;
//! prints what was done, and every difference. A long run must also have done enough of everything.
//!
//! `differential newer REQUESTS [SEED]`, `differential fakeredis REQUESTS [SEED]`: as many of what redis 7.0 lacks, to a plain
//! slow model or to fakeredis, and to the node.
//!
//! `differential acl USERS [SEED]`: as many users made from random rules, half in RESP2 and half in RESP3, and what they may do.

use std::process::ExitCode;

use larder_tests::differential;
use larder_tests::differential::plan::{FAKEREDIS, MODEL, Plan, REDIS};
use larder_tests::differential::report::Report;

/// Shorter runs say little about what is rare.
const LONG: u64 = 1_000_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (kind, numbers) = match words.split_first() {
        Some((word, rest)) if word.parse::<u64>().is_err() => (word.as_str(), rest),
        _ => ("", &words[..]),
    };
    let numbers: Option<Vec<u64>> = numbers.iter().map(|word| word.parse().ok()).collect();
    let numbers = match numbers.as_deref() {
        Some([count]) => Some((*count, rand::random())),
        Some([count, seed]) => Some((*count, *seed)),
        _ => None,
    };
    let is_well = match (kind, numbers) {
        ("", Some((count, seed))) => requests(&REDIS, count, seed),
        ("newer", Some((count, seed))) => requests(&MODEL, count, seed),
        ("fakeredis", Some((count, seed))) => requests(&FAKEREDIS, count, seed),
        ("acl", Some((count, seed))) => users(count, seed),
        _ => {
            eprintln!("usage: differential [acl | newer | fakeredis] COUNT [SEED]");
            return ExitCode::from(2);
        }
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn requests(plan: &'static Plan, count: u64, seed: u64) -> bool {
    let mut done = Report::default();
    let mut is_well = true;
    for (protocol, seed) in [(2, seed), (3, seed.wrapping_add(1))] {
        println!("{}, RESP{protocol}, {} requests from seed {seed}", plan.oracle, count / 2);
        let outcome = differential::run(plan, seed, count / 2, protocol);
        println!("{} differences\n{}", outcome.differences.len(), outcome.differences.join("\n\n"));
        is_well &= outcome.differences.is_empty();
        done = done.and(outcome.report);
    }
    println!("{done}");
    let shortcomings = if plan.is_redis() { done.shortcomings() } else { done.shortcomings_of_requests() };
    if !shortcomings.is_empty() {
        println!("\nnot enough of:\n  {}", shortcomings.join("\n  "));
    }
    is_well && (count < LONG || shortcomings.is_empty())
}

fn users(count: u64, seed: u64) -> bool {
    let mut is_well = true;
    for (protocol, seed) in [(2, seed), (3, seed.wrapping_add(1))] {
        println!("ACL, RESP{protocol}, {} users from seed {seed}", count / 2);
        match differential::acl::run(seed, count / 2, protocol) {
            Ok(tally) => println!("{tally}"),
            Err(differences) => {
                println!("{differences}");
                is_well = false;
            }
        }
    }
    is_well
}
