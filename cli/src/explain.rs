//! `larder policy explain`: why a command is allowed or denied.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use larder_iam_policies::access::{Explained, Source};
use larder_iam_policies::policy::{Decision, Explanation};
use larder_node::resp::OwnedArgs;
use larder_node::{Call, Now};

use crate::args::Explain;
use crate::outcome::{Failure, say};
use crate::serve::load_for_questions;

/// Prints the decision, the statement that decided, and what is missing.
pub(crate) fn run(flags: &Explain) -> Result<(), Failure> {
    let loaded = load_for_questions(&flags.config)?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    let words = OwnedArgs::from_slices(&flags.command);
    let call = Call::new(words.as_args(), Now { wall_ms, mono_us: 0 })
        .map_err(|error| Failure::Mistake(format!("that is no command of a cache: {error}")))?;
    let call = call.with_observed_ttl(flags.key_ttl_ms.map(|ttl_ms| wall_ms.saturating_add(ttl_ms)));
    let port = flags.port.unwrap_or(loaded.config.http.listen.port());
    let source = Source::new(flags.source, flags.tls, port);
    let explained = loaded.config.access.explain(&flags.principal, &flags.cache, &call, &source, wall_ms);
    say(&page(&explained.map_err(Failure::Mistake)?, &flags.cache))
}

fn page(explained: &Explained, cache: &str) -> String {
    let mut page = if explained.is_allowed() { "allowed\n".to_owned() } else { "denied\n".to_owned() };
    match explained {
        Explained::Network => {
            let _ = writeln!(page, "  the security groups of the cache {cache:?} do not let that address in");
        }
        Explained::Root => page.push_str("  the account itself may do everything\n"),
        Explained::AccessString(Ok(())) => page.push_str("  the user's access string allows it\n"),
        Explained::AccessString(Err(denied)) => drop(writeln!(page, "  {denied}")),
        Explained::Policies(explanation) => policies(explanation, &mut page),
    }
    page
}

fn policies(explanation: &Explanation, page: &mut String) {
    for (action, arn, decision) in &explanation.needs {
        let _ = match decision {
            Decision::Allowed(statement) => writeln!(page, "  {action} on {arn}: allowed by {statement}"),
            Decision::ExplicitlyDenied(statement) => writeln!(page, "  {action} on {arn}: denied by {statement}"),
            Decision::ImplicitlyDenied => writeln!(page, "  {action} on {arn}: no statement allows it"),
        };
    }
    if explanation.needs.is_empty() && !explanation.unknown {
        page.push_str("  the command touches nothing that needs a right\n");
    }
    if explanation.unknown {
        page.push_str("  what the command touches cannot be told, so only full rights would do\n");
    }
    for key in &explanation.missing {
        let _ = writeln!(page, "  missing: a statement asks for {key}, which this call does not have");
    }
}
