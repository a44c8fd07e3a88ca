//! Publish and subscribe: channels to the inboxes of those who listen.
//!
//! The map is read-mostly and lock-free to read; a channel's own list has a short mutex. A message is made once and
//! shared by reference count; each subscriber's worker writes it into its own connection, in its own protocol, after
//! asking the subscriber's grant again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::buffers::{Buffers, Class};
use crate::db::entry::size_class;
use crate::engine::Seen;
use crate::glob;

/// What a channel's places in the map and in a listener's own list take, about.
const CHANNEL_BYTES: usize = 190;

/// Who listens to what, in one engine.
#[derive(Debug, Default)]
pub(crate) struct PubSub {
    pub(crate) channels: Channels,
    /// Those of SSUBSCRIBE: names of their own, which patterns do not reach.
    pub(crate) shards: Channels,
    /// Patterns someone listens to, in the order of their bytes.
    patterns: Mutex<BTreeMap<Bytes, Vec<Arc<Inbox>>>>,
    /// How many; spares every message the lock when there are none.
    pattern_count: AtomicUsize,
}

/// Channels of one kind, and who listens to each.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    map: papaya::HashMap<Bytes, Arc<Channel>, foldhash::quality::RandomState>,
}

#[derive(Debug, Default)]
struct Channel {
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    inboxes: Vec<Arc<Inbox>>,
    /// Set when the channel left the map: who finds it so must look the channel up again.
    gone: bool,
}

/// One message on its way to one subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) heard: Heard,
    pub(crate) channel: Bytes,
    pub(crate) payload: Bytes,
}

/// By what a subscriber hears a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Its channel.
    Channel,
    /// This pattern.
    Pattern(Bytes),
    /// Its shard channel.
    Shard,
}

impl Message {
    /// What it counts against an inbox: its bytes and the queue's own.
    fn weight(&self) -> usize {
        self.channel.len() + self.payload.len() + size_of::<Self>()
    }
}

/// What a client that tracks is told.
#[derive(Debug)]
pub(crate) enum Invalidation {
    /// This key is other than it was; every key, for none. `redirected`: it is another client that tracks it.
    Keys { key: Option<Bytes>, redirected: bool },
    /// The client it redirects to, of this number, is gone.
    Broken(u64),
}

/// Where a session is reached by other workers: messages, the result of a blocked command, a request to close.
#[derive(Debug)]
pub struct Inbox {
    /// Something is waiting; spares the lock when nothing is.
    full: AtomicBool,
    /// Too much was waiting: the session is to be closed.
    overflowed: AtomicBool,
    queue: Mutex<Waiting>,
    /// Bytes that were taken out for the client and that its socket has not taken yet.
    unsent: AtomicUsize,
    buffers: Arc<Buffers>,
    rang: Notify,
}

/// What waits in an inbox.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) messages: VecDeque<Message>,
    pub(crate) invalidations: VecDeque<Invalidation>,
    /// What MONITOR shows.
    pub(crate) seen: VecDeque<Arc<Seen>>,
    bytes: usize,
}

impl Inbox {
    pub(crate) fn new(buffers: Arc<Buffers>) -> Self {
        Self {
            full: AtomicBool::new(false),
            overflowed: AtomicBool::new(false),
            queue: Mutex::default(),
            unsent: AtomicUsize::new(0),
            buffers,
            rang: Notify::new(),
        }
    }

    /// Waits until something came in. Cancel-safe; may return once too often, never too seldom.
    pub async fn rang(&self) {
        self.rang.notified().await;
    }

    pub(crate) fn ring(&self) {
        self.rang.notify_one();
    }

    fn put(&self, message: Message) {
        let mut queue = self.queue.lock();
        queue.bytes += message.weight();
        if self.buffers.is_over(Class::Pubsub, self.with_unsent(queue.bytes)) {
            self.overflowed.store(true, Ordering::Relaxed);
        } else {
            queue.messages.push_back(message);
        }
        self.full.store(true, Ordering::Release);
        drop(queue);
        self.ring();
    }

    /// Shows a request that ran to a monitor.
    pub(crate) fn see(&self, seen: &Arc<Seen>) {
        let mut queue = self.queue.lock();
        queue.bytes += seen.weight();
        if self.buffers.is_over_unasked(Class::Normal, self.with_unsent(queue.bytes)) {
            self.overflowed.store(true, Ordering::Relaxed);
        } else {
            queue.seen.push_back(seen.clone());
        }
        self.full.store(true, Ordering::Release);
        drop(queue);
        self.ring();
    }

