//! One key with its value: a single heap block behind an owning pointer of 8 bytes.
//!
//! ```text
//! 0        4       6      7       8
//! value_len key_len shape  flags   [expiry 6] [long key_len 4] [attribute_len 2, attribute] key value
//! u32       u16     u8     u8
//! ```
//!
//! `shape` is the kind (3 bits) and the encoding of the value. `value` is the string's bytes, an 8-byte integer when the
//! text is a canonical decimal `i64`, the elements of a small collection (up to [`ELEMENTS_BYTES_MAX`]), or a pointer
//! to an [`Object`]: another collection, or a string in a block of its own (those over [`SHARED_BYTES_MIN`], and those that
//! are changed in their place). The block is as long as the allocator's size class, so a value of another length may take
//! its place without a new block. Little is gained by naming what is in a header of 8 bytes; what is lost is memory:
//! facts B5 measures 31 bytes per key with this layout against 94 for Redis.
//!
//! `unsafe` lives here, in `shape.rs` and `view.rs` below, in `table.rs` and below it, and at the allocator's door. The
//! invariant all of it rests on: an `Entry` owns a block made by `Entry::build`, whose first 8 bytes describe it truly, and
//! whose pointers (if the encoding says so) it owns.
#![allow(unsafe_code)]

mod hash;
mod ints;
mod list;
mod members;
mod object;
mod packed;
mod ranked;
mod set;
mod shape;
mod size;
mod sorted_set;
pub mod stream;
mod text;
mod view;

pub use hash::{Hash, HashRef};
pub use list::{Fill, List};
pub use members::{Bounds, Growth};
pub use object::{Collection, Elements, Object, ObjectRef};
pub use packed::{Packed, PackedRef};
pub use set::{Member, Set, SetRef};
pub(crate) use size::aligned_class;
pub use size::size_class;
pub use sorted_set::{SortedSet, SortedSetRef};
pub use stream::Stream;
pub use text::{EDITED_BYTES_MIN, Text};

pub use crate::json::Document as Json;
use shape::{Encoding, HAS_ATTRIBUTE, HAS_EXPIRY, HEADER, LONG_KEY, Shape, put};

use crate::resp::parse_i64;
use bytes::Bytes;
use std::alloc::{alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// String values longer than this are kept in a reference counted block: bytes.
pub const SHARED_BYTES_MIN: usize = 16 * 1024;

/// The most bytes of elements that are kept in their entry's block. More are in a block of their own, in which they are
/// changed without being copied.
pub const ELEMENTS_BYTES_MAX: usize = 512;

/// The latest expiry an entry can hold: 48 bits of unix milliseconds, the year 10889. Later ones are held as this.
pub const EXPIRE_AT_MS_MAX: u64 = (1 << 48) - 1;

/// The longest attribute (a content type): bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// What type of value a key holds. At most 8 kinds: a slot of the table has 3 bits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes, or an integer that reads as such.
    String = 0,
    /// A list of byte strings.
    List = 1,
    /// Fields with values.
    Hash = 2,
    /// Byte strings, each once.
    Set = 3,
    /// Byte strings, each once, with scores that order them.
    SortedSet = 4,
    /// Entries in the order of their ids, and groups that read them.
    Stream = 5,
    /// A JSON document.
    Json = 6,
}

impl Kind {
    /// The name TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Hash => "hash",
            Kind::Set => "set",
            Kind::SortedSet => "zset",
            Kind::Stream => "stream",
            Kind::Json => "ReJSON-RL",
        }
    }
}

