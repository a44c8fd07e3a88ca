//! Functions: libraries of Lua code that are kept by name, and their calls.

use std::sync::Arc;

use larder_iam_policies::access::Actions;

use super::help::{help, misused};
use super::parse::{int, is};
use super::scripting::{EVAL, EVAL_RO, split};
use super::{Acl, Arity, Beyond, Family, Flags, Locks, Spec};
use crate::engine::Cx;
use crate::engine::script::functions::{Library, Restore};
use crate::engine::script::{self, Program};
use crate::error::CommandError;
use crate::glob;
use crate::rdb::{self, Bad};
use crate::resp::Args;

/// `FCALL function numkeys [key …] [arg …]`
pub(super) const FCALL: Spec = Spec {
    name: "FCALL",
    since: "7.0.0",
    summary: "Runs a function of a library; each call in it asks the caller's own rights.",
    reply: "what the function returns",
    run: fcall,
    ..EVAL
};
fn fcall(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    call(cx, args, false)
}

/// `FCALL_RO function numkeys [key …] [arg …]`
pub(super) const FCALL_RO: Spec = Spec {
    name: "FCALL_RO",
    summary: "Runs a function that only reads.",
    reply: FCALL.reply,
    run: fcall_ro,
    ..EVAL_RO
};
fn fcall_ro(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    call(cx, args, true)
}

fn call(cx: &mut Cx<'_>, args: Args<'_>, read_only: bool) -> Result<(), CommandError> {
    let libraries = cx.engine.scripts.functions.now();
    let Some((library, function)) = libraries.find(args.get(1)) else {
        return Err(CommandError::Text("ERR Function not found"));
    };
    int(args.get(2)).map_err(|_| CommandError::Text("ERR Bad number of keys provided"))?;
    let words = split(args)?;
    cx.engine.scripts.live.calls(&function.name, args);
    script::run(cx, &Program::Function { library, name: &function.name }, Some(function.declared), words, read_only)
}

/// `FUNCTION LOAD | DELETE | FLUSH | LIST | STATS | DUMP | RESTORE | KILL | HELP`
pub(super) const FUNCTION: Spec = Spec {
    name: "FUNCTION",
    family: Family::Scripting,
    since: "7.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "Libraries of functions for FCALL.",
    reply: "depends on the subcommand",
    ..Spec::ROW
};

/// What changes the libraries: by an administrator, one at a time, and logged.
const CHANGES: Spec = Spec {
    flags: Flags::WRITE.or(Flags::NOSCRIPT),
    acl: Acl::WRITE.or(Acl::SLOW).or(Acl::SCRIPTING),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    beyond: Beyond::Cache(Actions::ADMIN),
    locks: Locks::Script,
    ..FUNCTION
};

/// What tells of them.
const TELLS: Spec = Spec {
    flags: Flags::NOSCRIPT,
    acl: Acl::SLOW.or(Acl::SCRIPTING),
    beyond: Beyond::Cache(Actions::SCRIPT),
    ..FUNCTION
};

/// `FUNCTION LOAD [REPLACE] code`
pub(super) const FUNCTION_LOAD: Spec = Spec {
    name: "FUNCTION|LOAD",
    arity: Arity::AtLeast(3),
    flags: CHANGES.flags.or(Flags::DENYOOM),
    summary: "Keeps a library and its functions.",
    reply: "bulk string: the library's name",
    run: load,
    ..CHANGES
};
fn load(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut replace, mut at) = (false, 2);
    while at + 1 < args.len() {
        if !is(args.get(at), "REPLACE") {
            return Err(CommandError::Quoted([b"ERR Unknown option given: ", args.get(at)].concat()));
        }
        (replace, at) = (true, at + 1);
    }
    let code = args.get(at);
    let name = script::load(cx.engine, code, replace)?;
    cx.keys.log_instead(&[b"FUNCTION", b"LOAD", b"REPLACE", code]);
    cx.out.bulk(name);
    Ok(())
}

