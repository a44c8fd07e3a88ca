//! Clients that wait in a blocking command: one shared waiter, queued at each of its keys.
//!
//! A waiter has one atomic state. Who moves it from waiting to claimed owns it: a pusher, still holding the key's
//! partition, who takes the element and leaves the reply; or the client itself, because its time is up or its connection
//! is gone. Of two pushers the loser leaves the waiter where it is and tells it to look at its key, as the winner may find
//! nothing for it after all. Queues are first in, first out per key; a waiter that what came is not
//! for keeps its place.
//!
//! Whom a pusher cannot serve at once, because what it waits for goes to another key whose partition someone has, is
//! **owed**: the pusher tries again once it has given its own partitions back, and else rings the waiter, whose own worker
//! serves the key. One that leaves while it is owed hands the debt to the next in line, so nobody is forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use larder_iam_policies::access::Admitted;
use parking_lot::Mutex;

use crate::commands::Serve;
use crate::db::entry::{Kind, size_class};
use crate::error::CommandError;
use crate::pubsub::Inbox;
use crate::resp::OwnedArgs;
use crate::session::Session;

const WAITING: u8 = 0;
/// Somebody looks whether there is something for it, or it leaves by itself.
const CLAIMED: u8 = 1;
/// It has its outcome.
const OVER: u8 = 2;

/// One blocked client.
pub(crate) struct Waiter {
    state: AtomicU8,
    outcome: Mutex<Option<Woken>>,
    /// The keys that it is to be served from by its own worker.
    owed: Mutex<Vec<Box<[u8]>>>,
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
            owed: Mutex::default(),
            request,
            inside,
            serve,
            protocol: client.protocol,
            database,
            inbox: client.inbox().clone(),
        }
    }

    /// Takes the waiter for oneself; true for exactly one caller.
    pub(crate) fn claim(&self) -> bool {
        self.state.compare_exchange(WAITING, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Lets it wait on: there was nothing for it. Only who claimed it may. It is rung, as its time may have been up.
    pub(crate) fn unclaim(&self) {
        self.state.store(WAITING, Ordering::Release);
        self.inbox.ring();
    }

    /// Has its own worker serve `key`.
    pub(crate) fn owe(&self, key: &[u8]) {
        let mut owed = self.owed.lock();
        if !owed.iter().any(|other| **other == *key) {
            owed.push(key.into());
        }
        drop(owed);
        self.inbox.ring();
    }

    /// A key that its own worker is to serve; each only once.
    pub(crate) fn take_owed(&self) -> Option<Box<[u8]>> {
        self.owed.lock().pop()
    }

    /// Leaves the outcome and rings. Only who claimed it may.
    pub(crate) fn wake(&self, woken: Woken) {
        *self.outcome.lock() = Some(woken);
        self.state.store(OVER, Ordering::Release);
        self.inbox.ring();
    }

    /// The outcome, once; `None` while the claimer has not left it.
    pub(crate) fn outcome(&self) -> Option<Woken> {
        self.outcome.lock().take()
    }

    fn is_waiting(&self) -> bool {
        self.state.load(Ordering::Acquire) == WAITING
    }

    fn is_over(&self) -> bool {
        self.state.load(Ordering::Acquire) == OVER
    }
}

/// The waiters of one partition's keys.
#[derive(Default)]
pub(crate) struct Waiters {
    queues: HashMap<Box<[u8]>, Queue>,
}

type Queue = VecDeque<Arc<Waiter>>;

impl Waiters {
    /// What one waiter at a key takes, about: most wait alone.
    pub(crate) fn bytes_of(key: &[u8]) -> usize {
        const ALONE: usize = 4 * size_of::<Arc<Waiter>>();
        size_class(key.len()) + 2 * size_of::<(Box<[u8]>, Queue)>() + ALONE
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether a change of `key` concerns anyone who waits at it: any change does those who mind that what they wait at
    /// is gone.
    #[cold]
    pub(crate) fn mind(&self, key: &[u8], has_more: bool) -> bool {
        let minds = |queue: &Queue| queue.iter().any(|waiter| waiter.serve.gone.is_some());
        self.queues.get(key).is_some_and(|queue| has_more || minds(queue))
    }

    /// The keys at which somebody minds that they are gone.
    pub(crate) fn losing(&self) -> impl Iterator<Item = &[u8]> {
        self.queues.keys().map(|key| &**key).filter(|key| self.mind(key, false))
    }

    /// The keys somebody waits for.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.queues.keys().map(|key| &**key)
    }

    pub(crate) fn push(&mut self, key: &[u8], waiter: Arc<Waiter>) {
        self.queues.entry(key.into()).or_default().push_back(waiter);
    }

    /// The client that has waited longest at `key` for what it holds now, among those from place `at` on, which is moved
    /// to its place. Those whom somebody serves from another key just now are passed over, and owed this one.
    pub(crate) fn next(&mut self, key: &[u8], kind: Kind, at: &mut usize) -> Option<Arc<Waiter>> {
        let queue = self.queues.get(key)?;
        while let Some(waiter) = queue.get(*at) {
            if waiter.serve.kind == kind {
                match waiter.state.load(Ordering::Acquire) {
                    WAITING => return Some(waiter.clone()),
                    CLAIMED => waiter.owe(key),
                    _ => {}
                }
            }
            *at += 1;
        }
        None
    }

    /// Removes the waiter at place `at`.
    pub(crate) fn remove(&mut self, key: &[u8], at: usize) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.remove(at);
        }
    }

    /// Forgets those at `key` that have their outcome.
    pub(crate) fn tidy(&mut self, key: &[u8]) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.retain(|waiter| !waiter.is_over());
            if queue.is_empty() {
                self.queues.remove(key);
            }
        }
    }

    /// Wakes those who mind that `key` does not hold what they wait at, but `kind` or nothing. Those whom somebody serves
    /// from another key just now are owed it: there may be nothing for them there.
    pub(crate) fn lose(&mut self, key: &[u8], kind: Option<Kind>) {
        let lost = |waiter: &Waiter| kind != Some(waiter.serve.kind);
        for waiter in self.queues.get(key).into_iter().flatten().filter(|waiter| lost(waiter)) {
            let Some(why) = waiter.serve.gone else { continue };
            if waiter.claim() {
                waiter.wake(Woken::Denied(CommandError::Text(why)));
            } else if !waiter.is_over() {
                waiter.owe(key);
            }
        }
        self.tidy(key);
    }

    /// Has whoever waits longest at `key` serve it, in the place of one who leaves.
    pub(crate) fn pass_on(&self, key: &[u8]) {
        let queue = self.queues.get(key).into_iter().flatten();
        queue.filter(|waiter| waiter.is_waiting()).take(1).for_each(|waiter| waiter.owe(key));
    }

    /// Forgets this waiter, and every one that has its outcome, at `key`.
    pub(crate) fn forget(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.retain(|one| !Arc::ptr_eq(one, waiter) && !one.is_over());
            if queue.is_empty() {
                self.queues.remove(key);
            }
        }
    }
}
