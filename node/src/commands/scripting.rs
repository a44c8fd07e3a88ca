//! Lua scripts.

use larder_iam_policies::access::Actions;

use super::help::help;
use super::parse::{int, is};
use super::{Acl, Arity, Beyond, Family, Flags, KeyFlags, KeySpec, Locks, Spec};
use crate::engine::Cx;
use crate::engine::script::{self, Declared};
use crate::error::CommandError;
use crate::resp::Args;

/// What commands that run scripts have in common.
const RUNS: Flags = Flags::NOSCRIPT.or(Flags::STALE).or(Flags::SKIP_MONITOR).or(Flags::NO_MANDATORY_KEYS);

/// `EVAL script numkeys [key …] [arg …]`
pub(super) const EVAL: Spec = Spec {
    name: "EVAL",
    family: Family::Scripting,
    since: "2.6.0",
    arity: Arity::AtLeast(3),
    flags: RUNS.or(Flags::MOVABLEKEYS),
    acl: Acl::SLOW.or(Acl::SCRIPTING),
    keys: &[KeySpec::counted_at(2)
        .doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))
        .noting("We cannot tell how the keys will be used so we assume the worst, RW and UPDATE")],
    beyond: Beyond::Cache(Actions::SCRIPT),
    locks: Locks::Script,
    summary: "Runs a Lua script; each call in it asks the caller's own rights.",
    reply: "what the script returns",
    run: eval,
    ..Spec::ROW
};
fn eval(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(cx, args, false)
}

/// `EVAL_RO script numkeys [key …] [arg …]`
pub(super) const EVAL_RO: Spec = Spec {
    name: "EVAL_RO",
    since: "7.0.0",
    flags: RUNS.or(Flags::READONLY).or(Flags::MOVABLEKEYS),
    keys: READS,
    acl: Acl::SLOW.or(Acl::SCRIPTING),
    summary: "Runs a Lua script that only reads.",
    run: eval_ro,
    ..EVAL
};
fn eval_ro(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(cx, args, true)
}

const READS: &[KeySpec] = &[KeySpec::counted_at(2)
    .doing(KeyFlags::RO.or(KeyFlags::ACCESS))
    .noting("We cannot tell how the keys will be used so we assume the worst, RO and ACCESS")];

