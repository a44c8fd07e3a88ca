//! Rules for the replies of ACL.

use larder_iam_policies::acl::AccessString;
use larder_node::commands::{self, Vocabulary};
use larder_node::resp::Reply;

use super::{came_later, is_newer_name, kind, pairs, same, shown, text};

/// A category's commands: of redis's, exactly those that we have.
pub(super) fn category(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let names = |reply: &Reply| match reply {
        Reply::Array(items) => items.iter().filter_map(|item| text(item).map(|(_, name)| name)).collect(),
        _ => Vec::new(),
    };
    let (mut theirs, mut ours): (Vec<String>, Vec<String>) = (names(oracle), names(ours));
    let has = |name: &String| commands::table().iter().any(|spec| spec.name.eq_ignore_ascii_case(name));
    // Without a category: the categories.
    if !ours.iter().any(|name| name == "keyspace") {
        theirs.retain(has);
        ours.retain(|name| !is_newer_name(name.as_bytes()));
        theirs.sort();
        ours.sort();
    }
    same("names", theirs, ours)
}

/// Passwords: as long.
pub(super) fn password(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let length = |reply: &Reply| text(reply).map(|(kind, text)| (kind, text.len()));
    same("length", length(oracle), length(ours))
}

/// Access strings: the same rights. Which categories say it depends on how much of each is allowed, and the tables
/// differ; single commands have no order.
pub(super) fn users(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("users", shown(&meant(oracle)), shown(&meant(ours)))
}

/// A reply with what each text means.
fn meant(reply: &Reply) -> Reply {
    match reply {
        // The rules of the user itself, and of each of its selectors.
        Reply::Bulk(text) => Reply::Bulk(text.split(|byte| *byte == b'(').map(rights).collect::<Vec<_>>().join(&b'(')),
        Reply::Array(items) => Reply::Array(items.iter().map(meant).collect()),
        Reply::Map(pairs) => Reply::Map(pairs.iter().map(|(name, value)| (name.clone(), meant(value))).collect()),
        other => other.clone(),
    }
}

/// Rules without their order: the commands they allow, of those that both have, and the other words.
fn rights(rules: &[u8]) -> Vec<u8> {
    let words = || rules.split(|byte| b" )".contains(byte));
    let is_known = |word: &&[u8]| {
        let name = word.get(1..).unwrap_or_default();
        name.starts_with(b"@") || commands::table().iter().any(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
    };
    let is_rule = |word: &&[u8]| word.starts_with(b"+") || word.starts_with(b"-");
    let known: Vec<&[u8]> = words().filter(|word| is_rule(word) && is_known(word)).collect();
    let access = AccessString::parse(&String::from_utf8_lossy(&known.join(&b' ')), &Vocabulary).unwrap_or_default();
    let allowed = |spec: &&commands::Spec| access.root().allows_command(spec.bit()) && !came_later(spec);
    // What all begins with also decides about commands to come.
    let mut all: Vec<&[u8]> = known.first().copied().into_iter().collect();
    all.extend(commands::table().iter().filter(allowed).map(|spec| spec.name.as_bytes()));
    // First arguments are among them.
    let is_subcommand = |word: &&[u8]| is_rule(word) && word.contains(&b'|') && !is_known(word);
    let mut others: Vec<&[u8]> = words().filter(|word| !is_rule(word) || is_subcommand(word)).collect();
    others.sort_unstable();
    all.extend(others);
    all.join(&b' ')
}

/// Entries of the log: the same refusals, with ages and clients of the same fields.
pub(super) fn log(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("entries", told(oracle), told(ours))
}

fn told(log: &Reply) -> Option<Vec<Vec<(Reply, Reply)>>> {
    let Reply::Array(entries) = log else { return None };
    let entry = |entry: &Reply| {
        let mut fields = pairs(entry);
        for (name, value) in &mut fields {
            match text(name).map(|(_, name)| name).as_deref() {
                Some("age-seconds") => *value = age(value),
                Some("client-info") => *value = Reply::Bulk(names(value)),
                _ => {}
            }
        }
        fields
    };
    Some(entries.iter().map(entry).collect())
}

fn age(value: &Reply) -> Reply {
    match (value, text(value)) {
        (Reply::Double(_), _) => Reply::Double(0.0),
        (_, Some((_, number))) if kind(&number) != "text" => Reply::Null,
        _ => value.clone(),
    }
}

/// The names of the fields of a client.
fn names(client: &Reply) -> Vec<u8> {
    let line = text(client).map(|(_, line)| line).unwrap_or_default();
    line.split(' ').filter_map(|field| field.split_once('=')).map(|(name, _)| name).collect::<Vec<_>>().join(" ").into()
}
