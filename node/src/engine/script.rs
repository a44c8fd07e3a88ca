//! Lua scripts: EVAL and its kin.
//!
//! A script runs on its connection's own thread and holds the gate, so scripts are serial among themselves while other
//! traffic goes on. It holds the partitions of its declared keys; one that it does not declare is locked when it is first
//! touched, which the gate's holder may. Each call inside is a call of its own: the caller's grant is asked, and what it
//! changes is one record of the log, the script's inside `MULTI … EXEC`; the script itself is never logged.

mod bit;
mod cjson;
mod cmsgpack;
mod convert;
mod direct;
pub(crate) mod functions;
mod host;
mod library;
mod live;
mod lua;
mod patterns;
mod strings;
mod structs;
#[cfg(test)]
mod tests;
mod watch;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use sha1::{Digest, Sha1};

use super::Engine;
use super::acl_log::Context;
use super::cx::Cx;
use super::road::{Partitions, Unjudged, act, judge};
use crate::commands::{self, Call, Flags};
use crate::db::Key;
use crate::db::entry::size_class;
use crate::error::CommandError;
use crate::resp::{Args, Limits, Out, Reply, read_reply};
pub(super) use convert::percent_g;
pub(crate) use functions::Declared;
use functions::{Functions, Library};
use live::Live;

/// Scripts kept for EVALSHA, in all.
const SCRIPTS_MAX: usize = 10_000;
/// Bytes of them, in all.
const SCRIPT_BYTES_MAX: usize = 64 << 20;
/// Instructions one script may run unless CONFIG SET says otherwise: some seconds. Calls count as well.
const INSTRUCTIONS_MAX: u64 = 400_000_000;

/// What the room for replies to calls may hold on to between two of them.
const REPLY_ROOM_BYTES: usize = 16 << 10;

thread_local! {
    /// Room for the reply to a call, which its script gets and not the client.
    static REPLY: Cell<Out> = Cell::default();
}

/// A script's SHA-1 in lower-case hex.
pub(crate) type Sha = [u8; 40];

