//! The connection itself: who is on it and how it speaks. CLIENT has files of its own.

use std::ops::Range;
use std::sync::atomic::Ordering;

use larder_iam_policies::access::Evidence;
use larder_iam_policies::sigv4::connect_token_request;

use super::parse::int;
use super::{Acl, Arity, Family, Flags, Http, Spec};
use crate::engine::{Context, Cx, Outcome, Reason, State, What, stop_monitoring, unsubscribe_all};
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};
use crate::session::{Identity, Replies};

const ACL: Acl = Acl::FAST.or(Acl::CONNECTION);
const ENTRY: Flags = Flags::NOSCRIPT
    .or(Flags::LOADING)
    .or(Flags::STALE)
    .or(Flags::FAST)
    .or(Flags::NO_AUTH)
    .or(Flags::ALLOW_BUSY)
    .or(Flags::SESSION);
pub(super) const NO_CONNECTION: Http = Http::Refused("concerns a connection, and an HTTP request has none");

/// What HELLO calls this server: the name and version of the redis whose replies it gives.
const SERVER: &str = "redis";
pub(super) const VERSION: &str = "7.0.15";

/// `PING [message]`
pub(super) const PING: Spec = Spec {
    name: "PING",
    family: Family::Connection,
    arity: Arity::AtLeast(1),
    flags: Flags::FAST.or(Flags::IN_SUBSCRIPTION),
    acl: ACL,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    summary: "Answers that the server is there.",
    reply: "PONG, or the message; in a RESP2 subscription an array of both",
    run: ping,
    ..Spec::ROW
};
fn ping(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 2 {
        return Err(CommandError::Arity("ping".into()));
    }
    if cx.session.only_subscriptions() {
        cx.out.array(2);
        cx.out.bulk("pong");
        cx.out.bulk(args.get(1));
    } else if let Some(message) = args.try_get(1) {
        cx.out.bulk(message);
    } else {
        cx.out.simple("PONG");
    }
    Ok(())
}

/// `ECHO message`
pub(super) const ECHO: Spec = Spec {
    name: "ECHO",
    family: Family::Connection,
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: ACL,
    summary: "Answers the message.",
    reply: "bulk string",
    run: echo,
    ..Spec::ROW
};
fn echo(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    cx.out.bulk(args.get(1));
    Ok(())
}

