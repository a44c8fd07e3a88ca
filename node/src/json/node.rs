//! One value of a document.

use super::Members;
use super::path::Budget;
use crate::db::entry::size_class;

/// A JSON value. Numbers stay what they were written as: `1` is an integer and `1.0` is none.
#[derive(Debug, Clone, Default)]
pub enum Node {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer above `i64::MAX`.
    Large(u64),
    /// Any other number; finite.
    Float(f64),
    /// A string.
    Text(Box<str>),
    /// An array.
    Array(Vec<Node>),
    /// An object.
    Object(Box<Members>),
}

// What a value costs wherever it is; the reason why members are behind a pointer.
const _: () = assert!(size_of::<Node>() == 24);

impl Node {
    /// The name JSON.TYPE answers.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "boolean",
            Node::Int(_) | Node::Large(_) => "integer",
            Node::Float(_) => "number",
            Node::Text(_) => "string",
            Node::Array(_) => "array",
            Node::Object(_) => "object",
        }
    }

    /// True for numbers.
    pub fn is_number(&self) -> bool {
        matches!(self, Node::Int(_) | Node::Large(_) | Node::Float(_))
    }

    /// The number as a double.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Node::Int(value) => Some(*value as f64),
            Node::Large(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn array(&self) -> Option<&[Node]> {
        match self {
            Node::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub fn object(&self) -> Option<&Members> {
        match self {
            Node::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The bytes of the string, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How many values are right inside it.
    pub fn count(&self) -> usize {
        match self {
            Node::Array(elements) => elements.len(),
            Node::Object(members) => members.len(),
            _ => 0,
        }
    }

    /// True for an array or object with nothing in it.
    pub fn is_empty_container(&self) -> bool {
        matches!(self, Node::Array(_) | Node::Object(_)) && self.count() == 0
    }

    /// The values right inside it, in their order.
    pub fn children(&self) -> impl Iterator<Item = &Node> {
        let (elements, members) = match self {
            Node::Array(elements) => (elements.as_slice(), None),
            Node::Object(members) => (&[][..], Some(members.iter().map(|(_, node)| node))),
            _ => (&[][..], None),
        };
        elements.iter().chain(members.into_iter().flatten())
    }

    /// The value at this place right inside it.
    pub fn child(&self, at: usize) -> Option<&Node> {
        match self {
            Node::Array(elements) => elements.get(at),
            Node::Object(members) => members.at(at).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(super) fn child_mut(&mut self, at: usize) -> Option<&mut Node> {
        match self {
            Node::Array(elements) => elements.get_mut(at),
            Node::Object(members) => members.at_mut(at),
            _ => None,
        }
    }

    /// How deep arrays and objects nest: 0 for what is neither.
    pub fn depth(&self) -> usize {
        match self {
            Node::Array(_) | Node::Object(_) => 1 + self.children().map(Node::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Heap bytes of the blocks it owns itself, without those of the values inside.
    pub fn own_bytes(&self) -> usize {
        match self {
            Node::Text(text) => block_bytes(text.len()),
            Node::Array(elements) => block_bytes(elements.capacity() * size_of::<Node>()),
            Node::Object(members) => size_class(size_of::<Members>()) + members.own_bytes(),
            _ => 0,
        }
    }

    /// Heap bytes behind it, as size classes of the allocator. Walks all of it.
    pub fn heap_bytes(&self) -> usize {
        self.own_bytes() + self.children().map(Node::heap_bytes).sum::<usize>()
    }

    /// Whether two values are the same, members in any order. `loosely`: `1` is `1.0` too. What it compares is paid for.
    pub(super) fn is(&self, other: &Node, loosely: bool, budget: &mut Budget) -> bool {
        if !budget.spend(1) {
            return false;
        }
        match (self, other) {
            (Node::Null, Node::Null) => true,
            (Node::Bool(a), Node::Bool(b)) => a == b,
            (Node::Int(a), Node::Int(b)) => a == b,
            (Node::Large(a), Node::Large(b)) => a == b,
            (Node::Float(a), Node::Float(b)) => a == b,
            (Node::Text(a), Node::Text(b)) => a.len() == b.len() && budget.spend(a.len() / 64) && a == b,
            (Node::Array(a), Node::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b, loosely, budget))
            }
            (Node::Object(a), Node::Object(b)) => {
                let mut has = |(name, node): (&str, &Node)| b.get(name).is_some_and(|b| node.is(b, loosely, budget));
                a.len() == b.len() && a.iter().all(&mut has)
            }
            (a, b) => loosely && a.as_f64().is_some_and(|a| b.as_f64() == Some(a)),
        }
    }

    /// Whether two values are the same, numbers of another sort not. False also once the budget is over.
    pub fn is_exactly(&self, other: &Node, budget: &mut Budget) -> bool {
        self.is(other, false, budget)
    }
}

/// Gives back places when three in four are free.
pub(super) fn give_back<T>(items: &mut Vec<T>) {
    if items.capacity() > 16 && items.len() < items.capacity() / 4 {
        items.shrink_to(items.len() * 2);
    }
}

/// What the allocator takes for a block of so many bytes; an empty one is none.
pub(super) fn block_bytes(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { size_class(bytes) }
}

#[cfg(test)]
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.is(other, false, &mut Budget::default())
    }
}
