//! `cargo xtask fuzz`: the fuzz bodies of `tests/src/fuzz.rs`, driven by libFuzzer or by a mutator of our own.
//!
//! cargo-fuzz is installed under `target/tools` when the registry is reachable. Only a stable toolchain is
//! assumed: the sanitizer's coverage flags then need RUSTC_BOOTSTRAP=1, set for this build alone.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{cargo, host, on_path, root, run, step, target_dir};

/// Fuzzes one target, or all of them in turn.
///
/// # Errors
/// A wrong argument, a build that fails, or a crash that was found.
pub(crate) fn run_verb(arguments: &[String]) -> Result<()> {
    let plan = Plan::read(arguments)?;
    let tool = if plan.built_in { None } else { cargo_fuzz() };
    for target in &plan.targets {
        step(&format!("fuzz {target}"), || match &tool {
            Some(tool) => lib_fuzzer(tool, target, plan.seconds),
            None => built_in(target, plan.seconds),
        })?;
    }
    Ok(())
}

struct Plan {
    targets: Vec<String>,
    seconds: u64,
    built_in: bool,
}

impl Plan {
    fn read(arguments: &[String]) -> Result<Plan> {
        let mut plan = Plan { targets: Vec::new(), seconds: 60, built_in: false };
        let known = targets()?;
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seconds" => {
                    let number = words.next().context("--seconds needs a number")?;
                    plan.seconds = number.parse().with_context(|| format!("--seconds {number}"))?;
                }
                "--built-in" => plan.built_in = true,
                name if known.iter().any(|target| target == name) => plan.targets.push(name.to_owned()),
                other => bail!("no fuzz target or flag `{other}`; targets: {}", known.join(", ")),
            }
        }
        if plan.targets.is_empty() {
            plan.targets = known;
        }
        Ok(plan)
    }
}

/// The targets, by the files that wrap them.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/fuzz/fuzz_targets"))? {
        if let Some(name) = entry?.file_name().to_string_lossy().strip_suffix(".rs") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The folder of cargo-fuzz, installed if it is missing; none when it cannot be had, which is said.
fn cargo_fuzz() -> Option<PathBuf> {
    if let Some(path) = on_path("cargo-fuzz") {
        return path.parent().map(PathBuf::from);
    }
    let tools = target_dir().join("tools");
    if !tools.join("bin/cargo-fuzz").is_file() {
        let install = run(cargo(["install", "cargo-fuzz", "--version", "0.13.2", "--locked", "--root"]).arg(&tools));
        if let Err(error) = install {
            eprintln!("cargo-fuzz cannot be installed ({error:#}): using the built-in mutator, which sees no coverage");
            return None;
        }
    }
    Some(tools.join("bin"))
}

fn lib_fuzzer(tool: &std::path::Path, target: &str, seconds: u64) -> Result<()> {
    let corpus = root().join("tests/fuzz/corpus").join(target);
    let found = target_dir().join("fuzz-found").join(target);
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&corpus)?;
    run(Command::new(tool.join("cargo-fuzz"))
        .current_dir(root())
        .env("RUSTC_BOOTSTRAP", "1")
        .env("LSAN_OPTIONS", format!("suppressions={}", root().join("tests/fuzz/leaks.txt").display()))
        .args(["fuzz", "run", "--fuzz-dir", "tests/fuzz", "--target", &host()?])
        // Neither what is built nor what is found lands beside the sources.
        .arg("--target-dir")
        .arg(target_dir().join("fuzz"))
        .arg(target)
        // New inputs land in the first folder; the committed corpus is read and never written here.
        .arg(&found)
        .arg(&corpus)
        .args(["--", "-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-max_total_time={seconds}")))
}

fn built_in(target: &str, seconds: u64) -> Result<()> {
    let mut command = cargo(["run", "--quiet", "--locked", "--package", "larder-tests", "--bin", "fuzz", "--"]);
    run(command.arg(target).arg(seconds.to_string()))
}
