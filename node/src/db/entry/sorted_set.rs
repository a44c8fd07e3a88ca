//! The sorted set type: members with scores, in the order of both.

use std::cmp::Ordering;

use super::members::Growth;
use super::packed::{Packed, PackedRef, Piece};
use super::ranked::Ranked;
use super::{Elements, Entry, Value, size_class};
use crate::db::table::Table;

/// Members with scores. No score is NaN.
#[derive(Debug)]
pub struct SortedSet(Form);

#[derive(Debug)]
enum Form {
    /// Few and small: in order in one buffer.
    Packed(Packed),
    Tree(Box<Tree>),
}

/// A [`SortedSet`], to be read.
#[derive(Debug, Clone, Copy)]
pub struct SortedSetRef<'a>(FormRef<'a>);

#[derive(Debug, Clone, Copy)]
enum FormRef<'a> {
    Packed(PackedRef<'a>),
    Tree(&'a Tree),
}

/// Members twice: by name, to find a score; by rank, to find an order.
#[derive(Debug)]
struct Tree {
    scores: Table,
    order: Ranked<Scored>,
    /// Heap bytes of the members in `order`.
    member_bytes: usize,
}

#[derive(Debug)]
struct Scored {
    score: f64,
    member: Box<[u8]>,
}

impl Default for SortedSet {
    fn default() -> Self {
        Self(Form::Packed(Packed::default()))
    }
}

impl SortedSet {
    /// An empty one.
    pub fn new() -> SortedSet {
        SortedSet::default()
    }

    /// These members. Those too many or too long to be packed never are, so that a negative zero among them stays one.
    pub fn of(members: &[(Vec<u8>, f64)], growth: &Growth) -> SortedSet {
        let (mut set, bounds) = (SortedSet::new(), growth.sorted_set.get());
        if members.len() > bounds.entries_max || members.iter().any(|(name, _)| name.len() > bounds.value_bytes_max) {
            set.unpack(growth);
        }
        for (member, score) in members {
            set.set(member, *score, growth);
        }
        set
    }

    /// An empty one, encoded as `other` is.
    pub fn alike(other: SortedSetRef<'_>, growth: &Growth) -> SortedSet {
        let mut set = SortedSet::new();
        if !other.is_packed() {
            set.unpack(growth);
        }
        set
    }

    pub(super) fn of_elements(elements: Elements<'_>) -> Option<SortedSet> {
        match elements {
            Elements::Pairs(stored) => Some(SortedSet(Form::Packed(Packed::copied(PackedRef::of(stored))))),
            Elements::Ints(_) => None,
        }
    }

    pub(super) fn elements(&self) -> Option<Elements<'_>> {
        match &self.0 {
            Form::Packed(packed) => Some(Elements::Pairs(packed.view().stored())),
            Form::Tree(_) => None,
        }
    }

    /// It, to be read.
    #[inline]
    pub fn view(&self) -> SortedSetRef<'_> {
        SortedSetRef(match &self.0 {
            Form::Packed(packed) => FormRef::Packed(packed.view()),
            Form::Tree(tree) => FormRef::Tree(tree),
        })
    }

    /// Gives a member a score, which is not NaN; whether the member is new.
    pub fn set(&mut self, member: &[u8], score: f64, growth: &Growth) -> bool {
        let old = self.view().score(member);
        if old.is_some_and(|old| old.to_bits() == score.to_bits()) {
            return false;
        }
        if let Form::Packed(packed) = &self.0 {
            let bounds = growth.sorted_set.get();
            let fits = member.len() <= bounds.value_bytes_max && packed.has_room(member.len() + 8);
            if !fits || (old.is_none() && packed.view().len() >= bounds.entries_max) {
                self.unpack(growth);
            }
        }
        match &mut self.0 {
            Form::Packed(packed) => {
                if old.is_some() {
                    packed.remove(member);
                }
                let at =
                    packed.view().iter().take_while(|(name, value)| comes_before(read(*value), name, score, member));
                let at = at.count();
                // As redis: while small, a negative zero is a zero.
                pack(score + 0.0, |bytes| packed.insert(at, member, Piece::Bytes(bytes)));
            }
            Form::Tree(tree) => tree.set(member, old, score),
        }
        old.is_none()
    }

    /// Removes a member; the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.view().score(member)?;
        match &mut self.0 {
            Form::Packed(packed) => drop(packed.remove(member)),
            Form::Tree(tree) => tree.remove(member, score),
        }
        Some(score)
    }

    /// Removes the members from a rank to before another.
    pub fn remove_range(&mut self, from: usize, to: usize) {
        for _ in from..to.min(self.view().len()) {
            let Some((member, _)) = self.view().at(from).map(|(member, score)| (Vec::from(member), score)) else {
                return;
            };
            self.remove(&member);
        }
    }

    /// Heap bytes of the members and their places.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.heap_bytes(),
            Form::Tree(tree) => {
                size_class(size_of::<Tree>()) + tree.scores.heap_bytes() + tree.order.heap_bytes() + tree.member_bytes
            }
        }
    }

    fn unpack(&mut self, growth: &Growth) {
        let Form::Packed(packed) = &self.0 else { return };
        let mut tree = Tree { scores: Table::new(growth.key_hash.clone()), order: Ranked::default(), member_bytes: 0 };
        for (member, score) in packed.view().iter() {
            tree.set(member, None, read(score));
        }
        self.0 = Form::Tree(Box::new(tree));
    }
}

