//! Documents and their parts, set and removed.

use super::{Goes, NO_KEY, Paths, WRITES, bytes_max, change, fits, limit, path, path_or_root, value};
use crate::commands::events::{Class, Event, Told};
use crate::commands::parse::is;
use crate::commands::{Arity, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::{Entry, Json};
use crate::db::{Key, Touch};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::json::{Budget, Node, Path, Place, Tail, outermost};
use crate::resp::Args;

const NOT_AT_THE_ROOT: CommandError = CommandError::Text("ERR new objects must be created at the root");

/// When JSON.SET sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    Absent,
    Present,
}

/// `JSON.SET key path value [NX | XX]`
pub(in crate::commands) const JSON_SET: Spec = Spec {
    name: "JSON.SET",
    arity: Arity::AtLeast(4),
    flags: WRITES.flags.or(Flags::DENYOOM),
    value_bytes: |args| args.try_get(3).map(|value| value.len() as u64),
    summary: "Puts a value wherever a path leads, or makes a member of its last name; the key keeps its TTL.",
    reply: "`OK`; null when nothing was set",
    run: set,
    ..WRITES
};
fn set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path(args.get(2))?;
    let condition = condition(args.from(4))?;
    let node = value(cx, args.get(3))?;
    let key = cx.key(args.get(1));
    let done = put(cx, key, &path, node, condition, &mut Budget::default())?;
    write_done(cx, done);
    Ok(())
}

