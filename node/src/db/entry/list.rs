//! The list type: a double-ended queue of byte strings.
//!
//! Redis's quicklist: runs of elements packed into buffers of some KB. Whatever happens at an end, or at one place in the
//! middle, touches one or two runs, however long the list is. A short list is one run and nothing else.

mod run;

pub use run::Fill;

use super::size_class;
use run::{Run, Walk};
use std::collections::VecDeque;

/// Bytes of a run that is joined with its neighbour when both together have no more.
const JOINED_BYTES_MAX: usize = 4 << 10;

/// A list of byte strings.
#[derive(Debug, Clone)]
pub struct List(Form);

#[derive(Debug, Clone)]
enum Form {
    /// Short: one run, which is empty when the list is.
    One(Run),
    Many(Box<Runs>),
}

/// Runs, none of which is empty.
#[derive(Debug, Clone)]
struct Runs {
    runs: VecDeque<Run>,
    /// Elements of all.
    len: usize,
    /// Heap bytes of their buffers.
    run_bytes: usize,
}

impl Default for List {
    fn default() -> Self {
        Self(Form::One(Run::default()))
    }
}

impl List {
    /// An empty list. A key never holds one: whoever takes the last element removes the key.
    pub fn new() -> List {
        List::default()
    }

    /// How many elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::One(run) => run.len(),
            Form::Many(runs) => runs.len,
        }
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `item` before the first element or, not `front`, after the last.
    #[inline]
    pub fn push(&mut self, front: bool, item: &[u8], fill: Fill) {
        match &mut self.0 {
            Form::One(run) if run.fits(item.len(), fill) => run.push(front, item),
            _ => self.many().push(front, item, fill),
        }
    }

    /// Takes the first element or, not `front`, the last: shows it.
    #[inline]
    pub fn pop<R>(&mut self, front: bool, show: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match &mut self.0 {
            Form::One(run) => run.pop(front, show),
            Form::Many(runs) => {
                let shown = runs.pop(front, show);
                self.settle();
                shown
            }
        }
    }

    /// Puts `item` in the place of the element at position `i`; false when there is none.
    pub fn set(&mut self, i: usize, item: &[u8], fill: Fill) -> bool {
        if i >= self.len() {
            return false;
        }
        let (at, within) = self.locate(i);
        let run = match &mut self.0 {
            Form::One(run) => Some(run),
            Form::Many(runs) => runs.runs.get_mut(at),
        };
        if !run.is_some_and(|run| run.set(within, item)) {
            self.remove(i);
            self.insert(i, item, fill);
        }
        true
    }

    /// Adds `item` before the element at position `i`, at most [`List::len`].
    pub fn insert(&mut self, i: usize, item: &[u8], fill: Fill) {
        match &mut self.0 {
            Form::One(run) if run.fits(item.len(), fill) => run.insert(i, item),
            _ => self.many().insert(i, item, fill),
        }
    }

    fn remove(&mut self, i: usize) {
        match &mut self.0 {
            Form::One(run) => run.remove(i),
            Form::Many(runs) => {
                runs.remove(i);
                self.settle();
            }
        }
    }

    /// Removes at most `most` elements equal to `item`, the first ones or, `back`, the last ones; how many.
    pub fn remove_equal(&mut self, item: &[u8], most: usize, back: bool) -> usize {
        let equal = self.iter().filter(|each| *each == item).count();
        let removed = equal.min(most);
        if removed == 0 {
            return 0;
        }
        // Which of the equal ones go, counted from the first.
        let gone = if back { equal - removed..equal } else { 0..removed };
        let mut met = 0;
        let mut stays = |each: &[u8]| {
            if each != item {
                return true;
            }
            met += 1;
            !gone.contains(&(met - 1))
        };
        match &mut self.0 {
            Form::One(run) => run.retain(stays),
            Form::Many(runs) => {
                runs.retain(&mut stays);
                self.settle();
            }
        }
        removed
    }

    /// Keeps the elements at positions `start..end` only.
    pub fn trim(&mut self, start: usize, end: usize) {
        match &mut self.0 {
            Form::One(run) => run.keep(start, end),
            Form::Many(runs) => {
                runs.trim(start, end);
                self.settle();
            }
        }
    }

    /// The runs, from here on many.
    fn many(&mut self) -> &mut Runs {
        if let Form::One(run) = &mut self.0 {
            let run = std::mem::take(run);
            let (len, run_bytes) = (run.len(), run.heap_bytes());
            let mut runs = VecDeque::with_capacity(4);
            runs.extend((len > 0).then_some(run));
            self.0 = Form::Many(Box::new(Runs { runs, len, run_bytes }));
        }
        match &mut self.0 {
            Form::Many(runs) => runs,
            Form::One(_) => unreachable!("they became many just now"),
        }
    }

    /// Goes back to one run when there is no more, and much room in it.
    #[inline]
    fn settle(&mut self) {
        if let Form::Many(runs) = &mut self.0
            && runs.runs.len() <= 1
        {
            match runs.runs.pop_back() {
                None => self.0 = Form::One(Run::default()),
                Some(run) if run.bytes() <= JOINED_BYTES_MAX / 2 => self.0 = Form::One(run),
                Some(run) => runs.runs.push_back(run),
            }
        }
    }

    fn run(&self, at: usize) -> Option<&Run> {
        match &self.0 {
            Form::One(run) => (at == 0).then_some(run),
            Form::Many(runs) => runs.runs.get(at),
        }
    }

    /// The run in which position `i` is, and the position within it; behind the last element, the end of the last run.
    fn locate(&self, i: usize) -> (usize, usize) {
        match &self.0 {
            Form::One(_) => (0, i),
            Form::Many(runs) => runs.locate(i),
        }
    }

    /// The element at position `i`, from 0.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        if i >= self.len() {
            return None;
        }
        let (at, within) = self.locate(i);
        self.run(at)?.get(within)
    }

    /// The elements at positions `start..end`, both cut to the length.
    pub fn range(&self, start: usize, end: usize) -> Iter<'_> {
        let end = end.min(self.len());
        let left = end.saturating_sub(start);
        if left == 0 {
            return Iter { list: self, front: (0, Walk::default()), back: (0, Walk::default()), left };
        }
        let ((first, from), (last, to)) = (self.locate(start), self.locate(end - 1));
        let front = self.run(first).map(|run| run.walk_from(from)).unwrap_or_default();
        let back = self.run(last).map(|run| run.walk_to(to + 1)).unwrap_or_default();
        Iter { list: self, front: (first, front), back: (last, back), left }
    }

    /// All elements, first to last.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0, self.len())
    }

    /// `quicklist`, as redis 7.0 names every list.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Heap bytes of the elements and their places.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::One(run) => run.heap_bytes(),
            Form::Many(runs) => {
                size_class(size_of::<Runs>()) + size_class(runs.runs.capacity() * size_of::<Run>()) + runs.run_bytes
            }
        }
    }
}

