//! Names with values: packed in one buffer while few and small, in a table of their own when not.
//!
//! The table is the keyspace's: linear hashing grows it one bucket at a time, its scan keeps redis's promise, and an entry
//! is one block, so a field costs what a key costs.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use super::list::Fill;
use super::packed::{Packed, PackedRef, Piece};
use super::{Elements, Entry, EntryRef, Value, size_class};
use crate::db::table::{KeyHash, Table};
use crate::resp::parse_i64;

/// Up to where a collection is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most elements.
    pub entries_max: usize,
    /// Longest name or value, in bytes.
    pub value_bytes_max: usize,
}

/// [`Bounds`] that may change while others read them.
#[derive(Debug)]
pub struct LiveBounds {
    /// Most elements.
    pub entries_max: AtomicUsize,
    /// Longest name or value, in bytes.
    pub value_bytes_max: AtomicUsize,
}

impl LiveBounds {
    fn new(bounds: Bounds) -> Self {
        Self {
            entries_max: AtomicUsize::new(bounds.entries_max),
            value_bytes_max: AtomicUsize::new(bounds.value_bytes_max),
        }
    }

    /// What they are now.
    #[inline]
    pub fn get(&self) -> Bounds {
        Bounds {
            entries_max: self.entries_max.load(Ordering::Relaxed),
            value_bytes_max: self.value_bytes_max.load(Ordering::Relaxed),
        }
    }
}

/// What collections need to grow: how to hash, and up to where each type is packed. Redis's settings of the same names,
/// at Valkey 8's defaults.
///
/// Read with plain loads whenever something is added, and changed whenever CONFIG SET says so: what is packed already
/// stays so until it grows.
#[derive(Debug)]
pub struct Growth {
    /// How names are hashed.
    pub key_hash: KeyHash,
    /// `hash-max-listpack-entries`, `hash-max-listpack-value`.
    pub hash: LiveBounds,
    /// `set-max-listpack-entries`, `set-max-listpack-value`.
    pub set: LiveBounds,
    /// `set-max-intset-entries`.
    pub set_ints_max: AtomicUsize,
    /// `zset-max-listpack-entries`, `zset-max-listpack-value`.
    pub sorted_set: LiveBounds,
    /// `list-max-listpack-size`, as [`Fill::of`] reads it.
    pub list: AtomicI32,
    /// `hll-sparse-max-bytes`.
    pub sparse_bytes_max: AtomicUsize,
}

impl Growth {
    /// The defaults.
    pub fn new(key_hash: KeyHash) -> Self {
        let bounds = |entries_max| LiveBounds::new(Bounds { entries_max, value_bytes_max: 64 });
        let set_ints_max = AtomicUsize::new(512);
        let list = AtomicI32::new(Fill::DEFAULT);
        let sparse_bytes_max = AtomicUsize::new(crate::hyper_log_log::SPARSE_BYTES_MAX);
        let (hash, set, sorted_set) = (bounds(512), bounds(128), bounds(128));
        Self { key_hash, hash, set, set_ints_max, sorted_set, list, sparse_bytes_max }
    }

    /// How much the runs of lists hold.
    #[inline]
    pub fn fill(&self) -> Fill {
        Fill::of(self.list.load(Ordering::Relaxed))
    }
}

/// Names with values.
#[derive(Debug)]
pub(super) enum Members {
    Packed(Packed),
    Table(Box<Table>),
}

impl Default for Members {
    fn default() -> Self {
        Self::Packed(Packed::default())
    }
}

