//! JSON documents, as RedisJSON 2 has them: what its commands share. They are in the files below this one.
//!
//! A path that begins with `$` is answered with an array, one element per match; a legacy one (`.a`, `a`, none at all) with
//! what the first match gives. A command that fails changed nothing, also where it had begun with some of the matches.

mod arrays;
mod numbers;
mod objects;
mod reading;
mod strings;
mod writing;

pub(super) use arrays::{JSON_ARRAPPEND, JSON_ARRINDEX, JSON_ARRINSERT, JSON_ARRLEN, JSON_ARRPOP, JSON_ARRTRIM};
pub(super) use numbers::{JSON_NUMINCRBY, JSON_NUMMULTBY, JSON_TOGGLE};
pub(super) use objects::{JSON_OBJKEYS, JSON_OBJLEN};
pub(super) use reading::{JSON_DEBUG, JSON_DEBUG_HELP, JSON_DEBUG_MEMORY, JSON_GET, JSON_MGET, JSON_RESP, JSON_TYPE};
pub(super) use strings::{JSON_STRAPPEND, JSON_STRLEN};
pub(super) use writing::{JSON_CLEAR, JSON_DEL, JSON_FORGET, JSON_MERGE, JSON_MSET, JSON_SET};

use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::Json;
use crate::db::{Key, Keyspace};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::json::{Budget, DEPTH_MAX, Limit, Node, PATTERNS_MAX, Path, Place};
use crate::resp::{Args, Out, parse_i64};

/// What the rows of commands that read have in common.
const READS: Spec = Spec {
    family: Family::Json,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.or(Flags::MODULE),
    acl: Acl::READ.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    ..Spec::ROW
};

/// What the rows of commands that write have in common.
const WRITES: Spec = Spec {
    family: Family::Json,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::MODULE),
    acl: Acl::WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    ..Spec::ROW
};

/// Only looks at a key: how long what is there is, or of which type.
const LOOKS: &[KeySpec] = &[KeySpec::at(1).doing(KeyFlags::RO)];
const INSERTS: &[KeySpec] = &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::INSERT))];

const NO_KEY: CommandError = CommandError::Text("ERR could not perform this operation on a key that doesn't exist");
const NOT_TEXT: CommandError = CommandError::Text("ERR Couldn't parse as UTF-8 string");
const TOO_DEEP: CommandError = CommandError::Text("ERR recursion limit exceeded");

fn utf8(bytes: &[u8]) -> Result<&str, CommandError> {
    std::str::from_utf8(bytes).map_err(|_| NOT_TEXT)
}

fn path(bytes: &[u8]) -> Result<Path, CommandError> {
    Path::read(utf8(bytes)?).map_err(|wrong| CommandError::Quoted(wrong.into_bytes()))
}

/// The paths of one command: together they have as many regular expressions as one may have, as each takes memory.
#[derive(Default)]
struct Paths {
    patterns: usize,
}

impl Paths {
    fn read(&mut self, bytes: &[u8]) -> Result<Path, CommandError> {
        let path = path(bytes)?;
        self.patterns += path.patterns();
        if self.patterns > PATTERNS_MAX {
            let text = format!("ERR the paths of a command have {PATTERNS_MAX} regular expressions at most");
            return Err(CommandError::Said(text));
        }
        Ok(path)
    }
}

/// The path at an argument; without one, the whole document.
fn path_or_root(args: Args<'_>, at: usize) -> Result<Path, CommandError> {
    args.try_get(at).map_or_else(|| Ok(Path::legacy_root()), path)
}

/// What a document, and a reply, may take at most: as much as a string.
fn bytes_max(cx: &Cx<'_>) -> usize {
    cx.engine.config.limits.resp.bulk_bytes_max
}

/// A value as the client wrote it.
fn value(cx: &Cx<'_>, bytes: &[u8]) -> Result<Node, CommandError> {
    crate::json::read(utf8(bytes)?, bytes_max(cx)).map_err(|wrong| CommandError::Said(format!("ERR {wrong}")))
}

fn values(cx: &Cx<'_>, args: Args<'_>) -> Result<Vec<Node>, CommandError> {
    args.iter().map(|text| value(cx, text)).collect()
}