/// The SHA-1 of a script as redis names it.
pub(crate) fn sha_of(body: &[u8]) -> Sha {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut sha = [0; 40];
    for (digits, byte) in sha.chunks_exact_mut(2).zip(Sha1::digest(body)) {
        digits.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    sha
}

/// The scripts that were loaded, each known to the principal that loaded it and to nobody else; and the one that runs.
pub(crate) struct Scripts {
    kept: Mutex<Kept>,
    pub(crate) functions: Functions,
    pub(crate) live: Arc<Live>,
    /// Instructions one script may run; 0 for as many as it likes.
    pub(crate) instructions_max: AtomicU64,
}

impl Default for Scripts {
    fn default() -> Self {
        let instructions_max = AtomicU64::new(INSTRUCTIONS_MAX);
        Self { kept: Mutex::default(), functions: Functions::default(), live: Arc::default(), instructions_max }
    }
}

type ByName<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

#[derive(Default)]
struct Kept {
    /// By who loaded them.
    owners: ByName<Box<str>, OwnScripts>,
    len: usize,
    bytes: usize,
}

/// The scripts that one principal loaded.
#[derive(Default)]
struct OwnScripts {
    bodies: ByName<Sha, Arc<[u8]>>,
    /// The same by their texts: EVAL looks its text up, which is faster than to take its SHA-1.
    shas: ByName<Arc<[u8]>, Sha>,
    bytes: usize,
}

impl OwnScripts {
    /// How much of what all may have it has, in millionths.
    fn share(&self) -> usize {
        (self.bodies.len() * 1_000_000 / SCRIPTS_MAX).max(self.bytes * 1_000_000 / SCRIPT_BYTES_MAX)
    }
}

impl Kept {
    fn find(&self, who: &str, sha: &Sha) -> Option<&Arc<[u8]>> {
        self.owners.get(who)?.bodies.get(sha)
    }

    /// Forgets what the principal loaded that has most.
    fn forget_most(&mut self) {
        let most = self.owners.iter().max_by_key(|(_, own)| own.share()).map(|(who, _)| who.clone());
        if let Some(own) = most.and_then(|who| self.owners.remove(&who)) {
            self.len -= own.bodies.len();
            self.bytes -= own.bytes;
        }
    }
}

impl Scripts {
    /// Keeps a script for EVALSHA. When there are too many, those of the principal that has most are forgotten: a client
    /// that gets NOSCRIPT sends the script.
    fn keep(&self, who: &str, sha: Sha, body: &[u8]) {
        let mut kept = self.kept.lock();
        if kept.find(who, &sha).is_some() {
            return;
        }
        while kept.len > 0 && (kept.len >= SCRIPTS_MAX || kept.bytes + body.len() > SCRIPT_BYTES_MAX) {
            kept.forget_most();
        }
        let own = kept.owners.entry(who.into()).or_default();
        let text = Arc::<[u8]>::from(body);
        own.bodies.insert(sha, text.clone());
        own.shas.insert(text, sha);
        own.bytes += body.len();
        kept.len += 1;
        kept.bytes += body.len();
    }

    /// The SHA-1 of a script that is kept.
    fn known(&self, who: &str, body: &[u8]) -> Option<Sha> {
        self.kept.lock().owners.get(who)?.shas.get(body).copied()
    }

    pub(crate) fn find(&self, who: &str, sha: &[u8]) -> Option<(Sha, Arc<[u8]>)> {
        let mut sha = Sha::try_from(sha).ok()?;
        sha.make_ascii_lowercase();
        self.kept.lock().find(who, &sha).map(|body| (sha, body.clone()))
    }

    /// Bytes of the scripts' texts and their places.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let kept = self.kept.lock();
        // A count of references is before the text.
        let texts = |own: &OwnScripts| own.bodies.values().map(|body| size_class(body.len() + 16)).sum::<usize>();
        let places = |own: &OwnScripts| (own.bodies.capacity() + own.shas.capacity()) * size_of::<(Sha, Arc<[u8]>)>();
        let own = kept.owners.iter().map(|(who, own)| size_class(who.len()) + texts(own) + places(own));
        (own.sum::<usize>() + kept.owners.capacity() * size_of::<(Box<str>, OwnScripts)>()) as u64
    }

    /// How many are kept.
    pub(crate) fn kept(&self) -> usize {
        self.kept.lock().len
    }

    pub(crate) fn forget_all(&self) {
        *self.kept.lock() = Kept::default();
    }
}

/// Under whose name a session's scripts are kept.
pub(crate) fn owner<'c>(cx: &'c Cx<'_>) -> &'c str {
    cx.session.identity.as_ref().map_or("", |identity| identity.inside.caller().name())
}

/// What is run.
pub(crate) enum Program<'p> {
    /// EVAL's script: what of it is behind its `#!` line.
    Script { sha: Sha, body: &'p [u8] },
    /// A function of a library.
    Function { library: &'p Library, name: &'p str },
}

impl Program<'_> {
    /// What errors call it.
    fn name(&self) -> &[u8] {
        match self {
            Self::Script { sha, .. } => sha,
            Self::Function { name, .. } => name.as_bytes(),
        }
    }
}

/// Keeps a script for the caller's EVALSHA, if it can be compiled and what it declares is known.
pub(crate) fn keep(cx: &Cx<'_>, body: &[u8]) -> Result<Sha, CommandError> {
    let scripts = &cx.engine.scripts;
    // Longer ones are none, but for their first line.
    if body.len() <= lua::CHUNK_BYTES_MAX
        && let Some(sha) = scripts.known(owner(cx), body)
    {
        return Ok(sha);
    }
    let sha = sha_of(body);
    let (_, rest) = functions::shebang(body)?;
    let checked = lua::check(&sha, rest);
    lua::weigh(cx.engine);
    checked?;
    scripts.keep(owner(cx), sha, body);
    Ok(sha)
}