impl Runs {
    fn push(&mut self, front: bool, item: &[u8], fill: Fill) {
        self.len += 1;
        let end = if front { self.runs.front_mut() } else { self.runs.back_mut() };
        match end.filter(|run| run.fits(item.len(), fill)) {
            Some(run) => {
                self.run_bytes -= run.heap_bytes();
                run.push(front, item);
                self.run_bytes += run.heap_bytes();
            }
            None => {
                let run = Run::of(item);
                self.run_bytes += run.heap_bytes();
                if front { self.runs.push_front(run) } else { self.runs.push_back(run) }
            }
        }
    }

    fn pop<R>(&mut self, front: bool, show: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let run = if front { self.runs.front_mut() } else { self.runs.back_mut() }?;
        self.run_bytes -= run.heap_bytes();
        let shown = run.pop(front, show);
        self.run_bytes += run.heap_bytes();
        self.len -= 1;
        if run.is_empty() {
            if front {
                self.runs.pop_front()
            } else {
                self.runs.pop_back()
            };
            self.shrink();
        }
        shown
    }

    /// Gives back places when three in four are free.
    fn shrink(&mut self) {
        if self.runs.capacity() > 16 && self.runs.len() < self.runs.capacity() / 4 {
            self.runs.shrink_to(self.runs.len() * 2);
        }
    }

    /// See [`List::locate`]: walked to from the nearer end.
    fn locate(&self, i: usize) -> (usize, usize) {
        if i <= self.len / 2 {
            let mut left = i;
            for (at, run) in self.runs.iter().enumerate() {
                if left < run.len() {
                    return (at, left);
                }
                left -= run.len();
            }
        } else {
            let mut behind = self.len.saturating_sub(i);
            for (at, run) in self.runs.iter().enumerate().rev() {
                if behind <= run.len() {
                    return (at, run.len() - behind);
                }
                behind -= run.len();
            }
        }
        let last = self.runs.len().saturating_sub(1);
        (last, self.runs.back().map_or(0, Run::len))
    }