/// `EVALSHA sha1 numkeys [key …] [arg …]`
pub(super) const EVALSHA: Spec = Spec {
    name: "EVALSHA",
    keys: &[KeySpec::counted_at(2).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    summary: "Runs a script that the caller loaded before.",
    run: evalsha,
    ..EVAL
};
fn evalsha(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_loaded(cx, args, false)
}

/// `EVALSHA_RO sha1 numkeys [key …] [arg …]`
pub(super) const EVALSHA_RO: Spec = Spec {
    name: "EVALSHA_RO",
    keys: &[KeySpec::counted_at(2).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    summary: "Runs a script that only reads and that the caller loaded before.",
    run: evalsha_ro,
    ..EVAL_RO
};
fn evalsha_ro(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_loaded(cx, args, true)
}

fn run(cx: &mut Cx<'_>, args: Args<'_>, read_only: bool) -> Result<(), CommandError> {
    let (keys, argv) = split(args)?;
    let sha = script::keep(cx, args.get(1))?;
    script::eval(cx, (sha, args.get(1)), keys, argv, read_only)
}

fn run_loaded(cx: &mut Cx<'_>, args: Args<'_>, read_only: bool) -> Result<(), CommandError> {
    let (keys, argv) = split(args)?;
    let found = cx.engine.scripts.find(script::owner(cx), args.get(1));
    let (sha, body) = found.ok_or(CommandError::Text("NOSCRIPT No matching script. Please use EVAL."))?;
    script::eval(cx, (sha, &body), keys, argv, read_only)
}

/// Whether it calls a script or a function that declares that it does not write.
pub(crate) fn declares_no_writes(cx: &Cx<'_>, spec: &Spec, args: Args<'_>) -> bool {
    let Some(called) = args.try_get(1) else { return false };
    let scripts = &cx.engine.scripts;
    let declared = match spec.name {
        "EVAL" => script::declared(called),
        "EVALSHA" => scripts.find(script::owner(cx), called).and_then(|(_, body)| script::declared(&body)),
        "FCALL" => scripts.functions.now().find(called).map(|(_, function)| function.declared),
        _ => None,
    };
    declared.is_some_and(|declared| declared.has(Declared::NO_WRITES))
}

/// The keys and the arguments behind them.
pub(super) fn split(args: Args<'_>) -> Result<(Args<'_>, Args<'_>), CommandError> {
    let count = int(args.get(2))?;
    let rest = args.from(3);
    match usize::try_from(count) {
        Err(_) => Err(CommandError::Text("ERR Number of keys can't be negative")),
        Ok(count) if count > rest.len() => {
            Err(CommandError::Text("ERR Number of keys can't be greater than number of args"))
        }
        Ok(count) => Ok((rest.up_to(count), rest.from(count))),
    }
}

/// `SCRIPT LOAD | EXISTS | FLUSH | KILL | DEBUG | HELP`
pub(super) const SCRIPT: Spec = Spec {
    name: "SCRIPT",
    family: Family::Scripting,
    since: "2.6.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "Scripts for EVALSHA.",
    reply: "depends on the subcommand",
    ..Spec::ROW
};

/// `SCRIPT LOAD script`
pub(super) const SCRIPT_LOAD: Spec = Spec {
    name: "SCRIPT|LOAD",
    arity: Arity::Exactly(3),
    flags: Flags::NOSCRIPT.or(Flags::STALE),
    acl: Acl::SLOW.or(Acl::SCRIPTING),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    beyond: Beyond::Cache(Actions::SCRIPT),
    summary: "Keeps a script for the caller's EVALSHA.",
    reply: "bulk string: its SHA-1",
    run: load,
    ..SCRIPT
};
fn load(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let sha = script::keep(cx, args.get(2))?;
    cx.out.bulk(sha);
    Ok(())
}

/// `SCRIPT EXISTS sha1 [sha1 …]`
pub(super) const SCRIPT_EXISTS: Spec = Spec {
    name: "SCRIPT|EXISTS",
    arity: Arity::AtLeast(3),
    tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
    flags: Flags::NOSCRIPT,
    summary: "Which scripts the caller has loaded.",
    reply: "array of integers, 1 or 0",
    run: exists,
    ..SCRIPT_LOAD
};
fn exists(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let owner = script::owner(cx).to_owned();
    cx.out.array(args.len() - 2);
    for sha in args.iter().skip(2) {
        cx.out.int(cx.engine.scripts.find(&owner, sha).is_some().into());
    }
    Ok(())
}

/// `SCRIPT SHOW sha1`: Valkey 8's.
pub(super) const SCRIPT_SHOW: Spec = Spec {
    name: "SCRIPT|SHOW",
    since: "8.0.0",
    flags: Flags::NOSCRIPT,
    tips: &[],
    beyond: Beyond::Cache(Actions::ADMIN),
    summary: "The text of a script that the caller has loaded.",
    reply: "bulk string",
    run: show,
    ..SCRIPT_LOAD
};
fn show(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let owner = script::owner(cx);
    let body = cx.engine.scripts.find(owner, args.get(2)).map(|(_, body)| body);
    cx.out.bulk(body.ok_or(CommandError::Text("NOSCRIPT No matching script. Please use EVAL."))?);
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`
pub(super) const SCRIPT_FLUSH: Spec = Spec {
    name: "SCRIPT|FLUSH",
    arity: Arity::AtLeast(2),
    flags: Flags::NOSCRIPT,
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    beyond: Beyond::Cache(Actions::ADMIN),
    summary: "Forgets every loaded script.",
    reply: "OK",
    run: flush,
    ..SCRIPT_LOAD
};
fn flush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let good = match args.try_get(2) {
        None => true,
        Some(option) => args.len() == 3 && (is(option, "ASYNC") || is(option, "SYNC")),
    };
    if !good {
        return Err(CommandError::Text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    cx.engine.scripts.forget_all();
    cx.out.ok();
    Ok(())
}

/// `SCRIPT KILL`
pub(super) const SCRIPT_KILL: Spec = Spec {
    name: "SCRIPT|KILL",
    arity: Arity::Exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
    tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
    beyond: Beyond::Cache(Actions::ADMIN),
    summary: "Ends the running script, unless it has changed something.",
    reply: "OK",
    run: kill,
    ..SCRIPT_LOAD
};
fn kill(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.engine.scripts.live.killed(false)?;
    cx.out.ok();
    Ok(())
}

/// `SCRIPT DEBUG YES | SYNC | NO`: refused but for NO, which is what it is.
pub(super) const SCRIPT_DEBUG: Spec = Spec {
    name: "SCRIPT|DEBUG",
    since: "3.2.0",
    arity: Arity::Exactly(3),
    flags: Flags::NOSCRIPT,
    tips: &[],
    beyond: Beyond::Cache(Actions::ADMIN),
    summary: "Only NO: there is no debugger.",
    reply: "OK",
    run: debug,
    ..SCRIPT_LOAD
};
fn debug(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mode = args.get(2);
    if is(mode, "YES") || is(mode, "SYNC") {
        return Err(CommandError::Text("ERR there is no debugger of scripts here"));
    }
    if !is(mode, "NO") {
        return Err(CommandError::Text("ERR Use SCRIPT DEBUG YES/SYNC/NO"));
    }
    cx.out.ok();
    Ok(())
}

/// `SCRIPT HELP`
pub(super) const SCRIPT_HELP: Spec = Spec {
    name: "SCRIPT|HELP",
    since: "5.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    tips: &[],
    beyond: Beyond::Nothing,
    summary: "The subcommands.",
    reply: "array of lines",
    run: script_help,
    ..SCRIPT_LOAD
};
fn script_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &SCRIPT, HELP);
    Ok(())
}
const HELP: &[&str] = &[
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the scripts cache.",
    "    * SYNC: Synchronously flush the scripts cache.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
];
