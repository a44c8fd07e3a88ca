//! Applying an effect log to an engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Engine;
use super::cx::Cx;
use super::road::{Partitions, act};
use crate::commands;
use crate::db::Held;
use crate::resp::{self, Args, Out, Parsed};
use crate::session::{Kind, Session};
use crate::time::Now;

/// The bytes are not a log this engine wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayError {
    /// Where in the bytes the record begins that could not be applied; everything before it was.
    pub offset: usize,
    /// What was wrong with it.
    pub why: String,
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "effect log, byte {}: {}", self.offset, self.why)
    }
}

impl std::error::Error for ReplayError {}

impl Engine {
    /// Applies whole records, in order. Nobody is asked: they were when the effects happened. Nothing expires by itself
    /// meanwhile; the log says what did. `now` is only for clients that wait for what the log pushes. A log may come in
    /// several parts: each begins in the database that the last left off in.
    ///
    /// # Errors
    /// [`ReplayError`] at the first record that is no known write.
    pub fn replay(self: &Arc<Self>, log: &[u8], now: Now) -> Result<(), ReplayError> {
        let mut session = self.replaying();
        let mut out = Out::new(2);
        let mut ranges = Vec::new();
        let mut from = 0;
        let mut queue: Option<Vec<Vec<(u32, u32)>>> = None;
        while from < log.len() {
            ranges.clear();
            let failed = |why: String| ReplayError { offset: from, why };
            let parsed = resp::parse(log, from, &mut ranges, &self.config.limits.resp, &mut session.resume);
            let end = match parsed {
                Ok(Parsed::Complete { end, .. }) => end,
                Ok(_) => return Err(failed("the last record is not whole".to_owned())),
                Err(error) => return Err(failed(error.to_string())),
            };
            let args = Args::new(log, &ranges);
            match (args.get(0), &mut queue) {
                (b"MULTI", None) => queue = Some(Vec::new()),
                (b"EXEC", Some(_)) => {
                    let queued = queue.take().unwrap_or_default();
                    self.apply(&mut session, log, &queued, now, &mut out).map_err(failed)?;
                }
                (_, Some(queue)) => queue.push(ranges.clone()),
                (_, None) => {
                    self.apply(&mut session, log, std::slice::from_ref(&ranges), now, &mut out).map_err(failed)?
                }
            }
            from = end;
            self.replayed_to.store(session.database, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Applies the commands of one record under one set of locks.
    fn apply(
        &self,
        session: &mut Session,
        log: &[u8],
        commands: &[Vec<(u32, u32)>],
        now: Now,
        out: &mut Out,
    ) -> Result<(), String> {
        // At the beginning of time nothing is due: what died, the log says.
        let mut cx = Cx::new(self, session, Now { wall_ms: 0, ..now }, out);
        cx.keys.warm_as_at(now.wall_ms);
        cx.nested = true;
        let mut wanted = Partitions::default();
        let mut rows = Vec::new();
        for ranges in commands {
            let args = Args::new(log, ranges);
            let spec = commands::resolve(args).map_err(|error| error.to_string())?;
            // PFCOUNT keeps what it counted.
            let is_effect = spec.is_write() || spec.is_read() && spec.may_replicate();
            if !is_effect && spec.name != "SELECT" {
                return Err(format!("{} is no effect", spec.name));
            }
            wanted.add_queued(&cx, spec, args);
            rows.push((spec, args));
        }
        let held = wanted.lock_patiently(&cx);
        cx.keys.hold(held);
        for (spec, args) in rows {
            cx.out.clear();
            act(&mut cx, spec, args);
            if cx.out.as_slice().is_some_and(|reply| reply.starts_with(b"-")) {
                return Err(String::from_utf8_lossy(&cx.out.take()).into_owned());
            }
        }
        cx.out.clear();
        cx.now = now;
        super::blocking::serve_and_release(&mut cx);
        debug_assert!(matches!(cx.keys.held, Held::None));
        Ok(())
    }

    fn replaying(self: &Arc<Self>) -> Session {
        let source = larder_iam_policies::access::Source::new(std::net::Ipv4Addr::LOCALHOST.into(), false, 0);
        let mut session = self.session(Kind::Replay, source, None, usize::MAX);
        session.database = self.replayed_to.load(Ordering::Relaxed);
        session
    }
}
