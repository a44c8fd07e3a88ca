//! A doubly linked list of small numbers in two arrays: constant time everywhere, no allocation after the first.

const NONE: u32 = u32::MAX;

/// A list of distinct numbers under a bound known at the start.
#[derive(Debug)]
pub(super) struct List {
    before: Vec<u32>,
    after: Vec<u32>,
    first: u32,
    last: u32,
}

impl List {
    /// An empty list for numbers under `bound`.
    pub(super) fn new(bound: usize) -> Self {
        Self { before: vec![NONE; bound], after: vec![NONE; bound], first: NONE, last: NONE }
    }

    /// The number that has been in longest.
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Puts `n`, which is not in, at the end.
    pub(super) fn push(&mut self, n: u32) {
        self.before[n as usize] = self.last;
        self.after[n as usize] = NONE;
        match self.last {
            NONE => self.first = n,
            last => self.after[last as usize] = n,
        }
        self.last = n;
    }

    /// Takes `n`, which is in, out.
    pub(super) fn remove(&mut self, n: u32) {
        let (before, after) = (self.before[n as usize], self.after[n as usize]);
        match before {
            NONE => self.first = after,
            before => self.after[before as usize] = after,
        }
        match after {
            NONE => self.last = before,
            after => self.before[after as usize] = before,
        }
    }
}
