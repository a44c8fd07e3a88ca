//! MONITOR: every request that runs, shown to whoever asked for it, as far as it may know.
//!
//! Nobody pays for it while nobody monitors: a batch looks once whether anybody does, and if so sends its requests by the
//! long road, which tells the monitors. Lines wait in the monitors' inboxes like messages, under the same limits.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder_iam_policies::access::{Asks, Need};
use parking_lot::Mutex;

use super::cx::Cx;
use super::deliver::may_listen;
use crate::commands::{self, Acl, Call, Flags, Locks, Spec};
use crate::pubsub::Inbox;
use crate::resp::{Args, Out, OwnedArgs};
use crate::session::Session;
use crate::time::Now;

/// Who monitors.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    count: AtomicUsize,
    inboxes: Mutex<Vec<Arc<Inbox>>>,
}

impl Monitors {
    /// Whether anybody does: one load.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Inbox>>)) {
        let mut inboxes = self.inboxes.lock();
        change(&mut inboxes);
        self.count.store(inboxes.len(), Ordering::Relaxed);
    }
}

/// A request that ran, on its way to the monitors.
#[derive(Debug)]
pub(crate) struct Seen {
    /// As redis shows it, without `+` and line end.
    line: String,
    spec: &'static Spec,
    request: OwnedArgs,
}

impl Seen {
    /// What it counts against an inbox.
    pub(crate) fn weight(&self) -> usize {
        self.line.len() + self.request.as_args().bytes() + size_of::<Self>()
    }
}

/// Shows the session every request from now on; false when it is so already.
pub(crate) fn start_monitoring(session: &mut Session) -> bool {
    if session.monitors {
        return false;
    }
    session.monitors = true;
    session.engine.monitors.change(|inboxes| inboxes.push(session.inbox().clone()));
    true
}

/// Shows the session nothing more.
pub(crate) fn stop_monitoring(session: &mut Session) {
    if std::mem::take(&mut session.monitors) {
        session.engine.monitors.change(|inboxes| inboxes.retain(|inbox| !Arc::ptr_eq(inbox, session.inbox())));
    }
}

/// Tells the monitors of a request that ran, or is about to. What administers the cache is not shown, as in redis.
#[cold]
pub(super) fn show(cx: &Cx<'_>, spec: &'static Spec, args: Args<'_>) {
    if spec.flags.has(Flags::ADMIN) {
        return;
    }
    let seen = Arc::new(Seen { line: line(cx, spec, args), spec, request: args.to_owned() });
    cx.engine.monitors.inboxes.lock().iter().for_each(|inbox| inbox.see(&seen));
}

/// Whether a script is shown before it runs, so that its calls follow it.
pub(super) fn comes_first(spec: &Spec) -> bool {
    matches!(spec.locks, Locks::Script)
}

fn line(cx: &Cx<'_>, spec: &Spec, args: Args<'_>) -> String {
    let (wall_ms, database) = (cx.now.wall_ms, cx.keys.database);
    let by = match &cx.session.record.addresses {
        _ if cx.scripted => "lua".to_owned(),
        Some((crate::session::Address::Unix(path), _)) => format!("unix:{path}"),
        Some((address, _)) => address.to_string(),
        None => format!("{}:0", cx.session.source.ip),
    };
    let secrets = (spec.secrets)(args);
    let mut line = format!("{}.{:06} [{database} {by}]", wall_ms / 1000, wall_ms % 1000 * 1000);
    for (at, word) in args.iter().enumerate() {
        line.push_str(" \"");
        match secrets.contains(&at) {
            true => line.push_str("(redacted)"),
            false => word.iter().for_each(|byte| quote(*byte, &mut line)),
        }
        line.push('"');
    }
    line
}

fn quote(byte: u8, line: &mut String) {
    match byte {
        b'\\' | b'"' => line.extend(['\\', char::from(byte)]),
        b'\n' => line.push_str("\\n"),
        b'\r' => line.push_str("\\r"),
        b'\t' => line.push_str("\\t"),
        7 => line.push_str("\\a"),
        8 => line.push_str("\\b"),
        b' '..=b'~' => line.push(char::from(byte)),
        // Writing to a String cannot fail.
        _ => drop(write!(line, "\\x{byte:02x}")),
    }
}

/// Writes the requests that wait for a monitor, each only if it may know of it. False: it may not monitor any more.
pub(super) fn deliver_seen(session: &Session, waiting: &VecDeque<Arc<Seen>>, now: Now, out: &mut Out) -> bool {
    if waiting.is_empty() || !session.monitors {
        return true;
    }
    let Some(identity) = &session.identity else { return false };
    let is_full = identity.grant.is_full();
    let monitor = OwnedArgs::from_slices(["MONITOR"]);
    let may = Call::new(monitor.as_args(), now)
        .is_ok_and(|call| identity.grant.permit(&identity.inside, call, now.wall_ms).is_ok());
    if !may {
        return false;
    }
    for seen in waiting.iter().filter(|seen| is_full || may_see(session, seen, now)) {
        out.simple(&seen.line);
    }
    true
}

/// Whether a monitor may read every key that a request names, and listen to every channel. What a script does besides
/// cannot be told, and its text is nobody's who may not do everything: neither where it runs nor where it is loaded.
fn may_see(session: &Session, seen: &Seen, now: Now) -> bool {
    let mut may = !seen.spec.acl.has(Acl::SCRIPTING);
    Call::of(seen.spec, seen.request.as_args(), now).needs(&mut |need| {
        may = may
            && match need {
                Need::Key(key, _) | Need::Look(key) => commands::may_be_shown(session, "MONITOR", key, now),
                Need::Channel(name, _) | Need::Pattern(name, _) => may_listen(session, name, now),
                Need::Cache(_) => true,
                Need::Unknown => false,
            };
    });
    may
}