fn integer(bytes: &[u8]) -> Result<i64, CommandError> {
    parse_i64(bytes).ok_or(CommandError::Text("ERR Couldn't parse as integer"))
}

fn limit(limit: Limit) -> CommandError {
    CommandError::Said(limit.text())
}

/// What may be looked at is used up.
fn check(budget: &Budget) -> Result<(), CommandError> {
    if budget.is_over() { Err(limit(Limit::Visits)) } else { Ok(()) }
}

fn absent(path: &Path) -> CommandError {
    CommandError::Quoted(format!("ERR Path '{}' does not exist", path.text()).into_bytes())
}

fn absent_or(path: &Path, or: &str) -> CommandError {
    CommandError::Quoted(format!("ERR Path '{}' does not exist or {or}", path.text()).into_bytes())
}

fn expected(expected: &str, found: &str) -> CommandError {
    let text = format!("WRONGTYPE wrong type of path value - expected {expected} but found {found}");
    CommandError::Quoted(text.into_bytes())
}

/// RedisJSON's word for a key of another type.
fn wrong_type(error: CommandError) -> CommandError {
    match error {
        CommandError::WrongType => CommandError::Text("ERR Existing key has wrong Redis type"),
        other => other,
    }
}

/// The document at a key, counted as a read.
fn document<'k>(keys: &'k mut Keyspace<'_>, key: Key<'_>) -> Result<Option<&'k Json>, CommandError> {
    keys.collection::<Json>(key).map_err(wrong_type)
}

/// Changes the document at a key in its place; `act` answers whether it did. Without a key, it is not called.
fn change<R>(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    act: impl FnOnce(&mut Json) -> Result<(R, bool), CommandError>,
) -> Result<Option<R>, CommandError> {
    let done = cx.keys.change(key, |document: &mut Json, _| match act(document) {
        Ok((result, changed)) => (Ok(result), changed),
        Err(error) => (Err(error), false),
    });
    done.map_err(wrong_type)?.transpose()
}

/// Which values a command works on.
#[derive(Clone, Copy)]
struct Wanted {
    is: fn(&Node) -> bool,
    /// What another is, for an error.
    or: &'static str,
}

const ARRAY: Wanted = Wanted { is: |node| node.array().is_some(), or: "not an array" };
const TEXT: Wanted = Wanted { is: |node| node.text().is_some(), or: "not a string" };

/// Where the matches of a path are that a command works on, and a gap for each other one. A legacy path has to have one.
fn matches(document: &Json, path: &Path, wanted: Wanted) -> Result<Vec<Option<Place>>, CommandError> {
    let mut budget = Budget::default();
    let placed = path.find_places(document.root(), &mut budget).and_then(|found| found.placed(&mut budget));
    let placed = placed.map_err(limit)?;
    let places: Vec<_> = placed.into_iter().map(|(node, place)| (wanted.is)(node).then_some(place)).collect();
    again(document, &places, &mut budget).map_err(limit)?;
    if path.is_legacy() && places.iter().all(Option::is_none) { Err(absent_or(path, wanted.or)) } else { Ok(places) }
}

/// Pays for places that a path names again: what is there may be moved as a whole each time.
fn again(document: &Json, places: &[Option<Place>], budget: &mut Budget) -> Result<(), Limit> {
    const BYTES_PER_VISIT: usize = 64;
    let mut sorted: Vec<&Place> = places.iter().flatten().collect();
    sorted.sort_unstable();
    let again = sorted.windows(2).filter_map(|pair| (pair[0] == pair[1]).then_some(pair[0]));
    let bytes: usize = again.map(|place| document.at(place).map_or(0, Node::own_bytes)).fold(0, usize::saturating_add);
    if budget.spend(bytes / BYTES_PER_VISIT) { Ok(()) } else { Err(Limit::Visits) }
}

