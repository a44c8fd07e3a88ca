//! What an entry points to when its value is not in its own block, and how it is read wherever it is.

use super::packed::{Packed, PackedRef};
use super::{Hash, HashRef, Json, Kind, List, Set, SetRef, SortedSet, SortedSetRef, Stream, Text};

/// A collection or a long string, boxed; an entry holds one pointer to it.
#[derive(Debug)]
pub enum Object {
    /// See [`List`].
    List(List),
    /// See [`Hash`].
    Hash(Hash),
    /// See [`Set`].
    Set(Set),
    /// See [`SortedSet`].
    SortedSet(SortedSet),
    /// See [`Stream`].
    Stream(Stream),
    /// See [`Json`].
    Json(Json),
    /// See [`Text`]. Who reads an entry's value is shown its bytes instead.
    Text(Text),
}

// A small collection is this, its buffer and its key: what it takes counts as often as there are keys.
const _: () = assert!(size_of::<Object>() <= 32);

/// A collection, to be read: boxed, or packed in its entry's block.
#[derive(Debug, Clone, Copy)]
pub enum ObjectRef<'a> {
    /// See [`List`].
    List(&'a List),
    /// See [`Hash`].
    Hash(HashRef<'a>),
    /// See [`Set`].
    Set(SetRef<'a>),
    /// See [`SortedSet`].
    SortedSet(SortedSetRef<'a>),
    /// See [`Stream`].
    Stream(&'a Stream),
    /// See [`Json`].
    Json(&'a Json),
}

/// A type of collection. A key holds an empty one only where [`Collection::KEEPS_EMPTY`] says so: elsewhere, whoever takes
/// the last element removes the key.
pub trait Collection: Sized {
    /// Its kind.
    const KIND: Kind;
    /// Whether there is more to it than its elements, so that its key stays when they are gone.
    const KEEPS_EMPTY: bool = matches!(Self::KIND, Kind::Stream | Kind::Json);
    /// It, to be read.
    type View<'a>: Copy
    where
        Self: 'a;
    /// It, if the object is one.
    fn of(object: ObjectRef<'_>) -> Option<Self::View<'_>>;
    /// It, to be changed.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    /// Takes it in.
    fn into_object(self) -> Object;
    /// Its elements, while they are packed: an entry keeps them in its own block then, if they are few.
    fn packed(&self) -> Option<PackedRef<'_>>;
    /// It from its packed elements; `None` for types that are not packed.
    fn of_packed(packed: Packed) -> Option<Self>;
    /// How many elements.
    fn len(&self) -> usize;
    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Heap bytes behind it, as size classes of the allocator.
    fn heap_bytes(&self) -> usize;
}

impl<'a> ObjectRef<'a> {
    /// What an entry of this kind keeps in its own block.
    pub(super) fn packed(kind: Kind, stored: &'a [u8]) -> Self {
        let packed = PackedRef::of(stored);
        match kind {
            Kind::Hash => Self::Hash(HashRef::of_packed(packed)),
            Kind::Set => Self::Set(SetRef::of_packed(packed)),
            Kind::SortedSet => Self::SortedSet(SortedSetRef::of_packed(packed)),
            Kind::String | Kind::List | Kind::Stream | Kind::Json => {
                unreachable!("no block is built with another kind packed")
            }
        }
    }
}

/// One row per type of collection: everything that must tell them apart reads it. A type with the name of its view is
/// packed while it is small.
macro_rules! collections {
    (@view $name:ident) => { &'a $name };
    (@view $name:ident $view:ident) => { $view<'a> };
    (@len $it:ident) => { $it.len() };
    (@len $it:ident $view:ident) => { $it.view().len() };
    (@packed $it:ident) => { None };
    (@packed $it:ident $view:ident) => { $it.packed() };
    (@of_packed $name:ident $packed:ident) => {{
        drop($packed);
        None
    }};
    (@of_packed $name:ident $packed:ident $view:ident) => { Some($name::of_packed($packed)) };
    ($($name:ident $(as $view:ident)?),+ $(,)?) => {
        $(impl Collection for $name {
            const KIND: Kind = Kind::$name;

            type View<'a> = collections!(@view $name $($view)?);

            fn of(object: ObjectRef<'_>) -> Option<Self::View<'_>> {
                match object {
                    ObjectRef::$name(it) => Some(it),
                    _ => None,
                }
            }

            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$name(it) => Some(it),
                    _ => None,
                }
            }

            fn into_object(self) -> Object {
                Object::$name(self)
            }

            fn packed(&self) -> Option<PackedRef<'_>> {
                collections!(@packed self $($view)?)
            }

            fn of_packed(packed: Packed) -> Option<Self> {
                collections!(@of_packed $name packed $($view)?)
            }

            fn len(&self) -> usize {
                collections!(@len self $($view)?)
            }

            fn heap_bytes(&self) -> usize {
                $name::heap_bytes(self)
            }
        })+

        impl Object {
            /// Heap bytes behind it.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    $(Object::$name(it) => it.heap_bytes(),)+
                    Object::Text(it) => it.heap_bytes(),
                }
            }
        }

        impl<'a> ObjectRef<'a> {
            /// The name OBJECT ENCODING answers.
            pub fn encoding(self) -> &'static str {
                match self {
                    $(ObjectRef::$name(it) => it.encoding(),)+
                }
            }
        }
    };
}

collections!(List, Hash as HashRef, Set as SetRef, SortedSet as SortedSetRef, Stream, Json);
