//! A sequence that finds, puts and takes by position in logarithmic time: the order of a big sorted set.
//!
//! A B-tree that counts instead of keys: leaves hold runs of items, inner nodes their children and how many items are
//! below. Whoever keeps it sorted finds places with [`Ranked::partition_point`], and a place is a rank.

use super::size_class;

/// Most items of a leaf.
const LEAF: usize = 64;
/// Most children of an inner node.
const WIDTH: usize = 32;

/// Items by position.
#[derive(Debug, Clone)]
pub(super) struct Ranked<T> {
    root: Node<T>,
    nodes: Nodes,
}

/// How many nodes there are, to tell their memory without walking.
#[derive(Debug, Clone, Copy)]
struct Nodes {
    leaves: usize,
    inners: usize,
}

#[derive(Debug, Clone)]
enum Node<T> {
    Leaf(Vec<T>),
    Inner(Box<Inner<T>>),
}

#[derive(Debug, Clone)]
struct Inner<T> {
    /// Items below.
    len: usize,
    children: Vec<Node<T>>,
}

impl<T> Default for Ranked<T> {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::with_capacity(LEAF)), nodes: Nodes { leaves: 1, inners: 0 } }
    }
}

impl<T> Ranked<T> {
    /// How many items.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.root.len()
    }

    /// Heap bytes of the nodes; what items own beside themselves is not counted.
    pub(super) fn heap_bytes(&self) -> usize {
        let leaf = size_class(LEAF * size_of::<T>());
        let inner = size_class(size_of::<Inner<T>>()) + size_class((WIDTH + 1) * size_of::<Node<T>>());
        self.nodes.leaves * leaf + self.nodes.inners * inner
    }

    /// How many items at the start fulfil a condition that none fulfils after one that does not.
    pub(super) fn partition_point(&self, fulfils: impl Fn(&T) -> bool) -> usize {
        self.root.partition_point(&fulfils)
    }

    /// Puts an item before the one at a position, at most [`Ranked::len`].
    pub(super) fn insert(&mut self, at: usize, item: T) {
        if let Some(right) = self.root.insert(at, item, &mut self.nodes) {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            self.nodes.inners += 1;
            self.root = Inner::of([left, right]);
        }
    }

    /// Takes out the item at a position; `None` behind the last.
    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        if at >= self.len() {
            return None;
        }
        let item = self.root.remove(at, &mut self.nodes);
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() == 1
            && let Some(child) = inner.children.pop()
        {
            self.nodes.inners -= 1;
            self.root = child;
        }
        Some(item)
    }

    /// The items from a position to before another, in order.
    pub(super) fn range(&self, from: usize, to: usize) -> impl Iterator<Item = &T> {
        let mut at = from;
        let runs = std::iter::from_fn(move || {
            let run = (at < to).then(|| self.run(at))?.1;
            let run = &run[..run.len().min(to - at)];
            at += run.len();
            (!run.is_empty()).then_some(run)
        });
        runs.flatten()
    }

    /// As [`Ranked::range`], last item first.
    pub(super) fn range_back(&self, from: usize, to: usize) -> impl Iterator<Item = &T> {
        let mut at = to.min(self.len());
        let runs = std::iter::from_fn(move || {
            let (before, _) = (from < at).then(|| self.run(at - 1))?;
            let run = &before[before.len().saturating_sub(at - from)..];
            at -= run.len();
            Some(run)
        });
        runs.flat_map(|run| run.iter().rev())
    }

    /// The items of one leaf: up to and with the one at a position, and from it on.
    fn run(&self, mut at: usize) -> (&[T], &[T]) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(items) => {
                    let at = at.min(items.len());
                    return (&items[..(at + 1).min(items.len())], &items[at..]);
                }
                Node::Inner(inner) => {
                    let child = inner.place(&mut at, |at, len| at < len);
                    node = &inner.children[child];
                }
            }
        }
    }
}

impl<T> Inner<T> {
    fn of(nodes: impl IntoIterator<Item = Node<T>>) -> Node<T> {
        let mut children = Vec::with_capacity(WIDTH + 1);
        children.extend(nodes);
        Node::Inner(Box::new(Inner { len: children.iter().map(Node::len).sum(), children }))
    }

    /// The child that a position is in; the position becomes that in the child.
    fn place(&self, at: &mut usize, is_in: impl Fn(usize, usize) -> bool) -> usize {
        let last = self.children.len() - 1;
        for (place, child) in self.children.iter().enumerate().take(last) {
            if is_in(*at, child.len()) {
                return place;
            }
            *at -= child.len();
        }
        last
    }

    /// Drops a child that is empty, joins one that is nearly so with a neighbour.
    fn mend(&mut self, at: usize, nodes: &mut Nodes) {
        let (width, most) = self.children[at].width();
        if width == 0 {
            nodes.forget(&self.children.remove(at));
            return;
        }
        if width >= most / 4 || self.children.len() < 2 {
            return;
        }
        let left = at.saturating_sub(1);
        if self.children[left].width().0 + self.children[left + 1].width().0 > most * 3 / 4 {
            return;
        }
        let right = self.children.remove(left + 1);
        nodes.forget(&right);
        match (&mut self.children[left], right) {
            (Node::Leaf(items), Node::Leaf(more)) => items.extend(more),
            (Node::Inner(inner), Node::Inner(more)) => {
                inner.len += more.len;
                inner.children.extend(more.children);
            }
            _ => unreachable!("siblings are of one height"),
        }
    }
}

