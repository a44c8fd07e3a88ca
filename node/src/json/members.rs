//! The members of an object, in the order they came.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::Node;
use super::node::{block_bytes, give_back};

/// From so many members on they are found by an index: a search from the first would take a request's time squared.
const INDEXED_MIN: usize = 24;

/// Named values, each name once.
#[derive(Clone, Default)]
pub struct Members {
    items: Vec<(Box<str>, Node)>,
    index: Option<Box<Index>>,
}

/// Where each name is.
#[derive(Clone)]
struct Index {
    places: HashTable<u32>,
    hasher: RandomState,
}

impl std::fmt::Debug for Members {
    /// Without the index, which is of one's own.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Members {
    /// How many.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Node)> {
        self.items.iter().map(|(name, node)| (&**name, node))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.items.get(self.find(name)?).map(|(_, node)| node)
    }

    /// Where a name is.
    pub fn find(&self, name: &str) -> Option<usize> {
        match &self.index {
            None => self.items.iter().position(|(each, _)| **each == *name),
            Some(index) => {
                let same = |at: &u32| self.items.get(*at as usize).is_some_and(|(each, _)| **each == *name);
                index.places.find(index.hasher.hash_one(name), same).map(|at| *at as usize)
            }
        }
    }

    /// The member at a place.
    pub fn at(&self, at: usize) -> Option<(&str, &Node)> {
        self.items.get(at).map(|(name, node)| (&**name, node))
    }

    pub(super) fn at_mut(&mut self, at: usize) -> Option<&mut Node> {
        self.items.get_mut(at).map(|(_, node)| node)
    }

    /// Gives a name a value; answers the one it had. A new name comes last.
    pub(super) fn put(&mut self, name: Box<str>, node: Node) -> Option<Node> {
        if let Some(held) = self.find(&name).and_then(|at| self.at_mut(at)) {
            return Some(std::mem::replace(held, node));
        }
        self.items.push((name, node));
        match &mut self.index {
            Some(index) => index.add(&self.items, self.items.len() - 1),
            None if self.items.len() >= INDEXED_MIN => self.rebuild(),
            None => {}
        }
        None
    }

    /// Keeps the members that `keep` says so of, by their place.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize, &mut Node) -> bool) {
        let mut at = 0;
        self.items.retain_mut(|(_, node)| {
            at += 1;
            keep(at - 1, node)
        });
        give_back(&mut self.items);
        self.rebuild();
    }

    /// Gives back what it took for members to come.
    pub(super) fn shrink(&mut self) {
        self.items.shrink_to_fit();
    }

    fn rebuild(&mut self) {
        self.index = None;
        if self.items.len() >= INDEXED_MIN {
            let mut index =
                Index { places: HashTable::with_capacity(self.items.len()), hasher: RandomState::default() };
            (0..self.items.len()).for_each(|at| index.add(&self.items, at));
            self.index = Some(Box::new(index));
        }
    }

    /// Heap bytes of its own blocks and of the names.
    pub(super) fn own_bytes(&self) -> usize {
        self.block_bytes() + self.items.iter().map(|(name, _)| block_bytes(name.len())).sum::<usize>()
    }

    /// Heap bytes of its own blocks.
    pub(super) fn block_bytes(&self) -> usize {
        let index = self.index.as_ref();
        let index =
            index.map_or(0, |index| block_bytes(size_of::<Index>()) + block_bytes(index.places.allocation_size()));
        block_bytes(self.items.capacity() * size_of::<(Box<str>, Node)>()) + index
    }
}

impl Index {
    fn add(&mut self, items: &[(Box<str>, Node)], at: usize) {
        let Self { places, hasher } = self;
        let hash = |at: usize| items.get(at).map_or(0, |(name, _)| hasher.hash_one(&**name));
        places.insert_unique(hash(at), at as u32, |at| hash(*at as usize));
    }
}

impl FromIterator<(Box<str>, Node)> for Members {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Node)>>(items: I) -> Self {
        let mut members = Self::default();
        items.into_iter().for_each(|(name, node)| drop(members.put(name, node)));
        members
    }
}
