//! `cargo xtask differential`: random requests to redis-server and to the node, replies and state compared.

use anyhow::Result;

use crate::peers;
use crate::run::{cargo, run, step};

/// Installs redis-server if it is missing, and sends as many requests as asked for (5,000,000), from a seed if one is given.
/// `acl` before the numbers: makes as many users instead, and tries what they may do. `newer`, `fakeredis`: sends what redis
/// 7.0 lacks, to a plain slow model or to fakeredis instead of redis-server.
///
/// # Errors
/// A wrong argument, or a difference: each is printed with the requests that led to it.
pub(crate) fn run_verb(arguments: &[String]) -> Result<()> {
    step("peers and clients", peers::install)?;
    let words: Vec<&str> = match arguments {
        [] => vec!["5000000"],
        some => some.iter().map(String::as_str).collect(),
    };
    run(cargo(["run", "--quiet", "-p", "larder-tests", "--bin", "differential", "--"]).args(words))
}