    /// Lets `change` change a run.
    fn at<R>(&mut self, at: usize, change: impl FnOnce(&mut Run) -> R) -> Option<R> {
        let run = self.runs.get_mut(at)?;
        self.run_bytes -= run.heap_bytes();
        let result = change(run);
        self.run_bytes += run.heap_bytes();
        Some(result)
    }

    fn put(&mut self, at: usize, run: Run) {
        self.run_bytes += run.heap_bytes();
        self.runs.insert(at, run);
    }

    fn insert(&mut self, i: usize, item: &[u8], fill: Fill) {
        if i == 0 || i >= self.len {
            return self.push(i == 0, item, fill);
        }
        let (at, within) = self.locate(i);
        let fits = |runs: &Self, at: usize| runs.runs.get(at).is_some_and(|run| run.fits(item.len(), fill));
        self.len += 1;
        if fits(self, at) {
            self.at(at, |run| run.insert(within, item));
            return;
        }
        // Between two runs: the one before may have room. In one that is full: it is cut in two there.
        if within > 0
            && let Some(behind) = self.at(at, |run| run.split_off(within))
        {
            self.put(at + 1, behind);
        }
        let before = if within > 0 { Some(at) } else { at.checked_sub(1) };
        match before.filter(|before| fits(self, *before)) {
            Some(before) => drop(self.at(before, |run| run.push(false, item))),
            None => self.put(before.map_or(0, |before| before + 1), Run::of(item)),
        }
    }

    fn remove(&mut self, i: usize) {
        let (at, within) = self.locate(i);
        self.at(at, |run| run.remove(within));
        self.len -= 1;
        if self.runs.get(at).is_some_and(Run::is_empty) {
            self.runs.remove(at);
            self.shrink();
        }
    }

    fn retain(&mut self, stays: &mut dyn FnMut(&[u8]) -> bool) {
        let mut kept = VecDeque::with_capacity(4);
        for mut run in std::mem::take(&mut self.runs) {
            run.retain(&mut *stays);
            match kept.back_mut() {
                Some(last) if Run::bytes(last) + run.bytes() <= JOINED_BYTES_MAX => last.append(&run),
                _ if run.is_empty() => {}
                _ => kept.push_back(run),
            }
        }
        self.count(kept);
    }

    fn trim(&mut self, start: usize, end: usize) {
        let end = end.min(self.len);
        if start >= end {
            return self.count(VecDeque::new());
        }
        while let Some(last) = self.runs.pop_back() {
            if self.len - last.len() < end {
                self.runs.push_back(last);
                break;
            }
            self.len -= last.len();
        }
        let mut before = start;
        while let Some(first) = self.runs.pop_front() {
            if before < first.len() {
                self.runs.push_front(first);
                break;
            }
            before -= first.len();
        }
        if let Some(last) = self.runs.back_mut() {
            last.keep(0, last.len() - (self.len - end));
        }
        if let Some(first) = self.runs.front_mut() {
            first.keep(before, usize::MAX);
        }
        let runs = std::mem::take(&mut self.runs);
        self.count(runs);
        self.shrink();
    }

    /// Takes other runs.
    fn count(&mut self, runs: VecDeque<Run>) {
        self.len = runs.iter().map(Run::len).sum();
        self.run_bytes = runs.iter().map(Run::heap_bytes).sum();
        self.runs = runs;
    }
}

/// Elements of a list, from either end.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    list: &'a List,
    /// A run, and what is left of it from the front.
    front: (usize, Walk<'a>),
    /// As much from the back.
    back: (usize, Walk<'a>),
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        if let Some(item) = self.front.1.next() {
            return Some(item);
        }
        self.front.0 += 1;
        self.front.1 = self.list.run(self.front.0)?.walk();
        self.front.1.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if let Some(item) = self.back.1.next_back() {
            return Some(item);
        }
        self.back.0 = self.back.0.checked_sub(1)?;
        self.back.1 = self.list.run(self.back.0)?.walk();
        self.back.1.next_back()
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
impl<T: AsRef<[u8]>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> List {
        let mut list = List::new();
        items.into_iter().for_each(|item| list.push(false, item.as_ref(), Fill::of(Fill::DEFAULT)));
        list
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for List {}

#[cfg(test)]
mod tests;
