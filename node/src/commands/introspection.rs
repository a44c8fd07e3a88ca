//! The server about itself: COMMAND and INFO.

use larder_iam_policies::access::Actions;

use super::help::help;
use super::parse::is;
use super::{Acl, Arity, Begin, Beyond, Family, Find, Flags, KeyFlags, KeySpec, Spec, keys};
use crate::engine::{Cx, info};
use crate::error::CommandError;
use crate::glob;
use crate::resp::{Args, Out};

const READS_TABLE: Flags = Flags::LOADING.or(Flags::STALE);

/// `COMMAND`: the whole table.
pub(super) const COMMAND: Spec = Spec {
    name: "COMMAND",
    family: Family::Server,
    since: "2.8.13",
    arity: Arity::AtLeast(1),
    flags: READS_TABLE.or(Flags::CONTAINER),
    acl: Acl::SLOW.or(Acl::CONNECTION),
    tips: &["nondeterministic_output_order"],
    summary: "Every command of the table, or by its subcommands some of it.",
    reply: "array of entries as COMMAND INFO gives them",
    run: command,
    ..Spec::ROW
};
fn command(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    entries(cx.out);
    Ok(())
}

fn top_level() -> impl Iterator<Item = &'static Spec> + Clone {
    super::table().iter().filter(|spec| spec.container().is_none())
}

fn entries(out: &mut Out) {
    out.array(top_level().count());
    top_level().for_each(|spec| entry(out, spec));
}

/// `COMMAND COUNT`
pub(super) const COMMAND_COUNT: Spec = Spec {
    name: "COMMAND|COUNT",
    arity: Arity::Exactly(2),
    flags: READS_TABLE,
    tips: &[],
    summary: "How many commands there are, subcommands not counted.",
    reply: "integer",
    run: command_count,
    ..COMMAND
};
fn command_count(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.int(top_level().count() as i64);
    Ok(())
}

