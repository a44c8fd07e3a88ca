//! Arrays within documents.

use super::reading::{Format, write_formatted};
use super::{
    ARRAY, Goes, INSERTS, LOOKS, NO_KEY, READS, WRITES, absent, absent_or, change_each, check, document, expected,
    fits, integer, limit, longest, path, path_or_root, show_lengths, value, values, write_ints,
};
use crate::commands::parse::is;
use crate::commands::{Arity, Flags, KeyFlags, KeySpec, Spec};
use crate::db::entry::Json;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::json::{Budget, Layout, Node, Path, Text};
use crate::resp::Args;

/// `JSON.ARRAPPEND key path value [value …]`
pub(in crate::commands) const JSON_ARRAPPEND: Spec = Spec {
    name: "JSON.ARRAPPEND",
    arity: Arity::AtLeast(4),
    flags: WRITES.flags.or(Flags::DENYOOM),
    keys: INSERTS,
    value_bytes: |args| longest(args, 3),
    summary: "Adds values behind the last of arrays.",
    reply: "array of lengths, null for what is no array; by a legacy path one length",
    run: arrappend,
    ..WRITES
};
fn arrappend(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (path, nodes) = (path(args.get(2))?, values(cx, args.from(3))?);
    let most = super::bytes_max(cx);
    let lengths = change_each(
        cx,
        args.get(1),
        (&path, ARRAY),
        |document, places| {
            let places: Vec<_> = places.iter().flatten().collect();
            fits(document, (places.iter().copied(), Goes::Inside), &nodes, most)
        },
        |document, place| document.insert(place, usize::MAX, &nodes),
    )?;
    write_ints(cx.out, &path, &lengths);
    Ok(())
}

/// `JSON.ARRINSERT key path index value [value …]`
pub(in crate::commands) const JSON_ARRINSERT: Spec = Spec {
    name: "JSON.ARRINSERT",
    arity: Arity::AtLeast(5),
    value_bytes: |args| longest(args, 4),
    summary: "Inserts values into arrays, in front of the element at a position; a negative one counts from the end.",
    run: arrinsert,
    ..JSON_ARRAPPEND
};
fn arrinsert(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (path, index) = (path(args.get(2))?, integer(args.get(3))?);
    let nodes = values(cx, args.from(4))?;
    let most = super::bytes_max(cx);
    let lengths = change_each(
        cx,
        args.get(1),
        (&path, ARRAY),
        |document, places| {
            let places: Vec<_> = places.iter().flatten().collect();
            let lies_within = |len: usize| insertion(index, len).is_some();
            if !places.iter().all(|place| document.at(place).is_some_and(|node| lies_within(node.count()))) {
                return Err(CommandError::Text("ERR index out of bounds"));
            }
            fits(document, (places.iter().copied(), Goes::Inside), &nodes, most)
        },
        |document, place| {
            let at = insertion(index, document.at(place)?.count())?;
            document.insert(place, at, &nodes)
        },
    )?;
    write_ints(cx.out, &path, &lengths);
    Ok(())
}

/// Where to insert among `len` elements.
fn insertion(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { index.checked_add_unsigned(len as u64)? } else { index };
    usize::try_from(at).ok().filter(|at| *at <= len)
}

/// The element a position means, which may count from the end: the first or the last where there is none.
fn clamped(index: i64, len: usize) -> usize {
    let at = if index < 0 { index.saturating_add_unsigned(len as u64).max(0) } else { index };
    usize::try_from(at).unwrap_or(usize::MAX).min(len.saturating_sub(1))
}