impl<'a> SortedSetRef<'a> {
    pub(super) fn of_pairs(stored: &'a [u8]) -> Self {
        Self(FormRef::Packed(PackedRef::of(stored)))
    }

    /// How many members.
    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            FormRef::Packed(packed) => packed.len(),
            FormRef::Tree(tree) => tree.order.len(),
        }
    }

    /// True when there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self.0 {
            FormRef::Packed(packed) => packed.get(member).map(read),
            FormRef::Tree(tree) => {
                tree.scores.find(tree.scores.hash_of(member), member).map(|entry| read(entry.value()))
            }
        }
    }

    /// The member at a rank, 0 being that of the lowest score.
    pub fn at(self, rank: usize) -> Option<(&'a [u8], f64)> {
        match self.0 {
            FormRef::Packed(packed) => packed.nth(rank).map(|(member, score)| (member, read(score))),
            FormRef::Tree(tree) => tree.order.range(rank, rank + 1).next().map(|it| (&*it.member, it.score)),
        }
    }

    /// The rank of a member.
    pub fn rank(self, member: &[u8]) -> Option<usize> {
        let score = self.score(member)?;
        Some(self.partition_point(|each, name| comes_before(each, name, score, member)))
    }

    /// How many members at the start fulfil a condition on score and member that none fulfils after one that does not.
    pub fn partition_point(self, fulfils: impl Fn(f64, &[u8]) -> bool) -> usize {
        match self.0 {
            FormRef::Packed(packed) => {
                packed.iter().take_while(|(member, score)| fulfils(read(*score), member)).count()
            }
            FormRef::Tree(tree) => tree.order.partition_point(|it| fulfils(it.score, &it.member)),
        }
    }

    /// Visits the members from a rank to before another, in order or last first.
    pub fn visit(self, from: usize, to: usize, back: bool, visit: &mut impl FnMut(&[u8], f64)) {
        match self.0 {
            FormRef::Packed(packed) => {
                let range = packed.iter().skip(from).take(to.saturating_sub(from));
                if back {
                    let all: smallvec::SmallVec<[(&[u8], Value<'_>); 64]> = range.collect();
                    all.iter().rev().for_each(|(member, score)| visit(member, read(*score)));
                } else {
                    range.for_each(|(member, score)| visit(member, read(score)));
                }
            }
            FormRef::Tree(tree) if back => {
                tree.order.range_back(from, to).for_each(|it| visit(&it.member, it.score));
            }
            FormRef::Tree(tree) => tree.order.range(from, to).for_each(|it| visit(&it.member, it.score)),
        }
    }

    /// Visits one step of a scan and answers the cursor of the next; 0 begins and ends.
    pub fn scan(self, cursor: u64, visit: &mut impl FnMut(&[u8], f64)) -> u64 {
        match self.0 {
            FormRef::Packed(packed) => {
                packed.iter().for_each(|(member, score)| visit(member, read(score)));
                0
            }
            FormRef::Tree(tree) => tree.scores.scan(cursor, &mut |entry| visit(entry.key(), read(entry.value()))),
        }
    }

    /// Some member with its score. `draw` gives random numbers.
    pub fn random(self, draw: &mut impl FnMut() -> u64) -> Option<(&'a [u8], f64)> {
        match self.len() as u64 {
            0 => None,
            len => self.at((draw() % len) as usize),
        }
    }

    /// How long it is, in bytes, while it is packed.
    pub fn packed_bytes(self) -> Option<usize> {
        match self.0 {
            FormRef::Packed(packed) => Some(packed.bytes()),
            FormRef::Tree(_) => None,
        }
    }

    /// Whether it is small.
    pub fn is_packed(self) -> bool {
        self.packed_bytes().is_some()
    }

    /// `listpack` while small, `skiplist` when not: redis's names.
    pub fn encoding(self) -> &'static str {
        if self.is_packed() { "listpack" } else { "skiplist" }
    }
}

