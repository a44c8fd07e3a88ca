//! Objects within documents.

use super::reading::within_budget;
use super::{LOOKS, NO_KEY, READS, absent_or, document, expected, limit, path_or_root, show_lengths};
use crate::commands::Spec;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::json::{Budget, Members, Node};
use crate::resp::{Args, Out};

const NOT_AN_OBJECT: &str = "not an object";

/// `JSON.OBJKEYS key [path]`
pub(in crate::commands) const JSON_OBJKEYS: Spec = Spec {
    name: "JSON.OBJKEYS",
    summary: "The names of objects' members.",
    reply: "array of arrays of names, null for what is no object; by a legacy path one array",
    run: objkeys,
    ..READS
};
fn objkeys(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path_or_root(args, 2)?;
    let key = cx.key(args.get(1));
    let Some(document) = document(&mut cx.keys, key)? else {
        if !path.is_legacy() {
            return Err(NO_KEY);
        }
        cx.out.null();
        return Ok(());
    };
    let found = path.find(document.root(), &mut Budget::default()).map_err(limit)?;
    if path.is_legacy() {
        match found.nodes().next().map(Node::object) {
            Some(Some(members)) => write_names(cx.out, members),
            Some(None) => return Err(absent_or(&path, NOT_AN_OBJECT)),
            None => cx.out.null(),
        }
        return Ok(());
    }
    // A path may name a large object thousands of times.
    within_budget(cx.out, |out, budget| {
        out.array(found.len());
        for node in found.nodes() {
            match node.object() {
                Some(members) if budget.spend(members.len()) => write_names(out, members),
                _ => out.null(),
            }
        }
    })
}

fn write_names(out: &mut Out, members: &Members) {
    out.array(members.len());
    members.iter().for_each(|(name, _)| out.bulk(name));
}

/// `JSON.OBJLEN key [path]`
pub(in crate::commands) const JSON_OBJLEN: Spec = Spec {
    name: "JSON.OBJLEN",
    keys: LOOKS,
    summary: "How many members objects have.",
    reply: "array of counts, null for what is no object; by a legacy path one count",
    run: objlen,
    ..READS
};
fn objlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let length = |node: &Node| node.object().map(Members::len);
    show_lengths(
        cx,
        args,
        |path| absent_or(path, NOT_AN_OBJECT),
        length,
        |_, node| match node {
            None => Ok(None),
            Some(node) => length(node).map(Some).ok_or_else(|| expected("object", node.kind())),
        },
    )
}
