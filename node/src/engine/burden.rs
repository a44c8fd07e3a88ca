//! Clients that make the engine hold too much: who does not read what it is sent, and who is the largest of all when they
//! are too much together. What the limits are: [`crate::buffers`].

use std::sync::atomic::Ordering;

use super::Engine;
use super::clients::{Calls, Clients, Record, State};
use super::memory::client_bytes;
use crate::buffers::Cut;
use crate::time::Now;

impl Engine {
    /// Ends a client that holds too much.
    #[cold]
    pub(crate) fn cut(&self, record: &Record, why: Cut) {
        if !record.calls.has(Calls::CLOSE) {
            self.buffers.count(why);
            record.calls.raise(Calls::CLOSE);
        }
    }

    /// Cuts a client whose connection holds more for it than it may: `replies` are the bytes that it has not read.
    pub(crate) fn weigh(&self, record: &Record, replies: usize) {
        if replies > 0 && self.buffers.is_over(record.class(), replies as u64) {
            self.cut(record, Cut::Output);
        }
        if record.state.query_bytes.load(Ordering::Relaxed) > self.buffers.query_bytes_max() {
            self.cut(record, Cut::Query);
        }
        if self.is_limited() || self.buffers.clients() > 0 {
            self.weigh_all(record);
        }
    }

    /// Counts what a client holds now, and cuts the largest of all when that makes it too much. When it is too much already,
    /// [`Engine::sample`] looks: those that are left may be clients that are never cut.
    fn weigh_all(&self, record: &Record) {
        let (limit, before) = (self.clients_bytes_max(), self.rest.clients());
        self.recount(record);
        if before <= limit && self.rest.clients() > limit {
            self.evict_clients();
        }
    }

    /// Cuts whoever is over its hard limit, or has been over its soft one for too long.
    pub(super) fn cut_slow_readers(&self, now: Now) {
        for record in self.clients.all() {
            let unread = record.inbox().map_or(0, |inbox| (inbox.bytes() + inbox.unsent()) as u64);
            let (limit, since) = (self.buffers.output_of(record.class()), &record.state.slow_since_ms);
            let since_ms = since.load(Ordering::Relaxed);
            let is_slow = limit.soft_bytes > 0 && unread > limit.soft_bytes;
            let over_for_ms = now.wall_ms.saturating_sub(since_ms);
            if limit.hard_bytes > 0 && unread > limit.hard_bytes
                || is_slow && since_ms > 0 && over_for_ms > limit.soft_s.saturating_mul(1000)
            {
                self.cut(&record, Cut::Output);
            } else if !is_slow {
                since.store(0, Ordering::Relaxed);
            } else if since_ms == 0 {
                since.store(now.wall_ms.max(1), Ordering::Relaxed);
            }
        }
    }

    /// Bytes that all clients together may hold; 0 for no limit.
    fn clients_bytes_max(&self) -> u64 {
        match self.buffers.clients() {
            bytes @ 0.. => bytes.unsigned_abs(),
            percent => (u128::from(self.db.eviction.limit()) * u128::from(percent.unsigned_abs()) / 100) as u64,
        }
    }

    /// Cuts the largest clients until all others together hold no more than they may. Who said CLIENT NO-EVICT counts, and is
    /// not cut, as in redis.
    pub(crate) fn evict_clients(&self) {
        let limit = self.clients_bytes_max();
        if limit == 0 {
            return;
        }
        let mut clients: Vec<_> =
            self.clients.all().into_iter().map(|record| (client_bytes(&record), record)).collect();
        let mut sum: u64 = clients.iter().map(|(bytes, _)| bytes).sum();
        if sum <= limit {
            return;
        }
        clients.retain(|(_, record)| !record.state.has(State::KEPT));
        clients.sort_unstable_by_key(|(bytes, record)| (*bytes, record.id));
        while sum > limit
            && let Some((bytes, record)) = clients.pop()
        {
            self.cut(&record, Cut::Evicted);
            sum -= bytes;
        }
    }
}

impl Clients {
    /// The most bytes of requests, and of unread replies, that a client holds.
    pub(crate) fn largest_buffers(&self) -> (u64, u64) {
        let (mut query, mut replies) = (0, 0);
        for record in self.all() {
            query = record.state.query_bytes.load(Ordering::Relaxed).max(query);
            replies = record.inbox().map_or(0, |inbox| (inbox.bytes() + inbox.unsent()) as u64).max(replies);
        }
        (query, replies)
    }
}
