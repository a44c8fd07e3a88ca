//! Where a command's keys are among its arguments.

use super::KeyFlags;
use crate::resp::Args;

/// Where some of a command's keys are: redis' `begin_search` and `find_keys`.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// Where the search starts.
    pub begin: Begin,
    /// Which arguments from there are keys.
    pub find: Find,
    /// What the command may do to them.
    pub flags: KeyFlags,
    /// What it does to them with these arguments, where options decide.
    pub flags_of: Option<fn(Args<'_>) -> KeyFlags>,
    /// Redis' remark on the flags.
    pub notes: &'static str,
}

/// Where a key search starts.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    /// At this argument.
    Index(u16),
    /// After this keyword, searched forward from an argument (or backward from the end when negative).
    Keyword(&'static str, i16),
    /// As a keyword, for whoever reads the table; but options before it may be given the same word, and this tells where
    /// they end. Where it cannot, the first such word counts.
    Option(&'static str, i16, fn(Args<'_>) -> Option<usize>),
    /// Where this finds it: for what redis itself calls unknown, as options may come in any order. It answers `None` also
    /// for keys that no argument names; the command must hold every partition then, and refuse whoever is limited.
    Unknown(fn(Args<'_>) -> Option<usize>),
}

/// Which arguments from the start are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// Every `step`-th one up to `last`: relative to the start when zero or more, to the argument count when negative.
    /// `limit` above 1 and `last` of -1 stop after that fraction of the rest.
    Range {
        /// Last key, see above.
        last: i16,
        /// Distance between keys.
        step: u16,
        /// Divisor of the rest, 0 and 1 for all of it.
        limit: u16,
    },
    /// An argument says how many keys follow.
    KeyNum {
        /// Where the number is, from the start.
        number: u16,
        /// Where the first key is, from the start.
        first: u16,
        /// Distance between keys.
        step: u16,
    },
}

impl KeySpec {
    /// One key, at argument `index`.
    pub const fn at(index: u16) -> Self {
        Self {
            begin: Begin::Index(index),
            find: Find::Range { last: 0, step: 1, limit: 0 },
            flags: KeyFlags::NONE,
            flags_of: None,
            notes: "",
        }
    }

    /// One key, where `search` finds it.
    pub const fn unknown(search: fn(Args<'_>) -> Option<usize>) -> Self {
        Self { begin: Begin::Unknown(search), ..Self::at(0) }
    }

    /// Keys up to `last` counted from the end (-1 is the last argument), every `step`-th.
    pub const fn to(self, last: i16, step: u16) -> Self {
        Self { find: Find::Range { last, step, limit: 0 }, ..self }
    }

    /// As many keys as argument `index` says, behind it.
    pub const fn counted_at(index: u16) -> Self {
        Self { find: Find::KeyNum { number: 0, first: 1, step: 1 }, ..Self::at(index) }
    }

    /// What the command does to the keys.
    pub const fn doing(self, flags: KeyFlags) -> Self {
        Self { flags, ..self }
    }

    /// What it does where its options decide.
    pub const fn varying(self, flags_of: fn(Args<'_>) -> KeyFlags) -> Self {
        Self { flags_of: Some(flags_of), ..self }
    }

    /// Redis' remark.
    pub const fn noting(self, notes: &'static str) -> Self {
        Self { notes, ..self }
    }
}