/// `HELLO [protocol [AUTH user password] [SETNAME name]]`
pub(super) const HELLO: Spec = Spec {
    name: "HELLO",
    family: Family::Connection,
    since: "6.0.0",
    arity: Arity::AtLeast(1),
    flags: ENTRY,
    acl: ACL,
    http: NO_CONNECTION,
    summary: "Chooses the protocol, and may log in and name the connection.",
    reply: "map: server, version, proto, id, mode, role, modules",
    secrets: hello_secrets,
    run: hello,
    ..Spec::ROW
};
/// What stands behind AUTH, by the options as [`hello_options`] walks them: a name may read AUTH too. What is refused may
/// hold a password anywhere, so all that follows it is left out.
fn hello_secrets(args: Args<'_>) -> Range<usize> {
    let has_protocol = args.try_get(1).is_some_and(|word| parse_i64(word).is_some());
    let (mut first, mut end) = (None, 0);
    let mut at = if has_protocol { 2 } else { 1 };
    while let Some(option) = args.try_get(at) {
        let left = args.len() - at - 1;
        if super::parse::is(option, "SETNAME") && left >= 1 {
            at += 2;
            continue;
        }
        first = first.or(Some(at + 1));
        end = if super::parse::is(option, "AUTH") && left >= 2 { at + 3 } else { args.len() };
        at = end;
    }
    first.map_or(0..0, |first| first..end)
}
fn hello(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let protocol = match args.try_get(1) {
        None => None,
        Some(text) => match parse_i64(text) {
            None => return Err(CommandError::Text("ERR Protocol version is not an integer or out of range")),
            Some(2) => Some(2),
            Some(3) => Some(3),
            Some(_) => return Err(CommandError::Text("NOPROTO unsupported protocol version")),
        },
    };
    let (login, name) = hello_options(args)?;
    if let Some((user, password)) = login {
        authenticate(cx, args.get(0), Some(user), password)?;
    }
    if cx.session.identity.is_none() {
        return Err(CommandError::Text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        set_name(cx, name)?;
    }
    if let Some(protocol) = protocol {
        speak(cx, protocol);
    }
    greet(cx);
    Ok(())
}

type Login<'a> = (&'a [u8], &'a [u8]);

fn hello_options(args: Args<'_>) -> Result<(Option<Login<'_>>, Option<&[u8]>), CommandError> {
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = args.try_get(at) {
        let left = args.len() - at - 1;
        if super::parse::is(option, "AUTH") && left >= 2 {
            login = Some((args.get(at + 1), args.get(at + 2)));
            at += 3;
        } else if super::parse::is(option, "SETNAME") && left >= 1 {
            name = Some(args.get(at + 1));
            at += 2;
        } else {
            let shown = super::shown(option, 128);
            return Err(CommandError::Quoted([b"ERR Syntax error in HELLO option '", shown, b"'"].concat()));
        }
    }
    Ok((login, name))
}

fn greet(cx: &mut Cx<'_>) {
    cx.out.map(7);
    for (key, value) in [("server", SERVER), ("version", VERSION)] {
        cx.out.bulk(key);
        cx.out.bulk(value);
    }
    cx.out.bulk("proto");
    cx.out.int(cx.session.protocol.into());
    cx.out.bulk("id");
    cx.out.int(cx.session.id as i64);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        cx.out.bulk(key);
        cx.out.bulk(value);
    }
    cx.out.bulk("modules");
    cx.out.array(0);
}

fn speak(cx: &mut Cx<'_>, protocol: u8) {
    cx.session.protocol = protocol;
    cx.out.set_protocol(protocol);
}

/// `AUTH [user] password`
pub(super) const AUTH: Spec = Spec {
    name: "AUTH",
    family: Family::Connection,
    arity: Arity::AtLeast(2),
    flags: ENTRY,
    acl: ACL,
    http: NO_CONNECTION,
    summary: "Logs in, with a token, or a user's name and password.",
    reply: "OK",
    secrets: |args| 1..args.len(),
    run: auth,
    ..Spec::ROW
};
fn auth(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.len() {
        2 => authenticate(cx, args.get(0), None, args.get(1))?,
        3 => authenticate(cx, args.get(0), Some(args.get(1)), args.get(2))?,
        _ => return Err(CommandError::Syntax),
    }
    cx.out.ok();
    Ok(())
}

/// Where anybody may be anonymous, the default user has no password, and giving it one is a mistake worth telling.
fn without_password(cx: &Cx<'_>, password: &[u8], error: CommandError) -> CommandError {
    match prove(cx, Some(b"default"), password) {
        Ok(_) => CommandError::Text(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ),
        Err(_) => error,
    }
}

/// Makes the session act for whom the password proves. The old identity stays when it proves nobody, and the ACL log tells
/// of it.
fn authenticate(cx: &mut Cx<'_>, command: &[u8], user: Option<&[u8]>, password: &[u8]) -> Result<(), CommandError> {
    refuse_queued_token(cx, password)?;
    match prove(cx, user, password) {
        Ok(identity) => {
            cx.session.act_for(Some(identity));
            Ok(())
        }
        Err(error) => {
            let error = if user.is_none() { without_password(cx, password, error) } else { error };
            if matches!(error, CommandError::WrongPass) {
                let context = if cx.nested { Context::Multi } else { Context::Toplevel };
                let user = user.unwrap_or(b"default").to_vec();
                cx.note_refusal(What { reason: Reason::Auth, context, object: command.to_vec(), user });
            }
            Err(error)
        }
    }
}

