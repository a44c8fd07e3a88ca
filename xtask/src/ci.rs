//! `cargo xtask ci`: everything that must hold before a change lands. Every step runs, so one run shows all that is wrong.

use anyhow::{Result, bail};

use crate::run::{self, Counts, cargo, step};
use crate::{crates, docs, test, tidy};

/// Runs every check and then every test. The last line printed is the count of tests.
///
/// # Errors
/// Names the steps that failed.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    let mut note = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    };
    note("format", step("format", || run::run(&mut cargo(["fmt", "--all", "--check"]))));
    note("tidy", step("tidy", || tidy::run(&[])));
    note("lints", step("lints", lints));
    note("cargo deny", step("cargo deny", crates::cargo_deny));
    note("docs", step("docs", || docs::run_generator(&["--check".to_owned()])));
    let mut counts = Counts::default();
    note("tests", step("tests", || test::run_counted(&[], &mut counts)));
    if failed.is_empty() {
        eprintln!("\nevery step passed");
    } else {
        eprintln!("\nsteps that failed: {}", failed.join(", "));
    }
    println!("{}", counts.closing());
    if !failed.is_empty() {
        bail!("{} failed", failed.join(", "));
    }
    Ok(())
}

fn lints() -> Result<()> {
    run::run(&mut cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}
