//! One scenario, one run, one report.

use crate::report::Report;
use crate::scenario::{Limits, Scenario};
use crate::world::World;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a caller may change about a scenario.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Wins over the scenario's seed.
    pub seed: Option<u64>,
}

/// Why there is no report. Always the user's to mend.
#[derive(Debug)]
pub enum RunError {
    /// The file could not be read.
    Unreadable(String),
    /// The scenario has mistakes, one line each.
    Mistakes(Vec<String>),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => write!(f, "{text}"),
            Self::Mistakes(lines) => {
                write!(f, "the scenario has {} mistake(s):", lines.len())?;
                lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

impl std::error::Error for RunError {}

/// Runs the scenario in the file at `path`.
///
/// # Errors
/// [`RunError::Unreadable`] for a file that is missing, over 1 MB or not UTF-8; [`RunError::Mistakes`] for what is in it.
pub fn run_file(path: &Path, options: &RunOptions) -> Result<Report, RunError> {
    let unreadable = |text: String| RunError::Unreadable(format!("{}: {text}", path.display()));
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    file.take(Limits::FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > Limits::FILE_BYTES_MAX {
        return Err(unreadable(format!("a scenario has at most {} bytes", Limits::FILE_BYTES_MAX)));
    }
    run_text(&text, options)
}

/// Runs a scenario.
///
/// # Errors
/// [`RunError::Mistakes`] with all of them.
pub fn run_text(text: &str, options: &RunOptions) -> Result<Report, RunError> {
    let scenario = Scenario::parse(text).map_err(RunError::Mistakes)?;
    let seed = options.seed.unwrap_or(scenario.seed);
    let world = World::run(&scenario, seed);
    Ok(Report::of(&scenario, seed, &world))
}
