//! Documents, shown.

use super::{LOOKS, Paths, READS, absent, bytes_max, check, document, limit, path, path_or_root, utf8};
use crate::commands::help::help;
use crate::commands::parse::is;
use crate::commands::{Acl, Arity, Flags, KeyFlags, KeySpec, Spec};
use crate::db::entry::Json;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::json::{Budget, Layout, Node, Path, Text, TooLong};
use crate::resp::{Args, Out};

/// Most paths of one JSON.GET: each is compared with those before it.
const PATHS_MAX: usize = 256;

/// How values are shown to who speaks RESP3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// All of them as one JSON text.
    String,
    /// Each as a JSON text.
    Strings,
    /// Each as a reply; what is an array or an object as a JSON text.
    Expand1,
    /// Each as a reply, whatever is in it.
    Expand,
}

impl Format {
    pub(super) fn read(text: &[u8]) -> Result<Self, CommandError> {
        match text {
            text if is(text, "STRING") => Ok(Self::String),
            text if is(text, "STRINGS") => Ok(Self::Strings),
            text if is(text, "EXPAND1") => Ok(Self::Expand1),
            text if is(text, "EXPAND") => Ok(Self::Expand),
            _ => Err(CommandError::Text("ERR wrong reply format")),
        }
    }
}

/// Writes a value as a reply. What comes after the budget is over is null.
pub(super) fn write_formatted(out: &mut Out, node: &Node, format: Format, budget: &mut Budget) {
    if !budget.spend(1 + node.text().map_or(0, str::len) / 64) {
        return out.null();
    }
    match node {
        Node::Null => out.null(),
        Node::Bool(value) => out.bool(*value),
        Node::Int(value) => out.int(*value),
        Node::Large(_) | Node::Float(_) => out.double(node.as_f64().unwrap_or_default()),
        Node::Text(text) if format == Format::Expand => out.bulk(&**text),
        Node::Array(elements) if format == Format::Expand => {
            out.array(elements.len());
            elements.iter().for_each(|element| write_formatted(out, element, format, budget));
        }
        Node::Object(members) if format == Format::Expand => {
            out.map(members.len());
            for (name, member) in members.iter() {
                out.bulk(name);
                write_formatted(out, member, format, budget);
            }
        }
        _ => {
            let mut text = Text::new(usize::MAX);
            let _ = text.write(node, &Layout::default());
            let text = text.take();
            budget.spend(text.len() / 64);
            out.bulk_shared(text.into());
        }
    }
}

/// Writes a reply whose size the values decide, or none: when they cost more than one command may.
pub(super) fn within_budget(out: &mut Out, write: impl FnOnce(&mut Out, &mut Budget)) -> Result<(), CommandError> {
    let (mark, mut budget) = (out.mark(), Budget::default());
    write(out, &mut budget);
    let done = check(&budget);
    if done.is_err() {
        out.rollback(mark);
    }
    done
}

fn too_long(_: TooLong) -> CommandError {
    CommandError::StringTooLong
}

/// `JSON.GET key [INDENT indent] [NEWLINE newline] [SPACE space] [FORMAT format] [path …]`
pub(in crate::commands) const JSON_GET: Spec = Spec {
    name: "JSON.GET",
    summary: "The values that paths find, as JSON.",
    reply: "bulk string: an array of matches, by a legacy path the first; of several paths an object of those; null when \
            the key is absent",
    run: get,
    ..READS
};
fn get(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let asked = Asked::read(args, cx.out.protocol())?;
    let most = bytes_max(cx);
    let key = cx.key(args.get(1));
    let Some(document) = document(&mut cx.keys, key)? else {
        cx.out.null();
        return Ok(());
    };
    if asked.format == Format::String || cx.out.protocol() != 3 {
        let text = asked.text(document, most, &mut Budget::default())?;
        cx.out.bulk_shared(text.into());
        return Ok(());
    }
    let mut budget = Budget::default();
    let found: Result<Vec<_>, _> =
        asked.paths.iter().map(|(_, path)| path.find(document.root(), &mut budget)).collect();
    let found = found.map_err(limit)?;
    within_budget(cx.out, |out, budget| {
        out.array(found.len());
        for found in found {
            out.array(found.len());
            found.nodes().for_each(|node| write_formatted(out, node, asked.format, budget));
        }
    })
}

/// What JSON.GET is asked for.
struct Asked<'a> {
    layout: Layout<'a>,
    format: Format,
    /// Each as it was written, and read.
    paths: Vec<(&'a str, Path)>,
}

