//! CLIENT: the connection's own number, name and state, and the list of all.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use larder_iam_policies::access::Actions;

use super::client_filters::Filters;
use super::connection::{self, NO_CONNECTION};
use super::help::help;
use super::parse::is;
use super::{Acl, Arity, Beyond, Family, Flags, Spec, shown};
use crate::engine::{Cx, Record, State, client_bytes};
use crate::error::CommandError;
use crate::resp::Args;
use crate::session::{Address, Replies};
use crate::time::Now;

/// `CLIENT <subcommand>`
pub(super) const CLIENT: Spec = Spec {
    name: "CLIENT",
    family: Family::Connection,
    since: "2.4.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    http: NO_CONNECTION,
    summary: "Connections: their numbers, names and states.",
    reply: "as its subcommands",
    ..Spec::ROW
};

pub(super) const ABOUT: Spec = Spec {
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
    connection::set_name(cx, args.get(2))?;
    cx.out.ok();
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
    match &cx.session.record.who.lock().name {
        name if name.is_empty() => cx.out.null(),
        name => cx.out.bulk(name),
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
    connection::bounded(cx, value, "library name or version")?;
    let library = &mut cx.session.record.who.lock().library;
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
    cx.session.note(cx.executing);
    let line = describe(&cx.session.record, cx.now, cx.out.len());
    cx.out.verbatim(*b"txt", line);
    Ok(())
}

/// Rows about other connections.
pub(super) const OTHERS: Spec = Spec {
    since: "2.4.0",
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS).or(Acl::CONNECTION),
    beyond: Beyond::Cache(Actions::ADMIN),
    ..ABOUT
};

/// `CLIENT LIST [filter value …]`
pub(super) const CLIENT_LIST: Spec = Spec {
    name: "CLIENT|LIST",
    arity: Arity::AtLeast(2),
    tips: &["nondeterministic_output"],
    summary: "What the server knows of all connections, or some.",
    reply: "verbatim text: a line of field=value for each",
    run: client_list,
    ..OTHERS
};
fn client_list(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let filters = Filters::read(cx, args.from(2), ("ERR Invalid client ID", i64::MIN))?;
    let skips_me = filters.skip_me.unwrap_or(false);
    let mut records = cx.engine.clients.all();
    records.retain(|record| filters.admit(record, cx.now) && !(skips_me && record.id == cx.session.id));
    if let Some(ids) = filters.only_ids() {
        // In the order they were asked for, each as often, as redis answers.
        let found = |id: &i64| records.iter().find(|record| record.id as i64 == *id).cloned();
        records = ids.iter().filter_map(found).collect();
    }
    cx.session.note(cx.executing);
    let mut text = String::new();
    for record in records {
        let out_bytes = if record.id == cx.session.id { cx.out.len() } else { 0 };
        text.push_str(&describe(&record, cx.now, out_bytes));
    }
    cx.out.verbatim(*b"txt", text);
    Ok(())
}

/// Redis's kinds of clients. Masters and replicas there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Normal,
    Pubsub,
    Master,
    Replica,
}

impl Type {
    pub(super) fn read(text: &[u8]) -> Result<Self, CommandError> {
        let known = [
            ("normal", Self::Normal),
            ("slave", Self::Replica),
            ("replica", Self::Replica),
            ("pubsub", Self::Pubsub),
            ("master", Self::Master),
        ];
        let unknown = || CommandError::Quoted([b"ERR Unknown client type '", shown(text, 1024), b"'"].concat());
        known.into_iter().find(|(name, _)| is(text, name)).map(|(_, kind)| kind).ok_or_else(unknown)
    }

    pub(super) fn of(record: &Record) -> Self {
        if record.is_subscribed() { Self::Pubsub } else { Self::Normal }
    }
}

/// Redis' letters for what a connection is in the middle of.
pub(super) fn flags(record: &Record) -> String {
    let state = &record.state;
    let states = [
        ('O', state.has(State::MONITORS)),
        ('P', record.is_subscribed()),
        ('U', record.addresses.as_ref().is_some_and(|(address, _)| matches!(address, Address::Unix(_)))),
        ('x', state.queued.load(Ordering::Relaxed) >= 0),
        ('b', state.has(State::BLOCKED) || state.held.load(Ordering::Relaxed)),
        ('d', state.has(State::DIRTY)),
        ('t', state.has(State::TRACKING)),
        ('B', state.has(State::BROADCAST)),
        ('e', state.has(State::KEPT)),
        ('T', state.has(State::TOUCHES_NOT)),
    ];
    let flags: String = states.into_iter().filter_map(|(letter, is)| is.then_some(letter)).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

/// One connection as redis' CLIENT LIST shows it. What waits for it is one piece, whether messages or replies; words of a
/// request are where they were read, and take nothing besides.
pub(crate) fn describe(record: &Record, now: Now, out_bytes: usize) -> String {
    let (state, who) = (&record.state, record.who.lock());
    let seconds_since = |at_ms: u64| now.wall_ms.saturating_sub(at_ms) / 1000;
    let (address, local) = match &record.addresses {
        Some((address, local)) => (address.to_string(), local.to_string()),
        None => ("?:0".to_owned(), "?:0".to_owned()),
    };
    let unread = record.inbox().map_or(0, |inbox| inbox.bytes() + inbox.unsent());
    let command = super::table().get(usize::from(state.last_command.load(Ordering::Relaxed)));
    let mut line = format!(
        "id={} addr={address} laddr={local} fd=0 name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} \
         qbuf={} qbuf-free={} argv-mem=0 multi-mem={} rbs=0 rbp=0 obl={out_bytes} oll={} omem={unread} tot-mem={} events=r \
         cmd={} \
         user={} redir={} resp={}",
        record.id,
        String::from_utf8_lossy(&who.name),
        seconds_since(record.since_ms),
        seconds_since(state.last_ms.load(Ordering::Relaxed)),
        flags(record),
        state.database.load(Ordering::Relaxed),
        state.channels.load(Ordering::Relaxed),
        state.patterns.load(Ordering::Relaxed),
        state.shard_channels.load(Ordering::Relaxed),
        state.queued.load(Ordering::Relaxed),
        state.query_bytes.load(Ordering::Relaxed),
        state.query_room.load(Ordering::Relaxed),
        state.queued_bytes.load(Ordering::Relaxed),
        u8::from(unread > 0),
        client_bytes(record),
        command.map_or("NULL".to_owned(), |spec| spec.name.to_ascii_lowercase()),
        who.user.as_deref().unwrap_or("(none)"),
        state.redirect.load(Ordering::Relaxed),
        state.protocol.load(Ordering::Relaxed),
    );
    for (field, value) in [("lib-name", &who.library.name), ("lib-ver", &who.library.version)] {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, " {field}={}", String::from_utf8_lossy(value));
        }
    }
    if state.has(State::REDIRECTS) {
        line.push_str(" capa=r");
    }
    line.push('\n');
    line
}

