//! What an entry points to when its value is not in its own block.

use super::{Hash, Json, Kind, List, Set, SortedSet, Stream, Text};

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

/// A type of collection. A key holds an empty one only where [`Collection::KEEPS_EMPTY`] says so: elsewhere, whoever takes
/// the last element removes the key.
pub trait Collection: Sized {
    /// Its kind.
    const KIND: Kind;
    /// Whether there is more to it than its elements, so that its key stays when they are gone.
    const KEEPS_EMPTY: bool = matches!(Self::KIND, Kind::Stream | Kind::Json);
    /// Takes it in.
    fn into_object(self) -> Object;
    /// It, if the object is one.
    fn of(object: &Object) -> Option<&Self>;
    /// It, to be changed.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    /// How many elements.
    fn len(&self) -> usize;
    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Heap bytes behind it, as size classes of the allocator.
    fn heap_bytes(&self) -> usize;
    /// The name OBJECT ENCODING answers.
    fn encoding(&self) -> &'static str;
}

/// One row per type of collection: everything that must tell them apart reads it.
macro_rules! collections {
    ($($name:ident),+ $(,)?) => {
        $(impl Collection for $name {
            const KIND: Kind = Kind::$name;

            fn into_object(self) -> Object {
                Object::$name(self)
            }

            fn of(object: &Object) -> Option<&Self> {
                match object {
                    Object::$name(it) => Some(it),
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }

            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$name(it) => Some(it),
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }

            fn len(&self) -> usize {
                $name::len(self)
            }

            fn heap_bytes(&self) -> usize {
                $name::heap_bytes(self)
            }

            fn encoding(&self) -> &'static str {
                $name::encoding(self)
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

            /// The name OBJECT ENCODING answers.
            pub fn encoding(&self) -> &'static str {
                match self {
                    $(Object::$name(it) => it.encoding(),)+
                    Object::Text(it) => it.encoding(),
                }
            }
        }
    };
}

collections!(List, Hash, Set, SortedSet, Stream, Json);
