//! `differential REQUESTS [SEED]`: as many random requests to redis-server and to the node, half in RESP2 and half in RESP3;
//! prints what was done, and every difference. A long run must also have done enough of everything.
//!
//! `differential acl USERS [SEED]`: as many users made from random rules, half in RESP2 and half in RESP3, and what they may do.

use std::process::ExitCode;

use larder_tests::differential;
use larder_tests::differential::report::Report;

/// Shorter runs say little about what is rare.
const LONG: u64 = 1_000_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (is_acl, numbers) = match words.split_first() {
        Some((word, rest)) if word == "acl" => (true, rest),
        _ => (false, &words[..]),
    };
    let numbers: Option<Vec<u64>> = numbers.iter().map(|word| word.parse().ok()).collect();
    let (count, seed) = match numbers.as_deref() {
        Some([count]) => (*count, rand::random()),
        Some([count, seed]) => (*count, *seed),
        _ => {
            eprintln!("usage: differential [acl] COUNT [SEED]");
            return ExitCode::from(2);
        }
    };
    let is_well = if is_acl { users(count, seed) } else { requests(count, seed) };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn requests(count: u64, seed: u64) -> bool {
    let mut done = Report::default();
    let mut is_well = true;
    for (protocol, seed) in [(2, seed), (3, seed.wrapping_add(1))] {
        println!("RESP{protocol}, {} requests from seed {seed}", count / 2);
        let outcome = differential::run(seed, count / 2, protocol);
        println!("{} differences\n{}", outcome.differences.len(), outcome.differences.join("\n\n"));
        is_well &= outcome.differences.is_empty();
        done = done.and(outcome.report);
    }
    println!("{done}");
    let shortcomings = done.shortcomings();
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
