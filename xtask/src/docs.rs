//! `cargo xtask docs`: the pages of `docs/` that are written from the code's own tables.
//!
//! The generator is a binary of `larder-tests`, since that crate may use all the others and this one none.

use std::process::Command;

use anyhow::Result;

use crate::run::{run, target_dir};
use crate::test;

/// Writes the generated pages, or with `--check` compares them with what the code says.
///
/// # Errors
/// The generator cannot be built, or a page differs under `--check`.
pub(crate) fn run_generator(arguments: &[String]) -> Result<()> {
    test::build()?;
    run(Command::new(target_dir().join("debug/generate-docs")).args(arguments))
}
