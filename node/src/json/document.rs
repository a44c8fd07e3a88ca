//! A document: one value with all that is in it, and the bytes it takes.

use super::node::{block_bytes, give_back};
use super::{Node, Place};
use crate::db::entry::size_class;

/// A document. Every change keeps the count of its bytes true by what it touches, not by walking the rest.
///
/// Places ([`Place`]) are positions, so a change below one place leaves every other place good that is not below it too:
/// whoever changes several goes from the last to the first.
#[derive(Default)]
pub struct Document {
    /// Boxed, as whatever holds a value of any type is as large as the largest.
    root: Box<Node>,
    /// Heap bytes behind the value at `root`.
    bytes: usize,
}

impl std::fmt::Debug for Document {
    /// What it is, not what it takes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root.fmt(f)
    }
}

impl Clone for Document {
    /// A copy has no room to spare, so its bytes are its own.
    fn clone(&self) -> Self {
        Self::new(self.root().clone())
    }
}

impl Document {
    /// A document of this value.
    pub fn new(root: Node) -> Self {
        let bytes = root.heap_bytes();
        Self { root: Box::new(root), bytes }
    }

    /// The outermost value.
    #[inline]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// One: a document is there or it is not.
    pub fn len(&self) -> usize {
        1
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Heap bytes behind it.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        size_class(size_of::<Node>()) + self.bytes
    }

    /// `raw`, as redis says of every module's type.
    pub fn encoding(&self) -> &'static str {
        "raw"
    }

    /// The value at a place.
    pub fn at(&self, place: &[u32]) -> Option<&Node> {
        place.iter().try_fold(self.root(), |node, at| node.child(*at as usize))
    }

    fn at_mut(&mut self, place: &[u32]) -> Option<&mut Node> {
        place.iter().try_fold(&mut *self.root, |node, at| node.child_mut(*at as usize))
    }

    /// Puts another value at a place that is there; whether it is.
    pub fn replace(&mut self, place: &[u32], node: Node) -> bool {
        let new = node.heap_bytes();
        let Some(held) = self.at_mut(place) else { return false };
        let old = std::mem::replace(held, node).heap_bytes();
        self.bytes = self.bytes + new - old;
        true
    }

    /// Gives the object at a place a member it has not; whether it has now.
    pub fn add_member(&mut self, place: &[u32], name: &str, node: Node) -> bool {
        let new = node.heap_bytes() + block_bytes(name.len());
        let Some(Node::Object(members)) = self.at_mut(place) else { return false };
        if members.find(name).is_some() {
            return false;
        }
        let before = members.block_bytes();
        members.put(name.into(), node);
        let after = members.block_bytes();
        self.bytes = self.bytes + new + after - before;
        true
    }

    /// Puts elements into the array at a place, in front of the one at `at`; how many there are then.
    pub fn insert(&mut self, place: &[u32], at: usize, nodes: &[Node]) -> Option<usize> {
        let new: usize = nodes.iter().map(Node::heap_bytes).sum();
        let node = self.at_mut(place)?;
        let before = node.own_bytes();
        let Node::Array(elements) = node else { return None };
        let at = at.min(elements.len());
        elements.splice(at..at, nodes.iter().cloned());
        let len = elements.len();
        // A clone has no room to spare, and neither had what was read: it weighs the same.
        self.bytes = self.bytes + new + self.at(place).map_or(0, Node::own_bytes) - before;
        Some(len)
    }

    /// Takes the element at `at` out of the array at a place.
    pub fn pop(&mut self, place: &[u32], at: usize) -> Option<Node> {
        let node = self.at_mut(place)?;
        let before = node.own_bytes();
        let Node::Array(elements) = node else { return None };
        if at >= elements.len() {
            return None;
        }
        let taken = elements.remove(at);
        give_back(elements);
        let gone = before - node.own_bytes() + taken.heap_bytes();
        self.bytes -= gone;
        Some(taken)
    }

    /// Keeps the elements from one to another, the latter not; how many those are.
    pub fn trim(&mut self, place: &[u32], from: usize, to: usize) -> Option<usize> {
        let node = self.at_mut(place)?;
        let before = node.own_bytes();
        let Node::Array(elements) = node else { return None };
        let to = to.min(elements.len());
        let from = from.min(to);
        let mut gone: usize = elements.drain(to..).map(|node| node.heap_bytes()).sum();
        gone += elements.drain(..from).map(|node| node.heap_bytes()).sum::<usize>();
        give_back(elements);
        let len = elements.len();
        gone += before - node.own_bytes();
        self.bytes -= gone;
        Some(len)
    }

    /// Empties an array or object and makes a number 0; whether it is one.
    pub fn clear(&mut self, place: &[u32]) -> bool {
        let empty = match self.at(place) {
            Some(Node::Array(_)) => Node::Array(Vec::new()),
            Some(Node::Object(_)) => Node::Object(Box::default()),
            Some(node) if node.is_number() => Node::Int(0),
            _ => return false,
        };
        self.replace(place, empty)
    }

    /// Removes what is at these places, none of which is the root. They are in order, and none is within another.
    pub fn remove(&mut self, places: &[Place]) {
        let places: Vec<&[u32]> = places.iter().map(|place| &**place).filter(|place| !place.is_empty()).collect();
        let mut bytes = self.bytes;
        remove(&mut self.root, &places, &mut bytes);
        self.bytes = bytes;
    }

    /// Merges a value into the one at a place by RFC 7396: members one by one, `null` removes one, all else replaces.
    pub fn merge(&mut self, place: &[u32], patch: &Node) -> bool {
        let mut bytes = self.bytes;
        let Some(node) = self.at_mut(place) else { return false };
        merge(node, patch, &mut bytes);
        self.bytes = bytes;
        true
    }
}