/// The value of an entry, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A string that is a canonical decimal integer.
    Int(i64),
    /// A string held inline.
    Bytes(&'a [u8]),
    /// A long string, which can be kept past the partition's lock by a clone.
    Shared(&'a Bytes),
    /// A collection.
    Object(ObjectRef<'a>),
}

/// A key with its value, expiry and attribute. Owns one heap block; as large as a pointer.
pub struct Entry(NonNull<u8>);

/// An [`Entry`], borrowed: a thin pointer, passed by value.
#[derive(Clone, Copy)]
pub struct EntryRef<'a>(NonNull<u8>, PhantomData<&'a Entry>);

// SAFETY: an Entry owns its block and the Box<Object> it points to, which is Send and Sync, and gives out &mut only
// through &mut Entry.
unsafe impl Send for Entry {}
// SAFETY: as above; through &Entry or EntryRef nothing can be changed.
unsafe impl Sync for Entry {}
// SAFETY: an EntryRef is a shared borrow of an Entry, which is Sync.
unsafe impl Send for EntryRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for EntryRef<'_> {}

/// A string value, encoded: what goes into the block.
enum Encoded<'a> {
    Raw(&'a [u8]),
    Int(i64),
}

impl Entry {
    /// A string entry. Canonical decimal integers are kept as integers, long values as reference counted blocks.
    ///
    /// Keys and values are below 4 GiB ([`crate::resp::Limits`] allows 512 MB).
    pub fn string(key: &[u8], value: &[u8], expire_at_ms: Option<u64>) -> Entry {
        match parse_i64(value) {
            Some(value) => Entry::encoded(key, Encoded::Int(value), expire_at_ms),
            None if value.len() > SHARED_BYTES_MIN => Entry::shared(key, Bytes::copy_from_slice(value), expire_at_ms),
            None => Entry::encoded(key, Encoded::Raw(value), expire_at_ms),
        }
    }

    /// A string entry for an integer.
    pub fn int(key: &[u8], value: i64, expire_at_ms: Option<u64>) -> Entry {
        Entry::encoded(key, Encoded::Int(value), expire_at_ms)
    }

    /// A string entry that takes over `value` without a copy when it is long.
    pub fn shared(key: &[u8], value: Bytes, expire_at_ms: Option<u64>) -> Entry {
        if value.len() > SHARED_BYTES_MIN {
            Entry::text(key, Text::of(value), expire_at_ms)
        } else {
            Entry::string(key, &value, expire_at_ms)
        }
    }

    /// An entry that holds a string in a block of its own.
    pub fn text(key: &[u8], text: Text, expire_at_ms: Option<u64>) -> Entry {
        let stored = pointer_to(Object::Text(text));
        Entry::build(Kind::String, Encoding::Object, key, None, &stored, expire_at_ms)
    }

    /// An entry that holds a collection: in its own block when its elements may be there and are few.
    pub fn collection<C: Collection>(key: &[u8], collection: C, expire_at_ms: Option<u64>) -> Entry {
        with_stored(collection, |encoding, stored| Entry::build(C::KIND, encoding, key, None, stored, expire_at_ms))
    }

    /// A new entry of the same key, expiry and attribute, with this collection.
    pub fn with_collection<C: Collection>(&self, collection: C) -> Entry {
        let view = self.view();
        with_stored(collection, |encoding, stored| {
            Entry::build(C::KIND, encoding, view.key(), view.attribute(), stored, view.expire_at_ms())
        })
    }

    fn encoded(key: &[u8], value: Encoded<'_>, expire_at_ms: Option<u64>) -> Entry {
        let build = |encoding, value: &[u8]| Entry::build(Kind::String, encoding, key, None, value, expire_at_ms);
        match value {
            Encoded::Raw(value) => build(Encoding::Raw, value),
            Encoded::Int(value) => build(Encoding::Int, &value.to_ne_bytes()),
        }
    }

    /// The only maker of blocks. `value` is what is stored: bytes, an integer, or an owned pointer (see `encoding`).
    fn build(
        kind: Kind,
        encoding: Encoding,
        key: &[u8],
        attribute: Option<&[u8]>,
        value: &[u8],
        expire_at_ms: Option<u64>,
    ) -> Entry {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let shape = Shape {
            kind,
            encoding,
            flags: flag(expire_at_ms.is_some(), HAS_EXPIRY) | flag(attribute.is_some(), HAS_ATTRIBUTE),
            key_len: key.len(),
            attribute_len: attribute.map_or(0, <[u8]>::len),
            value_len: value.len(),
        };
        assert!(key.len() <= u32::MAX as usize && value.len() <= u32::MAX as usize, "keys and values are below 4 GiB");
        let layout = shape.layout();
        // SAFETY: the layout's size is at least HEADER.
        let block = unsafe { alloc(layout) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        let short = if key.len() >= usize::from(LONG_KEY) { LONG_KEY } else { key.len() as u16 };
        // SAFETY: all places are within `shape.bytes()`, which the block has; the block is new, so nothing overlaps.
        unsafe {
            put(block, 0, &(value.len() as u32).to_ne_bytes());
            put(block, 4, &short.to_ne_bytes());
            put(block, 6, &[kind as u8 | (encoding as u8) << 3, shape.flags]);
            if let Some(at) = expire_at_ms {
                put(block, HEADER, &at.min(EXPIRE_AT_MS_MAX).to_le_bytes()[..6]);
            }
            if short == LONG_KEY {
                put(block, shape.long_key_at(), &(key.len() as u32).to_ne_bytes());
            }
            if let Some(attribute) = attribute {
                put(block, shape.attribute_at(), &(attribute.len() as u16).to_ne_bytes());
                put(block, shape.attribute_at() + 2, attribute);
            }
            put(block, shape.key_at(), key);
            put(block, shape.value_at(), value);
        }
        Entry(block)
    }

    /// The entry, borrowed.
    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    /// The same key and value with another expiry, or with none. In place when there is room for one already.
    pub fn with_expiry(self, expire_at_ms: Option<u64>) -> Entry {
        let shape = self.view().shape();
        match expire_at_ms {
            Some(at) if shape.flags & HAS_EXPIRY != 0 => {
                // SAFETY: the flag says that the block holds an expiry behind its header; `self` is owned.
                unsafe { put(self.0, HEADER, &at.min(EXPIRE_AT_MS_MAX).to_le_bytes()[..6]) };
                self
            }
            None if shape.flags & HAS_EXPIRY == 0 => self,
            _ => self.rebuilt(expire_at_ms, None, true),
        }
    }

    /// The same key, value and expiry with this attribute, or with none.
    ///
    /// # Errors
    /// The entry unchanged, when the attribute is longer than [`ATTRIBUTE_BYTES_MAX`].
    pub fn with_attribute(self, attribute: Option<&[u8]>) -> Result<Entry, Entry> {
        if attribute.is_some_and(|attribute| attribute.len() > ATTRIBUTE_BYTES_MAX) {
            return Err(self);
        }
        if attribute == self.attribute() {
            return Ok(self);
        }
        let expire_at_ms = self.expire_at_ms();
        Ok(self.rebuilt(expire_at_ms, attribute, false))
    }

    /// The same value under another key, expiry kept: RENAME.
    pub fn with_key(self, key: &[u8]) -> Entry {
        let view = self.view();
        let shape = view.shape();
        let new =
            Entry::build(shape.kind, shape.encoding, key, view.attribute(), view.stored(shape), view.expire_at_ms());
        self.free_block();
        new
    }

    fn rebuilt(self, expire_at_ms: Option<u64>, attribute: Option<&[u8]>, keep_attribute: bool) -> Entry {
        let view = self.view();
        let shape = view.shape();
        let attribute = if keep_attribute { view.attribute() } else { attribute };
        let new = Entry::build(shape.kind, shape.encoding, view.key(), attribute, view.stored(shape), expire_at_ms);
        self.free_block();
        new
    }

    /// Frees the block alone: what it points to has a new owner.
    fn free_block(self) {
        let layout = self.view().shape().layout();
        // SAFETY: `build` allocated the block with this layout (overwrites keep the size class), and it is freed once:
        // `self` is forgotten.
        unsafe { dealloc(self.0.as_ptr(), layout) };
        std::mem::forget(self);
    }

    /// Puts another integer in place of the present one.
    ///
    /// False, and nothing changed, when the value is not held as an integer, or an attribute would have to be dropped.
    pub fn set_int(&mut self, value: i64) -> bool {
        let shape = self.view().shape();
        if shape.encoding != Encoding::Int || shape.flags & HAS_ATTRIBUTE != 0 {
            return false;
        }
        // SAFETY: the encoding says that the value's place holds 8 bytes; `self` is borrowed mutably.
        unsafe { put(self.0, shape.value_at(), &value.to_ne_bytes()) };
        true
    }

    /// Puts another string in place of the present one, expiry kept.
    ///
    /// False, and nothing changed, when the new value would need a block of another size class, either value is a long
    /// one, the entry is no string, or an attribute would have to be dropped.
    pub fn overwrite(&mut self, value: &[u8]) -> bool {
        let mut shape = self.view().shape();
        let inline = matches!(shape.encoding, Encoding::Raw | Encoding::Int) && value.len() <= SHARED_BYTES_MIN;
        if !inline || shape.kind != Kind::String || shape.flags & HAS_ATTRIBUTE != 0 {
            return false;
        }
        let int = parse_i64(value).map(i64::to_ne_bytes);
        let (encoding, stored) = match &int {
            Some(int) => (Encoding::Int, &int[..]),
            None => (Encoding::Raw, value),
        };
        let class = shape.layout();
        (shape.encoding, shape.value_len) = (encoding, stored.len());
        if shape.layout() != class {
            return false;
        }
        // SAFETY: the block is as long as its size class, which also holds the new value; `value` cannot overlap the
        // block, as `self` is borrowed mutably.
        unsafe {
            put(self.0, 0, &(stored.len() as u32).to_ne_bytes());
            put(self.0, 6, &[shape.kind as u8 | (encoding as u8) << 3]);
            put(self.0, shape.value_at(), stored);
        }
        true
    }

    /// A new entry that keeps in its own block what is in another here: when that may be, and has become small.
    pub(in crate::db) fn moved_in<C: Collection>(&mut self) -> Option<Entry> {
        let elements = C::of_mut(self.object_mut()?)?.elements()?;
        // Half of what would be moved out again, so that none is moved to and fro.
        let stored = (elements.stored().len() <= ELEMENTS_BYTES_MAX / 2).then(|| Vec::from(elements.stored()))?;
        let (encoding, view) = (Encoding::of(elements), self.view());
        let (attribute, expire_at_ms) = (view.attribute(), view.expire_at_ms());
        Some(Entry::build(C::KIND, encoding, view.key(), attribute, &stored, expire_at_ms))
    }

    /// Puts the elements of another collection of the same kind in place of the present ones.
    ///
    /// False, and nothing changed, when those are not in the entry's block, or the others would need one of another size
    /// class.
    pub(in crate::db) fn overwrite_elements(&mut self, elements: Elements<'_>) -> bool {
        let mut shape = self.view().shape();
        let (class, stored) = (shape.layout(), elements.stored());
        shape.value_len = stored.len();
        if self.view().elements().is_none() || shape.layout() != class {
            return false;
        }
        let encoding = Encoding::of(elements);
        // SAFETY: the block is as long as its size class, which also holds the new value; it cannot overlap the block, as
        // `self` is borrowed mutably.
        unsafe {
            put(self.0, 0, &(stored.len() as u32).to_ne_bytes());
            put(self.0, 6, &[shape.kind as u8 | (encoding as u8) << 3]);
            put(self.0, shape.value_at(), stored);
        }
        true
    }

    /// The object in a block of its own, to be changed.
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        let view = self.view();
        let shape = view.shape();
        if shape.encoding != Encoding::Object {
            return None;
        }
        // SAFETY: the encoding says that the value is a pointer from Box<Object> that this entry owns; `self` is
        // borrowed mutably for as long as the answer lives.
        Some(unsafe { &mut *(view.pointer(shape) as *mut Object) })
    }

    /// Gives up the block as a pointer, below 2^48 on every supported system: for the table's slots.
    pub(super) fn into_raw(self) -> NonNull<u8> {
        let block = self.0;
        std::mem::forget(self);
        block
    }

    /// # Safety
    /// `block` came from [`Entry::into_raw`] and is not owned by another Entry.
    pub(super) unsafe fn from_raw(block: NonNull<u8>) -> Entry {
        Entry(block)
    }

    /// See [`EntryRef::key`].
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.view().key()
    }

    /// See [`EntryRef::kind`].
    #[inline]
    pub fn kind(&self) -> Kind {
        self.view().kind()
    }

    /// See [`EntryRef::value`].
    #[inline]
    pub fn value(&self) -> Value<'_> {
        self.view().value()
    }

    /// See [`EntryRef::expire_at_ms`].
    #[inline]
    pub fn expire_at_ms(&self) -> Option<u64> {
        self.view().expire_at_ms()
    }

    /// See [`EntryRef::attribute`].
    pub fn attribute(&self) -> Option<&[u8]> {
        self.view().attribute()
    }

    /// See [`EntryRef::heap_bytes`].
    pub fn heap_bytes(&self) -> usize {
        self.view().heap_bytes()
    }
}

/// Hands on what an entry stores for a collection. What a pointer in it points to is the entry's from then on.
fn with_stored<C: Collection>(collection: C, build: impl FnOnce(Encoding, &[u8]) -> Entry) -> Entry {
    match collection.elements().filter(|elements| elements.stored().len() <= ELEMENTS_BYTES_MAX) {
        Some(elements) => build(Encoding::of(elements), elements.stored()),
        None => build(Encoding::Object, &pointer_to(collection.into_object())),
    }
}

fn pointer_to(object: Object) -> [u8; size_of::<usize>()] {
    (Box::into_raw(Box::new(object)) as usize).to_ne_bytes()
}

impl Drop for Entry {
    fn drop(&mut self) {
        let view = self.view();
        let shape = view.shape();
        // SAFETY: the encoding says what the value's pointer is and that this entry owns it; the block was allocated
        // with this layout; nothing is used after.
        unsafe {
            match shape.encoding {
                Encoding::Raw | Encoding::Int | Encoding::Pairs | Encoding::Ints => {}
                Encoding::Object => drop(Box::from_raw(view.pointer(shape) as *mut Object)),
            }
            dealloc(self.0.as_ptr(), shape.layout());
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(f)
    }
}

#[cfg(test)]
mod tests;