/// As ElastiCache says it: a login by an IAM token is no part of a transaction.
fn refuse_queued_token(cx: &Cx<'_>, password: &[u8]) -> Result<(), CommandError> {
    let is_token = || std::str::from_utf8(password).is_ok_and(|text| connect_token_request(text).is_some());
    if cx.nested && is_token() {
        return Err(CommandError::Text("ERR IAM authentication is not allowed inside MULTI"));
    }
    Ok(())
}

fn prove(cx: &Cx<'_>, user: Option<&[u8]>, password: &[u8]) -> Result<Identity, CommandError> {
    let access = cx.engine.access.load();
    let caller = access
        .authenticate(&Evidence::Password { cache: cx.engine.name(), user, password }, cx.now.wall_ms)
        .map_err(|_| CommandError::WrongPass)?;
    // Whoever may not enter this cache learns no more than a wrong password would tell.
    let inside =
        access.admit(caller, cx.session.source.clone(), cx.engine.name()).map_err(|_| CommandError::WrongPass)?;
    Ok(cx.engine.identify(inside))
}

/// `SELECT number`
pub(super) const SELECT: Spec = Spec {
    name: "SELECT",
    family: Family::Connection,
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: ACL,
    summary: "Chooses the database.",
    reply: "OK",
    run: select,
    ..Spec::ROW
};
fn select(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let database = database(cx, args.get(1))?;
    cx.select(database);
    cx.out.ok();
    Ok(())
}

/// The database that an argument names.
pub(super) fn database(cx: &Cx<'_>, number: &[u8]) -> Result<u8, CommandError> {
    let number = i32::try_from(int(number)?)
        .map_err(|_| CommandError::Text("ERR value is out of range, value must between -2147483648 and 2147483647"))?;
    cx.database(number.into()).ok_or(NO_SUCH_DATABASE)
}

pub(super) const NO_SUCH_DATABASE: CommandError = CommandError::Text("ERR DB index is out of range");

/// `QUIT`
pub(super) const QUIT: Spec = Spec {
    name: "QUIT",
    family: Family::Connection,
    arity: Arity::AtLeast(1),
    flags: ENTRY.or(Flags::UNQUEUED).or(Flags::IN_SUBSCRIPTION),
    acl: ACL,
    http: NO_CONNECTION,
    summary: "Closes the connection.",
    reply: "OK",
    run: quit,
    ..Spec::ROW
};
fn quit(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.ok();
    cx.outcome = Outcome::Close;
    Ok(())
}

/// `RESET`
pub(super) const RESET: Spec = Spec {
    name: "RESET",
    family: Family::Connection,
    since: "6.2.0",
    arity: Arity::Exactly(1),
    flags: ENTRY.or(Flags::UNQUEUED).or(Flags::IN_SUBSCRIPTION),
    acl: ACL,
    http: NO_CONNECTION,
    summary: "Makes the connection as if it were new.",
    reply: "RESET",
    run: reset,
    ..Spec::ROW
};
fn reset(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    super::discard(cx);
    super::pubsub::hear(cx);
    unsubscribe_all(cx.session);
    super::tracking::off(cx);
    stop_monitoring(cx.session);
    cx.session.record.state.flags.fetch_and(!State::MONITORS, Ordering::Relaxed);
    super::client::touch_not(cx, false);
    cx.session.record.who.lock().name.clear();
    cx.session.replies = Replies::All;
    speak(cx, 2);
    cx.select(0);
    cx.session.act_for(cx.engine.anonymous(cx.session.source.clone(), cx.now));
    cx.out.simple("RESET");
    Ok(())
}

pub(super) fn set_name(cx: &mut Cx<'_>, name: &[u8]) -> Result<(), CommandError> {
    if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(CommandError::Text("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    bounded(cx, name, "client name")?;
    cx.session.record.who.lock().name = name.to_vec();
    Ok(())
}

pub(super) fn bounded(cx: &Cx<'_>, text: &[u8], what: &str) -> Result<(), CommandError> {
    let name_bytes_max = cx.engine.config.limits.name_bytes_max;
    if text.len() > name_bytes_max {
        return Err(CommandError::Said(format!("ERR a {what} may have {name_bytes_max} bytes at most")));
    }
    Ok(())
}
