//! What containers have in common: HELP, and the texts about subcommands.

use super::{Spec, shown};
use crate::engine::Cx;
use crate::error::CommandError;

/// Answers `NAME HELP`: the lines about what there is here, as redis frames them.
pub(super) fn help(cx: &mut Cx<'_>, container: &Spec, lines: &[&str]) {
    let name = container.name;
    cx.out.array(lines.len() + 3);
    cx.out.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| cx.out.simple(line));
    cx.out.simple("HELP");
    cx.out.simple("    Prints this help.");
}

/// A subcommand that is there, asked with arguments it does not take.
#[cold]
pub(super) fn misused(container: &Spec, subcommand: &[u8]) -> CommandError {
    let hint = format!("'. Try {} HELP.", container.name);
    let start: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
    CommandError::Quoted([start, shown(subcommand, 128), hint.as_bytes()].concat())
}
