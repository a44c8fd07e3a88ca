//! What commands and connections have to do with tracking: keys remembered as they are read, invalidations written.

use super::cx::Cx;
use crate::commands::{self, Locks, Spec, keys};
use crate::pubsub::Invalidation;
use crate::resp::{Args, Out};
use crate::session::Session;
use crate::time::Now;
use crate::tracking::{Tracker, acts};

/// The channel whose messages invalidations are in RESP2.
const CHANNEL: &str = "__redis__:invalidate";

/// Ends a command of a client that tracks: remembers the keys it read, which are held.
#[cold]
pub(super) fn ran(cx: &mut Cx<'_>, spec: &'static Spec, args: Args<'_>) {
    acts(0);
    let Some(tracker) = cx.session.tracker.clone() else { return };
    if spec.is_read() && !matches!(spec.locks, Locks::Script) && remembers(&tracker, cx.session.caching) {
        // Keys that cannot be told were not read.
        let _ = keys::each(spec, args, &mut |position, _| {
            let key = cx.key(args.get(position));
            cx.keys.shard(key.hash).watched.track(key.bytes, &tracker);
        });
    }
    let goes_on = cx.nested || cx.session.transaction.is_some() || spec.container() == Some("CLIENT");
    cx.session.caching &= goes_on;
}

/// Whether a client wants to be told of what it reads now; `caching`: it said CLIENT CACHING.
fn remembers(tracker: &Tracker, caching: bool) -> bool {
    let options = tracker.options.lock();
    let asked = if options.opt_in { caching } else { !options.opt_out || !caching };
    asked && !options.broadcast
}

/// Ends a client's tracking. The partitions still know it; each forgets it at its next change, so that nobody waits for one
/// that a long script holds.
pub(crate) fn stop_tracking(session: &mut Session) {
    session.caching = false;
    if let Some(tracker) = session.tracker.take() {
        session.engine.tracking.leave(&tracker);
    }
}

/// Writes the invalidations that wait: of keys that the client may read, in the form its protocol has for them.
pub(super) fn deliver_invalidations(
    session: &Session,
    invalidations: impl IntoIterator<Item = Invalidation>,
    now: Now,
    out: &mut Out,
) {
    for invalidation in invalidations {
        match invalidation {
            Invalidation::Broken(id) if session.protocol == 3 => {
                out.push(2);
                out.bulk("tracking-redir-broken");
                out.int(id as i64);
            }
            Invalidation::Broken(_) => {}
            Invalidation::Keys { key, redirected } => {
                let told = |key: &[u8]| commands::may_be_shown(session, "CLIENT|TRACKING", key, now);
                if key.as_deref().is_some_and(|key| !told(key)) {
                    continue;
                }
                if session.protocol == 3 {
                    out.push(2);
                    out.bulk("invalidate");
                } else if redirected && session.is_subscribed() {
                    out.push(3);
                    out.bulk("message");
                    out.bulk(CHANNEL);
                } else {
                    continue;
                }
                match key {
                    Some(key) => {
                        out.array(1);
                        out.bulk_shared(key);
                    }
                    None => out.null(),
                }
            }
        }
    }
}