/// `COMMAND INFO [name …]`
pub(super) const COMMAND_INFO: Spec = Spec {
    name: "COMMAND|INFO",
    arity: Arity::AtLeast(2),
    flags: READS_TABLE,
    summary: "The rows of these commands, or of all.",
    reply: "array of arrays: name, arity, flags, first key, last key, step, ACL categories, tips, key specs, subcommands; \
            null for an unknown name",
    run: command_info,
    ..COMMAND
};
fn command_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 {
        entries(cx.out);
        return Ok(());
    }
    cx.out.array(args.len() - 2);
    for name in args.iter().skip(2) {
        match named(name) {
            Some(spec) => entry(cx.out, spec),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// A row by its full name, `container|subcommand` included.
fn named(name: &[u8]) -> Option<&'static Spec> {
    super::table().iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

/// One entry, as redis 7.0 writes it.
fn entry(out: &mut Out, spec: &'static Spec) {
    out.array(10);
    out.bulk(spec.name.to_ascii_lowercase());
    out.int(spec.arity.number());
    out.set(spec.flags.names().count());
    spec.flags.names().for_each(|flag| out.simple(flag));
    let (first, last, step) = keys::legacy_range(spec);
    [first, last, step].into_iter().for_each(|number| out.int(number));
    out.set(spec.acl.names().count());
    spec.acl.names().for_each(|category| out.simple(&format!("@{category}")));
    out.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| out.bulk(tip));
    out.set(spec.keys.len());
    spec.keys.iter().for_each(|key| key_spec(out, key));
    let subs: Vec<_> = if spec.is_container() { super::subcommands(spec).collect() } else { Vec::new() };
    // Redis 7.0 writes none as a set, and some as an array.
    if subs.is_empty() {
        out.set(0)
    } else {
        out.array(subs.len())
    }
    subs.into_iter().for_each(|sub| entry(out, sub));
}

fn key_spec(out: &mut Out, spec: &KeySpec) {
    out.map(if spec.notes.is_empty() { 3 } else { 4 });
    if !spec.notes.is_empty() {
        out.bulk("notes");
        out.bulk(spec.notes);
    }
    out.bulk("flags");
    out.set(spec.flags.names().count());
    spec.flags.names().for_each(|flag| out.simple(flag));
    out.bulk("begin_search");
    let (kind, fields): (&str, Vec<(&str, i64)>) = match spec.begin {
        Begin::Index(index) => ("index", vec![("index", index.into())]),
        Begin::Keyword(_, from) | Begin::Option(_, from, _) => ("keyword", vec![("startfrom", from.into())]),
        Begin::Unknown(_) => ("unknown", Vec::new()),
    };
    let keyword = match spec.begin {
        Begin::Keyword(keyword, _) | Begin::Option(keyword, ..) => Some(keyword),
        _ => None,
    };
    typed(out, kind, &fields, keyword);
    out.bulk("find_keys");
    let (kind, fields) = match spec.find {
        _ if matches!(spec.begin, Begin::Unknown(_)) => ("unknown", Vec::new()),
        Find::Range { last, step, limit } => {
            ("range", vec![("lastkey", i64::from(last)), ("keystep", step.into()), ("limit", limit.into())])
        }
        Find::KeyNum { number, first, step } => {
            ("keynum", vec![("keynumidx", i64::from(number)), ("firstkey", first.into()), ("keystep", step.into())])
        }
    };
    typed(out, kind, &fields, None);
}

fn typed(out: &mut Out, kind: &str, fields: &[(&str, i64)], keyword: Option<&str>) {
    out.map(2);
    out.bulk("type");
    out.bulk(kind);
    out.bulk("spec");
    out.map(fields.len() + usize::from(keyword.is_some()));
    if let Some(keyword) = keyword {
        out.bulk("keyword");
        out.bulk(keyword);
    }
    for (name, value) in fields {
        out.bulk(name);
        out.int(*value);
    }
}

/// `COMMAND GETKEYS command [argument …]`
pub(super) const COMMAND_GETKEYS: Spec = Spec {
    name: "COMMAND|GETKEYS",
    arity: Arity::AtLeast(4),
    flags: READS_TABLE,
    tips: &[],
    summary: "The keys a full command line names.",
    reply: "array of bulk strings",
    run: command_getkeys,
    ..COMMAND
};
fn command_getkeys(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let line = args.from(2);
    let found = keys_of(line)?;
    cx.out.array(found.len());
    found.into_iter().for_each(|(position, _)| cx.out.bulk(line.get(position)));
    Ok(())
}

/// Positions of a command line's keys, and what the command may do to each.
fn keys_of(line: Args<'_>) -> Result<Vec<(usize, KeyFlags)>, CommandError> {
    let spec = match super::resolve(line) {
        Ok(spec) => spec,
        Err(CommandError::Arity(_)) if super::find(line.get(0)).is_some_and(|spec| !spec.has_keys()) => {
            return Err(NO_KEYS);
        }
        Err(CommandError::Arity(_)) => {
            return Err(CommandError::Text("ERR Invalid number of arguments specified for command"));
        }
        Err(_) => return Err(CommandError::Text("ERR Invalid command specified")),
    };
    if !spec.has_keys() {
        return Err(NO_KEYS);
    }
    let mut found = Vec::new();
    let known = keys::each(spec, line, &mut |position, flags| found.push((position, flags)));
    match known {
        _ if spec.flags.has(Flags::NO_MANDATORY_KEYS) => {}
        Ok(()) if !found.is_empty() => {}
        _ => return Err(INVALID_ARGUMENTS),
    }
    Ok(found)
}
const INVALID_ARGUMENTS: CommandError = CommandError::Text("ERR Invalid arguments specified for command");
const NO_KEYS: CommandError = CommandError::Text("ERR The command has no key arguments");

/// `COMMAND GETKEYSANDFLAGS command [argument …]`
pub(super) const COMMAND_GETKEYSANDFLAGS: Spec = Spec {
    name: "COMMAND|GETKEYSANDFLAGS",
    since: "7.0.0",
    summary: "The keys a full command line names, and what it may do to each.",
    reply: "array of pairs: key, array of flags",
    run: command_getkeysandflags,
    ..COMMAND_GETKEYS
};
fn command_getkeysandflags(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let line = args.from(2);
    let found = keys_of(line)?;
    cx.out.array(found.len());
    for (position, flags) in found {
        cx.out.array(2);
        cx.out.bulk(line.get(position));
        cx.out.set(flags.names().count());
        flags.names().for_each(|flag| cx.out.simple(flag));
    }
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`
pub(super) const COMMAND_LIST: Spec = Spec {
    name: "COMMAND|LIST",
    since: "7.0.0",
    arity: Arity::AtLeast(2),
    flags: READS_TABLE,
    summary: "The names of all commands, or of those that fit a filter.",
    reply: "array of names, subcommands too",
    run: command_list,
    ..COMMAND
};
fn command_list(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let named = |fits: &dyn Fn(&&Spec) -> bool| super::table().iter().filter(fits).map(|spec| spec.name).collect();
    let names: Vec<&str> = match args.len() {
        2 => named(&|_| true),
        5 if is(args.get(2), "FILTERBY") => {
            let (filter, value) = (args.get(3), args.get(4));
            if is(filter, "MODULE") {
                Vec::new()
            } else if is(filter, "ACLCAT") {
                named(&|spec| spec.acl.names().any(|category| is(value, category)))
            } else if is(filter, "PATTERN") {
                named(&|spec| glob::matches_in_any_case(value, spec.name.as_bytes()))
            } else {
                return Err(CommandError::Syntax);
            }
        }
        _ => return Err(CommandError::Syntax),
    };
    cx.out.array(names.len());
    names.into_iter().for_each(|name| cx.out.bulk(name.to_ascii_lowercase()));
    Ok(())
}

/// `COMMAND DOCS [name …]`: what the table knows. Redis's complexity, history and argument trees are not in it.
pub(super) const COMMAND_DOCS: Spec = Spec {
    name: "COMMAND|DOCS",
    since: "7.0.0",
    arity: Arity::AtLeast(2),
    flags: READS_TABLE,
    summary: "What these commands do, or all.",
    reply: "map of names to maps: summary, since, group, subcommands",
    run: command_docs,
    ..COMMAND
};
fn command_docs(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted: Vec<&Spec> = match args.len() {
        2 => top_level().collect(),
        _ => args.iter().skip(2).filter_map(named).collect(),
    };
    cx.out.map(wanted.len());
    wanted.into_iter().for_each(|spec| docs(cx.out, spec));
    Ok(())
}

fn docs(out: &mut Out, spec: &'static Spec) {
    let subs: Vec<_> = if spec.is_container() { super::subcommands(spec).collect() } else { Vec::new() };
    out.bulk(spec.name.to_ascii_lowercase());
    out.map(3 + usize::from(!subs.is_empty()));
    for (field, value) in [("summary", spec.summary), ("since", spec.since), ("group", spec.family.name())] {
        out.bulk(field);
        out.bulk(value);
    }
    if !subs.is_empty() {
        out.bulk("subcommands");
        out.map(subs.len());
        subs.into_iter().for_each(|sub| docs(out, sub));
    }
}

/// `COMMAND HELP`
pub(super) const COMMAND_HELP: Spec = Spec {
    name: "COMMAND|HELP",
    since: "5.0.0",
    summary: "The subcommands.",
    reply: "array of lines",
    run: command_help,
    ..COMMAND_COUNT
};
fn command_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &COMMAND, HELP);
    Ok(())
}
const HELP: &[&str] = &[
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
];

/// `INFO [section …]`
pub(super) const INFO: Spec = Spec {
    name: "INFO",
    family: Family::Server,
    arity: Arity::AtLeast(1),
    flags: READS_TABLE,
    acl: Acl::SLOW.or(Acl::DANGEROUS),
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    beyond: Beyond::Cache(Actions::LIST),
    summary: "Figures about the server, by section.",
    reply: "verbatim text: field:value lines under # Section",
    run: info_command,
    ..Spec::ROW
};
fn info_command(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted: Vec<String> =
        args.iter().skip(1).map(|section| String::from_utf8_lossy(section).to_ascii_lowercase()).collect();
    let text = info(cx, &wanted);
    cx.out.verbatim(*b"txt", text);
    Ok(())
}
