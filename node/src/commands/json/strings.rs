//! Strings within documents.

use super::{
    INSERTS, LOOKS, NO_KEY, READS, TEXT, WRITES, absent, change_each, expected, longest, may_grow, path, show_lengths,
    utf8, value, write_ints,
};
use crate::commands::{Flags, Spec};
use crate::db::entry::Json;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::json::{Node, Path};
use crate::resp::Args;

/// `JSON.STRAPPEND key [path] value`
pub(in crate::commands) const JSON_STRAPPEND: Spec = Spec {
    name: "JSON.STRAPPEND",
    flags: WRITES.flags.or(Flags::DENYOOM),
    keys: INSERTS,
    value_bytes: |args| longest(args, 2),
    summary: "Adds a string, which is given as JSON, behind the last character of strings.",
    reply: "array of lengths in bytes, null for what is no string; by a legacy path one length",
    run: strappend,
    ..WRITES
};
fn strappend(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (path, text) = match args.len() {
        3 => (Path::legacy_root(), args.get(2)),
        4 => (path(args.get(2))?, args.get(3)),
        _ => return Err(CommandError::Arity("json.strappend".into())),
    };
    let Node::Text(more) = value(cx, text)? else { return Err(expected("string", utf8(text)?)) };
    let most = super::bytes_max(cx);
    let append = |document: &mut Json, place: &[u32]| {
        let both = [document.at(place)?.text()?, &more].concat();
        let len = both.len();
        document.replace(place, Node::Text(both.into())).then_some(len)
    };
    let check = |document: &Json, places: &[Option<_>]| {
        may_grow(document, places.iter().flatten().count().saturating_mul(more.len()), most)
    };
    let lengths = change_each(cx, args.get(1), (&path, TEXT), check, append)?;
    write_ints(cx.out, &path, &lengths);
    Ok(())
}

/// `JSON.STRLEN key [path]`
pub(in crate::commands) const JSON_STRLEN: Spec = Spec {
    name: "JSON.STRLEN",
    keys: LOOKS,
    summary: "How long strings are, in bytes.",
    reply: "array of lengths, null for what is no string; by a legacy path one length",
    run: strlen,
    ..READS
};
fn strlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let length = |node: &Node| node.text().map(str::len);
    show_lengths(
        cx,
        args,
        |_| NO_KEY,
        length,
        |path: &Path, node| match node {
            None => Err(absent(path)),
            Some(node) => length(node).map(Some).ok_or_else(|| expected("string", node.kind())),
        },
    )
}