impl Nodes {
    fn forget<T>(&mut self, node: &Node<T>) {
        match node {
            Node::Leaf(_) => self.leaves -= 1,
            Node::Inner(_) => self.inners -= 1,
        }
    }
}

impl<T> Node<T> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Inner(inner) => inner.len,
        }
    }

    /// How much it holds itself, and how much it may.
    fn width(&self) -> (usize, usize) {
        match self {
            Self::Leaf(items) => (items.len(), LEAF),
            Self::Inner(inner) => (inner.children.len(), WIDTH),
        }
    }

    fn first(&self) -> Option<&T> {
        match self {
            Self::Leaf(items) => items.first(),
            Self::Inner(inner) => inner.children.first().and_then(Node::first),
        }
    }

    fn partition_point(&self, fulfils: &impl Fn(&T) -> bool) -> usize {
        match self {
            Self::Leaf(items) => items.partition_point(fulfils),
            Self::Inner(inner) => {
                let begun = inner.children.partition_point(|child| child.first().is_some_and(fulfils));
                let Some(last) = begun.checked_sub(1) else { return 0 };
                let before: usize = inner.children[..last].iter().map(Node::len).sum();
                before + inner.children[last].partition_point(fulfils)
            }
        }
    }

    /// Puts an item; what no longer fits comes back as a right sibling. At the end only the new item moves, so that a
    /// sequence filled in order has full nodes.
    fn insert(&mut self, mut at: usize, item: T, nodes: &mut Nodes) -> Option<Node<T>> {
        match self {
            Self::Leaf(items) if items.len() < LEAF => {
                items.insert(at, item);
                None
            }
            Self::Leaf(items) => {
                nodes.leaves += 1;
                let cut = if at == LEAF { LEAF } else { LEAF / 2 };
                let mut right = Vec::with_capacity(LEAF);
                right.extend(items.drain(cut..));
                if at < cut {
                    items.insert(at, item)
                } else {
                    right.insert(at - cut, item)
                }
                Some(Node::Leaf(right))
            }
            Self::Inner(inner) => {
                let place = inner.place(&mut at, |at, len| at <= len);
                inner.len += 1;
                let right = inner.children[place].insert(at, item, nodes)?;
                inner.children.insert(place + 1, right);
                if inner.children.len() <= WIDTH {
                    return None;
                }
                nodes.inners += 1;
                let cut = if place + 2 == inner.children.len() { WIDTH } else { WIDTH / 2 };
                let right = Inner::of(inner.children.drain(cut..));
                inner.len -= right.len();
                Some(right)
            }
        }
    }

    fn remove(&mut self, mut at: usize, nodes: &mut Nodes) -> T {
        match self {
            Self::Leaf(items) => items.remove(at),
            Self::Inner(inner) => {
                let place = inner.place(&mut at, |at, len| at < len);
                let item = inner.children[place].remove(at, nodes);
                inner.len -= 1;
                inner.mend(place, nodes);
                item
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::draws;

    fn count<T>(node: &Node<T>) -> (usize, usize) {
        match node {
            Node::Leaf(items) => {
                assert_eq!(items.capacity(), LEAF);
                (1, 0)
            }
            Node::Inner(inner) => {
                assert_eq!(inner.len, inner.children.iter().map(Node::len).sum::<usize>());
                assert!(!inner.children.is_empty() && inner.children.len() <= WIDTH);
                let (leaves, inners) = inner.children.iter().map(count).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
                (leaves, inners + 1)
            }
        }
    }

    #[test]
    fn it_is_a_vector_whose_every_step_is_cheap() {
        for seed in 0..6 {
            let mut draw = draws(seed);
            let (mut ranked, mut twin) = (Ranked::default(), Vec::new());
            // It grows to several levels, then shrinks to nothing.
            for step in 0..30_000u64 {
                let grows = if step < 15_000 { 70 } else { 25 };
                if draw() % 100 < grows || twin.is_empty() {
                    let at = match seed % 3 {
                        0 => (draw() % (twin.len() as u64 + 1)) as usize,
                        1 => twin.len(),
                        _ => 0,
                    };
                    ranked.insert(at, step);
                    twin.insert(at, step);
                } else {
                    let at = (draw() % twin.len() as u64) as usize;
                    assert_eq!(ranked.remove(at), Some(twin.remove(at)));
                }
                if step % 1000 == 0 {
                    let from = (draw() % (twin.len() as u64 + 1)) as usize;
                    let to = from + (draw() % (twin.len() - from + 1) as u64) as usize;
                    assert!(ranked.range(from, to).eq(&twin[from..to]));
                    assert!(ranked.range_back(from, to).eq(twin[from..to].iter().rev()));
                    let (leaves, inners) = count(&ranked.root);
                    assert_eq!((ranked.nodes.leaves, ranked.nodes.inners), (leaves, inners));
                }
            }
            while !twin.is_empty() {
                assert_eq!(ranked.remove(0), Some(twin.remove(0)));
            }
            assert_eq!(ranked.remove(0), None);
            assert_eq!((ranked.nodes.leaves, ranked.nodes.inners, ranked.len()), (1, 0, 0));
        }
    }

    #[test]
    fn partition_points_are_those_of_a_slice() {
        let mut ranked = Ranked::default();
        (0..5000).for_each(|n| ranked.insert(n, n * 2));
        for bound in (0..10_002).step_by(7) {
            assert_eq!(ranked.partition_point(|n| *n < bound), bound.div_ceil(2).min(5000));
        }
        assert_eq!(Ranked::<u8>::default().partition_point(|_| true), 0);
        assert!(ranked.heap_bytes() < 5000 * 8 * 2, "leaves filled in order are full");
    }
}
