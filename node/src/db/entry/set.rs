//! The set type: byte strings, each once.

use std::sync::atomic::Ordering;

use super::Elements;
use super::ints::{Ints, IntsRef};
use super::members::{Growth, Members, MembersRef};
use crate::resp::parse_i64;

/// Byte strings, each once. Sorted integers while all are; packed while few and small; a table when not.
#[derive(Debug)]
pub struct Set(Kept);

#[derive(Debug)]
enum Kept {
    Ints(Ints),
    Members(Members),
}

/// A [`Set`], to be read.
#[derive(Debug, Clone, Copy)]
pub struct SetRef<'a>(KeptRef<'a>);

#[derive(Debug, Clone, Copy)]
enum KeptRef<'a> {
    Ints(IntsRef<'a>),
    Members(MembersRef<'a>),
}

impl Default for Set {
    fn default() -> Self {
        Set(Kept::Ints(Ints::default()))
    }
}

/// A member, borrowed or written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Member<'a> {
    /// A canonical decimal integer.
    Int(i64),
    /// Any bytes.
    Bytes(&'a [u8]),
}

impl Member<'_> {
    /// Hands the member's bytes to `show`.
    pub fn with<R>(self, show: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Member::Int(int) => show(itoa::Buffer::new().format(int).as_bytes()),
            Member::Bytes(bytes) => show(bytes),
        }
    }
}

impl Set {
    /// An empty set.
    pub fn new() -> Set {
        Set::default()
    }

    /// An empty set, encoded as `other` is.
    pub fn alike(other: SetRef<'_>, growth: &Growth) -> Set {
        match other.0 {
            KeptRef::Ints(_) => Set::new(),
            KeptRef::Members(members) => Set(Kept::Members(Members::alike(members, &growth.key_hash))),
        }
    }

    pub(super) fn of_elements(elements: Elements<'_>) -> Option<Set> {
        Some(Set(match elements {
            Elements::Ints(stored) => Kept::Ints(Ints::copied(stored)),
            Elements::Pairs(stored) => Kept::Members(Members::copied(stored)),
        }))
    }

    pub(super) fn elements(&self) -> Option<Elements<'_>> {
        match &self.0 {
            Kept::Ints(ints) => Some(Elements::Ints(ints.stored())),
            Kept::Members(members) => members.elements(),
        }
    }

    /// It, to be read.
    #[inline]
    pub fn view(&self) -> SetRef<'_> {
        SetRef(match &self.0 {
            Kept::Ints(ints) => KeptRef::Ints(ints.view()),
            Kept::Members(members) => KeptRef::Members(members.view()),
        })
    }

    /// Adds a member; whether it is new.
    pub fn add(&mut self, member: &[u8], growth: &Growth) -> bool {
        if let Kept::Ints(ints) = &mut self.0 {
            let place = parse_i64(member).map(|int| (int, ints.view().search(int)));
            match place {
                Some((_, Ok(_))) => return false,
                Some((int, Err(at))) if ints.view().len() < growth.set_ints_max.load(Ordering::Relaxed) => {
                    ints.insert(at, int);
                    return true;
                }
                _ => self.leave_ints(growth),
            }
        }
        match &mut self.0 {
            Kept::Members(members) => members.set(member, b"", growth.set.get(), &growth.key_hash),
            Kept::Ints(_) => unreachable!("it left the integers just now"),
        }
    }

    fn leave_ints(&mut self, growth: &Growth) {
        let Kept::Ints(ints) = &mut self.0 else { return };
        let mut members = Members::default();
        for int in std::mem::take(ints).view().iter() {
            members.set(itoa::Buffer::new().format(int).as_bytes(), b"", growth.set.get(), &growth.key_hash);
        }
        self.0 = Kept::Members(members);
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Kept::Ints(ints) => match parse_i64(member).map(|int| ints.view().search(int)) {
                Some(Ok(at)) => {
                    ints.remove(at);
                    true
                }
                _ => false,
            },
            Kept::Members(members) => members.remove(member),
        }
    }

    /// Heap bytes of the members and their places.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Kept::Ints(ints) => ints.heap_bytes(),
            Kept::Members(members) => members.heap_bytes(),
        }
    }
}

impl<'a> SetRef<'a> {
    pub(super) fn of_elements(elements: Elements<'a>) -> Self {
        Self(match elements {
            Elements::Ints(stored) => KeptRef::Ints(IntsRef::of(stored)),
            Elements::Pairs(stored) => KeptRef::Members(MembersRef::of(stored)),
        })
    }

