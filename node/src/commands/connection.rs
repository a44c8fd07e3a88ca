//! The connection itself: who is on it and how it speaks.

use std::fmt::Write;

use larder_iam_policies::access::Evidence;

use super::parse::int;
use super::{Acl, Arity, Family, Flags, Http, Spec};
use crate::engine::{Cx, Outcome, unsubscribe_all};
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};
use crate::session::{Identity, Kind, Session};

const ACL: Acl = Acl::FAST.or(Acl::CONNECTION);
const ENTRY: Flags = Flags::NOSCRIPT
    .or(Flags::LOADING)
    .or(Flags::STALE)
    .or(Flags::FAST)
    .or(Flags::NO_AUTH)
    .or(Flags::ALLOW_BUSY)
    .or(Flags::SESSION);
const NO_CONNECTION: Http = Http::Refused("concerns a connection, and an HTTP request has none");

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
    run: hello,
    ..Spec::ROW
};
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
        authenticate(cx, Some(user), password)?;
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
    run: auth,
    ..Spec::ROW
};
fn auth(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.len() {
        2 => authenticate(cx, None, args.get(1)).map_err(|error| without_password(cx, args.get(1), error))?,
        3 => authenticate(cx, Some(args.get(1)), args.get(2))?,
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

/// Makes the session act for whom the password proves. The old identity stays when it proves nobody.
fn authenticate(cx: &mut Cx<'_>, user: Option<&[u8]>, password: &[u8]) -> Result<(), CommandError> {
    let identity = prove(cx, user, password)?;
    cx.session.identity = Some(identity);
    Ok(())
}

fn prove(cx: &Cx<'_>, user: Option<&[u8]>, password: &[u8]) -> Result<Identity, CommandError> {
    let access = cx.engine.access.load();
    let caller = access
        .authenticate(&Evidence::Password { user, password }, cx.now.wall_ms)
        .map_err(|_| CommandError::WrongPass)?;
    // Whoever may not enter this cache learns no more than a wrong password would tell.
    let inside =
        access.admit(caller, cx.session.source.clone(), cx.engine.name()).map_err(|_| CommandError::WrongPass)?;
    Ok(cx.engine.identify(inside))
}

/// `SELECT 0`
pub(super) const SELECT: Spec = Spec {
    name: "SELECT",
    family: Family::Connection,
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: ACL,
    summary: "Chooses the database; there is one, 0.",
    reply: "OK",
    run: select,
    ..Spec::ROW
};
fn select(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match i32::try_from(int(args.get(1))?) {
        Ok(0) => {
            cx.out.ok();
            Ok(())
        }
        Ok(_) => Err(CommandError::Text("ERR DB index is out of range")),
        Err(_) => Err(CommandError::Text("ERR value is out of range, value must between -2147483648 and 2147483647")),
    }
}

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
    cx.session.name.clear();
    speak(cx, 2);
    cx.session.identity = cx.engine.anonymous(cx.session.source.clone(), cx.now);
    cx.out.simple("RESET");
    Ok(())
}

/// `CLIENT <subcommand>`
pub(super) const CLIENT: Spec = Spec {
    name: "CLIENT",
    family: Family::Connection,
    since: "2.4.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    http: NO_CONNECTION,
    summary: "The connection's number, name and state.",
    reply: "as its subcommands",
    ..Spec::ROW
};

const ABOUT: Spec = Spec {
    family: Family::Connection,
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    acl: Acl::SLOW.or(Acl::CONNECTION),
    http: NO_CONNECTION,
    ..Spec::ROW
};

/// `CLIENT ID`
pub(super) const CLIENT_ID: Spec = Spec {
    name: "CLIENT|ID",
    since: "5.0.0",
    arity: Arity::Exactly(2),
    summary: "The connection's number.",
    reply: "integer",
    run: client_id,
    ..ABOUT
};
fn client_id(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.int(cx.session.id as i64);
    Ok(())
}

/// `CLIENT SETNAME name`
pub(super) const CLIENT_SETNAME: Spec = Spec {
    name: "CLIENT|SETNAME",
    since: "2.6.9",
    arity: Arity::Exactly(3),
    summary: "Names the connection.",
    reply: "OK",
    run: client_setname,
    ..ABOUT
};
fn client_setname(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_name(cx, args.get(2))?;
    cx.out.ok();
    Ok(())
}

fn set_name(cx: &mut Cx<'_>, name: &[u8]) -> Result<(), CommandError> {
    if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(CommandError::Text("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    bounded(cx, name, "client name")?;
    cx.session.name = name.to_vec();
    Ok(())
}

fn bounded(cx: &Cx<'_>, text: &[u8], what: &str) -> Result<(), CommandError> {
    let name_bytes_max = cx.engine.config.limits.name_bytes_max;
    if text.len() > name_bytes_max {
        return Err(CommandError::Said(format!("ERR a {what} may have {name_bytes_max} bytes at most")));
    }
    Ok(())
}

/// `CLIENT GETNAME`
pub(super) const CLIENT_GETNAME: Spec = Spec {
    name: "CLIENT|GETNAME",
    since: "2.6.9",
    arity: Arity::Exactly(2),
    summary: "The connection's name.",
    reply: "bulk string; null without a name",
    run: client_getname,
    ..ABOUT
};
fn client_getname(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if cx.session.name.is_empty() {
        cx.out.null();
    } else {
        cx.out.bulk(&cx.session.name);
    }
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME | LIB-VER value`: redis 7.2's, because client libraries send it on connecting.
pub(super) const CLIENT_SETINFO: Spec = Spec {
    name: "CLIENT|SETINFO",
    since: "7.2.0",
    arity: Arity::Exactly(4),
    summary: "Tells the client library's name or version.",
    reply: "OK",
    run: client_setinfo,
    ..ABOUT
};
fn client_setinfo(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (field, value) = (args.get(2), args.get(3));
    let is_name = super::parse::is(field, "LIB-NAME");
    if !is_name && !super::parse::is(field, "LIB-VER") {
        let shown = super::shown(field, 128);
        return Err(CommandError::Quoted([b"ERR Unrecognized option '", shown, b"'"].concat()));
    }
    if !value.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        let field = if is_name { "lib-name" } else { "lib-ver" };
        return Err(CommandError::Said(format!("ERR {field} cannot contain spaces, newlines or special characters.")));
    }
    bounded(cx, value, "library name or version")?;
    let library = &mut cx.session.library;
    *if is_name { &mut library.name } else { &mut library.version } = value.to_vec();
    cx.out.ok();
    Ok(())
}

/// `CLIENT INFO`
pub(super) const CLIENT_INFO: Spec = Spec {
    name: "CLIENT|INFO",
    since: "6.2.0",
    arity: Arity::Exactly(2),
    tips: &["nondeterministic_output"],
    summary: "What the server knows of the connection.",
    reply: "verbatim text: one line of field=value",
    run: client_info,
    ..ABOUT
};
fn client_info(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let line = describe(cx);
    cx.out.verbatim(*b"txt", line);
    Ok(())
}

/// Redis' letters for what a connection is in the middle of.
fn flags(session: &Session, executing: bool) -> String {
    let states = [('P', session.is_subscribed()), ('x', executing), ('d', session.watch.is_touched())];
    let flags: String = states.into_iter().filter_map(|(letter, is)| is.then_some(letter)).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

/// One connection as redis' CLIENT LIST shows it. Buffers the engine does not own are shown as 0.
fn describe(cx: &Cx<'_>) -> String {
    let (session, wall_ms, out_bytes) = (&*cx.session, cx.now.wall_ms, cx.out.len());
    let seconds_since = |at_ms: u64| wall_ms.saturating_sub(at_ms) / 1000;
    let (address, local) = match session.kind {
        Kind::Connection { address, local } => (address.to_string(), local.to_string()),
        _ => ("?:0".to_owned(), "?:0".to_owned()),
    };
    // CLIENT INFO is queued in MULTI like any other command, so a transaction it sees is one that runs.
    let (queued, queued_bytes) = cx.executing.map_or((-1, 0), |(commands, bytes)| (commands as i64, bytes));
    let flags = flags(session, cx.executing.is_some());
    let mut line = format!(
        "id={} addr={address} laddr={local} fd=0 name={} age={} idle={} flags={flags} db=0 sub={} psub={} ssub=0 \
         multi={queued} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem={queued_bytes} rbs=0 rbp=0 obl={out_bytes} oll=0 omem=0 \
         tot-mem=0 events=r cmd={} user={} redir=-1 resp={}",
        session.id,
        String::from_utf8_lossy(&session.name),
        seconds_since(session.since_ms),
        seconds_since(session.last_ms),
        session.channels.len(),
        session.patterns.len(),
        session.last_command.to_ascii_lowercase(),
        session.principal().unwrap_or("(none)"),
        session.protocol,
    );
    for (field, value) in [("lib-name", &session.library.name), ("lib-ver", &session.library.version)] {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, " {field}={}", String::from_utf8_lossy(value));
        }
    }
    line.push('\n');
    line
}
