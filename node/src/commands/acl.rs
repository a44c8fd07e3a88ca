//! ACL: who may log in to this cache, and what they may do. The users are [`larder_iam_policies::access`]'s; whoever may
//! administrate the cache may change those that are this cache's alone.

use std::ops::Range;
use std::sync::Arc;

use larder_iam_policies::access::{Actions, Denied, UserError};
use larder_iam_policies::acl::{AccessString, Selector};

use super::connection::bounded;
use super::help::{help, misused};
use super::parse::{int, is};
use super::{Acl, Arity, Beyond, Call, Family, Flags, Spec, Vocabulary};
use crate::engine::{Calls, Cx, Outcome};
use crate::error::CommandError;
use crate::resp::Args;

/// Bits of a password that GENPASS makes at most, and without being told: redis's.
const PASSWORD_BITS_MAX: i64 = 4096;
const PASSWORD_BITS: i64 = 256;
/// Entries that LOG shows without being told: redis's.
const LOG_COUNT: i64 = 10;

/// `ACL <subcommand>`
pub(super) const ACL: Spec = Spec {
    name: "ACL",
    family: Family::Server,
    since: "6.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "Users of this cache and what they may do.",
    reply: "as its subcommands",
    ..Spec::ROW
};

const FREE: Spec = Spec {
    family: Family::Server,
    since: "6.0.0",
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    acl: Acl::SLOW,
    ..Spec::ROW
};
const ADMIN: Spec = Spec {
    flags: FREE.flags.or(Flags::ADMIN),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    beyond: Beyond::Cache(Actions::ADMIN),
    ..FREE
};

/// `ACL WHOAMI`
pub(super) const ACL_WHOAMI: Spec = Spec {
    name: "ACL|WHOAMI",
    arity: Arity::Exactly(2),
    summary: "The name the connection acts by.",
    reply: "bulk string",
    run: whoami,
    ..FREE
};
fn whoami(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    match &cx.session.identity {
        Some(identity) => cx.out.bulk(identity.inside.caller().login_name()),
        None => cx.out.null(),
    }
    Ok(())
}

/// `ACL CAT [category]`
pub(super) const ACL_CAT: Spec = Spec {
    name: "ACL|CAT",
    arity: Arity::AtLeast(2),
    summary: "The categories, or the commands of one.",
    reply: "array of names",
    run: cat,
    ..FREE
};
fn cat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let names: Vec<String> = match args.try_get(2) {
        _ if args.len() > 3 => return Err(misused(&ACL, args.get(1))),
        None => Acl::ALL_NAMES.iter().map(|name| (*name).to_owned()).collect(),
        Some(name) => {
            let unknown = || CommandError::Quoted([b"ERR Unknown category '", super::shown(name, 128), b"'"].concat());
            let category = std::str::from_utf8(name).ok().and_then(Acl::named).ok_or_else(unknown)?;
            super::table()
                .iter()
                .filter(|spec| spec.acl.has(category))
                .map(|spec| spec.name.to_ascii_lowercase())
                .collect()
        }
    };
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name));
    Ok(())
}

/// `ACL GENPASS [bits]`
pub(super) const ACL_GENPASS: Spec = Spec {
    name: "ACL|GENPASS",
    arity: Arity::AtLeast(2),
    summary: "A random password, of 256 bits or as many as are asked for.",
    reply: "bulk string of hexadecimal digits",
    run: genpass,
    ..FREE
};
fn genpass(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let bits = match args.try_get(2) {
        _ if args.len() > 3 => return Err(misused(&ACL, args.get(1))),
        None => PASSWORD_BITS,
        Some(text) => int(text)?,
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CommandError::Said(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {PASSWORD_BITS_MAX}"
        )));
    }
    let digits = usize::try_from(bits.unsigned_abs().div_ceil(4)).unwrap_or_default();
    // Not the engine's generator: what it draws next can be told from its seed.
    let mut password: String = (0..digits.div_ceil(16)).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
    password.truncate(digits);
    cx.out.bulk(password);
    Ok(())
}

/// `ACL USERS`
pub(super) const ACL_USERS: Spec = Spec {
    name: "ACL|USERS",
    arity: Arity::Exactly(2),
    summary: "The names of the users of this cache alone.",
    reply: "array of names",
    run: users,
    ..ADMIN
};
fn users(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let users = cx.engine.access.load().users_of(cx.engine.name(), &Vocabulary);
    cx.out.array(users.len());
    users.iter().for_each(|(name, _)| cx.out.bulk(&**name));
    Ok(())
}

