//! Running other programs: said before, checked after, and their test counts read on the way through.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The folder that holds the workspace manifest.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ sits in the workspace root")
}

/// Where cargo builds, and where peers and clients are installed beside it.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A cargo command in the workspace root, by the cargo that runs us.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).args(arguments);
    command
}

/// The full path of `program` on PATH, if it is there.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The command as a person would type it, without the folder of the program.
fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut text = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs `command` with our own output, after printing it.
///
/// # Errors
/// The program cannot start, or exits with another code than 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = shown(command);
    eprintln!("$ {text}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` ended with {status}");
    }
    Ok(())
}

/// The standard output of `command`, which must succeed.
///
/// # Errors
/// The program cannot start, or exits with another code than 0; its standard error is then in the message.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = shown(command);
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{text}`"))?;
    if !out.status.success() {
        bail!("`{text}` ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The target triple of this machine, as rustc names it.
///
/// # Errors
/// rustc cannot be asked.
pub(crate) fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// How many tests ran, as the runners' own summaries say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Adds what `line` says, if it is the closing line of nextest or of `cargo test`.
    fn read(&mut self, line: &str) {
        let line = plain(line);
        let summary = if line.trim_start().starts_with("Summary [") {
            line.split_once("run:").map(|(_, rest)| rest)
        } else {
            // Indented, it is what a test that failed printed, as nextest shows it.
            line.strip_prefix("test result:").and_then(|rest| rest.split_once(". ")).map(|(_, rest)| rest)
        };
        for part in summary.unwrap_or_default().split([',', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" | "timed" => self.failed += number,
                "skipped" | "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    pub(crate) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The closing line that CI reads.
    pub(crate) fn closing(self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// `line` without terminal colour sequences.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            let _ = chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            text.push(c);
        }
    }
    text
}

/// Runs a test runner, passes its output through, and reads its counts. The flag says whether it exited with 0.
///
/// # Errors
/// The program cannot start or its output cannot be read.
pub(crate) fn run_tests(command: &mut Command) -> Result<(bool, Counts)> {
    let text = shown(command);
    eprintln!("$ {text}");
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{text}`"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let counts = std::thread::scope(|scope| {
        let err = scope.spawn(|| pass_through(err, &mut std::io::stderr()));
        let mut counts = pass_through(out, &mut std::io::stdout())?;
        counts.add(err.join().map_err(|_| anyhow::anyhow!("reading `{text}` panicked"))??);
        anyhow::Ok(counts)
    })?;
    Ok((child.wait()?.success(), counts))
}

fn pass_through(from: Option<impl Read>, to: &mut impl Write) -> Result<Counts> {
    let mut counts = Counts::default();
    let Some(from) = from else { return Ok(counts) };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        counts.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(counts)
}

/// Runs one named step of a longer verb and says how long it took.
///
/// # Errors
/// What the step returns.
pub(crate) fn step<T>(name: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("\n== {name}");
    let start = Instant::now();
    let result = body();
    let word = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("== {name}: {word} in {:.1} s", start.elapsed().as_secs_f64());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lines: &[&str]) -> Counts {
        let mut counts = Counts::default();
        for line in lines {
            counts.read(line);
        }
        counts
    }

    #[test]
    fn reads_the_closing_lines_of_both_runners() {
        let nextest = "     Summary [   1.234s] 23 tests run: 20 passed (2 slow), 2 failed, 1 timed out, 4 skipped\n";
        assert_eq!(counts(&[nextest]), Counts { passed: 20, failed: 3, skipped: 4 });
        let coloured = "\u{1b}[31;1m     Summary\u{1b}[0m [ 0.1s] \u{1b}[1m1\u{1b}[0m test run: \u{1b}[1m1\u{1b}[0m passed, 0 skipped";
        assert_eq!(counts(&[coloured]), Counts { passed: 1, failed: 0, skipped: 0 });
        let cargo = "test result: FAILED. 5 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.00s";
        assert_eq!(counts(&[cargo, cargo]), Counts { passed: 10, failed: 2, skipped: 4 });
        assert_eq!(counts(&[&format!("    {cargo}")]), Counts::default(), "nextest counts it");
    }

    #[test]
    fn other_lines_count_nothing() {
        let other = ["running 3 tests", "test a ... ok", "12 passed, 3 failed", "", "Summary of things: 3 passed"];
        assert_eq!(counts(&other), Counts::default());
    }
}