impl<'a> Asked<'a> {
    fn read(args: Args<'a>, protocol: u8) -> Result<Self, CommandError> {
        let mut asked = Self { layout: Layout::default(), format: Format::String, paths: Vec::new() };
        let mut paths = Paths::default();
        let mut args = args.iter().skip(2);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(CommandError::Arity("json.get".into()));
            match arg {
                arg if is(arg, "INDENT") => asked.layout.indent = value()?,
                arg if is(arg, "NEWLINE") => asked.layout.newline = value()?,
                arg if is(arg, "SPACE") => asked.layout.space = value()?,
                arg if is(arg, "FORMAT") => {
                    if protocol != 3 && asked.paths.is_empty() {
                        return Err(CommandError::Text("ERR FORMAT argument is not supported on RESP2"));
                    }
                    asked.format = Format::read(value()?)?;
                    if asked.format == Format::Strings {
                        return Err(CommandError::Text("ERR wrong reply format"));
                    }
                }
                // Of RedisJSON 1, and without effect since.
                arg if is(arg, "NOESCAPE") => {}
                arg => {
                    let read = paths.read(arg)?;
                    asked.paths.retain(|(text, _)| text.as_bytes() != arg);
                    asked.paths.push((utf8(arg)?, read));
                    if asked.paths.len() > PATHS_MAX {
                        return Err(CommandError::Said(format!("ERR JSON.GET takes {PATHS_MAX} paths at most")));
                    }
                }
            }
        }
        if asked.paths.is_empty() {
            asked.paths.push((".", Path::legacy_root()));
        }
        Ok(asked)
    }

    fn text(&self, document: &Json, bytes_max: usize, budget: &mut Budget) -> Result<Vec<u8>, CommandError> {
        let mut text = Text::new(bytes_max);
        let legacy = self.paths.iter().all(|(_, path)| path.is_legacy());
        let mut found = Vec::with_capacity(self.paths.len());
        for (name, path) in &self.paths {
            let nodes: Vec<&Node> = path.find(document.root(), budget).map_err(limit)?.nodes().collect();
            if legacy && nodes.is_empty() {
                return Err(absent(path));
            }
            found.push((*name, nodes));
        }
        match found.as_slice() {
            [(_, nodes)] if legacy => nodes.iter().take(1).try_for_each(|node| text.write(node, &self.layout)),
            [(_, nodes)] => text.write_all(nodes.iter().copied(), &self.layout),
            several => {
                let named = several.iter().map(|(name, nodes)| (*name, nodes.as_slice()));
                text.write_named(named, legacy, &self.layout)
            }
        }
        .map_err(too_long)?;
        Ok(text.take())
    }
}

/// `JSON.MGET key [key …] path`
pub(in crate::commands) const JSON_MGET: Spec = Spec {
    name: "JSON.MGET",
    arity: Arity::AtLeast(3),
    keys: &[KeySpec::at(1).to(-2, 1).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    summary: "The values that a path finds in several documents, as JSON.",
    reply: "array of bulk strings, null for a key that is absent, holds something else or has nothing at a legacy path",
    run: mget,
    ..READS
};
fn mget(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let asked = [(".", path(args.get(last))?)];
    let asked = Asked { layout: Layout::default(), format: Format::String, paths: asked.into() };
    let (mut left, mut budget) = (bytes_max(cx), Budget::default());
    let mark = cx.out.mark();
    cx.out.array(last - 1);
    for key in args.from(1).up_to(last - 1).iter() {
        let key = cx.key(key);
        let text = match document(&mut cx.keys, key) {
            Ok(Some(document)) => Some(asked.text(document, left, &mut budget)),
            _ => None,
        };
        match text {
            Some(Ok(text)) => {
                left -= text.len();
                cx.out.bulk_shared(text.into());
            }
            // Nothing is at a legacy path.
            None | Some(Err(CommandError::Quoted(_))) => cx.out.null(),
            Some(Err(limit)) => {
                cx.out.rollback(mark);
                return Err(limit);
            }
        }
    }
    Ok(())
}

/// `JSON.TYPE key [path]`
pub(in crate::commands) const JSON_TYPE: Spec = Spec {
    name: "JSON.TYPE",
    keys: LOOKS,
    summary: "The types of values: null, boolean, integer, number, string, array, object.",
    reply: "array of bulk strings; by a legacy path one; null when the key is absent; RESP3: that in an array",
    run: type_of,
    ..READS
};
fn type_of(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path_or_root(args, 2)?;
    let key = cx.key(args.get(1));
    let kinds: Option<Vec<&'static str>> = match document(&mut cx.keys, key)? {
        None => None,
        Some(document) => {
            let found = path.find(document.root(), &mut Budget::default()).map_err(limit)?;
            Some(found.nodes().map(Node::kind).collect())
        }
    };
    if cx.out.protocol() == 3 {
        cx.out.array(1);
    }
    match kinds {
        Some(kinds) if !path.is_legacy() => {
            cx.out.array(kinds.len());
            kinds.iter().for_each(|kind| cx.out.bulk(kind));
        }
        kinds => match kinds.unwrap_or_default().first() {
            Some(kind) => cx.out.bulk(kind),
            None => cx.out.null(),
        },
    }
    Ok(())
}

