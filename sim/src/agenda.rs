//! What happens next: a heap of events in a total order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What an event does at one instant relative to the others there; smaller goes first.
///
/// The order is part of the model: a keep-alive exactly as long as the gap between two requests has ended when the
/// second arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// A function finishes.
    Finish,
    /// An idle environment's time is up.
    Expire,
    /// A cold environment is ready to run its first request.
    Start,
    /// A request arrives.
    Arrive,
}

/// An event with its place in the order: time, then turn, then age.
#[derive(Debug)]
struct Entry<E> {
    key: (u64, Turn, u64),
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Events to come, taken in the order (time in nanoseconds, turn, order of entry). No two are equal.
#[derive(Debug)]
pub struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    seq: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), seq: 0 }
    }
}

impl<E> Agenda<E> {
    /// Enters `event` at `at_ns`.
    pub fn add(&mut self, at_ns: u64, turn: Turn, event: E) {
        self.seq += 1;
        self.heap.push(Reverse(Entry { key: (at_ns, turn, self.seq), event }));
    }

    /// Takes the next event before `end_ns` with its time.
    pub fn next_before(&mut self, end_ns: u64) -> Option<(u64, E)> {
        if self.heap.peek()?.0.key.0 >= end_ns {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.key.0, entry.event))
    }

    /// How many events were ever entered.
    pub fn entered(&self) -> u64 {
        self.seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_then_turn_then_age() {
        let mut agenda = Agenda::default();
        agenda.add(5, Turn::Arrive, "late arrival");
        agenda.add(5, Turn::Arrive, "later arrival");
        agenda.add(5, Turn::Finish, "finish");
        agenda.add(5, Turn::Expire, "expire");
        agenda.add(1, Turn::Arrive, "early arrival");
        agenda.add(9, Turn::Finish, "beyond");
        let order: Vec<_> = std::iter::from_fn(|| agenda.next_before(9)).collect();
        assert_eq!(
            order,
            [(1, "early arrival"), (5, "finish"), (5, "expire"), (5, "late arrival"), (5, "later arrival")]
        );
        assert_eq!(agenda.entered(), 6);
    }
}