/// `FUNCTION DELETE library`
pub(super) const FUNCTION_DELETE: Spec = Spec {
    name: "FUNCTION|DELETE",
    arity: Arity::Exactly(3),
    summary: "Forgets a library and its functions.",
    reply: "OK",
    run: delete,
    ..CHANGES
};
fn delete(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !cx.engine.scripts.functions.delete(args.get(2)) {
        return Err(CommandError::Text("ERR Library not found"));
    }
    cx.keys.log_instead(&[b"FUNCTION", b"DELETE", args.get(2)]);
    cx.out.ok();
    Ok(())
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`
pub(super) const FUNCTION_FLUSH: Spec =
    Spec { name: "FUNCTION|FLUSH", summary: "Forgets every library.", reply: "OK", run: flush, ..CHANGES };
fn flush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(misused(&FUNCTION, args.get(1)));
    }
    if args.try_get(2).is_some_and(|option| !is(option, "ASYNC") && !is(option, "SYNC")) {
        return Err(CommandError::Text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    cx.engine.scripts.functions.flush();
    cx.keys.log_instead(&[b"FUNCTION", b"FLUSH"]);
    cx.out.ok();
    Ok(())
}

/// `FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`
pub(super) const FUNCTION_LIST: Spec = Spec {
    name: "FUNCTION|LIST",
    tips: &["nondeterministic_output_order"],
    summary: "The libraries and their functions; with WITHCODE the code of them too.",
    reply: "array of maps",
    run: list,
    ..TELLS
};
fn list(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut pattern, mut with_code, mut at) = (None, false, 2);
    while let Some(option) = args.try_get(at) {
        if !with_code && is(option, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && is(option, "LIBRARYNAME") {
            at += 1;
            let missing = CommandError::Text("ERR library name argument was not given");
            pattern = Some(args.try_get(at).ok_or(missing)?);
        } else {
            return Err(CommandError::Quoted([b"ERR Unknown argument ", option].concat()));
        }
        at += 1;
    }
    let libraries = cx.engine.scripts.functions.now();
    let fits = |library: &&Arc<Library>| {
        pattern.is_none_or(|pattern| glob::matches_in_any_case(pattern, library.name.as_bytes()))
    };
    let found: Vec<_> = libraries.all.values().filter(fits).collect();
    cx.out.array(found.len());
    found.into_iter().for_each(|library| tell(cx, library, with_code));
    Ok(())
}

fn tell(cx: &mut Cx<'_>, library: &Library, with_code: bool) {
    let out = &mut *cx.out;
    out.map(if with_code { 4 } else { 3 });
    out.bulk("library_name");
    out.bulk(&library.name);
    out.bulk("engine");
    out.bulk("LUA");
    out.bulk("functions");
    out.array(library.functions.len());
    for function in &library.functions {
        out.map(3);
        out.bulk("name");
        out.bulk(&function.name);
        out.bulk("description");
        match &function.description {
            Some(text) => out.bulk(text),
            None => out.null(),
        }
        out.bulk("flags");
        out.set(function.declared.names().count());
        function.declared.names().for_each(|name| out.simple(name));
    }
    if with_code {
        out.bulk("library_code");
        out.bulk(&library.code);
    }
}

/// `FUNCTION STATS`
pub(super) const FUNCTION_STATS: Spec = Spec {
    name: "FUNCTION|STATS",
    arity: Arity::Exactly(2),
    flags: TELLS.flags.or(Flags::ALLOW_BUSY),
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    beyond: Beyond::Cache(Actions::ADMIN),
    summary: "The function that runs, and how many there are.",
    reply: "map",
    run: stats,
    ..TELLS
};
fn stats(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let running = cx.engine.scripts.live.running()?;
    let libraries = cx.engine.scripts.functions.now();
    let out = &mut *cx.out;
    out.map(2);
    out.bulk("running_script");
    match running {
        None => out.null(),
        Some(running) => {
            out.map(3);
            out.bulk("name");
            out.bulk(&running.name);
            out.bulk("command");
            out.array(running.command.as_args().len());
            running.command.as_args().iter().for_each(|word| out.bulk(word));
            out.bulk("duration_ms");
            out.int(i64::try_from(running.since.elapsed().as_millis()).unwrap_or(i64::MAX));
        }
    }
    out.bulk("engines");
    out.map(1);
    out.bulk("LUA");
    out.map(2);
    out.bulk("libraries_count");
    out.int(libraries.all.len() as i64);
    out.bulk("functions_count");
    out.int(libraries.functions() as i64);
    Ok(())
}

/// `FUNCTION DUMP`
pub(super) const FUNCTION_DUMP: Spec = Spec {
    name: "FUNCTION|DUMP",
    arity: Arity::Exactly(2),
    beyond: Beyond::Cache(Actions::ADMIN),
    summary: "All libraries, as FUNCTION RESTORE takes them.",
    reply: "bulk string",
    run: dump,
    ..TELLS
};
fn dump(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let libraries = cx.engine.scripts.functions.now();
    cx.out.bulk(rdb::dump_libraries(libraries.all.values().map(|library| &*library.code)));
    Ok(())
}

/// `FUNCTION RESTORE payload [FLUSH | APPEND | REPLACE]`
pub(super) const FUNCTION_RESTORE: Spec = Spec {
    name: "FUNCTION|RESTORE",
    arity: Arity::AtLeast(3),
    flags: CHANGES.flags.or(Flags::DENYOOM),
    summary: "Takes in the libraries of a FUNCTION DUMP, all or none.",
    reply: "OK",
    run: restore,
    ..CHANGES
};
fn restore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(misused(&FUNCTION, args.get(1)));
    }
    let how = match args.try_get(3) {
        None => Restore::Append,
        Some(word) if is(word, "APPEND") => Restore::Append,
        Some(word) if is(word, "FLUSH") => Restore::Flush,
        Some(word) if is(word, "REPLACE") => Restore::Replace,
        Some(_) => {
            return Err(CommandError::Text(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let limits = rdb::Limits { unpacked_bytes_max: cx.engine.config.limits.resp.bulk_bytes_max };
    let codes = rdb::restore_libraries(args.get(2), limits).map_err(|bad| {
        CommandError::Text(match bad {
            Bad::Footer => "ERR DUMP payload version or checksum are wrong",
            Bad::Type => "ERR given type is not a function",
            Bad::Format => "ERR failed loading the given functions payload",
        })
    })?;
    cx.engine.scripts.functions.restore(&codes, how)?;
    cx.keys.log_instead(&[
        b"FUNCTION",
        b"RESTORE",
        args.get(2),
        if how == Restore::Flush { b"FLUSH" } else { b"REPLACE" },
    ]);
    cx.out.ok();
    Ok(())
}

/// `FUNCTION KILL`
pub(super) const FUNCTION_KILL: Spec = Spec {
    name: "FUNCTION|KILL",
    arity: Arity::Exactly(2),
    flags: TELLS.flags.or(Flags::ALLOW_BUSY),
    tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
    beyond: Beyond::Cache(Actions::ADMIN),
    summary: "Ends the running function, unless it has changed something.",
    reply: "OK",
    run: kill,
    ..TELLS
};
fn kill(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.engine.scripts.live.killed(true)?;
    cx.out.ok();
    Ok(())
}

/// `FUNCTION HELP`
pub(super) const FUNCTION_HELP: Spec = Spec {
    name: "FUNCTION|HELP",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    beyond: Beyond::Nothing,
    summary: "The subcommands.",
    reply: "array of lines",
    run: function_help,
    ..TELLS
};
fn function_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &FUNCTION, HELP);
    Ok(())
}
const HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Library description",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance of failure",
    "      in case of functions name collision with another library).",
];