/// `ACL LIST`
pub(super) const ACL_LIST: Spec = Spec {
    name: "ACL|LIST",
    arity: Arity::Exactly(2),
    summary: "The users of this cache alone, as access strings with the hashes of their passwords.",
    reply: "array of lines",
    run: list,
    ..ADMIN
};
fn list(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let users = cx.engine.access.load().users_of(cx.engine.name(), &Vocabulary);
    cx.out.array(users.len());
    for (name, acl) in users {
        cx.out.bulk([b"user ", name.as_bytes(), b" ", &*acl.describe(&Vocabulary)].concat());
    }
    Ok(())
}

/// `ACL GETUSER user`
pub(super) const ACL_GETUSER: Spec = Spec {
    name: "ACL|GETUSER",
    arity: Arity::Exactly(3),
    summary: "What a user may do, part by part.",
    reply: "map: flags, passwords, commands, keys, channels, selectors; null for nobody",
    run: getuser,
    ..ADMIN
};
fn getuser(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(acl) = find(cx, args.get(2)) else {
        cx.out.null();
        return Ok(());
    };
    cx.out.map(6);
    cx.out.bulk("flags");
    cx.out.set(acl.flags().count());
    acl.flags().for_each(|flag| cx.out.bulk(flag));
    cx.out.bulk("passwords");
    cx.out.array(acl.password_hashes().count());
    acl.password_hashes().for_each(|hash| cx.out.bulk(hash));
    write_selector(cx, acl.root());
    cx.out.bulk("selectors");
    cx.out.array(acl.selectors().len());
    for selector in acl.selectors() {
        cx.out.map(3);
        write_selector(cx, selector);
    }
    Ok(())
}

fn write_selector(cx: &mut Cx<'_>, selector: &Selector) {
    let parts = [
        ("commands", selector.command_text(&Vocabulary)),
        ("keys", selector.key_text()),
        ("channels", selector.channel_text()),
    ];
    for (name, text) in parts {
        cx.out.bulk(name);
        cx.out.bulk(text);
    }
}

fn find(cx: &Cx<'_>, name: &[u8]) -> Option<Arc<AccessString>> {
    let name = std::str::from_utf8(name).ok()?;
    cx.engine.access.load().user_of(cx.engine.name(), name, &Vocabulary)
}

/// `ACL SETUSER user [rule …]`
pub(super) const ACL_SETUSER: Spec = Spec {
    name: "ACL|SETUSER",
    arity: Arity::AtLeast(3),
    flags: ADMIN.flags.or(Flags::SESSION),
    secrets: behind_the_name,
    summary: "Makes a user of this cache, or changes one by rules.",
    reply: "OK",
    run: setuser,
    ..ADMIN
};
fn behind_the_name(args: Args<'_>) -> Range<usize> {
    2..args.len()
}
fn setuser(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = args.get(2);
    if name.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b)) {
        return Err(CommandError::Text("ERR Usernames can't contain spaces or null characters"));
    }
    bounded(cx, name, "user name")?;
    let name = std::str::from_utf8(name).map_err(|_| CommandError::Text("ERR Usernames have to be UTF-8"))?;
    let engine = cx.engine;
    engine.access.set_user(engine.name(), name, args.iter().skip(3), &Vocabulary).map_err(said)?;
    changed(cx);
    cx.out.ok();
    Ok(())
}

/// Redis's words where it has some; they repeat what the client sent, byte for byte.
fn said(error: UserError) -> CommandError {
    CommandError::Quoted(match &error {
        UserError::Unmatched(word) => {
            [b"ERR Unmatched parenthesis in acl selector starting at '", super::shown(word, 1024), b"'."].concat()
        }
        UserError::Rule(rule, fault) => {
            let fault = format!("': {fault}");
            [b"ERR Error in ACL SETUSER modifier '", super::shown(rule, 1024), fault.as_bytes()].concat()
        }
        other => format!("ERR {other}").into_bytes(),
    })
}

/// Makes everyone look again at what they may do, whoever changes it first of all.
fn changed(cx: &mut Cx<'_>) {
    cx.engine.clients.call_all(Calls::LOOK);
    if !cx.engine.refresh(cx.session, cx.now) && cx.session.is_connection() {
        cx.outcome = Outcome::Close;
    }
}

/// `ACL DELUSER user …`
pub(super) const ACL_DELUSER: Spec = Spec {
    name: "ACL|DELUSER",
    arity: Arity::AtLeast(3),
    flags: ADMIN.flags.or(Flags::SESSION),
    summary: "Deletes users of this cache and closes their connections.",
    reply: "how many there were",
    run: deluser,
    ..ADMIN
};
fn deluser(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let names = || args.iter().skip(2);
    if names().any(|name| name == b"default") {
        return Err(CommandError::Text("ERR The 'default' user cannot be removed"));
    }
    let engine = cx.engine;
    let known = names().filter_map(|name| std::str::from_utf8(name).ok());
    let deleted = engine.access.delete_users(engine.name(), known).map_err(said)?;
    if deleted > 0 {
        changed(cx);
    }
    cx.out.int(deleted as i64);
    Ok(())
}

