//! Rules for what is said of the command table: redis has more commands, and we have some that came later.

use std::collections::BTreeMap;

use larder_node::commands::{self, Flags, Spec};
use larder_node::resp::Reply;

use super::{pairs, same, shown};

/// Whether a command came after the redis that is the oracle, or is of a module, which it has not.
#[must_use]
pub fn came_later(spec: &Spec) -> bool {
    spec.flags.has(Flags::MODULE) || spec.since.split('.').filter_map(|part| part.parse::<u32>().ok()).gt([7, 0, 15])
}

/// Whether this is the name of a command that [`came_later`].
pub(super) fn is_newer_name(name: &[u8]) -> bool {
    commands::table().iter().any(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name) && came_later(spec))
}

fn is_newer(name: &Reply) -> bool {
    matches!(name, Reply::Bulk(name) if is_newer_name(name))
}

/// Redis's entry with the arity that a later option gave the command: ZRANK's WITHSCORE.
fn widened(name: &[u8], entry: &Reply) -> Reply {
    let mut entry = entry.clone();
    if let (b"zrank" | b"zrevrank", Reply::Array(columns)) = (name, &mut entry)
        && let Some(arity) = columns.get_mut(1)
    {
        *arity = Reply::Int(-3);
    }
    entry
}

/// Each of ours is one of theirs, unless redis got it later.
pub(super) fn subset(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let (Reply::Array(oracle), Reply::Array(ours)) = (oracle, ours) else { return Err("not two arrays".into()) };
    match ours.iter().find(|one| !oracle.contains(one) && !is_newer(one)) {
        Some(one) => Err(format!("redis has no {}", shown(one))),
        None => Ok(()),
    }
}

/// Entries of COMMAND DOCS, and their subcommands in turn.
pub(super) fn docs(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("kind", std::mem::discriminant(oracle), std::mem::discriminant(ours))?;
    let theirs = pairs(oracle);
    let value = |reply: &Reply, field: &str| {
        let named = |(name, _): &(Reply, Reply)| *name == Reply::Bulk(field.into());
        pairs(reply).into_iter().find(named).map(|(_, value)| value)
    };
    for (name, entry) in pairs(ours).iter().filter(|(name, _)| !is_newer(name)) {
        let (_, found) = theirs.iter().find(|(one, _)| one == name).ok_or(format!("redis has no {}", shown(name)))?;
        for field in ["since", "group"] {
            same(field, value(found, field), value(entry, field))?;
        }
        match (value(found, "subcommands"), value(entry, "subcommands")) {
            (Some(theirs), Some(ours)) => docs(&theirs, &ours)?,
            (None, None) => {}
            _ => return Err(format!("subcommands of {}", shown(name))),
        }
    }
    Ok(())
}

/// COMMAND and COMMAND INFO: every entry of ours is redis' entry of that name, without the subcommands we do not have.
pub(super) fn command_entries(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let (Reply::Array(oracle), Reply::Array(ours)) = (oracle, ours) else { return Err("not two arrays".into()) };
    let by_name: BTreeMap<&[u8], &Reply> =
        oracle.iter().filter_map(|entry| Some((entry_name(entry)?, entry))).collect();
    for entry in ours {
        match entry_name(entry) {
            None => same("unknown command", oracle.contains(entry), true)?,
            Some(name) if is_newer_name(name) => {}
            Some(name) => {
                let theirs = by_name.get(name).ok_or(format!("redis has no {}", name.escape_ascii()))?;
                let theirs = &widened(name, theirs);
                same("entry", shown(&narrowed(theirs, entry)), shown(entry))?;
            }
        }
    }
    Ok(())
}

fn entry_name(entry: &Reply) -> Option<&[u8]> {
    let Reply::Array(columns) = entry else { return None };
    match columns.first() {
        Some(Reply::Bulk(name)) => Some(name),
        _ => None,
    }
}

/// Redis' entry with only the subcommands that ours has, in our order.
fn narrowed(theirs: &Reply, ours: &Reply) -> Reply {
    let (Reply::Array(theirs), Reply::Array(ours)) = (theirs, ours) else { return theirs.clone() };
    let mut columns = theirs.clone();
    if let (Some(Reply::Array(all) | Reply::Set(all)), Some(Reply::Array(wanted) | Reply::Set(wanted))) =
        (columns.last_mut(), ours.last())
    {
        let found = |sub: &Reply| match entry_name(sub) {
            // There is nothing to compare it with.
            Some(name) if is_newer_name(name) => Some(sub.clone()),
            name => all.iter().find(|one| entry_name(one) == name).cloned(),
        };
        *all = wanted.iter().filter_map(found).collect();
    }
    Reply::Array(columns)
}
