//! `cargo xtask test`, on a fresh machine too, and `cargo xtask up`.

use anyhow::{Result, bail};

use crate::peers;
use crate::run::{self, Counts, cargo, on_path, run_tests, step};

/// Installs what tests need, builds, and runs all of them; or those whose names match a filter.
///
/// # Errors
/// Something cannot be installed or built, or a test failed.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut counts = Counts::default();
    let result = run_counted(arguments, &mut counts);
    println!("{}", counts.closing());
    result
}

/// As [`run`], adding to `counts` what ran, and without the closing line.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_counted(arguments: &[String], counts: &mut Counts) -> Result<()> {
    step("peers and clients", peers::install)?;
    step("build", build)?;
    let (ok, ran) = step("unit, property and whole-system tests", || tests(arguments))?;
    counts.add(ran);
    let (docs_ok, ran) = step("doc tests", || doc_tests(arguments))?;
    counts.add(ran);
    if !(ok && docs_ok) || counts.failed > 0 {
        bail!("{} tests failed", counts.failed);
    }
    if counts.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Builds every binary and test in one resolution of features, so that each crate is built once.
///
/// # Errors
/// Something does not compile.
pub(crate) fn build() -> Result<()> {
    run::run(&mut cargo(["build", "--workspace", "--bins", "--tests", "--locked"]))
}

fn tests(arguments: &[String]) -> Result<(bool, Counts)> {
    let mut command = if on_path("cargo-nextest").is_some() {
        cargo(["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--no-tests=pass"])
    } else {
        cargo(["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"])
    };
    run_tests(command.args(arguments))
}

fn doc_tests(arguments: &[String]) -> Result<(bool, Counts)> {
    run_tests(cargo(["test", "--workspace", "--locked", "--doc"]).args(arguments))
}

/// Builds the release binary and runs `larder up` with the given flags, on this terminal.
///
/// # Errors
/// It cannot be built, or ends with another code than 0.
pub(crate) fn up(arguments: &[String]) -> Result<()> {
    let status = cargo(["run", "--release", "--package", "larder-cli", "--bin", "larder", "--", "up"])
        .args(arguments)
        .status()?;
    if !status.success() {
        bail!("larder up ended with {status}");
    }
    Ok(())
}