/// Reads, runs and keeps a library of functions; its name.
pub(crate) fn load(engine: &Engine, code: &[u8], replace: bool) -> Result<String, CommandError> {
    let loaded = engine.scripts.functions.load(code, replace);
    lua::weigh(engine);
    loaded
}

/// What a script declares of itself, if it does and it is known.
pub(crate) fn declared(body: &[u8]) -> Option<Declared> {
    functions::shebang(body).ok().and_then(|(declared, _)| declared)
}

/// Runs EVAL's script, of which the SHA-1 is known; see [`run`].
pub(crate) fn eval(
    cx: &mut Cx<'_>,
    (sha, body): (Sha, &[u8]),
    keys: Args<'_>,
    argv: Args<'_>,
    read_only: bool,
) -> Result<(), CommandError> {
    let (declared, body) = functions::shebang(body)?;
    if declared.is_some() {
        lua::check(&sha, body)?;
    }
    run(cx, &Program::Script { sha, body }, declared, (keys, argv), read_only)
}

/// Runs a program whose declared keys' partitions are held, and writes its reply. A script that declares nothing, not even
/// that it does not, is held by nothing but its calls.
pub(crate) fn run(
    cx: &mut Cx<'_>,
    program: &Program<'_>,
    declared: Option<Declared>,
    (keys, argv): (Args<'_>, Args<'_>),
    read_only: bool,
) -> Result<(), CommandError> {
    let engine = cx.engine;
    let only_reads = declared.is_some_and(|declared| declared.has(Declared::NO_WRITES));
    let allow_oom = declared.is_some_and(|declared| declared.has(Declared::ALLOW_OOM));
    if declared.is_some() && read_only && !only_reads {
        return Err(CommandError::Text("ERR Can not execute a script with write flag using *_ro command."));
    }
    if declared.is_some() && !only_reads && !allow_oom && cx.out_of_memory {
        return Err(CommandError::OutOfMemory);
    }
    let outer = std::mem::replace(&mut cx.nested, true);
    let database = cx.keys.database;
    cx.scripted = true;
    let begun = (!outer).then(|| cx.keys.begin_record());
    engine.scripts.live.begin(matches!(program, Program::Function { .. }));
    let read_only = read_only || only_reads;
    let first = keys.try_get(0).map(|key| cx.keys.key(key)).inspect(|key| cx.keys.foresee(*key));
    let mut script =
        Script { cx: &mut *cx, read_only, allow_oom, has_written: false, protocol: 2, ends_as_call: false, first };
    let answered = lua::run(&mut script, program, keys, argv);
    let ends_as_call = script.ends_as_call;
    engine.scripts.live.end();
    cx.nested = outer;
    // What a script selects is for itself.
    cx.select(database);
    cx.scripted = false;
    if let Some(begun) = begun {
        cx.keys.end_record(begun);
    }
    cx.keys.log_nothing();
    match answered {
        // An error that a script answers is counted as one that it raises.
        Ok(Reply::Error(mut text)) | Err(mut text) => {
            cx.is_counted = ends_as_call;
            text.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
            Err(CommandError::Quoted(text))
        }
        Ok(reply) => {
            convert::write(&reply, cx.out);
            Ok(())
        }
    }
}

/// A call's reply, and how many bytes it had.
fn read_call(out: &Out) -> (Reply, usize) {
    let bytes = out.as_slice().map_or_else(|| Cow::Owned(out.to_vec()), Cow::Borrowed);
    // Our own reply, whatever its size: only what cannot be held is refused.
    let limits = Limits { frame_bytes_max: usize::MAX, ..Limits::DEFAULT };
    let reply = match read_reply(&bytes, &limits) {
        Ok(Some((reply, _))) => reply,
        _ => Reply::Error(b"ERR the reply is too large for a script".to_vec()),
    };
    (reply, bytes.len())
}

