//! CONFIG: what of the settings clients may read, and what they may change while the cache runs.
//!
//! A parameter is here when setting it does what redis's does, or when its one value tells the truth about the cache:
//! then every other value is refused. Parameters of redis that are neither are unknown.

mod table;

use std::borrow::Cow;

use larder_iam_policies::access::Actions;

use super::help::help;
use super::parse::is;
use super::{Acl, Arity, Beyond, Family, Flags, Spec, shown};
use crate::buffers::size;
use crate::engine::{Cx, Engine};
use crate::error::CommandError;
use crate::glob;
use crate::resp::{Args, parse_i64};
use table::{Change, Kind, PARAMETERS, Parameter, Type};

/// `CONFIG <subcommand>`
pub(super) const CONFIG: Spec = Spec {
    name: "CONFIG",
    family: Family::Server,
    since: "2.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "Settings that can be read and changed while the cache runs.",
    reply: "as its subcommands",
    ..Spec::ROW
};

const ADMIN: Spec = Spec {
    family: Family::Server,
    since: "2.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    beyond: Beyond::Cache(Actions::ADMIN),
    ..Spec::ROW
};

/// `CONFIG GET pattern …`
pub(super) const CONFIG_GET: Spec = Spec {
    name: "CONFIG|GET",
    arity: Arity::AtLeast(3),
    summary: "The parameters whose names fit.",
    reply: "map of names to values",
    run: config_get,
    ..ADMIN
};
fn config_get(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut found: Vec<(Cow<'_, [u8]>, &Parameter)> = Vec::new();
    for pattern in args.iter().skip(2) {
        let is_name = !pattern.iter().any(|byte| b"[*?".contains(byte));
        for parameter in PARAMETERS {
            let name = parameter.name.as_bytes();
            let fits = if is_name { is(pattern, parameter.name) } else { glob::matches_in_any_case(pattern, name) };
            if fits && found.iter().all(|(_, other)| !std::ptr::eq(*other, parameter)) {
                // A name is answered in the letters it was asked by.
                found.push((if is_name { pattern.to_vec().into() } else { name.into() }, parameter));
            }
        }
    }
    cx.out.map(found.len());
    for (name, parameter) in found {
        cx.out.bulk(name);
        cx.out.bulk((parameter.read)(cx.engine));
    }
    Ok(())
}

/// `CONFIG SET name value …`: all of them, or none.
pub(super) const CONFIG_SET: Spec = Spec {
    name: "CONFIG|SET",
    arity: Arity::AtLeast(4),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    summary: "Changes parameters until the cache ends.",
    reply: "OK",
    run: config_set,
    ..ADMIN
};
fn config_set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    let mut wanted: Vec<(&Parameter, &[u8])> = Vec::new();
    for (name, value) in (2..args.len()).step_by(2).map(|at| (args.get(at), args.get(at + 1))) {
        let Some(parameter) = PARAMETERS.iter().find(|parameter| is(name, parameter.name)) else {
            let start: &[u8] = b"ERR Unknown option or number of arguments for CONFIG SET - '";
            return Err(CommandError::Quoted([start, shown(name, 1024), b"'"].concat()));
        };
        if matches!(parameter.kind, Kind::Immutable) {
            return Err(failed(name, "can't set immutable config"));
        }
        if wanted.iter().any(|(other, _)| std::ptr::eq(*other, parameter)) {
            return Err(failed(name, "duplicate parameter"));
        }
        wanted.push((parameter, value));
    }
    let changes: Result<Vec<_>, _> = wanted
        .into_iter()
        .map(|(parameter, value)| {
            read(cx.engine, parameter, value).map_err(|why| failed(parameter.name.as_bytes(), &why))
        })
        .collect();
    // Nothing is left that could go wrong.
    let db = &cx.engine.db;
    let heats = db.eviction.warmth(cx.now.wall_ms).kind();
    changes?.into_iter().flatten().for_each(|change| change(cx.engine));
    // At once, before a key is used whose heat would be misread.
    if db.eviction.warmth(cx.now.wall_ms).kind() != heats {
        db.settle_heats(cx.now.wall_ms);
    }
    cx.out.ok();
    Ok(())
}