fn condition(options: Args<'_>) -> Result<Condition, CommandError> {
    let mut condition = Condition::Always;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option {
            _ if is(option, "NX") && condition == Condition::Always => condition = Condition::Absent,
            _ if is(option, "XX") && condition == Condition::Always => condition = Condition::Present,
            _ if is(option, "FORMAT") => match options.next() {
                Some(format) if is(format, "JSON") || is(format, "STRING") => {}
                _ => return Err(CommandError::Text("ERR wrong format")),
            },
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(condition)
}

fn write_done(cx: &mut Cx<'_>, done: bool) {
    if done { cx.out.ok() } else { cx.out.null() }
}

/// Puts a value at a key; whether it is there now.
fn put(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    path: &Path,
    node: Node,
    condition: Condition,
    budget: &mut Budget,
) -> Result<bool, CommandError> {
    let most = bytes_max(cx);
    let mut node = Some(node);
    let done = change(cx, key, |document| {
        let Some(node) = node.take() else { return Ok((false, false)) };
        let plan = plan(document, path, &node, condition, (most, budget))?;
        let done = plan.apply(document, node);
        Ok((done, done))
    })?;
    match (done, node) {
        (Some(done), _) => Ok(done),
        (None, Some(node)) => put_new(cx, key, path, node, condition),
        (None, None) => Ok(false),
    }
}

fn put_new(cx: &mut Cx<'_>, key: Key<'_>, path: &Path, node: Node, condition: Condition) -> Result<bool, CommandError> {
    if condition == Condition::Present {
        return Ok(false);
    }
    if !path.is_root() {
        return Err(NOT_AT_THE_ROOT);
    }
    cx.keys.put(key, Entry::collection(key.bytes, Json::new(node), None));
    Ok(true)
}

/// Where a value goes.
enum Plan {
    Nowhere,
    /// In place of these.
    Replace(Vec<Place>),
    /// As a member of these, where they have none of this name.
    Add(Vec<Place>, String),
}

fn plan(
    document: &Json,
    path: &Path,
    node: &Node,
    condition: Condition,
    (bytes_max, budget): (usize, &mut Budget),
) -> Result<Plan, CommandError> {
    let plan = if path.is_root() {
        match condition {
            Condition::Absent => Plan::Nowhere,
            _ => Plan::Replace(vec![Place::default()]),
        }
    } else {
        let there = if condition == Condition::Absent { Vec::new() } else { places(document, path, budget)? };
        match there {
            there if !there.is_empty() => Plan::Replace(outermost(there)),
            _ if condition == Condition::Present => Plan::Nowhere,
            _ => addition(document, path, budget)?,
        }
    };
    let node = std::slice::from_ref(node);
    match &plan {
        Plan::Nowhere => {}
        Plan::Replace(places) if places.iter().any(|place| place.is_empty()) => {}
        Plan::Replace(places) => fits(document, (places.iter(), Goes::Here), node, bytes_max)?,
        Plan::Add(places, _) => fits(document, (places.iter(), Goes::Inside), node, bytes_max)?,
    }
    Ok(plan)
}

impl Plan {
    /// Whether anything was done.
    fn apply(self, document: &mut Json, node: Node) -> bool {
        let mut done = false;
        match self {
            Plan::Nowhere => {}
            Plan::Replace(places) => {
                for place in split_last(&places, node) {
                    done |= document.replace(place.0, place.1);
                }
            }
            Plan::Add(places, name) => {
                for place in split_last(&places, node) {
                    done |= document.add_member(place.0, &name, place.1);
                }
            }
        }
        done
    }
}

/// Each place with a value of its own; the last takes the one there is.
fn split_last(places: &[Place], node: Node) -> impl Iterator<Item = (&Place, Node)> {
    let count = places.len();
    let mut node = Some(node);
    places.iter().enumerate().map(move |(at, place)| {
        let own = if at + 1 == count { node.take() } else { node.clone() };
        (place, own.unwrap_or_default())
    })
}

/// What a path that leads to nothing asks for: a member of what its other steps lead to.
fn addition(document: &Json, path: &Path, budget: &mut Budget) -> Result<Plan, CommandError> {
    match path.tail() {
        None => Err(CommandError::Text("Err wrong static path")),
        Some(Tail::Name(name)) => Ok(Plan::Add(places(document, &path.parent(), budget)?, name.to_owned())),
        Some(Tail::Index) if places(document, path, budget)?.is_empty() => {
            Err(CommandError::Text("ERR array index out of range"))
        }
        Some(Tail::Index) => Ok(Plan::Nowhere),
    }
}

fn places(document: &Json, path: &Path, budget: &mut Budget) -> Result<Vec<Place>, CommandError> {
    let placed = path.find_places(document.root(), budget).and_then(|found| found.placed(budget));
    Ok(placed.map_err(limit)?.into_iter().map(|(_, place)| place).collect())
}

/// `JSON.MSET key path value [key path value …]`
pub(in crate::commands) const JSON_MSET: Spec = Spec {
    name: "JSON.MSET",
    since: "2.6.0",
    arity: Arity::AtLeast(4),
    flags: WRITES.flags.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).to(-1, 3).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::None,
    value_bytes: |args| args.iter().skip(3).step_by(3).map(|value| value.len() as u64).max(),
    summary: "As JSON.SET, of several keys and paths; all or nothing where one is refused.",
    reply: "`OK`; null when something was not set",
    run: mset,
    ..WRITES
};
fn mset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !(args.len() - 1).is_multiple_of(3) {
        return Err(CommandError::Arity("json.mset".into()));
    }
    let most = bytes_max(cx);
    let (mut paths, mut budget) = (Paths::default(), Budget::default());
    let mut triples = Vec::with_capacity(args.len() / 3);
    for at in (1..args.len()).step_by(3) {
        let (key, path) = (args.get(at), paths.read(args.get(at + 1))?);
        let node = value(cx, args.get(at + 2))?;
        let found = cx.key(key);
        match cx.keys.collection_again::<Json>(found).map_err(super::wrong_type)? {
            Some(document) => drop(plan(document, &path, &node, Condition::Always, (most, &mut budget))?),
            None if path.is_root() => {}
            None => return Err(NOT_AT_THE_ROOT),
        }
        triples.push((key, path, node));
    }
    let (mut all, mut budget) = (true, Budget::default());
    for (key, path, node) in triples {
        let key = cx.key(key);
        // What came before may have taken its place away.
        all &= put(cx, key, &path, node, Condition::Always, &mut budget).unwrap_or(false);
    }
    write_done(cx, all);
    Ok(())
}

