//! How a command ends: contract section 3's exit codes, and answers written to a terminal that may be gone.

use std::io::Write;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A user's mistake, in words that name the thing and the fix: code 1.
    Mistake(String),
    /// Wrong usage: code 2.
    Usage(String),
    /// Something broke: code 3.
    Broke(String),
}

/// The process's exit code; a failure is said on standard error.
pub(crate) fn exit(result: Result<(), Failure>) -> ExitCode {
    let (text, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Mistake(text)) => (text, 1),
        Err(Failure::Usage(text)) => (format!("{text}\n\nFor more information, try '--help'."), 2),
        Err(Failure::Broke(text)) => (text, 3),
    };
    // Nobody is left to tell when the error stream is gone.
    let _ = writeln!(std::io::stderr(), "larder: {text}");
    ExitCode::from(code)
}

/// Writes an answer to standard output.
///
/// # Errors
/// The reader has gone or the disk is full.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::Broke(format!("cannot write to standard output: {error}")))
}
