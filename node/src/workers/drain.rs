//! Stopping without losing a reply: a signal in two steps, and a count of who is still inside.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// How far a listener is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connections are taken and served.
    Serving,
    /// No new connection; each open one ends once what it had sent is answered and the answer is written.
    Draining,
    /// Time is up: connections end at once.
    Cutting,
}

/// The signal and the count of one listener. A handle: clones mean the same listener.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    phase: AtomicU8,
    changed: Arc<Notify>,
    guests: AtomicUsize,
    left: Notify,
}

/// One connection in a [`Drain`]'s count, until dropped.
#[derive(Debug)]
pub struct Guest {
    drain: Drain,
}

impl Drain {
    /// A listener that serves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it is now: one load.
    #[inline]
    pub fn phase(&self) -> Phase {
        match self.inner.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Cutting,
        }
    }

    /// Counts a connection in, unless there are `guests_max` already.
    pub fn enter(&self, guests_max: usize) -> Option<Guest> {
        let guest = Guest { drain: self.clone() };
        match self.inner.guests.fetch_add(1, Ordering::AcqRel) {
            before if before < guests_max => Some(guest),
            _ => None,
        }
    }

    /// Connections inside.
    pub fn guests(&self) -> usize {
        self.inner.guests.load(Ordering::Acquire)
    }

    /// Moves to a later phase and tells everyone who watches. Phases never go back.
    pub fn advance(&self, phase: Phase) {
        self.inner.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.inner.changed.notify_waiters();
    }

    /// Waits until the phase is at least `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut watch = self.watch();
        std::future::poll_fn(|cx| match watch.poll_phase(cx) >= phase {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
    }

    /// For a task that asks at each of its polls and must not pay for it.
    pub fn watch(&self) -> PhaseWatch {
        PhaseWatch { drain: self.clone(), seen: Phase::Serving, changed: None }
    }

    /// Drains: lets connections end by themselves for `timeout`, then cuts those that are left, and waits until none is.
    /// Answers how many were cut.
    pub async fn finish(&self, timeout: Duration) -> usize {
        self.advance(Phase::Draining);
        if tokio::time::timeout(timeout, self.empty()).await.is_ok() {
            return 0;
        }
        let cut = self.guests();
        self.advance(Phase::Cutting);
        // A task that is cut ends at its next poll; one whose worker hangs must not keep the process.
        drop(tokio::time::timeout(Duration::from_secs(1), self.empty()).await);
        cut
    }

    async fn empty(&self) {
        loop {
            let mut left = std::pin::pin!(self.inner.left.notified());
            left.as_mut().enable();
            if self.guests() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.drain.inner.guests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.drain.inner.left.notify_waiters();
        }
    }
}

impl Guest {
    /// The listener this connection belongs to.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }
}

/// A task's view of the phase: registers the task's waker once per phase, and is one load at every other poll.
pub struct PhaseWatch {
    drain: Drain,
    seen: Phase,
    changed: Option<Pin<Box<OwnedNotified>>>,
}

impl PhaseWatch {
    /// The phase now; the task is woken when it changes. Always to be polled by the same task.
    #[inline]
    pub fn poll_phase(&mut self, cx: &mut Context<'_>) -> Phase {
        let phase = self.drain.phase();
        if phase == self.seen && self.changed.is_some() {
            return phase;
        }
        self.register(cx)
    }

    #[cold]
    fn register(&mut self, cx: &mut Context<'_>) -> Phase {
        let mut changed = Box::pin(self.drain.inner.changed.clone().notified_owned());
        while changed.as_mut().poll(cx).is_ready() {
            changed = Box::pin(self.drain.inner.changed.clone().notified_owned());
        }
        self.changed = Some(changed);
        // Read after registering: a change in between is either seen here or wakes the task.
        self.seen = self.drain.phase();
        self.seen
    }
}
