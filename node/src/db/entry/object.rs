//! What an entry points to when its value is not in its own block, and how it is read wherever it is.

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

/// The elements of a small collection, in the form in which its entry may keep them in its own block.
#[derive(Debug, Clone, Copy)]
pub enum Elements<'a> {
    /// See [`super::PackedRef`].
    Pairs(&'a [u8]),
    /// Those of a set of integers.
    Ints(&'a [u8]),
}

impl<'a> Elements<'a> {
    /// Their bytes, whatever they mean.
    pub(super) fn stored(self) -> &'a [u8] {
        match self {
            Self::Pairs(stored) | Self::Ints(stored) => stored,
        }
    }
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
    /// Its elements, where an entry may keep them in its own block: that does so if they are few.
    fn elements(&self) -> Option<Elements<'_>>;
    /// A copy of it from its elements; `None` where they are not of this type.
    fn of_elements(elements: Elements<'_>) -> Option<Self>;
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
    pub(super) fn of_elements(kind: Kind, elements: Elements<'a>) -> Self {
        match (kind, elements) {
            (Kind::Hash, Elements::Pairs(stored)) => Self::Hash(HashRef::of_pairs(stored)),
            (Kind::Set, _) => Self::Set(SetRef::of_elements(elements)),
            (Kind::SortedSet, Elements::Pairs(stored)) => Self::SortedSet(SortedSetRef::of_pairs(stored)),
            _ => unreachable!("no block is built with the elements of another kind"),
        }
    }
}

/// One row per type of collection: everything that must tell them apart reads it. A type with the name of its view has
/// elements that may be in its entry's block.
macro_rules! collections {
    (@view $name:ident) => { &'a $name };
    (@view $name:ident $view:ident) => { $view<'a> };
    (@len $it:ident) => { $it.len() };
    (@len $it:ident $view:ident) => { $it.view().len() };
    (@elements $it:ident) => { None };
    (@elements $it:ident $view:ident) => { $it.elements() };
    (@of_elements $name:ident $elements:ident) => {{
        let _ = $elements;
        None
    }};
    (@of_elements $name:ident $elements:ident $view:ident) => { $name::of_elements($elements) };
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

            fn elements(&self) -> Option<Elements<'_>> {
                collections!(@elements self $($view)?)
            }

            fn of_elements(elements: Elements<'_>) -> Option<Self> {
                collections!(@of_elements $name elements $($view)?)
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
