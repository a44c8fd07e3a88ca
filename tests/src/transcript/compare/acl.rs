//! Rules for the replies of ACL.

use larder_node::commands;
use larder_node::resp::Reply;

use super::{is_newer_name, kind, pairs, same, text};

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

/// Access strings: single commands have no order.
pub(super) fn users(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("users", sorted(oracle), sorted(ours))
}

/// A reply with the words of each text in order.
fn sorted(reply: &Reply) -> Reply {
    match reply {
        Reply::Bulk(text) => {
            // The rules of the user itself, and of each of its selectors.
            let group = |rules: &[u8]| {
                let mut words: Vec<&[u8]> = rules.split(|byte| b" )".contains(byte)).collect();
                words.retain(|word| !is_newer_name(word.get(1..).unwrap_or_default()));
                words.sort_unstable();
                words.join(&b' ')
            };
            Reply::Bulk(text.split(|byte| *byte == b'(').map(group).collect::<Vec<_>>().join(&b'('))
        }
        Reply::Array(items) => Reply::Array(items.iter().map(sorted).collect()),
        Reply::Map(pairs) => Reply::Map(pairs.iter().map(|(name, value)| (name.clone(), sorted(value))).collect()),
        other => other.clone(),
    }
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
