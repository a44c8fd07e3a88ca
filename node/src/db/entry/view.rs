//! Reading an entry.

use super::shape::{Encoding, HAS_ATTRIBUTE, HAS_EXPIRY, HEADER, LONG_KEY, Shape, encoding, get, kind, slice};
use super::{Collection, Elements, EntryRef, Kind, Object, ObjectRef, Value, size_class};
use std::marker::PhantomData;
use std::ptr::NonNull;

impl<'a> Value<'a> {
    /// The collection, if it is one of this type.
    pub fn collection<C: Collection>(self) -> Option<C::View<'a>> {
        match self {
            Value::Object(object) => C::of(object),
            _ => None,
        }
    }
}

impl<'a> EntryRef<'a> {
    /// # Safety
    /// `block` came from [`super::Entry::into_raw`], and the Entry lives, unchanged, for `'a`.
    #[inline]
    pub(in crate::db) unsafe fn from_raw(block: NonNull<u8>) -> EntryRef<'a> {
        EntryRef(block, PhantomData)
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        // SAFETY: the header is valid; without optional parts the key begins right behind it.
        unsafe {
            let short = u16::from_ne_bytes(get(self.0, 4));
            let [flags] = get(self.0, 7);
            if flags == 0 && short != LONG_KEY {
                return slice(self.0, HEADER, usize::from(short));
            }
        }
        let shape = self.shape();
        // SAFETY: a block holds `key_len` bytes at `key_at`.
        unsafe { slice(self.0, shape.key_at(), shape.key_len) }
    }

    /// The type of the value.
    #[inline]
    pub fn kind(self) -> Kind {
        // SAFETY: the header is valid.
        let [shape] = unsafe { get(self.0, 6) };
        kind(shape)
    }

    /// The value.
    pub fn value(self) -> Value<'a> {
        let shape = self.shape();
        match shape.encoding {
            Encoding::Raw => Value::Bytes(self.stored(shape)),
            // SAFETY: an integer has 8 bytes at `value_at`.
            Encoding::Int => Value::Int(i64::from_ne_bytes(unsafe { get(self.0, shape.value_at()) })),
            Encoding::Object => match self.object(shape) {
                Object::Text(text) => Value::Shared(text.bytes()),
                Object::List(list) => Value::Object(ObjectRef::List(list)),
                Object::Hash(hash) => Value::Object(ObjectRef::Hash(hash.view())),
                Object::Set(set) => Value::Object(ObjectRef::Set(set.view())),
                Object::SortedSet(set) => Value::Object(ObjectRef::SortedSet(set.view())),
                Object::Stream(stream) => Value::Object(ObjectRef::Stream(stream)),
                Object::Json(document) => Value::Object(ObjectRef::Json(document)),
            },
            Encoding::Pairs => Value::Object(ObjectRef::of_elements(shape.kind, Elements::Pairs(self.stored(shape)))),
            Encoding::Ints => Value::Object(ObjectRef::of_elements(shape.kind, Elements::Ints(self.stored(shape)))),
        }
    }

    /// What the value points to, for the encoding that does.
    pub(super) fn object(self, shape: Shape) -> &'a Object {
        debug_assert!(shape.encoding == Encoding::Object);
        // SAFETY: the encoding says that the value is a pointer from Box<Object>, alive as long as the entry.
        unsafe { &*(self.pointer(shape) as *const Object) }
    }

    /// The elements of a collection that is in the entry's own block.
    pub(in crate::db) fn elements(self) -> Option<Elements<'a>> {
        let shape = self.shape();
        match shape.encoding {
            Encoding::Pairs => Some(Elements::Pairs(self.stored(shape))),
            Encoding::Ints => Some(Elements::Ints(self.stored(shape))),
            Encoding::Raw | Encoding::Int | Encoding::Object => None,
        }
    }

    /// When the entry dies: unix milliseconds.
    #[inline]
    pub fn expire_at_ms(self) -> Option<u64> {
        // SAFETY: the header is valid; with the flag, 6 bytes of expiry follow it.
        unsafe {
            let [flags] = get(self.0, 7);
            (flags & HAS_EXPIRY != 0).then(|| {
                let [a, b, c, d, e, f] = get(self.0, HEADER);
                u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
            })
        }
    }

    /// True when the entry is dead at `now_ms`. Redis's rule: at the expiry's own millisecond it still lives.
    #[inline]
    pub fn is_due(self, now_ms: u64) -> bool {
        self.expire_at_ms().is_some_and(|at| now_ms > at)
    }

    /// When the first field of a hash expires, if one does.
    pub fn fields_due_at_ms(self) -> Option<u64> {
        match self.value() {
            Value::Object(ObjectRef::Hash(hash)) => hash.fields_due_at_ms(),
            _ => None,
        }
    }

    /// The attribute (the content type of the HTTP resource dialect), if one was given.
    pub fn attribute(self) -> Option<&'a [u8]> {
        let shape = self.shape();
        // SAFETY: with the flag, a length and so many bytes are at `attribute_at`.
        (shape.flags & HAS_ATTRIBUTE != 0)
            .then(|| unsafe { slice(self.0, shape.attribute_at() + 2, shape.attribute_len) })
    }

    /// Heap bytes of the entry and its value, as size classes of the allocator.
    pub fn heap_bytes(self) -> usize {
        let shape = self.shape();
        let own = shape.layout().size();
        match shape.encoding {
            Encoding::Raw | Encoding::Int | Encoding::Pairs | Encoding::Ints => own,
            Encoding::Object => own + size_class(size_of::<Object>()) + self.object(shape).heap_bytes(),
        }
    }

    #[inline]
    pub(super) fn shape(self) -> Shape {
        // SAFETY: the header is valid, and says which optional parts follow; each is read at the place `Shape` computes
        // from the parts before it.
        unsafe {
            let [kind_encoding, flags] = get(self.0, 6);
            let mut shape = Shape {
                kind: kind(kind_encoding),
                encoding: encoding(kind_encoding),
                flags,
                key_len: usize::from(u16::from_ne_bytes(get(self.0, 4))),
                attribute_len: 0,
                value_len: u32::from_ne_bytes(get(self.0, 0)) as usize,
            };
            if shape.key_len == usize::from(LONG_KEY) {
                shape.key_len = u32::from_ne_bytes(get(self.0, shape.long_key_at())) as usize;
            }
            if flags & HAS_ATTRIBUTE != 0 {
                shape.attribute_len = usize::from(u16::from_ne_bytes(get(self.0, shape.attribute_at())));
            }
            shape
        }
    }

    /// The value's bytes as stored, whatever they mean.
    #[inline]
    pub(super) fn stored(self, shape: Shape) -> &'a [u8] {
        // SAFETY: a block holds `value_len` bytes at `value_at`.
        unsafe { slice(self.0, shape.value_at(), shape.value_len) }
    }

    /// The pointer that is the value, for the encoding that holds one. Exposed provenance: it was stored as an address.
    pub(super) fn pointer(self, shape: Shape) -> *mut u8 {
        // SAFETY: such a value has the 8 bytes of a pointer.
        std::ptr::with_exposed_provenance_mut(usize::from_ne_bytes(unsafe { get(self.0, shape.value_at()) }))
    }
}

impl std::fmt::Debug for EntryRef<'_> {
    /// Sizes only: keys and values are the user's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({}, key of {} bytes, {} heap bytes)", self.kind().name(), self.key().len(), self.heap_bytes())
    }
}
