//! The list type: a double-ended queue of byte strings.

use super::size_class;
use std::collections::VecDeque;

/// A list of byte strings. Elements are reached by position in constant time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    items: VecDeque<Box<[u8]>>,
    /// Heap bytes of the elements.
    item_bytes: usize,
}

impl List {
    /// An empty list. A key never holds one: whoever takes the last element removes the key.
    pub fn new() -> List {
        List::default()
    }

    /// How many elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds `item` before the first element.
    pub fn push_front(&mut self, item: &[u8]) {
        self.item_bytes += item_bytes(item);
        self.items.push_front(item.into());
    }

    /// Adds `item` after the last element.
    pub fn push_back(&mut self, item: &[u8]) {
        self.item_bytes += item_bytes(item);
        self.items.push_back(item.into());
    }

    /// Takes the first element.
    pub fn pop_front(&mut self) -> Option<Box<[u8]>> {
        let item = self.items.pop_front();
        self.taken(item)
    }

    /// Takes the last element.
    pub fn pop_back(&mut self) -> Option<Box<[u8]>> {
        let item = self.items.pop_back();
        self.taken(item)
    }

    /// Puts `item` in the place of the element at position `i`; false when there is none.
    pub fn set(&mut self, i: usize, item: &[u8]) -> bool {
        let Some(place) = self.items.get_mut(i) else { return false };
        self.item_bytes = self.item_bytes - item_bytes(place) + item_bytes(item);
        *place = item.into();
        true
    }

    /// Adds `item` before the element at position `i`, at most [`List::len`].
    pub fn insert(&mut self, i: usize, item: &[u8]) {
        self.item_bytes += item_bytes(item);
        self.items.insert(i, item.into());
    }

    /// Removes at most `most` elements equal to `item`, the first ones or, `back`, the last ones; how many.
    pub fn remove_equal(&mut self, item: &[u8], most: usize, back: bool) -> usize {
        let equal = self.iter().filter(|each| *each == item).count();
        let removed = equal.min(most);
        // Which of the equal ones go, counted from the first.
        let gone = if back { equal - removed..equal } else { 0..removed };
        let mut met = 0;
        self.items.retain(|each| {
            if **each != *item {
                return true;
            }
            met += 1;
            !gone.contains(&(met - 1))
        });
        self.item_bytes -= removed * item_bytes(item);
        removed
    }

    /// Keeps the elements at positions `start..end` only.
    pub fn trim(&mut self, start: usize, end: usize) {
        let behind: usize = self.items.drain(end.min(self.items.len())..).map(|item| item_bytes(&item)).sum();
        let before: usize = self.items.drain(..start.min(self.items.len())).map(|item| item_bytes(&item)).sum();
        self.item_bytes -= behind + before;
        self.items.shrink_to(self.items.len() * 2);
    }

    fn taken(&mut self, item: Option<Box<[u8]>>) -> Option<Box<[u8]>> {
        self.item_bytes -= item.as_deref().map_or(0, item_bytes);
        if self.items.capacity() > 16 && self.items.len() < self.items.capacity() / 4 {
            self.items.shrink_to(self.items.len() * 2);
        }
        item
    }

    /// The element at position `i`, from 0.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        self.items.get(i).map(|item| &**item)
    }

    /// The elements at positions `start..end`, both cut to the length.
    pub fn range(&self, start: usize, end: usize) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        let end = end.min(self.items.len());
        self.items.range(start.min(end)..end).map(|item| &**item)
    }

    /// All elements, first to last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.range(0, self.len())
    }

    /// `quicklist`, as redis 7.0 names every list.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Heap bytes of the elements and their places.
    pub fn heap_bytes(&self) -> usize {
        match self.items.capacity() {
            0 => self.item_bytes,
            places => self.item_bytes + size_class(places * size_of::<Box<[u8]>>()),
        }
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> List {
        let mut list = List::new();
        items.into_iter().for_each(|item| list.push_back(item.as_ref()));
        list
    }
}

fn item_bytes(item: &[u8]) -> usize {
    if item.is_empty() { 0 } else { size_class(item.len()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_ends_and_the_middle() {
        let mut list = List::from_iter(["b", "c"]);
        list.push_front(b"a");
        list.push_back(b"");
        assert_eq!(list.iter().collect::<Vec<_>>(), [&b"a"[..], b"b", b"c", b""]);
        assert_eq!(list.range(1, 99).collect::<Vec<_>>(), [&b"b"[..], b"c", b""]);
        assert_eq!(list.range(9, 3).len(), 0);
        assert_eq!((list.get(3), list.get(4)), (Some(&b""[..]), None));
        assert_eq!(&*list.pop_front().unwrap(), b"a");
        assert_eq!(&*list.pop_back().unwrap(), b"");
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn what_changes_in_the_middle_is_counted() {
        let mut list = List::from_iter(["a", "b", "a", "c", "a", &"x".repeat(100)]);
        assert_eq!(list.remove_equal(b"a", 2, true), 2);
        list.insert(1, &[b'y'; 200]);
        assert!(list.set(2, b"dd") && !list.set(9, b""));
        list.trim(1, 4);
        assert!(list.iter().eq([&[b'y'; 200][..], b"dd", b"c"]));
        let items: usize = list.iter().map(item_bytes).sum();
        assert_eq!(list.item_bytes, items);
        list.trim(9, 3);
        assert_eq!((list.len(), list.item_bytes), (0, 0));
    }

    #[test]
    fn memory_comes_and_goes() {
        let mut list = List::new();
        assert_eq!(list.heap_bytes(), 0);
        for n in 0..10_000u32 {
            list.push_back(&n.to_le_bytes());
        }
        let full = list.heap_bytes();
        assert!(full >= 10_000 * 24);
        while list.pop_front().is_some() {}
        assert!(list.heap_bytes() <= 16 * 32, "{}", list.heap_bytes());
    }
}
