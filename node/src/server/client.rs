//! What a connection drives: an engine's session, or the echo.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::{Calls, Engine, Next, Progress};
use crate::metrics::Count;
use crate::pubsub::Inbox;
use crate::resp::{Mark, Out};
use crate::session::Session;
use crate::time::Now;

/// The far end of a connection's bytes. Synchronous: a connection does all the waiting.
pub(crate) trait Client {
    /// Runs what is whole at the start of `input`, at most a batch, and writes the replies.
    fn batch(&mut self, input: &[u8], now: Now, out: &mut Out) -> Progress;

    /// Writes what others left for this client, after its inbox rang or its wait is over.
    fn deliver(&mut self, now: Now, out: &mut Out) -> Next;

    /// The inbox to listen to now, if others may have something for this client.
    fn inbox(&self) -> Option<&Arc<Inbox>>;

    /// Whether the client listens for good: no idle timeout applies.
    fn is_listening(&self) -> bool;

    /// Milliseconds of silence after which the client is closed, where its listener says so many; 0 for never.
    fn idle_timeout_ms(&self, opened_with: u64) -> u64;

    /// When the client's credential ends, in ms since 1970.
    fn ends_at_ms(&self) -> Option<u64>;

    /// What others want of this client, if they can.
    fn calls(&self) -> Option<&Calls>;

    /// From how many microseconds on a batch is to be told of; `u64::MAX` for never.
    fn slow_us(&self) -> u64;

    /// Takes note of a slow batch: the requests it ran and how long they took.
    fn took(&self, run: &[u8], us: u64, now: Now);

    /// From how many bytes of requests or replies on a turn is to be told of; `u64::MAX` for never.
    fn large_bytes(&self) -> u64;

    /// Takes note of a large turn: the requests it ran, and what it wrote to `out` behind `before`.
    fn was_large(&self, run: &[u8], out: &Out, before: Mark, now: Now);

    /// Takes note of how long the last batch took.
    fn timed(&self, us: u64);

    /// Counts bytes read and written.
    fn count(&self, read: usize, written: usize);

    /// Takes note of what its connection holds for it now.
    fn holds(&self, held: Holdings);
}

/// Bytes that a connection holds for its client between two turns.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Requests that are not whole, or wait for their turn.
    pub(crate) query: usize,
    /// Room for the rest of them.
    pub(crate) query_room: usize,
    /// Replies that the socket has not taken.
    pub(crate) replies: usize,
}

/// A session and its engine.
pub(crate) struct SessionClient {
    pub(crate) engine: Arc<Engine>,
    pub(crate) session: Session,
    pub(crate) worker: usize,
}

impl Client for SessionClient {
    #[inline]
    fn batch(&mut self, input: &[u8], now: Now, out: &mut Out) -> Progress {
        self.engine.exec_batch(&mut self.session, input, now, out)
    }

    fn deliver(&mut self, now: Now, out: &mut Out) -> Next {
        self.engine.deliver(&mut self.session, now, out)
    }

    #[inline]
    fn inbox(&self) -> Option<&Arc<Inbox>> {
        (self.session.hears() || self.session.is_blocked()).then(|| self.session.inbox())
    }

    fn is_listening(&self) -> bool {
        self.session.is_subscribed() || self.session.is_blocked() || self.session.monitors
    }

    #[inline]
    fn idle_timeout_ms(&self, _: u64) -> u64 {
        self.engine.doors.idle_timeout_ms()
    }

    #[inline]
    fn ends_at_ms(&self) -> Option<u64> {
        self.session.ends_at_ms
    }

    #[inline]
    fn calls(&self) -> Option<&Calls> {
        Some(&self.session.record.calls)
    }

    #[inline]
    fn slow_us(&self) -> u64 {
        self.engine.slow.limit_us()
    }

    #[inline]
    fn timed(&self, us: u64) {
        if self.session.alone
            && let Some(spec) = self.session.last_command
        {
            self.engine.metrics().of(self.worker).took(spec.bit(), us);
        }
    }

    #[inline]
    fn large_bytes(&self) -> u64 {
        self.engine.slow.large_bytes()
    }

    fn was_large(&self, run: &[u8], out: &Out, before: Mark, now: Now) {
        self.engine.slow.was_large(&self.session, run, out, before, now);
    }

    fn took(&self, run: &[u8], us: u64, now: Now) {
        self.engine.slow.took(&self.session, run, us, now);
    }

    #[inline]
    fn count(&self, read: usize, written: usize) {
        let cells = self.engine.metrics().of(self.worker);
        if read > 0 {
            cells.add(Count::Reads, 1);
            cells.add(Count::BytesIn, read as u64);
        }
        if written > 0 {
            cells.add(Count::Writes, 1);
            cells.add(Count::BytesOut, written as u64);
        }
    }

    fn holds(&self, held: Holdings) {
        let (record, inbox) = (&self.session.record, self.session.inbox());
        record.state.query_bytes.store(held.query as u64, Ordering::Relaxed);
        record.state.query_room.store(held.query_room as u64, Ordering::Relaxed);
        inbox.set_unsent(held.replies);
        self.engine.weigh(record, held.replies + inbox.bytes());
    }
}