/// Places in order, once each, and none that is within another.
pub fn outermost(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_unstable();
    // In this order, what is within a place follows it.
    places.dedup_by(|inner, outer| inner.starts_with(outer));
    places
}

fn remove(node: &mut Node, places: &[&[u32]], bytes: &mut usize) {
    let before = node.own_bytes();
    let mut keep = |at: usize, child: &mut Node| {
        let from = places.partition_point(|place| place.first().is_some_and(|step| (*step as usize) < at));
        let below: Vec<&[u32]> = places[from..]
            .iter()
            .map_while(|place| place.split_first().filter(|(step, _)| **step as usize == at).map(|(_, rest)| rest))
            .collect();
        match below.first() {
            None => true,
            Some([]) => {
                *bytes -= child.heap_bytes();
                false
            }
            Some(_) => {
                remove(child, &below, bytes);
                true
            }
        }
    };
    match node {
        Node::Array(elements) => {
            let mut at = 0;
            elements.retain_mut(|child| {
                at += 1;
                keep(at - 1, child)
            });
            give_back(elements);
        }
        Node::Object(members) => members.retain(keep),
        _ => return,
    }
    *bytes = *bytes + node.own_bytes() - before;
}

fn merge(node: &mut Node, patch: &Node, bytes: &mut usize) {
    let Node::Object(patch) = patch else {
        *bytes += patch.heap_bytes();
        *bytes -= std::mem::replace(node, patch.clone()).heap_bytes();
        return;
    };
    if node.object().is_none() {
        let empty = Node::Object(Box::default());
        *bytes += empty.heap_bytes();
        *bytes -= std::mem::replace(node, empty).heap_bytes();
    }
    let Node::Object(members) = node else { return };
    let mut gone = Vec::new();
    for (name, patch) in patch.iter() {
        match (members.find(name), patch) {
            (Some(at), Node::Null) => gone.push(at),
            (None, Node::Null) => {}
            (Some(at), patch) => {
                if let Some(held) = members.at_mut(at) {
                    merge(held, patch, bytes);
                }
            }
            (None, patch) => {
                let before = members.block_bytes();
                let mut new = Node::Null;
                merge(&mut new, patch, bytes);
                members.put(name.into(), new);
                *bytes = *bytes + block_bytes(name.len()) + members.block_bytes() - before;
            }
        }
    }
    if !gone.is_empty() {
        gone.sort_unstable();
        let before = size_class(size_of::<super::Members>()) + members.own_bytes();
        members.retain(|at, node| {
            let goes = gone.binary_search(&at).is_ok();
            if goes {
                *bytes -= node.heap_bytes();
            }
            !goes
        });
        *bytes = *bytes + size_class(size_of::<super::Members>()) + members.own_bytes() - before;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Layout, Text, read};
    use super::*;

    fn document(text: &str) -> Document {
        Document::new(read(text, 1 << 20).unwrap())
    }

    fn shown(document: &Document) -> String {
        let own = size_class(size_of::<Node>());
        assert_eq!(document.heap_bytes(), own + document.root().heap_bytes(), "bytes are counted wrongly");
        let mut text = Text::new(1 << 20);
        text.write(document.root(), &Layout::default()).unwrap();
        String::from_utf8(text.take()).unwrap()
    }

    #[test]
    fn every_change_keeps_count() {
        let mut it = document(r#"{"a":[1,[2,"long enough for a block"],{"b":"x"}],"c":{"d":null}}"#);
        assert!(it.replace(&[0, 1, 1], read("[1,2,3]", 1000).unwrap()));
        assert!(!it.replace(&[0, 9], Node::Null));
        assert_eq!(shown(&it), r#"{"a":[1,[2,[1,2,3]],{"b":"x"}],"c":{"d":null}}"#);
        assert!(it.add_member(&[1], "e", read("\"text\"", 1000).unwrap()) && !it.add_member(&[1], "d", Node::Null));
        assert!(!it.add_member(&[0], "e", Node::Null));
        let two = [read("{\"n\":[]}", 1000).unwrap(), Node::Int(7)];
        assert_eq!(it.insert(&[0], 1, &two), Some(5));
        assert_eq!(it.insert(&[1], 0, &two), None);
        assert_eq!(shown(&it), r#"{"a":[1,{"n":[]},7,[2,[1,2,3]],{"b":"x"}],"c":{"d":null,"e":"text"}}"#);
        assert_eq!(it.pop(&[0], 3).unwrap(), read("[2,[1,2,3]]", 1000).unwrap());
        assert_eq!(it.trim(&[0], 1, 3), Some(2));
        assert_eq!(shown(&it), r#"{"a":[{"n":[]},7],"c":{"d":null,"e":"text"}}"#);
        it.remove(&[vec![0, 0].into(), vec![1, 1].into()]);
        assert_eq!(shown(&it), r#"{"a":[7],"c":{"d":null}}"#);
        assert!(it.merge(&[], &read(r#"{"a":null,"c":{"f":{"g":null,"h":1}},"z":[{"q":null}]}"#, 1000).unwrap()));
        assert_eq!(shown(&it), r#"{"c":{"d":null,"f":{"h":1}},"z":[{"q":null}]}"#);
        assert!(it.clear(&[1]) && !it.clear(&[0, 0]) && it.clear(&[]));
        assert_eq!(shown(&it), "{}");
    }

    #[test]
    fn what_shrinks_gives_memory_back() {
        let ones = format!(
            "[[{}1],{{{}}}]",
            "1,".repeat(9_999),
            (0..9_999).map(|n| format!("\"m{n}\":1,")).collect::<String>() + "\"m\":1"
        );
        let all = document(&ones).heap_bytes();
        let mut it = document(&ones);
        assert_eq!(it.trim(&[0], 5_000, 5_010), Some(10));
        it.remove(&(0..9_990).map(|n| Place::from(vec![1, n])).collect::<Vec<_>>());
        shown(&it);
        assert!(it.heap_bytes() < all / 100, "{} of {all}", it.heap_bytes());
        let mut it = document(&ones);
        (0..9_999).for_each(|_| drop(it.pop(&[0], 0)));
        let places: Vec<Place> = vec![vec![1].into()];
        it.remove(&places);
        assert_eq!(shown(&it), "[[1]]");
        assert!(it.heap_bytes() < 2_000, "{}", it.heap_bytes());
    }

    #[test]
    fn many_members_keep_count_and_are_found() {
        let mut it = document("{}");
        for n in 0..500 {
            assert!(it.add_member(&[], &format!("member number {n}"), Node::Int(n)));
        }
        shown(&it);
        let odd: Vec<Place> = (0..500).filter(|n| n % 2 == 1).map(|n| vec![n].into()).collect();
        it.remove(&odd);
        shown(&it);
        for n in 0..500 {
            let found = it.root().object().unwrap().get(&format!("member number {n}"));
            assert_eq!(found.cloned(), (n % 2 == 0).then_some(Node::Int(n)));
        }
        shown(&it.clone());
    }
}