/// `CLIENT REPLY ON | OFF | SKIP`
pub(super) const CLIENT_REPLY: Spec = Spec {
    name: "CLIENT|REPLY",
    since: "3.2.0",
    arity: Arity::Exactly(3),
    flags: ABOUT.flags.or(Flags::SESSION),
    summary: "Stops replies, or the next one.",
    reply: "OK to ON; nothing to OFF and SKIP",
    run: client_reply,
    ..ABOUT
};
fn client_reply(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mode = args.get(2);
    let wanted = match () {
        () if is(mode, "ON") => Replies::All,
        () if is(mode, "OFF") => Replies::None,
        () if is(mode, "SKIP") => Replies::ButNext,
        () => return Err(CommandError::Syntax),
    };
    match wanted {
        Replies::All => cx.out.ok(),
        _ if cx.nested => return Err(CommandError::Text("ERR CLIENT REPLY OFF and SKIP have no place inside MULTI")),
        // Who wants none at all skips none either.
        Replies::ButNext if cx.session.replies == Replies::None => return Ok(()),
        _ => {}
    }
    cx.session.replies = wanted;
    Ok(())
}

/// `CLIENT NO-EVICT ON | OFF`
pub(super) const CLIENT_NO_EVICT: Spec = Spec {
    name: "CLIENT|NO-EVICT",
    since: "7.0.0",
    arity: Arity::Exactly(3),
    summary: "Spares the connection when clients are evicted for maxmemory-clients.",
    reply: "OK",
    run: client_no_evict,
    ..OTHERS
};
fn client_no_evict(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let flags = &cx.session.record.state.flags;
    match args.get(2) {
        on if is(on, "ON") => flags.fetch_or(State::KEPT, Ordering::Relaxed),
        off if is(off, "OFF") => flags.fetch_and(!State::KEPT, Ordering::Relaxed),
        _ => return Err(CommandError::Syntax),
    };
    cx.out.ok();
    Ok(())
}

/// `CLIENT NO-TOUCH ON | OFF`: redis 7.2's.
pub(super) const CLIENT_NO_TOUCH: Spec = Spec {
    name: "CLIENT|NO-TOUCH",
    since: "7.2.0",
    arity: Arity::Exactly(3),
    summary: "Lets the connection use keys without making them warmer for eviction; TOUCH still does.",
    reply: "OK",
    run: client_no_touch,
    ..ABOUT
};
fn client_no_touch(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let touches_not = match args.get(2) {
        on if is(on, "ON") => true,
        off if is(off, "OFF") => false,
        _ => return Err(CommandError::Syntax),
    };
    touch_not(cx, touches_not);
    cx.out.ok();
    Ok(())
}

/// Lets keys that the client uses stay as warm as they are, or not.
pub(super) fn touch_not(cx: &mut Cx<'_>, touches_not: bool) {
    cx.session.touches_not = touches_not;
    cx.keys.touch_not(touches_not);
    let flags = &cx.session.record.state.flags;
    match touches_not {
        true => flags.fetch_or(State::TOUCHES_NOT, Ordering::Relaxed),
        false => flags.fetch_and(!State::TOUCHES_NOT, Ordering::Relaxed),
    };
}

/// `CLIENT CAPA capability …`: Valkey 8's. `redirect` says that the client follows redirections to a primary, which a node
/// without replicas has none of; what it does not know it takes no note of, as Valkey.
pub(super) const CLIENT_CAPA: Spec = Spec {
    name: "CLIENT|CAPA",
    since: "8.0.0",
    arity: Arity::AtLeast(3),
    summary: "Tells what the client can do: nothing depends on it here.",
    reply: "OK",
    run: client_capa,
    ..ABOUT
};
fn client_capa(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.iter().skip(2).any(|word| is(word, "REDIRECT")) {
        cx.session.record.state.flags.fetch_or(State::REDIRECTS, Ordering::Relaxed);
    }
    cx.out.ok();
    Ok(())
}

/// `CLIENT HELP`
pub(super) const CLIENT_HELP: Spec = Spec {
    name: "CLIENT|HELP",
    since: "5.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "The subcommands.",
    reply: "array of lines",
    run: client_help,
    ..ABOUT
};
fn client_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &CLIENT, HELP);
    Ok(())
}
const HELP: &[&str] = &[
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
];
