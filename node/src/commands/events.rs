//! What those are told who listen to keys: redis' names of what happens to them, and which row sends which.
//!
//! A command does not send events: the keyspace notes what became of each key, and the row's [`Event`] names it. Most are
//! named after the command.

use std::borrow::Cow;

use super::{Family, Spec, Stated};
use crate::db::{How, Touch};
use crate::resp::Args;

/// Classes of events, and the two kinds of channel they are told on: the letters of `notify-keyspace-events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class(u32);

impl Class {
    /// `K`: told on `__keyspace@0__:key`.
    pub(crate) const KEYSPACE: Self = Self(1);
    /// `E`: told on `__keyevent@0__:event`.
    pub(crate) const KEYEVENT: Self = Self(2);
    /// `g`: what any type of key is done.
    pub(crate) const GENERIC: Self = Self(4);
    pub(crate) const STRING: Self = Self(8);
    pub(crate) const LIST: Self = Self(16);
    pub(crate) const SET: Self = Self(32);
    pub(crate) const HASH: Self = Self(64);
    pub(crate) const SORTED_SET: Self = Self(128);
    /// `x`: its time came.
    pub(crate) const EXPIRED: Self = Self(256);
    /// `e`: it went for want of memory.
    pub(crate) const EVICTED: Self = Self(512);
    pub(crate) const STREAM: Self = Self(1024);
    /// `m`: it was asked for in vain.
    pub(crate) const MISSED: Self = Self(2048);
    /// `d`: of modules, as which documents are told of.
    pub(crate) const MODULE: Self = Self(4096);
    /// `n`: there was none before.
    pub(crate) const NEW: Self = Self(8192);
}

/// Letters of classes, in redis' order; `A` stands for those up to `d`.
const LETTERS: &[(u8, Class)] = &[
    (b'g', Class::GENERIC),
    (b'$', Class::STRING),
    (b'l', Class::LIST),
    (b's', Class::SET),
    (b'h', Class::HASH),
    (b'z', Class::SORTED_SET),
    (b'x', Class::EXPIRED),
    (b'e', Class::EVICTED),
    (b't', Class::STREAM),
    (b'd', Class::MODULE),
    (b'n', Class::NEW),
];
const LAST_LETTERS: &[(u8, Class)] = &[(b'K', Class::KEYSPACE), (b'E', Class::KEYEVENT), (b'm', Class::MISSED)];

/// Sets of classes: what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Classes(pub(crate) u32);

impl Classes {
    /// What `A` stands for.
    const ALL: u32 = 4 | 8 | 16 | 32 | 64 | 128 | 256 | 512 | 1024 | 4096;

    #[inline]
    pub(crate) fn has(self, class: Class) -> bool {
        self.0 & class.0 != 0
    }

    /// Reads letters; `None` for one that is none.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let letters = || LETTERS.iter().chain(LAST_LETTERS);
        let of = |letter: &u8| match letter {
            b'A' => Some(Self::ALL),
            letter => letters().find(|(each, _)| each == letter).map(|(_, class)| class.0),
        };
        text.iter().map(of).try_fold(0, |all, one| Some(all | one?)).map(Self)
    }

    /// The letters as redis shows them: with `A` it leaves `n` out.
    pub(crate) fn shown(self) -> String {
        let is_all = self.0 & Self::ALL == Self::ALL;
        let shown = |letters: &'static [(u8, Class)]| {
            letters.iter().filter(move |(_, class)| self.has(*class)).map(|(letter, _)| char::from(*letter))
        };
        let first: String = if is_all { "A".to_owned() } else { shown(LETTERS).collect() };
        first + &shown(LAST_LETTERS).collect::<String>()
    }
}

