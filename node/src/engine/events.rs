//! Telling of what happens to keys: `__keyspace@0__:key` hears the event, `__keyevent@0__:event` the key,
//! 0 being the key's database.
//!
//! Told while the partitions are held, so the events of a key come in their order. Who hears them is asked as for every
//! message, and besides whether it may read the key: [`key_of`].

use std::sync::atomic::Ordering;

use super::Engine;
use super::cx::Cx;
use crate::commands::{self, Class, Classes, Spec, Told};
use crate::db::Keyspace;
use crate::resp::Args;

const KEYSPACE: &[u8] = b"__keyspace@";
const KEYEVENT: &[u8] = b"__keyevent@";

impl Engine {
    /// What is told: CONFIG SET notify-keyspace-events.
    pub(crate) fn events(&self) -> Classes {
        Classes(self.db.events.load(Ordering::Relaxed))
    }

    pub(crate) fn set_events(&self, classes: Classes) {
        self.db.events.store(classes.0, Ordering::Relaxed);
    }
}

/// Tells of what a command did.
#[inline]
pub(super) fn tell(cx: &mut Cx<'_>, spec: &Spec, args: Args<'_>) {
    if !cx.keys.touches.is_empty() {
        tell_all(cx, spec, args);
    }
}

#[cold]
fn tell_all(cx: &mut Cx<'_>, spec: &Spec, args: Args<'_>) {
    let touches = std::mem::take(&mut cx.keys.touches);
    let all = commands::told(spec, args, cx.now.wall_ms, &touches);
    publish(cx.engine, &all);
}

/// Tells of keys that went without a command: their time came, or memory was short.
#[inline]
pub(super) fn tell_gone(engine: &Engine, keys: &mut Keyspace<'_>) {
    if !keys.touches.is_empty() {
        publish(engine, &commands::told_gone(&std::mem::take(&mut keys.touches)));
    }
}

fn publish(engine: &Engine, all: &[Told]) {
    let wanted = engine.events();
    for Told { class, name, key, database } in all.iter().filter(|told| wanted.has(told.class)) {
        debug_assert!(*class != Class::KEYSPACE && *class != Class::KEYEVENT);
        let database = format!("{}__:", database.unwrap_or_default());
        if wanted.has(Class::KEYSPACE) {
            engine.pubsub.publish(&[KEYSPACE, database.as_bytes(), key].concat(), name.as_bytes());
        }
        if wanted.has(Class::KEYEVENT) {
            engine.pubsub.publish(&[KEYEVENT, database.as_bytes(), name.as_bytes()].concat(), key);
        }
    }
}

/// The key that a message tells of, by its channel; whoever published it.
pub(super) fn key_of<'m>(channel: &'m [u8], payload: &'m [u8]) -> Option<&'m [u8]> {
    if channel.starts_with(KEYEVENT) {
        return Some(payload);
    }
    let rest = channel.strip_prefix(KEYSPACE)?;
    let at = rest.windows(3).position(|window| window == b"__:")?;
    rest.get(at + 3..)
}