impl Tree {
    fn set(&mut self, member: &[u8], old: Option<f64>, score: f64) {
        let hash = self.scores.hash_of(member);
        let mut it = None;
        if let Some(old) = old {
            it = self.order.remove(self.place(member, old));
        } else {
            self.member_bytes += size_class(member.len());
        }
        let mut it = it.unwrap_or_else(|| Scored { score, member: member.into() });
        it.score = score;
        let at = self.place(member, score);
        self.order.insert(at, it);
        pack(score, |bytes| match self.scores.find_mut(hash, member) {
            Some(mut entry) => entry.set_string(bytes, None),
            None => self.scores.insert_new(hash, Entry::string(member, bytes, None)),
        });
    }

    fn remove(&mut self, member: &[u8], score: f64) {
        let place = self.place(member, score);
        self.order.remove(place);
        self.member_bytes -= size_class(member.len());
        self.scores.remove(self.scores.hash_of(member), member);
    }

    fn place(&self, member: &[u8], score: f64) -> usize {
        self.order.partition_point(|it| comes_before(it.score, &it.member, score, member))
    }
}

/// The order of a sorted set: by score, then by the member's bytes.
fn comes_before(score: f64, member: &[u8], other_score: f64, other: &[u8]) -> bool {
    match score.partial_cmp(&other_score) {
        Some(Ordering::Less) => true,
        Some(Ordering::Equal) | None => member < other,
        Some(Ordering::Greater) => false,
    }
}

/// A score as few bytes, told apart by how many: whole numbers, which most scores are, by their size as 1, 2 or 4; others
/// as their eight bytes without the zeros at the low end, where short fractions have them.
fn pack(score: f64, give: impl FnOnce(&[u8])) {
    let whole = score as i32;
    if f64::from(whole).to_bits() != score.to_bits() {
        let bytes = score.to_le_bytes();
        return give(match &bytes[..] {
            [0, 0, 0, 0, 0, high @ ..] => high,
            [0, 0, 0, high @ ..] => high,
            [0, 0, high @ ..] => high,
            _ => &bytes,
        });
    }
    match (i8::try_from(whole), i16::try_from(whole)) {
        (Ok(whole), _) => give(&whole.to_le_bytes()),
        (_, Ok(whole)) => give(&whole.to_le_bytes()),
        _ => give(&whole.to_le_bytes()),
    }
}

fn unpack(bytes: &[u8]) -> f64 {
    match *bytes {
        [a] => f64::from(i8::from_le_bytes([a])),
        [a, b] => f64::from(i16::from_le_bytes([a, b])),
        [a, b, c] => f64::from_le_bytes([0, 0, 0, 0, 0, a, b, c]),
        [a, b, c, d] => f64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e] => f64::from_le_bytes([0, 0, 0, a, b, c, d, e]),
        [a, b, c, d, e, f] => f64::from_le_bytes([0, 0, a, b, c, d, e, f]),
        _ => bytes.try_into().map_or(0.0, f64::from_le_bytes),
    }
}