    /// How many members.
    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            KeptRef::Ints(ints) => ints.len(),
            KeptRef::Members(members) => members.len(),
        }
    }

    /// True when there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether `member` is in it.
    pub fn contains(self, member: &[u8]) -> bool {
        match self.0 {
            KeptRef::Ints(ints) => parse_i64(member).is_some_and(|int| ints.search(int).is_ok()),
            KeptRef::Members(members) => members.get(member).is_some(),
        }
    }

    /// All members: integers ascending, others in no order that holds.
    pub fn iter(self) -> impl Iterator<Item = Member<'a>> {
        let (ints, members) = match self.0 {
            KeptRef::Ints(ints) => (Some(ints.iter()), None),
            KeptRef::Members(members) => (None, Some(members.iter())),
        };
        let ints = ints.into_iter().flatten().map(Member::Int);
        ints.chain(members.into_iter().flatten().map(|(member, _)| Member::Bytes(member)))
    }

    /// Visits one step of a scan and answers the cursor of the next; 0 begins and ends.
    pub fn scan(self, cursor: u64, visit: &mut impl FnMut(Member<'_>)) -> u64 {
        match self.0 {
            KeptRef::Ints(ints) => {
                ints.iter().for_each(|int| visit(Member::Int(int)));
                0
            }
            KeptRef::Members(members) => members.scan(cursor, &mut |member, _| visit(Member::Bytes(member))),
        }
    }

    /// Some member. `draw` gives random numbers.
    pub fn random(self, draw: &mut impl FnMut() -> u64) -> Option<Member<'a>> {
        match self.0 {
            KeptRef::Ints(ints) if ints.len() == 0 => None,
            KeptRef::Ints(ints) => ints.nth((draw() % ints.len() as u64) as usize).map(Member::Int),
            KeptRef::Members(members) => members.random(draw).map(|(member, _)| Member::Bytes(member)),
        }
    }

    /// `intset`, `listpack` or `hashtable`: Valkey's names.
    pub fn encoding(self) -> &'static str {
        match self.0 {
            KeptRef::Ints(_) => "intset",
            KeptRef::Members(members) if members.is_packed() => "listpack",
            KeptRef::Members(_) => "hashtable",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::table::KeyHash;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(ops in proptest::collection::vec((any::<bool>(), 0u32..900, 0u8..40), 0..1500)) {
            let growth = Growth::new(KeyHash::new(7));
            let (mut set, mut twin) = (Set::new(), BTreeSet::new());
            for (add, n, kind) in ops {
                let member = if kind == 0 { format!("x{n}") } else { n.to_string() }.into_bytes();
                if add {
                    prop_assert_eq!(set.add(&member, &growth), twin.insert(member.clone()));
                } else {
                    prop_assert_eq!(set.remove(&member), twin.remove(&member));
                }
                prop_assert_eq!(set.view().contains(&member), twin.contains(&member));
                prop_assert_eq!(set.view().len(), twin.len());
            }
            let members: BTreeSet<_> = set.view().iter().map(|member| member.with(<[u8]>::to_vec)).collect();
            prop_assert_eq!(&members, &twin);
            let mut scanned = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = set.view().scan(cursor, &mut |member| { scanned.insert(member.with(<[u8]>::to_vec)); });
                if cursor == 0 { break }
            }
            prop_assert_eq!(scanned, twin);
        }
    }

    #[test]
    fn encodings_are_crossed() {
        let growth = Growth::new(KeyHash::new(7));
        let mut set = Set::new();
        for n in 0..512u32 {
            set.add(n.to_string().as_bytes(), &growth);
        }
        assert_eq!(set.view().encoding(), "intset");
        set.add(b"512", &growth);
        assert_eq!((set.view().encoding(), set.view().len()), ("hashtable", 513));
        let mut set = Set::new();
        set.add(b"1", &growth);
        set.add(b"a", &growth);
        assert_eq!(set.view().encoding(), "listpack");
        set.add(&[b'a'; 65], &growth);
        assert_eq!((set.view().encoding(), set.view().len()), ("hashtable", 3));
        assert!(set.view().contains(b"1") && set.heap_bytes() > 0);
        let mut draw = 0;
        assert!(
            set.view()
                .random(&mut || {
                    draw += 1;
                    draw
                })
                .is_some()
        );
    }
}