/// As redis, what is wrong with a name is said of it in the letters it was asked by.
fn failed(name: &[u8], why: &str) -> CommandError {
    let name = String::from_utf8_lossy(name);
    CommandError::Said(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
}

/// What setting a parameter to this text would do; nothing, when it is so already and can be nothing else.
fn read(engine: &Engine, parameter: &Parameter, text: &[u8]) -> Result<Option<Change>, String> {
    let change = |set: fn(&Engine, i64), value| -> Option<Change> { Some(Box::new(move |engine| set(engine, value))) };
    match &parameter.kind {
        Kind::Immutable => Ok(None),
        Kind::Number { least, most, refuses, set } => {
            let value = parse_i64(text).ok_or(NOT_NUMBER)?;
            within(value, *least, *most)?;
            refuses(engine, value).map_or(Ok(change(*set, value)), Err)
        }
        Kind::Letters { read, wrong, set } => Ok(change(*set, read(text).ok_or(*wrong)?)),
        Kind::Size(least, set) => {
            let bytes = memory(text).ok_or(NOT_MEMORY)?;
            within(bytes, *least, i64::MAX)?;
            Ok(change(*set, bytes))
        }
        Kind::Parsed(read) => Ok(Some(read(engine, &String::from_utf8_lossy(text))?)),
        Kind::Word(words, set) => {
            let word = as_shown(&Type::OneOf(words), text)?;
            Ok(words.iter().position(|each| *each == word).and_then(|at| change(*set, at as i64)))
        }
        Kind::Flag(set) => {
            let (set, is_set) = (*set, as_shown(&Type::Flag, text)? == "yes");
            Ok(Some(Box::new(move |engine| set(engine, is_set))))
        }
        Kind::Fixed(kind) => {
            let value = as_shown(kind, text)?;
            let current = (parameter.read)(engine);
            if value == current {
                return Ok(None);
            }
            Err(format!("it is {current:?} here, and another value is not built yet"))
        }
    }
}

const NOT_NUMBER: &str = "argument couldn't be parsed into an integer";

const NOT_MEMORY: &str = "argument must be a memory value";

fn within(value: i64, least: i64, most: i64) -> Result<(), String> {
    let fits = (least..=most).contains(&value);
    if fits { Ok(()) } else { Err(format!("argument must be between {least} and {most} inclusive")) }
}

/// A value as CONFIG GET would show it, if it is one.
fn as_shown(kind: &Type, text: &[u8]) -> Result<String, String> {
    let word = String::from_utf8_lossy(text);
    match kind {
        Type::Number(least, most) => {
            let value = parse_i64(text).ok_or(NOT_NUMBER)?;
            within(value, *least, *most).map(|()| value.to_string())
        }
        Type::Memory(least) => {
            let value = memory(text).ok_or(NOT_MEMORY)?;
            within(value, *least, i64::MAX).map(|()| value.to_string())
        }
        Type::Flag if ["yes", "no"].contains(&&*word.to_ascii_lowercase()) => Ok(word.to_ascii_lowercase()),
        Type::Flag => Err("argument must be 'yes' or 'no'".to_owned()),
        Type::OneOf(words) if words.contains(&&*word.to_ascii_lowercase()) => Ok(word.to_ascii_lowercase()),
        Type::OneOf(words) => Err(format!("argument(s) must be one of the following: {}", words.join(", "))),
        Type::Text => Ok(word.into_owned()),
    }
}

fn memory(text: &[u8]) -> Option<i64> {
    size(std::str::from_utf8(text).ok()?)
}

/// `CONFIG RESETSTAT`
pub(super) const CONFIG_RESETSTAT: Spec = Spec {
    name: "CONFIG|RESETSTAT",
    summary: "Counts of INFO begin at 0 again; those of /metrics go on.",
    reply: "OK",
    run: config_resetstat,
    ..ADMIN
};
fn config_resetstat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    cx.engine.reset_stats(super::resolve(args)?);
    cx.out.ok();
    Ok(())
}

/// `CONFIG REWRITE`: refused; the file is the administrator's, and there may be none.
pub(super) const CONFIG_REWRITE: Spec = Spec {
    name: "CONFIG|REWRITE",
    since: "2.8.0",
    summary: "Refused: what is set here ends with the cache.",
    reply: "an error",
    run: config_rewrite,
    ..ADMIN
};
fn config_rewrite(_: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::Text("ERR The server is running without a config file"))
}

/// `CONFIG HELP`
pub(super) const CONFIG_HELP: Spec = Spec {
    name: "CONFIG|HELP",
    family: Family::Server,
    since: "5.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Acl::SLOW,
    summary: "The subcommands.",
    reply: "array of lines",
    run: config_help,
    ..Spec::ROW
};
fn config_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &CONFIG, HELP);
    Ok(())
}
const HELP: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_memory_has_units() {
        for (at, parameter) in PARAMETERS.iter().enumerate() {
            assert!(PARAMETERS[..at].iter().all(|other| other.name != parameter.name), "{}", parameter.name);
        }
        let cases = [("0", Some(0)), ("1kb", Some(1024)), ("2MB", Some(2 << 20)), ("1k", Some(1000)), ("3b", Some(3))];
        for (text, want) in cases.into_iter().chain([("", None), ("-1", None), ("1x", None), ("9999999999gb", None)]) {
            assert_eq!(memory(text.as_bytes()), want, "{text}");
        }
    }
}