/// A running script and what its calls may touch.
pub(super) struct Script<'s, 'a> {
    cx: &'s mut Cx<'a>,
    read_only: bool,
    /// It may add data when there is no room for more.
    allow_oom: bool,
    has_written: bool,
    /// The protocol that replies are shown to it in: `redis.setresp`.
    protocol: u8,
    /// What it ends with is the error of one of its calls.
    ends_as_call: bool,
    /// Its first key, of which the bucket was asked for.
    first: Option<Key<'s>>,
}

impl Script<'_, '_> {
    fn engine(&self) -> &Engine {
        self.cx.engine
    }

    /// Asks for the entry of its first key.
    fn foresee_entry(&self) {
        if let Some(first) = self.first {
            self.cx.keys.foresee_entry(first);
        }
    }

    /// One call of the script: its reply, an error reply included, and how many bytes it had.
    fn call(&mut self, args: Args<'_>) -> (Reply, usize) {
        let mut out = REPLY.take();
        out.set_protocol(self.protocol);
        out.will_be_copied();
        std::mem::swap(self.cx.out, &mut out);
        let done = self.run_call(args);
        std::mem::swap(self.cx.out, &mut out);
        let replied = done.map(|()| read_call(&out));
        out.clear();
        out.shrink(REPLY_ROOM_BYTES);
        REPLY.set(out);
        replied.unwrap_or_else(|error| {
            self.cx.count(&error);
            if let Ok(spec) = commands::named(args) {
                self.cx.cells.rejected(spec.bit());
            }
            let text = error.text().into_owned().into_bytes();
            (Reply::Error(text), 0)
        })
    }

    /// Whether the caller may call this; nothing when it is no command, or not with so many words.
    fn may(&mut self, args: Args<'_>) -> Option<bool> {
        let cx = &mut *self.cx;
        let spec = match commands::resolve(args) {
            Ok(spec) => spec,
            // Redis does not count the words here.
            Err(CommandError::Arity(_)) => args.try_get(0).and_then(commands::find)?,
            Err(_) => return None,
        };
        if spec.flags.has(Flags::NO_AUTH) {
            return Some(true);
        }
        let mut wanted = Partitions::default();
        wanted.add_queued(cx, spec, args);
        wanted.extend(cx);
        Some(judge(cx, Call::of(spec, args, cx.now), None).is_ok())
    }

    fn run_call(&mut self, args: Args<'_>) -> Result<(), CommandError> {
        let cx = &mut *self.cx;
        let spec = commands::resolve(args).map_err(|error| match error {
            CommandError::Unknown(_) => CommandError::Text("ERR Unknown Redis command called from script"),
            CommandError::Arity(_) => CommandError::Text("ERR Wrong number of args calling Redis command from script"),
            other => other,
        })?;
        if spec.flags.has(Flags::NOSCRIPT) || spec.flags.has(Flags::SESSION) {
            return Err(CommandError::Text("ERR This Redis command is not allowed from script"));
        }
        if self.read_only && spec.may_replicate() {
            return Err(CommandError::Text("ERR Write commands are not allowed from read-only scripts."));
        }
        let mut wanted = Partitions::default();
        wanted.add_queued(cx, spec, args);
        wanted.extend(cx);
        let call = Call::of(spec, args, cx.now);
        let permit = match judge(cx, call, Context::Lua) {
            Ok(permit) => permit,
            Err(Unjudged::Denied(error)) => return Err(commands::not_permitted_in_script(error)),
            Err(Unjudged::Busy) => return Err(CommandError::Text("ERR a partition was not held")),
        };
        // What has begun to write may come to its end.
        if cx.out_of_memory && spec.flags.has(Flags::DENYOOM) && !self.allow_oom && !self.has_written {
            return Err(CommandError::OutOfMemory);
        }
        // The script was charged for as a whole.
        let paid = cx.engine.meters.charged_before(permit);
        if paid.call().spec().is_write() {
            self.has_written = true;
            cx.engine.scripts.live.wrote();
        }
        act(cx, spec, args);
        if cx.engine.monitors.any() {
            super::monitors::show(cx, spec, args);
        }
        Ok(())
    }
}
