//! Lua scripts: EVAL and its kin.
//!
//! A script runs on its connection's own thread and holds the gate, so scripts are serial among themselves while other
//! traffic goes on. It holds the partitions of its declared keys; one that it does not declare is locked when it is first
//! touched, which the gate's holder may. Each call inside is a call of its own: the caller's grant is asked, and what it
//! changes is one record of the log, the script's inside `MULTI … EXEC`; the script itself is never logged.

mod cjson;
mod convert;
mod lua;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use sha1::{Digest, Sha1};

use super::Engine;
use super::acl_log::Context;
use super::cx::Cx;
use super::road::{Partitions, Unjudged, act, judge};
use crate::commands::{self, Call, Flags};
use crate::db::entry::size_class;
use crate::error::CommandError;
use crate::resp::{Args, Limits, Out, Reply, read_reply};

/// Scripts kept for EVALSHA, in all.
const SCRIPTS_MAX: usize = 10_000;
/// Bytes of them, in all.
const SCRIPT_BYTES_MAX: usize = 64 << 20;

/// A script's SHA-1 in lower-case hex.
pub(crate) type Sha = [u8; 40];

/// The SHA-1 of a script as redis names it.
pub(crate) fn sha_of(body: &[u8]) -> Sha {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha1::digest(body);
    std::array::from_fn(|at| {
        let byte = digest[at / 2];
        HEX[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}

/// The scripts that were loaded, each known to the principal that loaded it and to nobody else.
#[derive(Default)]
pub(crate) struct Scripts {
    kept: Mutex<Kept>,
    /// A script runs.
    running: AtomicBool,
    /// It has changed something.
    wrote: AtomicBool,
    /// It is to be ended.
    kill: Arc<AtomicBool>,
}

#[derive(Default)]
struct Kept {
    bodies: HashMap<(Arc<str>, Sha), Arc<[u8]>>,
    bytes: usize,
}

/// What SCRIPT KILL met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    NothingRuns,
    HasWritten,
    Done,
}

impl Scripts {
    /// Keeps a script for EVALSHA. When there are too many, all are forgotten: a client that gets NOSCRIPT sends the script.
    pub(crate) fn keep(&self, who: Arc<str>, body: &[u8]) -> Sha {
        let sha = sha_of(body);
        let mut kept = self.kept.lock();
        if kept.bodies.len() >= SCRIPTS_MAX || kept.bytes + body.len() > SCRIPT_BYTES_MAX {
            *kept = Kept::default();
        }
        if kept.bodies.insert((who, sha), body.into()).is_none() {
            kept.bytes += body.len();
        }
        sha
    }

    pub(crate) fn find(&self, who: &Arc<str>, sha: &[u8]) -> Option<Arc<[u8]>> {
        let sha = Sha::try_from(sha.to_ascii_lowercase()).ok()?;
        self.kept.lock().bodies.get(&(who.clone(), sha)).cloned()
    }

    /// Bytes of the scripts' texts and their places.
    pub(crate) fn kept_bytes(&self) -> u64 {
        // A count of references is before each.
        let counted = |bytes: usize| size_class(bytes + 16);
        let kept = self.kept.lock();
        let texts: usize = kept.bodies.iter().map(|((who, _), body)| counted(who.len()) + counted(body.len())).sum();
        (texts + kept.bodies.capacity() * size_of::<((Arc<str>, Sha), Arc<[u8]>)>()) as u64
    }

    /// How many are kept.
    pub(crate) fn kept(&self) -> usize {
        self.kept.lock().bodies.len()
    }

    pub(crate) fn forget_all(&self) {
        *self.kept.lock() = Kept::default();
    }

    /// Asks the running script to end.
    pub(crate) fn kill(&self) -> Kill {
        if !self.running.load(Ordering::Acquire) {
            return Kill::NothingRuns;
        }
        if self.wrote.load(Ordering::Acquire) {
            return Kill::HasWritten;
        }
        self.kill.store(true, Ordering::Release);
        Kill::Done
    }

    fn begin(&self) {
        self.wrote.store(false, Ordering::Release);
        self.kill.store(false, Ordering::Release);
        self.running.store(true, Ordering::Release);
    }

    fn end(&self) {
        self.running.store(false, Ordering::Release);
    }
}

/// Under whose name a session's scripts are kept.
pub(crate) fn owner(cx: &Cx<'_>) -> Arc<str> {
    cx.session.identity.as_ref().map_or_else(|| "".into(), |identity| identity.inside.caller().name().into())
}

/// Runs a script whose declared keys' partitions are held, and writes its reply.
pub(crate) fn run(
    cx: &mut Cx<'_>,
    body: &[u8],
    keys: Args<'_>,
    argv: Args<'_>,
    read_only: bool,
) -> Result<(), CommandError> {
    let engine = cx.engine;
    let outer = std::mem::replace(&mut cx.nested, true);
    let database = cx.keys.database;
    cx.scripted = true;
    let begun = (!outer).then(|| cx.keys.begin_record());
    engine.scripts.begin();
    let mut script = Script { cx: &mut *cx, read_only, protocol: 2 };
    let answered = lua::run(&mut script, body, keys, argv);
    engine.scripts.end();
    cx.nested = outer;
    // What a script selects is for itself.
    cx.select(database);
    cx.scripted = false;
    if let Some(begun) = begun {
        cx.keys.end_record(begun);
    }
    cx.keys.log_nothing();
    match answered {
        Ok(reply) => {
            convert::write(&reply, cx.out);
            Ok(())
        }
        Err(text) => Err(CommandError::Said(text.replace(['\r', '\n'], " "))),
    }
}

/// A running script and what its calls may touch.
pub(super) struct Script<'s, 'a> {
    cx: &'s mut Cx<'a>,
    read_only: bool,
    /// The protocol that replies are shown to it in: `redis.setresp`.
    protocol: u8,
}

impl Script<'_, '_> {
    fn engine(&self) -> &Engine {
        self.cx.engine
    }

    /// One call of the script: its reply, an error reply included.
    fn call(&mut self, args: Args<'_>) -> Reply {
        let mut out = Out::new(self.protocol);
        std::mem::swap(self.cx.out, &mut out);
        let done = self.run_call(args);
        std::mem::swap(self.cx.out, &mut out);
        if let Err(error) = done {
            return Reply::Error(error.text().into_owned().into_bytes());
        }
        let bytes = out.take();
        // Our own reply, whatever its size: only what cannot be held is refused.
        let limits = Limits { frame_bytes_max: usize::MAX, ..Limits::DEFAULT };
        match read_reply(&bytes, &limits) {
            Ok(Some((reply, _))) => reply,
            _ => Reply::Error(b"ERR the reply is too large for a script".to_vec()),
        }
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
            Err(Unjudged::Denied(error)) => return Err(error),
            Err(Unjudged::Busy) => return Err(CommandError::Text("ERR a partition was not held")),
        };
        // What is half done is done to its end.
        if cx.out_of_memory && spec.flags.has(Flags::DENYOOM) && !cx.engine.scripts.wrote.load(Ordering::Acquire) {
            return Err(CommandError::OutOfMemory);
        }
        // The script was charged for as a whole.
        let paid = cx.engine.meters.charged_before(permit);
        if paid.call().spec().is_write() {
            cx.engine.scripts.wrote.store(true, Ordering::Release);
        }
        act(cx, spec, args);
        Ok(())
    }
}