/// The score in an entry, which keeps bytes that read as a decimal number as that number.
fn read(value: Value<'_>) -> f64 {
    match value {
        Value::Int(number) => unpack(itoa::Buffer::new().format(number).as_bytes()),
        Value::Bytes(bytes) => unpack(bytes),
        Value::Shared(_) | Value::Object(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::table::KeyHash;
    use crate::testing::draws;
    use std::collections::HashMap;

    fn all(set: &SortedSet, back: bool) -> Vec<(Vec<u8>, u64)> {
        let mut all = Vec::new();
        set.view().visit(0, set.view().len(), back, &mut |member, score| all.push((member.to_vec(), score.to_bits())));
        all
    }

    #[test]
    fn it_is_ordered_by_score_and_member_in_both_forms() {
        let growth = Growth::new(KeyHash::new(1));
        for (seed, names) in [(1, 20u64), (2, 100), (3, 1000), (4, 3000)] {
            let mut draw = draws(seed);
            let (mut set, mut twin) = (SortedSet::new(), HashMap::new());
            for step in 0..6000 {
                let member = format!("m{}", draw() % names).into_bytes();
                let score = match draw() % 5 {
                    0 => (draw() % 300) as f64 - 150.0,
                    1 => (draw() % 100_000) as f64 / 8.0,
                    2 => f64::INFINITY,
                    3 => -0.0,
                    // Its eight bytes read as a decimal number.
                    _ => f64::from_le_bytes(*b"12345678"),
                };
                if draw().is_multiple_of(4) {
                    assert_eq!(set.remove(&member).map(f64::to_bits), twin.remove(&member).map(f64::to_bits));
                } else {
                    let kept =
                        if set.view().encoding() == "listpack" && twin.len() < 128 { score + 0.0 } else { score };
                    assert_eq!(set.set(&member, score, &growth), twin.insert(member.clone(), kept).is_none());
                }
                assert_eq!(set.view().len(), twin.len());
                if step % 500 == 499 {
                    let mut sorted: Vec<_> = twin.iter().collect();
                    sorted.sort_by(|a, b| a.1.partial_cmp(b.1).unwrap().then(a.0.cmp(b.0)));
                    let sorted: Vec<_> = sorted.iter().map(|(m, s)| ((*m).clone(), s.to_bits())).collect();
                    assert_eq!(all(&set, false), sorted);
                    assert!(all(&set, true).iter().eq(sorted.iter().rev()));
                    for (rank, (member, score)) in sorted.iter().enumerate() {
                        assert_eq!(set.view().rank(member), Some(rank));
                        assert_eq!(set.view().score(member).map(f64::to_bits), Some(*score));
                    }
                }
            }
            assert_eq!(set.view().encoding(), if names <= 100 { "listpack" } else { "skiplist" });
            let half = set.view().len() / 2;
            let rest = all(&set, false)[half..].to_vec();
            set.remove_range(0, half);
            assert_eq!(all(&set, false), rest);
            set.remove_range(0, usize::MAX);
            assert!(set.view().is_empty() && set.view().rank(b"m1").is_none());
        }
    }

    #[test]
    fn every_score_is_packed_and_unpacked() {
        let mut draw = draws(9);
        let mut lengths = std::collections::BTreeSet::new();
        let fixed = [0.0, -0.0, 0.5, 1.5, -7.25, 1e300, f64::INFINITY, f64::MIN_POSITIVE, 1.1, 127.0, 128.0, 40_000.0];
        let drawn = (0..20_000).map(|n| f64::from_bits(draw() << (n % 64)));
        for score in fixed.into_iter().chain(drawn).filter(|score| !score.is_nan()) {
            pack(score, |bytes| {
                lengths.insert(bytes.len());
                assert_eq!(unpack(bytes).to_bits(), score.to_bits(), "{score}");
            });
        }
        assert!(lengths.into_iter().eq([1, 2, 3, 4, 5, 6, 8]));
    }

    #[test]
    fn small_ones_take_few_bytes() {
        let growth = Growth::new(KeyHash::new(1));
        let mut set = SortedSet::new();
        for n in 0..10 {
            set.set(format!("member:{n}").as_bytes(), f64::from(n), &growth);
        }
        assert!(set.heap_bytes() <= 128, "{}", set.heap_bytes());
    }
}