/// The events of one command.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// Its own name, of its family's class.
    ByName,
    /// This.
    Is(Class, &'static str),
    /// As its arguments say, for this key.
    By(Class, fn(Args<'_>, &[u8]) -> &'static str),
    /// `set`, and `expire` where its arguments state a TTL.
    Set,
    /// All of them as this says.
    All(fn(Args<'_>, &[Touch], &mut Vec<Told>)),
}

/// One event.
pub struct Told {
    pub(crate) class: Class,
    pub(crate) name: Cow<'static, str>,
    pub(crate) key: Box<[u8]>,
    /// Where it is, once somebody has said so.
    pub(crate) database: Option<u8>,
}

impl Told {
    pub(super) fn of(class: Class, name: &'static str, key: &[u8]) -> Self {
        Self { class, name: Cow::Borrowed(name), key: key.into(), database: None }
    }
}

/// The events of what a command did to keys, in redis' order.
pub(crate) fn told(spec: &Spec, args: Args<'_>, wall_ms: u64, touches: &[Touch]) -> Vec<Told> {
    let mut all = Vec::new();
    if let Event::All(say) = spec.event {
        // Keys that died were found dead before anything was done.
        let (died, done): (Vec<Touch>, Vec<Touch>) = touches.iter().cloned().partition(|touch| touch.how.is_end());
        died.iter().for_each(|touch| within(touch.database, &mut all, |all| tell(spec, args, wall_ms, touch, all)));
        // Where it ended: of a copy that is the other database.
        let database = done.last().map_or(0, |touch| touch.database);
        within(database, &mut all, |all| say(args, &done, all));
        return all;
    }
    for touch in touches {
        within(touch.database, &mut all, |all| tell(spec, args, wall_ms, touch, all));
    }
    all
}

/// The events of keys that no command took away.
pub(crate) fn told_gone(touches: &[Touch]) -> Vec<Told> {
    let mut all = Vec::new();
    for touch in touches {
        within(touch.database, &mut all, |all| {
            tell_end(touch, all);
        });
    }
    all
}

/// Gives what `tell` adds its database. MOVE says its two itself.
fn within(database: u8, all: &mut Vec<Told>, tell: impl FnOnce(&mut Vec<Told>)) {
    let from = all.len();
    tell(all);
    for told in all.iter_mut().skip(from) {
        told.database.get_or_insert(database);
    }
}

/// Tells of what no command does; whether it was that.
fn tell_end(touch: &Touch, all: &mut Vec<Told>) -> bool {
    let (class, name) = match touch.how {
        How::Expired => (Class::EXPIRED, "expired"),
        How::Evicted => (Class::EVICTED, "evicted"),
        How::Missed => (Class::MISSED, "keymiss"),
        How::Deleted => (Class::GENERIC, "del"),
        _ => return false,
    };
    all.push(Told::of(class, name, &touch.key));
    true
}

fn tell(spec: &Spec, args: Args<'_>, wall_ms: u64, touch: &Touch, all: &mut Vec<Told>) {
    let key = &touch.key;
    if tell_end(touch, all) {
        return;
    }
    if matches!(touch.how, How::Added | How::Renewed) {
        all.push(Told::of(Class::NEW, "new", key));
    }
    match spec.event {
        Event::ByName => {
            let name = spec.name.to_ascii_lowercase().replace('|', "-");
            all.push(Told { class: class_of(spec.family), name: Cow::Owned(name), key: key.clone(), database: None });
        }
        Event::Is(class, name) => all.push(Told::of(class, name, key)),
        Event::By(class, name) => all.push(Told::of(class, name(args, key), key)),
        Event::Set => {
            all.push(Told::of(Class::STRING, "set", key));
            if matches!(spec.ttl.stated(args, wall_ms), Stated::Ms(_)) {
                all.push(Told::of(Class::GENERIC, "expire", key));
            }
        }
        Event::All(_) => {}
    }
    if touch.how == How::Emptied {
        all.push(Told::of(Class::GENERIC, "del", key));
    }
}

fn class_of(family: Family) -> Class {
    match family {
        Family::String | Family::Bitmap => Class::STRING,
        Family::List => Class::LIST,
        Family::Set => Class::SET,
        Family::Hash => Class::HASH,
        Family::SortedSet | Family::Geo => Class::SORTED_SET,
        Family::HyperLogLog => Class::STRING,
        Family::Stream => Class::STREAM,
        Family::Json => Class::MODULE,
        _ => Class::GENERIC,
    }
}

/// Changes that nobody is told of.
pub(super) fn untold(_: Args<'_>, _: &[Touch], _: &mut Vec<Told>) {}

/// MOVE: gone from one database, new in the other.
pub(super) fn moved_away(args: Args<'_>, touches: &[Touch], all: &mut Vec<Told>) {
    let (Some(from), Some(to)) = (
        touches.iter().find(|touch| matches!(touch.how, How::Deleted | How::Emptied)),
        touches.iter().find(|touch| touch.how == How::Added),
    ) else {
        return;
    };
    let key = args.get(1);
    let of = |class, name, database| Told { database: Some(database), ..Told::of(class, name, key) };
    all.push(of(Class::NEW, "new", to.database));
    all.push(of(Class::GENERIC, "move_from", from.database));
    all.push(of(Class::GENERIC, "move_to", to.database));
}

/// RENAME: what was there and what is, after the new key.
pub(super) fn renamed(args: Args<'_>, touches: &[Touch], all: &mut Vec<Told>) {
    if touches.is_empty() {
        return;
    }
    let (from, to) = (args.get(1), args.get(2));
    all.push(Told::of(Class::NEW, "new", to));
    all.push(Told::of(Class::GENERIC, "rename_from", from));
    all.push(Told::of(Class::GENERIC, "rename_to", to));
}

/// COPY: a copy is new even where it replaces.
pub(super) fn copied(args: Args<'_>, touches: &[Touch], all: &mut Vec<Told>) {
    if !touches.is_empty() {
        all.push(Told::of(Class::NEW, "new", args.get(2)));
        all.push(Told::of(Class::GENERIC, "copy_to", args.get(2)));
    }
}

/// A move between lists: it is pushed before it is popped. `pops` and `pushes` are the ends, as the events name them.
pub(super) fn moved(
    args: Args<'_>,
    (pops, pushes): (&'static str, &'static str),
    touches: &[Touch],
    all: &mut Vec<Told>,
) {
    let (from, to) = (args.get(1), args.get(2));
    let was = |key: &[u8], how: How| touches.iter().any(|touch| &*touch.key == key && touch.how == how);
    if touches.is_empty() {
        return;
    }
    if was(to, How::Added) {
        all.push(Told::of(Class::NEW, "new", to));
    }
    all.push(Told::of(Class::LIST, pushes, to));
    all.push(Told::of(Class::LIST, pops, from));
    if was(from, How::Emptied) {
        all.push(Told::of(Class::GENERIC, "del", from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_shown_as_redis_does() {
        let cases = [
            ("", ""),
            ("KEA", "AKE"),
            ("AKEmn", "AKEm"),
            ("g$lshzxetd", "A"),
            ("Knm", "nKm"),
            ("elK", "leK"),
            ("zzz", "z"),
        ];
        for (text, shown) in cases {
            assert_eq!(Classes::read(text.as_bytes()).map(Classes::shown).as_deref(), Some(shown), "{text}");
        }
        assert!(Classes::read(b"KEQ").is_none() && Classes::read(b"K ").is_none());
    }
}