/// [`Members`], to be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum MembersRef<'a> {
    Packed(PackedRef<'a>),
    Table(&'a Table),
}

impl Members {
    #[inline]
    pub(super) fn view(&self) -> MembersRef<'_> {
        match self {
            Self::Packed(packed) => MembersRef::Packed(packed.view()),
            Self::Table(table) => MembersRef::Table(table),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.heap_bytes(),
            Self::Table(table) => size_class(size_of::<Table>()) + table.heap_bytes(),
        }
    }

    /// None, kept as `other` keeps them.
    pub(super) fn alike(other: MembersRef<'_>, key_hash: &KeyHash) -> Self {
        match other {
            MembersRef::Packed(_) => Self::default(),
            MembersRef::Table(_) => Self::Table(Box::new(Table::new(key_hash.clone()))),
        }
    }

    pub(super) fn copied(stored: &[u8]) -> Self {
        Self::Packed(Packed::copied(PackedRef::of(stored)))
    }

    /// The pairs, while they are packed.
    pub(super) fn elements(&self) -> Option<Elements<'_>> {
        match self {
            Self::Packed(packed) => Some(Elements::Pairs(packed.view().stored())),
            Self::Table(_) => None,
        }
    }

    /// Gives a name a value; whether the name is new.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8], bounds: Bounds, key_hash: &KeyHash) -> bool {
        let table = match self {
            Self::Packed(packed) => {
                let fits = name.len().max(value.len()) <= bounds.value_bytes_max;
                let fits = fits && packed.has_room(name.len() + value.len());
                if fits && (packed.view().len() < bounds.entries_max || packed.view().get(name).is_some()) {
                    return packed.set(name, parse_i64(value).map_or(Piece::Bytes(value), Piece::Int));
                }
                self.unpack(key_hash)
            }
            Self::Table(table) => table,
        };
        let hash = table.hash_of(name);
        match table.find_mut(hash, name) {
            Some(mut entry) => {
                entry.set_string(value, None);
                false
            }
            None => {
                table.insert_new(hash, Entry::string(name, value, None));
                true
            }
        }
    }

    /// Removes a name; whether it was there.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        match self {
            Self::Packed(packed) => packed.remove(name),
            Self::Table(table) => table.remove(table.hash_of(name), name).is_some(),
        }
    }

    /// Takes a name out with its value, which is the caller's to drop; nothing of one that is packed.
    pub(super) fn take(&mut self, name: &[u8]) -> Option<Entry> {
        match self {
            Self::Packed(packed) => {
                packed.remove(name);
                None
            }
            Self::Table(table) => table.remove(table.hash_of(name), name),
        }
    }

    /// Moves everything to a table, if it is not in one.
    pub(super) fn unpack(&mut self, key_hash: &KeyHash) -> &mut Table {
        if let Self::Packed(packed) = self {
            let mut table = Box::new(Table::new(key_hash.clone()));
            for (name, value) in packed.view().iter() {
                let entry = match value {
                    Value::Int(int) => Entry::int(name, int, None),
                    Value::Bytes(bytes) => Entry::string(name, bytes, None),
                    Value::Shared(_) | Value::Object(_) => unreachable!("what is packed is neither"),
                };
                table.insert_new(key_hash.hash(name), entry);
            }
            *self = Self::Table(table);
        }
        match self {
            Self::Table(table) => table,
            Self::Packed(_) => unreachable!("it was unpacked just now"),
        }
    }
}

impl<'a> MembersRef<'a> {
    pub(super) fn of(stored: &'a [u8]) -> Self {
        Self::Packed(PackedRef::of(stored))
    }

    pub(super) fn len(self) -> usize {
        match self {
            Self::Packed(packed) => packed.len(),
            Self::Table(table) => table.len(),
        }
    }

    pub(super) fn is_packed(self) -> bool {
        matches!(self, Self::Packed(_))
    }

    pub(super) fn get(self, name: &[u8]) -> Option<Value<'a>> {
        match self {
            Self::Packed(packed) => packed.get(name),
            Self::Table(table) => table.find(table.hash_of(name), name).map(EntryRef::value),
        }
    }

    /// When a name expires: a name in a table can.
    pub(super) fn expire_at_ms(self, name: &[u8]) -> Option<u64> {
        match self {
            Self::Packed(_) => None,
            Self::Table(table) => table.find(table.hash_of(name), name).and_then(EntryRef::expire_at_ms),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
        let (packed, table) = match self {
            Self::Packed(packed) => (Some(packed.iter()), None),
            Self::Table(table) => (None, Some(table.iter())),
        };
        packed.into_iter().flatten().chain(table.into_iter().flatten().map(|entry| (entry.key(), entry.value())))
    }

    /// Visits one step of a scan and answers the next cursor: all at once while packed. See [`Table::scan`].
    pub(super) fn scan(self, cursor: u64, visit: &mut impl FnMut(&[u8], Value<'_>)) -> u64 {
        match self {
            Self::Packed(packed) => {
                packed.iter().for_each(|(name, value)| visit(name, value));
                0
            }
            Self::Table(table) => table.scan(cursor, &mut |entry| visit(entry.key(), entry.value())),
        }
    }

    /// Some pair, each with about the same chance.
    pub(super) fn random(self, draw: &mut impl FnMut() -> u64) -> Option<(&'a [u8], Value<'a>)> {
        match self {
            Self::Packed(packed) if packed.is_empty() => None,
            Self::Packed(packed) => packed.nth((draw() % packed.len() as u64) as usize),
            Self::Table(table) => table.random(draw).map(|entry| (entry.key(), entry.value())),
        }
    }
}