    pub(crate) fn invalidate(&self, invalidation: Invalidation) {
        let mut queue = self.queue.lock();
        let key_bytes = match &invalidation {
            Invalidation::Keys { key: Some(key), .. } => key.len(),
            _ => 0,
        };
        queue.bytes += key_bytes + size_of::<Invalidation>();
        if self.buffers.is_over_unasked(Class::Normal, self.with_unsent(queue.bytes)) {
            self.overflowed.store(true, Ordering::Relaxed);
        } else {
            queue.invalidations.push_back(invalidation);
        }
        self.full.store(true, Ordering::Release);
        drop(queue);
        self.ring();
    }

    /// Whether anything waits.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    fn with_unsent(&self, bytes: usize) -> u64 {
        (bytes + self.unsent()) as u64
    }

    /// Bytes of replies and messages that wait for the socket.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }

    pub(crate) fn set_unsent(&self, bytes: usize) {
        self.unsent.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that wait. A message for many is counted for each.
    pub(crate) fn bytes(&self) -> usize {
        if self.is_full() { self.queue.lock().bytes } else { 0 }
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Waiting {
        let mut queue = self.queue.lock();
        self.full.store(false, Ordering::Release);
        std::mem::take(&mut queue)
    }
}

impl Channels {
    pub(crate) fn subscribe(&self, channel: &Bytes, inbox: &Arc<Inbox>) {
        let map = self.map.pin();
        loop {
            let found = map.get_or_insert_with(channel.clone(), Arc::default);
            let mut listeners = found.listeners.lock();
            if !listeners.gone {
                listeners.inboxes.push(inbox.clone());
                return;
            }
        }
    }

    pub(crate) fn unsubscribe(&self, channel: &Bytes, inbox: &Arc<Inbox>) {
        let map = self.map.pin();
        let Some(found) = map.get(channel) else { return };
        let mut listeners = found.listeners.lock();
        listeners.inboxes.retain(|one| !Arc::ptr_eq(one, inbox));
        if listeners.inboxes.is_empty() && !listeners.gone {
            listeners.gone = true;
            map.remove(channel);
        }
    }

    /// How many listen to a channel.
    pub(crate) fn listeners(&self, channel: &[u8]) -> usize {
        self.map.pin().get(channel).map_or(0, |found| found.listeners.lock().inboxes.len())
    }

    /// The channels that someone listens to.
    pub(crate) fn names(&self) -> Vec<Bytes> {
        self.map.pin().keys().cloned().collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

impl PubSub {
    pub(crate) fn subscribe_pattern(&self, pattern: &Bytes, inbox: &Arc<Inbox>) {
        let mut patterns = self.patterns.lock();
        patterns.entry(pattern.clone()).or_default().push(inbox.clone());
        self.pattern_count.store(patterns.len(), Ordering::Release);
    }

    pub(crate) fn unsubscribe_pattern(&self, pattern: &Bytes, inbox: &Arc<Inbox>) {
        let mut patterns = self.patterns.lock();
        if let Some(inboxes) = patterns.get_mut(pattern) {
            inboxes.retain(|one| !Arc::ptr_eq(one, inbox));
            if inboxes.is_empty() {
                patterns.remove(pattern);
            }
        }
        self.pattern_count.store(patterns.len(), Ordering::Release);
    }

    /// Puts a message into every listener's inbox, by its channel and then by patterns; how many times.
    pub(crate) fn publish(&self, channel: &[u8], payload: &[u8]) -> usize {
        let map = self.channels.map.pin();
        let patterned = self.pattern_count.load(Ordering::Acquire) > 0;
        let found = map.get_key_value(channel);
        if found.is_none() && !patterned {
            return 0;
        }
        let name = found.map_or_else(|| Bytes::copy_from_slice(channel), |(channel, _)| channel.clone());
        let message = Message { heard: Heard::Channel, channel: name, payload: Bytes::copy_from_slice(payload) };
        let mut heard = 0;
        if let Some((_, found)) = found {
            let listeners = found.listeners.lock();
            listeners.inboxes.iter().for_each(|inbox| inbox.put(message.clone()));
            heard = listeners.inboxes.len();
        }
        if patterned {
            for (pattern, inboxes) in self.patterns.lock().iter().filter(|(each, _)| glob::matches(each, channel)) {
                let message = Message { heard: Heard::Pattern(pattern.clone()), ..message.clone() };
                inboxes.iter().for_each(|inbox| inbox.put(message.clone()));
                heard += inboxes.len();
            }
        }
        heard
    }

    /// Heap bytes of channels and of who listens to them, about, but for the names: who listens pays for those.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let channel = |listeners: usize| size_class(size_of::<Channel>()) + CHANNEL_BYTES + 8 * listeners;
        let of = |channels: &Channels| {
            let map = channels.map.pin();
            map.values().map(|it| channel(it.listeners.lock().inboxes.capacity())).sum::<usize>()
        };
        let patterns: usize = self.patterns.lock().values().map(|inboxes| channel(inboxes.capacity())).sum();
        (of(&self.channels) + of(&self.shards) + patterns) as u64
    }

    /// Puts a message into the inbox of everyone who listens to a shard channel; how many times.
    pub(crate) fn publish_to_shard(&self, channel: &[u8], payload: &[u8]) -> usize {
        let map = self.shards.map.pin();
        let Some((name, found)) = map.get_key_value(channel) else { return 0 };
        let message = Message { heard: Heard::Shard, channel: name.clone(), payload: Bytes::copy_from_slice(payload) };
        let listeners = found.listeners.lock();
        listeners.inboxes.iter().for_each(|inbox| inbox.put(message.clone()));
        listeners.inboxes.len()
    }

    /// Patterns someone listens to.
    pub(crate) fn patterns(&self) -> usize {
        self.pattern_count.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::OutputLimit;

    fn inbox(bytes_max: u64) -> Inbox {
        let buffers = Buffers::new(0);
        let limit = OutputLimit { hard_bytes: bytes_max, ..OutputLimit::default() };
        buffers.set_output(&[limit; 3]);
        Inbox::new(Arc::new(buffers))
    }

    fn payloads(inbox: &Inbox) -> Vec<Bytes> {
        inbox.take().messages.into_iter().map(|message| message.payload).collect()
    }

    #[test]
    fn every_listener_gets_every_message_once() {
        let pubsub = PubSub::default();
        let inboxes = [Arc::new(inbox(1000)), Arc::new(inbox(1000))];
        let channel = Bytes::from_static(b"news");
        inboxes.iter().for_each(|inbox| pubsub.channels.subscribe(&channel, inbox));
        assert_eq!(pubsub.publish(b"news", b"1"), 2);
        assert_eq!(pubsub.publish(b"other", b"1"), 0);
        pubsub.channels.unsubscribe(&channel, &inboxes[0]);
        assert_eq!(pubsub.publish(b"news", b"2"), 1);
        assert_eq!(payloads(&inboxes[0]), [&b"1"[..]]);
        assert_eq!(payloads(&inboxes[1]), [&b"1"[..], b"2"]);
        pubsub.channels.unsubscribe(&channel, &inboxes[1]);
        assert_eq!((pubsub.publish(b"news", b"3"), pubsub.channels.len()), (0, 0));
    }

    #[test]
    fn patterns_hear_what_fits_them_after_the_channel_itself() {
        let pubsub = PubSub::default();
        let inbox = Arc::new(inbox(10_000));
        let (channel, pattern) = (Bytes::from_static(b"news.a"), Bytes::from_static(b"news.*"));
        pubsub.subscribe_pattern(&pattern, &inbox);
        assert_eq!((pubsub.publish(b"news.b", b"1"), pubsub.publish(b"other", b"2"), pubsub.patterns()), (1, 0, 1));
        pubsub.channels.subscribe(&channel, &inbox);
        assert_eq!((pubsub.publish(b"news.a", b"3"), pubsub.channels.listeners(b"news.a")), (2, 1));
        let heard: Vec<_> = inbox
            .take()
            .messages
            .into_iter()
            .map(|message| (message.heard != Heard::Channel, message.payload))
            .collect();
        assert_eq!(heard, [(true, "1".into()), (false, "3".into()), (true, "3".into())]);
        pubsub.unsubscribe_pattern(&pattern, &inbox);
        assert_eq!((pubsub.publish(b"news.b", b"4"), pubsub.patterns()), (0, 0));
    }

    /// As many as would take minutes if each were searched for among all: one client's patterns hold its worker.
    #[test]
    fn many_patterns_come_and_go() {
        let (pubsub, inbox) = (PubSub::default(), Arc::new(inbox(10_000)));
        let patterns: Vec<Bytes> = (0..100_000).map(|n| format!("pattern:{n}:*").into()).collect();
        patterns.iter().for_each(|pattern| pubsub.subscribe_pattern(pattern, &inbox));
        assert_eq!((pubsub.patterns(), pubsub.publish(b"pattern:99999:x", b"1")), (100_000, 1));
        patterns.iter().for_each(|pattern| pubsub.unsubscribe_pattern(pattern, &inbox));
        assert_eq!(pubsub.patterns(), 0);
    }

    #[test]
    fn an_inbox_holds_its_bytes_and_no_more() {
        let one =
            Message { heard: Heard::Channel, channel: Bytes::from_static(b"c"), payload: Bytes::from_static(b"12345") }
                .weight();
        let inbox = inbox(2 * one as u64);
        let message = || Message {
            heard: Heard::Channel,
            channel: Bytes::from_static(b"c"),
            payload: Bytes::from_static(b"12345"),
        };
        inbox.put(message());
        inbox.put(message());
        assert!(inbox.is_full() && !inbox.overflowed());
        inbox.put(message());
        assert!(inbox.overflowed());
        assert_eq!(payloads(&inbox).len(), 2);
    }
}
