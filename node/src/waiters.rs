//! Clients that wait in a blocking command: one shared waiter, queued at each of its keys.
//!
//! A waiter has one atomic state. Who moves it from waiting to claimed owns it: a pusher, still holding the key's
//! partition, who takes the element and leaves the reply; or the client itself, because its time is up or its connection
//! is gone. The loser of that race does nothing. Queues are first in, first out per key.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use larder_iam_policies::access::Admitted;
use parking_lot::Mutex;

use crate::commands::Serve;
use crate::db::entry::Kind;
use crate::error::CommandError;
use crate::pubsub::Inbox;
use crate::resp::OwnedArgs;
use crate::session::Session;

const WAITING: u8 = 0;
const CLAIMED: u8 = 1;

/// One blocked client.
pub(crate) struct Waiter {
    state: AtomicU8,
    outcome: Mutex<Option<Woken>>,
    /// The command it waits in, to be asked about again when it wakes.
    pub(crate) request: OwnedArgs,
    pub(crate) inside: Admitted,
    /// How it is served.
    pub(crate) serve: Serve,
    /// The protocol its reply is written in.
    pub(crate) protocol: u8,
    /// The database its keys are in.
    pub(crate) database: u8,
    inbox: Arc<Inbox>,
}

/// Why a waiter was woken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Something was taken for it, and this is its reply.
    Served(Vec<u8>),
    /// It may no longer do what it waited for.
    Denied(CommandError),
}

impl Waiter {
    pub(crate) fn new(request: OwnedArgs, inside: Admitted, serve: Serve, client: &Session, database: u8) -> Self {
        Self {
            state: AtomicU8::new(WAITING),
            outcome: Mutex::new(None),
            request,
            inside,
            serve,
            protocol: client.protocol,
            database,
            inbox: client.inbox.clone(),
        }
    }

    /// Takes the waiter for oneself; true for exactly one caller.
    pub(crate) fn claim(&self) -> bool {
        self.state.compare_exchange(WAITING, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Leaves the outcome and rings. Only who claimed it may.
    pub(crate) fn wake(&self, woken: Woken) {
        *self.outcome.lock() = Some(woken);
        self.inbox.ring();
    }

    /// The outcome, once; `None` while the claimer has not left it.
    pub(crate) fn outcome(&self) -> Option<Woken> {
        self.outcome.lock().take()
    }

    fn is_waiting(&self) -> bool {
        self.state.load(Ordering::Acquire) == WAITING
    }
}

/// The waiters of one partition's keys.
#[derive(Default)]
pub(crate) struct Waiters {
    queues: HashMap<Box<[u8]>, VecDeque<Arc<Waiter>>>,
}

impl Waiters {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.queues.contains_key(key)
    }

    /// The keys somebody waits for.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.queues.keys().map(|key| &**key)
    }

    pub(crate) fn push(&mut self, key: &[u8], waiter: Arc<Waiter>) {
        self.queues.entry(key.into()).or_default().push_back(waiter);
    }

    /// The client that has waited longest at `key` for what it holds now, claimed.
    pub(crate) fn claim_next(&mut self, key: &[u8], kind: Kind) -> Option<Arc<Waiter>> {
        let queue = self.queues.get_mut(key)?;
        queue.retain(|waiter| waiter.is_waiting());
        let mut claimed = None;
        while let Some(at) = queue.iter().position(|waiter| waiter.serve.kind == kind) {
            claimed = queue.remove(at).filter(|waiter| waiter.claim());
            if claimed.is_some() {
                break;
            }
        }
        if queue.is_empty() {
            self.queues.remove(key);
        }
        claimed
    }

    /// Forgets this waiter, and every one that no longer waits, at `key`.
    pub(crate) fn forget(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.retain(|one| !Arc::ptr_eq(one, waiter) && one.is_waiting());
            if queue.is_empty() {
                self.queues.remove(key);
            }
        }
    }
}