/// `JSON.RESP key [path]`
pub(in crate::commands) const JSON_RESP: Spec = Spec {
    name: "JSON.RESP",
    summary: "Values as replies: arrays behind a `[`, objects behind a `{`.",
    reply: "array of replies, one per match; by a legacy path one; null when the key is absent",
    run: resp,
    ..READS
};
fn resp(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path_or_root(args, 2)?;
    let key = cx.key(args.get(1));
    let Some(document) = document(&mut cx.keys, key)? else {
        cx.out.null();
        return Ok(());
    };
    let found = path.find(document.root(), &mut Budget::default()).map_err(limit)?;
    if path.is_legacy() {
        let first = found.nodes().next().ok_or_else(|| absent(&path))?;
        return within_budget(cx.out, |out, budget| write_reply(out, first, budget));
    }
    within_budget(cx.out, |out, budget| {
        out.array(found.len());
        found.nodes().for_each(|node| write_reply(out, node, budget));
    })
}

fn write_reply(out: &mut Out, node: &Node, budget: &mut Budget) {
    if !budget.spend(1 + node.text().map_or(0, str::len) / 64) {
        return out.null();
    }
    match node {
        Node::Null => out.null(),
        Node::Bool(true) => out.simple("true"),
        Node::Bool(false) => out.simple("false"),
        Node::Int(value) => out.int(*value),
        Node::Large(_) | Node::Float(_) => out.double(node.as_f64().unwrap_or_default()),
        Node::Text(text) => out.bulk(&**text),
        Node::Array(elements) => {
            out.array(elements.len() + 1);
            out.simple("[");
            elements.iter().for_each(|element| write_reply(out, element, budget));
        }
        Node::Object(members) => {
            out.array(members.len() * 2 + 1);
            out.simple("{");
            for (name, member) in members.iter() {
                out.bulk(name);
                write_reply(out, member, budget);
            }
        }
    }
}

/// `JSON.DEBUG subcommand`
pub(in crate::commands) const JSON_DEBUG: Spec = Spec {
    name: "JSON.DEBUG",
    flags: Flags::CONTAINER.or(Flags::MODULE),
    acl: Acl::SLOW,
    keys: &[],
    summary: "What documents are made of.",
    reply: "as its subcommands",
    ..READS
};

/// `JSON.DEBUG MEMORY key [path]`
pub(in crate::commands) const JSON_DEBUG_MEMORY: Spec = Spec {
    name: "JSON.DEBUG|MEMORY",
    arity: Arity::AtLeast(3),
    keys: &[KeySpec::at(2).doing(KeyFlags::RO)],
    summary: "Bytes that values take.",
    reply: "array of integers, one per match; by a legacy path one; 0 when the key is absent",
    run: debug_memory,
    ..READS
};
fn debug_memory(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path_or_root(args, 3)?;
    let key = cx.key(args.get(2));
    let bytes: Option<Vec<usize>> = match document(&mut cx.keys, key)? {
        None => None,
        Some(document) => {
            let mut budget = Budget::default();
            let found = path.find(document.root(), &mut budget).map_err(limit)?;
            let take = if path.is_legacy() { 1 } else { usize::MAX };
            let bytes = found.nodes().take(take).map(|node| size_of::<Node>() + weighed(node, &mut budget)).collect();
            check(&budget)?;
            Some(bytes)
        }
    };
    match bytes {
        None if path.is_legacy() => cx.out.int(0),
        None => cx.out.array(0),
        Some(bytes) if path.is_legacy() => {
            let first = bytes.first().ok_or_else(|| absent(&path))?;
            cx.out.int(*first as i64);
        }
        Some(bytes) => {
            cx.out.array(bytes.len());
            bytes.iter().for_each(|bytes| cx.out.int(*bytes as i64));
        }
    }
    Ok(())
}

/// Heap bytes behind a value; each value in it is paid for.
fn weighed(node: &Node, budget: &mut Budget) -> usize {
    if !budget.spend(1) {
        return 0;
    }
    node.own_bytes() + node.children().map(|child| weighed(child, budget)).sum::<usize>()
}

/// `JSON.DEBUG HELP`
pub(in crate::commands) const JSON_DEBUG_HELP: Spec = Spec {
    name: "JSON.DEBUG|HELP",
    arity: Arity::Exactly(2),
    keys: &[],
    summary: "The subcommands.",
    reply: "array of lines",
    run: debug_help,
    ..READS
};
fn debug_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &JSON_DEBUG, &["MEMORY <key> [path]", "    Report the memory usage of values in bytes."]);
    Ok(())
}
