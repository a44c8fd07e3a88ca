//! Numbers and truth values within documents.

use std::collections::BTreeMap;

use super::{NO_KEY, WRITES, Wanted, change, change_each, matches, path, utf8};
use crate::commands::{Arity, KeyFlags, KeySpec, Spec};
use crate::db::entry::Json;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::json::{Layout, Node, Path, Text};
use crate::resp::{Args, Out};

const NUMBER: Wanted = Wanted { is: Node::is_number, or: "does not contains a number" };
const BOOL: Wanted = Wanted { is: |node| matches!(node, Node::Bool(_)), or: "not a bool" };
const READS_AND_SETS: &[KeySpec] = &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))];

/// `JSON.NUMINCRBY key path number`
pub(in crate::commands) const JSON_NUMINCRBY: Spec = Spec {
    name: "JSON.NUMINCRBY",
    arity: Arity::Exactly(4),
    keys: READS_AND_SETS,
    summary: "Adds to numbers.",
    reply: "bulk string: a JSON array of the numbers, null for what is none; by a legacy path the number; RESP3: array",
    run: numincrby,
    ..WRITES
};
fn numincrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    calculate(cx, args, i64::checked_add, |a, b| a + b)
}

/// `JSON.NUMMULTBY key path number`
pub(in crate::commands) const JSON_NUMMULTBY: Spec =
    Spec { name: "JSON.NUMMULTBY", summary: "Multiplies numbers.", run: nummultby, ..JSON_NUMINCRBY };
fn nummultby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    calculate(cx, args, i64::checked_mul, |a, b| a * b)
}

fn calculate(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    whole: fn(i64, i64) -> Option<i64>,
    broken: fn(f64, f64) -> f64,
) -> Result<(), CommandError> {
    let (path, by) = (path(args.get(2))?, utf8(args.get(3))?);
    let key = cx.key(args.get(1));
    let done = change(cx, key, |document| {
        let results = results(document, &path, by, whole, broken)?;
        let changed = results.iter().any(Option::is_some);
        Ok((results, changed))
    })?;
    write_numbers(cx.out, &path, &done.ok_or(NO_KEY)?);
    Ok(())
}

/// Calculates every number first and puts them in then: one that is none changes nothing.
fn results(
    document: &mut Json,
    path: &Path,
    by: &str,
    whole: fn(i64, i64) -> Option<i64>,
    broken: fn(f64, f64) -> f64,
) -> Result<Vec<Option<Node>>, CommandError> {
    let by = crate::json::read_number(by).map_err(|wrong| CommandError::Said(format!("ERR {wrong}")))?;
    let by = by.ok_or(CommandError::Text("ERR bad input number"))?;
    let places = matches(document, path, NUMBER)?;
    // A path may name a place twice.
    let mut now = BTreeMap::new();
    let mut results = Vec::with_capacity(places.len());
    for place in &places {
        let Some(place) = place else {
            results.push(None);
            continue;
        };
        let before = now.get(place).or_else(|| document.at(place)).cloned().unwrap_or_default();
        let after = calculated(&before, &by, whole, broken)?;
        now.insert(place, after.clone());
        results.push(Some(after));
    }
    for (place, node) in now {
        document.replace(place, node);
    }
    Ok(results)
}

fn calculated(
    node: &Node,
    by: &Node,
    whole: fn(i64, i64) -> Option<i64>,
    broken: fn(f64, f64) -> f64,
) -> Result<Node, CommandError> {
    if let (Node::Int(a), Node::Int(b)) = (node, by) {
        return whole(*a, *b).map(Node::Int).ok_or(CommandError::Text("ERR numeric overflow"));
    }
    let result = broken(node.as_f64().unwrap_or_default(), by.as_f64().unwrap_or_default());
    if result.is_finite() { Ok(Node::Float(result)) } else { Err(CommandError::Text("ERR result is not a number")) }
}

fn write_numbers(out: &mut Out, path: &Path, numbers: &[Option<Node>]) {
    if out.protocol() == 3 {
        out.array(numbers.len());
        for number in numbers {
            match number {
                Some(Node::Int(value)) => out.int(*value),
                Some(node) => out.double(node.as_f64().unwrap_or_default()),
                None => out.null(),
            }
        }
        return;
    }
    // Numbers alone: there is no end to be met.
    let mut text = Text::new(usize::MAX);
    let _ = if path.is_legacy() {
        numbers.iter().flatten().next_back().map_or(Ok(()), |number| text.write(number, &Layout::default()))
    } else {
        let shown = numbers.iter().map(|number| number.as_ref().unwrap_or(&Node::Null));
        text.write_all(shown, &Layout::default())
    };
    out.bulk_shared(text.take().into());
}

/// `JSON.TOGGLE key path`
pub(in crate::commands) const JSON_TOGGLE: Spec = Spec {
    name: "JSON.TOGGLE",
    since: "2.0.0",
    arity: Arity::Exactly(3),
    keys: READS_AND_SETS,
    summary: "Makes true false, and false true.",
    reply: "array of 1 and 0, null for what is neither true nor false; by a legacy path `true` or `false`",
    run: toggle,
    ..WRITES
};
fn toggle(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path(args.get(2))?;
    let flip = |document: &mut Json, place: &[u32]| {
        let Node::Bool(before) = document.at(place)? else { return None };
        let after = !before;
        document.replace(place, Node::Bool(after)).then_some(after)
    };
    let toggled = change_each(cx, args.get(1), (&path, BOOL), |_, _| Ok(()), flip)?;
    if path.is_legacy() {
        let last = toggled.iter().flatten().next_back().copied().unwrap_or_default();
        cx.out.bulk(if last { "true" } else { "false" });
        return Ok(());
    }
    cx.out.array(toggled.len());
    for value in toggled {
        match value {
            Some(value) => cx.out.int(value.into()),
            None => cx.out.null(),
        }
    }
    Ok(())
}