/// `JSON.MERGE key path value`
pub(in crate::commands) const JSON_MERGE: Spec = Spec {
    name: "JSON.MERGE",
    since: "2.6.0",
    summary: "Merges a value into those a path finds, by RFC 7396; else as JSON.SET.",
    reply: "`OK`; null when nothing was merged",
    run: merge,
    ..JSON_SET
};
fn merge(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path(args.get(2))?;
    if condition(args.from(4))? != Condition::Always {
        return Err(CommandError::Syntax);
    }
    let node = value(cx, args.get(3))?;
    let key = cx.key(args.get(1));
    let most = bytes_max(cx);
    let merged = change(cx, key, |document| {
        let mut budget = Budget::default();
        let mut places = if path.is_root() { vec![Place::default()] } else { places(document, &path, &mut budget)? };
        if places.is_empty() {
            let plan = plan(document, &path, &node, Condition::Always, (most, &mut budget))?;
            let done = plan.apply(document, node.clone());
            return Ok((done, done));
        }
        fits(document, (places.iter(), Goes::Here), std::slice::from_ref(&node), most)?;
        // The inner ones first: what is merged into the outer ones may take them away.
        places.sort_unstable();
        let mut done = false;
        for place in places.iter().rev() {
            done |= document.merge(place, &node);
        }
        Ok((done, done))
    })?;
    let done = match merged {
        Some(done) => done,
        None => put_new(cx, key, &path, node, Condition::Always)?,
    };
    write_done(cx, done);
    Ok(())
}

/// `JSON.DEL key [path]`
pub(in crate::commands) const JSON_DEL: Spec = Spec {
    name: "JSON.DEL",
    arity: Arity::AtLeast(2),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    event: Event::All(deleted),
    summary: "Removes what a path finds; the key too when nothing is left.",
    reply: "integer: how many values; what is within one of them is not counted",
    run: del,
    ..WRITES
};
fn del(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let path = path_or_root(args, 2)?;
    let key = cx.key(args.get(1));
    let removed = change(cx, key, |document| {
        let found =
            if path.is_root() { vec![Place::default()] } else { places(document, &path, &mut Budget::default())? };
        let there = outermost(found);
        if there.iter().any(|place| place.is_empty()) {
            return Ok(((1, true), false));
        }
        document.remove(&there);
        let is_gone = !there.is_empty() && document.root().is_empty_container();
        Ok(((there.len(), is_gone), !there.is_empty() && !is_gone))
    })?;
    let (count, is_gone) = removed.unwrap_or_default();
    if is_gone {
        cx.keys.delete(key);
    }
    cx.out.int(count as i64);
    Ok(())
}

/// Not `del` where the key goes: RedisJSON tells of its own doing only.
fn deleted(_: Args<'_>, touches: &[Touch], all: &mut Vec<Told>) {
    if let Some(touch) = touches.first() {
        all.push(Told::of(Class::MODULE, "json.del", &touch.key));
    }
}

/// `JSON.FORGET key [path]`
pub(in crate::commands) const JSON_FORGET: Spec =
    Spec { name: "JSON.FORGET", summary: "As JSON.DEL, of which it is another name.", ..JSON_DEL };

/// `JSON.CLEAR key [path]`
pub(in crate::commands) const JSON_CLEAR: Spec = Spec {
    name: "JSON.CLEAR",
    since: "2.0.0",
    arity: Arity::AtLeast(2),
    summary: "Empties arrays and objects, and makes numbers 0.",
    reply: "integer: how many were not so already; what is within one of them is not counted",
    run: clear,
    ..WRITES
};
fn clear(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Arity("json.clear".into()));
    }
    let path = path_or_root(args, 2)?;
    let key = cx.key(args.get(1));
    let cleared = change(cx, key, |document| {
        let mut budget = Budget::default();
        let placed = path.find_places(document.root(), &mut budget).and_then(|found| found.placed(&mut budget));
        let is_full = |node: &Node| node.count() > 0 || node.as_f64().is_some_and(|value| value != 0.0);
        let full =
            placed.map_err(limit)?.into_iter().filter(|(node, _)| is_full(node)).map(|(_, place)| place).collect();
        let places = outermost(full);
        places.iter().for_each(|place| {
            document.clear(place);
        });
        Ok((places.len(), !places.is_empty()))
    })?;
    cx.out.int(cleared.ok_or(NO_KEY)? as i64);
    Ok(())
}