/// `ACL DRYRUN user command [argument …]`
pub(super) const ACL_DRYRUN: Spec = Spec {
    name: "ACL|DRYRUN",
    since: "7.0.0",
    arity: Arity::AtLeast(4),
    summary: "Whether a user could run a command.",
    reply: "OK, or why not as a bulk string",
    run: dryrun,
    ..ADMIN
};
fn dryrun(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let not_found = |what: &str, name| {
        let what = format!("ERR {what} '");
        CommandError::Quoted([what.as_bytes(), super::shown(name, 1024), b"' not found"].concat())
    };
    let acl = find(cx, args.get(2)).ok_or_else(|| not_found("User", args.get(2)))?;
    let request = crate::resp::OwnedArgs::from_slices(args.iter().skip(3));
    let call = Call::new(request.as_args(), cx.now).map_err(|error| match error {
        CommandError::Unknown(_) => not_found("Command", args.get(3)),
        other => other,
    })?;
    match acl.asked(&call) {
        // Who one is anybody may say.
        _ if call.spec().flags.has(Flags::NO_AUTH) => cx.out.ok(),
        Ok(()) => cx.out.ok(),
        Err((denied, object)) => {
            let object = object.unwrap_or_default();
            let start: &[u8] = b"This user has no permissions to ";
            let command = call.spec().name.to_ascii_lowercase();
            cx.out.bulk(match denied {
                Denied::Key => [start, b"access the '", &object, b"' key"].concat(),
                Denied::Channel => [start, b"access the '", &object, b"' channel"].concat(),
                _ => [start, b"run the '", command.as_bytes(), b"' command"].concat(),
            });
        }
    }
    Ok(())
}

/// `ACL LOG [count | RESET]`
pub(super) const ACL_LOG: Spec = Spec {
    name: "ACL|LOG",
    arity: Arity::AtLeast(2),
    summary: "Who was refused what lately, over RESP.",
    reply: "array of maps: count, reason, context, object, username, age-seconds, client-info",
    run: log,
    ..ADMIN
};
fn log(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.try_get(2) {
        _ if args.len() > 3 => return Err(misused(&ACL, args.get(1))),
        None => LOG_COUNT,
        Some(word) if is(word, "RESET") => {
            cx.engine.acl_log.reset();
            cx.out.ok();
            return Ok(());
        }
        Some(text) => int(text)?,
    };
    let entries = cx.engine.acl_log.entries(usize::try_from(count).unwrap_or(0));
    cx.out.array(entries.len());
    for entry in entries {
        cx.out.map(7);
        cx.out.bulk("count");
        cx.out.int(entry.count as i64);
        let fields: [(&str, &[u8]); 4] = [
            ("reason", entry.what.reason.name().as_bytes()),
            ("context", entry.what.context.name().as_bytes()),
            ("object", &entry.what.object),
            ("username", &entry.what.user),
        ];
        for (name, value) in fields {
            cx.out.bulk(name);
            cx.out.bulk(value);
        }
        cx.out.bulk("age-seconds");
        cx.out.double(cx.now.wall_ms.saturating_sub(entry.at_ms) as f64 / 1000.0);
        cx.out.bulk("client-info");
        cx.out.bulk(entry.client);
    }
    Ok(())
}

const NO_FILE: CommandError = CommandError::Text(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
     command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users \
     in the Redis configuration.",
);

/// `ACL LOAD`
pub(super) const ACL_LOAD: Spec = Spec {
    name: "ACL|LOAD",
    arity: Arity::Exactly(2),
    summary: "Refused: users come from the configuration, which SIGHUP reads again.",
    reply: "an error",
    run: no_file,
    ..ADMIN
};
/// `ACL SAVE`
pub(super) const ACL_SAVE: Spec = Spec {
    name: "ACL|SAVE",
    summary: "Refused: users are kept in the configuration, by whoever writes it.",
    ..ACL_LOAD
};
fn no_file(_: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    Err(NO_FILE)
}

/// `ACL HELP`
pub(super) const ACL_HELP: Spec = Spec {
    name: "ACL|HELP",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "The subcommands.",
    reply: "array of lines",
    run: acl_help,
    ..FREE
};
fn acl_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &ACL, LINES);
    Ok(())
}
const LINES: &[&str] = &[
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
];