/// Does something at each place, the last first, so that those to come stay where they are; what that answered, in the
/// order of the places.
fn each<T>(places: &[Option<Place>], mut act: impl FnMut(&[u32]) -> Option<T>) -> Vec<Option<T>> {
    let mut order: Vec<(usize, &Place)> =
        places.iter().enumerate().filter_map(|(at, place)| Some((at, place.as_ref()?))).collect();
    order.sort_by(|(_, a), (_, b)| b.cmp(a));
    let mut results: Vec<Option<T>> = places.iter().map(|_| None).collect();
    for (at, place) in order {
        if let Some(result) = results.get_mut(at) {
            *result = act(place);
        }
    }
    results
}

/// Changes each match of a path, all or none: `check` sees them first.
fn change_each<T>(
    cx: &mut Cx<'_>,
    key: &[u8],
    (path, wanted): (&Path, Wanted),
    check: impl FnOnce(&Json, &[Option<Place>]) -> Result<(), CommandError>,
    mut act: impl FnMut(&mut Json, &[u32]) -> Option<T>,
) -> Result<Vec<Option<T>>, CommandError> {
    let key = cx.key(key);
    let done = change(cx, key, |document| {
        let places = matches(document, path, wanted)?;
        check(document, &places)?;
        let results = each(&places, |place| act(document, place));
        let changed = results.iter().any(Option::is_some);
        Ok((results, changed))
    })?;
    done.ok_or(NO_KEY)
}

/// Where a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// In place of what is there.
    Here,
    /// Into what is there.
    Inside,
}

/// Refuses what would make a document too large or too deep, when `nodes` go to each of `places`.
fn fits<'p>(
    document: &Json,
    (places, goes): (impl ExactSizeIterator<Item = &'p Place> + Clone, Goes),
    nodes: &[Node],
    bytes_max: usize,
) -> Result<(), CommandError> {
    let depth = nodes.iter().map(Node::depth).max().unwrap_or(0) + usize::from(goes == Goes::Inside);
    if places.clone().any(|place| place.len() + depth > DEPTH_MAX) {
        return Err(TOO_DEEP);
    }
    let more: usize = nodes.iter().map(|node| size_of::<Node>() + node.heap_bytes()).sum();
    may_grow(document, more.saturating_mul(places.len()), bytes_max)
}

fn may_grow(document: &Json, more: usize, bytes_max: usize) -> Result<(), CommandError> {
    if document.heap_bytes().saturating_add(more) <= bytes_max {
        return Ok(());
    }
    Err(CommandError::Said(format!("ERR the document would take more than {bytes_max} bytes")))
}

/// The longest argument from one on.
fn longest(args: Args<'_>, from: usize) -> Option<u64> {
    args.iter().skip(from).map(|value| value.len() as u64).max()
}

/// Writes a number per match, or the last one where the path is a legacy one.
fn write_ints(out: &mut Out, path: &Path, results: &[Option<usize>]) {
    if path.is_legacy() {
        return match results.iter().flatten().next_back() {
            Some(result) => out.int(*result as i64),
            None => out.null(),
        };
    }
    out.array(results.len());
    for result in results {
        match result {
            Some(result) => out.int(*result as i64),
            None => out.null(),
        }
    }
}

/// Shows the length of what a path finds: STRLEN, ARRLEN, OBJLEN.
fn show_lengths(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    no_key: impl FnOnce(&Path) -> CommandError,
    length: impl Fn(&Node) -> Option<usize>,
    mut legacy: impl FnMut(&Path, Option<&Node>) -> Result<Option<usize>, CommandError>,
) -> Result<(), CommandError> {
    let path = path_or_root(args, 2)?;
    let key = cx.key(args.get(1));
    let Some(document) = document(&mut cx.keys, key)? else {
        if !path.is_legacy() {
            return Err(no_key(&path));
        }
        cx.out.null();
        return Ok(());
    };
    let found = path.find(document.root(), &mut Budget::default()).map_err(limit)?;
    if path.is_legacy() {
        match legacy(&path, found.nodes().next())? {
            Some(length) => cx.out.int(length as i64),
            None => cx.out.null(),
        }
        return Ok(());
    }
    let lengths: Vec<Option<usize>> = found.nodes().map(length).collect();
    write_ints(cx.out, &path, &lengths);
    Ok(())
}

#[cfg(test)]
mod tests;