/// `JSON.ARRINDEX key path value [start [stop]]`
pub(in crate::commands) const JSON_ARRINDEX: Spec = Spec {
    name: "JSON.ARRINDEX",
    arity: Arity::AtLeast(4),
    summary: "Where a value is in arrays, from one position to another, the latter not; a stop of 0 is the end.",
    reply: "array of positions, -1 for none, null for what is no array; by a legacy path one position",
    run: arrindex,
    ..READS
};
fn arrindex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 6 {
        return Err(CommandError::Arity("json.arrindex".into()));
    }
    let (path, wanted) = (path(args.get(2))?, value(cx, args.get(3))?);
    let start = args.try_get(4).map_or(Ok(0), integer)?;
    let stop = args.try_get(5).map_or(Ok(0), integer)?;
    let key = cx.key(args.get(1));
    let Some(document) = document(&mut cx.keys, key)? else { return Err(absent(&path)) };
    let mut budget = Budget::default();
    let found = path.find(document.root(), &mut budget).map_err(limit)?;
    let take = if path.is_legacy() { 1 } else { usize::MAX };
    let index = |node: &Node| node.array().map(|elements| first(elements, &wanted, start, stop, &mut budget));
    let indexes: Vec<Option<i64>> = found.nodes().take(take).map(index).collect();
    check(&budget)?;
    if path.is_legacy() {
        return match (found.nodes().next(), indexes.first()) {
            (_, Some(Some(index))) => {
                cx.out.int(*index);
                Ok(())
            }
            (Some(node), _) => Err(expected("array", node.kind())),
            _ => Err(absent(&path)),
        };
    }
    cx.out.array(indexes.len());
    for index in indexes {
        match index {
            Some(index) => cx.out.int(index),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// Where `wanted` is; -1 when it is not there.
fn first(elements: &[Node], wanted: &Node, start: i64, stop: i64, budget: &mut Budget) -> i64 {
    let len = elements.len();
    let start = clamped(start, len);
    let stop = match stop {
        0 => len,
        stop if stop < 0 => usize::try_from(stop.saturating_add_unsigned(len as u64)).unwrap_or(0),
        stop => usize::try_from(stop).unwrap_or(usize::MAX).min(len),
    };
    let within = elements.get(start..stop).unwrap_or_default();
    within.iter().position(|node| node.is_exactly(wanted, budget)).map_or(-1, |at| (start + at) as i64)
}

/// `JSON.ARRLEN key [path]`
pub(in crate::commands) const JSON_ARRLEN: Spec = Spec {
    name: "JSON.ARRLEN",
    keys: LOOKS,
    summary: "How long arrays are.",
    reply: "array of lengths, null for what is no array; by a legacy path one length",
    run: arrlen,
    ..READS
};
fn arrlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let length = |node: &Node| node.array().map(<[Node]>::len);
    show_lengths(
        cx,
        args,
        |_| NO_KEY,
        length,
        |path: &Path, node| match node {
            None => Err(absent(path)),
            Some(node) => length(node).map(Some).ok_or_else(|| absent_or(path, ARRAY.or)),
        },
    )
}

/// `JSON.ARRPOP key [FORMAT format] [path [index]]`
pub(in crate::commands) const JSON_ARRPOP: Spec = Spec {
    name: "JSON.ARRPOP",
    arity: Arity::AtLeast(2),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    summary: "Takes an element out of arrays: the last, or the one at a position.",
    reply: "array of elements as JSON, null for what is no array or empty; by a legacy path one element",
    run: arrpop,
    ..WRITES
};
fn arrpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut format = Format::Strings;
    let mut at = 2;
    if args.try_get(2).is_some_and(|word| is(word, "FORMAT")) && args.len() > 3 {
        format = Format::read(args.get(3))?;
        if format == Format::String {
            return Err(CommandError::Text("ERR wrong reply format"));
        }
        if cx.out.protocol() != 3 {
            return Err(CommandError::Text("ERR FORMAT argument is not supported on RESP2"));
        }
        at = 4;
    }
    let path = path_or_root(args, at)?;
    // RedisJSON takes what is no number for the last.
    let index = args.try_get(at + 1).map_or(-1, |index| integer(index).unwrap_or(-1));
    if path.is_legacy() && format != Format::Strings {
        return Err(CommandError::Text("ERR Legacy paths are supported only with FORMAT STRINGS"));
    }
    let pop = |document: &mut Json, place: &[u32]| {
        let len = document.at(place)?.count();
        document.pop(place, clamped(index, len))
    };
    let popped = change_each(cx, args.get(1), (&path, ARRAY), |_, _| Ok(()), pop)?;
    if at > 2 {
        // A replay speaks RESP2.
        let index = index.to_string();
        cx.keys.log_instead(&[b"JSON.ARRPOP", args.get(1), args.try_get(at).unwrap_or(b"."), index.as_bytes()]);
    }
    write_popped(cx, &path, format, &popped)
}

fn write_popped(cx: &mut Cx<'_>, path: &Path, format: Format, popped: &[Option<Node>]) -> Result<(), CommandError> {
    let popped = if path.is_legacy() {
        popped.get(popped.iter().rposition(Option::is_some).unwrap_or(0)..).unwrap_or_default()
    } else {
        cx.out.array(popped.len());
        popped
    };
    let shown = if path.is_legacy() { 1 } else { popped.len() };
    for node in popped.iter().take(shown) {
        match node {
            None => cx.out.null(),
            Some(node) if format == Format::Strings => {
                // What fitted into the document fits into a reply.
                let mut text = Text::new(usize::MAX);
                let _ = text.write(node, &Layout::default());
                cx.out.bulk_shared(text.take().into());
            }
            Some(node) => write_formatted(cx.out, node, format, &mut Budget::boundless()),
        }
    }
    Ok(())
}

/// `JSON.ARRTRIM key path start stop`
pub(in crate::commands) const JSON_ARRTRIM: Spec = Spec {
    name: "JSON.ARRTRIM",
    arity: Arity::Exactly(5),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    summary: "Keeps of arrays what is from one position to another, both included; negative ones count from the end.",
    reply: "array of lengths, null for what is no array; by a legacy path one length",
    run: arrtrim,
    ..WRITES
};
fn arrtrim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path(args.get(2))?;
    let (start, stop) = (integer(args.get(3))?, integer(args.get(4))?);
    let trim = |document: &mut Json, place: &[u32]| {
        let len = document.at(place)?.count();
        let (from, to) = kept(start, stop, len);
        document.trim(place, from, to)
    };
    let lengths = change_each(cx, args.get(1), (&path, ARRAY), |_, _| Ok(()), trim)?;
    write_ints(cx.out, &path, &lengths);
    Ok(())
}

/// What ARRTRIM keeps: nothing, when it starts behind the end.
fn kept(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let is_behind = usize::try_from(start).is_ok_and(|start| start >= len);
    let (from, to) = (clamped(start, len), clamped(stop, len));
    if is_behind || from > to || len == 0 { (0, 0) } else { (from, to + 1) }
}
