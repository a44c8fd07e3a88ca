//! Regular expressions of filters, for a price.
//!
//! The crate `regex` does not say what a search costs, which for one pattern is ten thousand times what it is for another:
//! this is the same engine's parts, the table of states that are met, and asking every state where that table does not do.

use std::cell::RefCell;

use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::{Input, MatchKind, nfa::thompson};

use super::find::{Budget, Limit};

/// What a compiled pattern may take: bytes.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// What the table of states that were met may take: bytes.
const TABLE_BYTES_MAX: usize = 256 << 10;

/// How often that table may be filled before it is given up.
const TABLE_FILLS_MAX: usize = 8;

/// How many bytes that the table knows the way of cost as much as looking at a value.
const BYTES_PER_VISIT: usize = 16;

/// How many states that a byte is shown to cost as much.
const STATES_PER_VISIT: usize = 4;

/// A regular expression; nothing matches what is none.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Option<Box<Machine>>);

#[derive(Debug, Clone)]
struct Machine {
    table: DFA,
    states: PikeVM,
    /// What the two remember from one text to the next.
    met: RefCell<(Cache, Option<pikevm::Cache>)>,
}

impl Pattern {
    pub(super) fn read(text: &str) -> Self {
        Self(Machine::read(text).map(Box::new))
    }

    /// Whether it is found in `text`.
    pub(super) fn matches(&self, text: &str, budget: &mut Budget) -> Result<bool, Limit> {
        self.0.as_ref().map_or(Ok(false), |machine| machine.finds(text, budget))
    }
}

impl Machine {
    fn read(text: &str) -> Option<Self> {
        let size = thompson::Config::new().nfa_size_limit(Some(PATTERN_BYTES_MAX));
        let states = PikeVM::builder().thompson(size.which_captures(thompson::WhichCaptures::None)).build(text).ok()?;
        let config = Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .unicode_word_boundary(true)
            .cache_capacity(TABLE_BYTES_MAX)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(TABLE_FILLS_MAX));
        let table = DFA::builder().configure(config).build_from_nfa(states.get_nfa().clone()).ok()?;
        let met = RefCell::new((table.create_cache(), None));
        Some(Self { table, states, met })
    }

    fn finds(&self, text: &str, budget: &mut Budget) -> Result<bool, Limit> {
        let (table, states) = &mut *self.met.borrow_mut();
        let input = Input::new(text).earliest(true);
        budget.pay(text.len() / BYTES_PER_VISIT)?;
        if let Ok(found) = self.table.try_search_fwd(table, &input) {
            return Ok(found.is_some());
        }
        // The table is full, or does not know where words of other alphabets end.
        let asked = text.len().saturating_mul(self.states.get_nfa().states().len());
        budget.pay(asked / STATES_PER_VISIT)?;
        let states = states.get_or_insert_with(|| self.states.create_cache());
        Ok(self.states.is_match(states, input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(pattern: &str, text: &str) -> Result<bool, Limit> {
        Pattern::read(pattern).matches(text, &mut Budget::default())
    }

    #[test]
    fn patterns_find() {
        for (pattern, text, is) in [
            ("foo", "a foo", true),
            ("^foo$", "a foo", false),
            (r"\w+@\w+", "ä@ö", true),
            (r"\bö\b", "ä ö ü", true),
            (r"\bö\b", "äöü", false),
            ("(?i)STRASSE|x$", "strasse", true),
            ("", "", true),
            ("(", "(", false),
            ("a{1000}{1000}", "a", false),
        ] {
            assert_eq!(finds(pattern, text), Ok(is), "{pattern} in {text}");
        }
    }

    #[test]
    fn what_a_table_cannot_hold_is_paid_for() {
        let mut bits = 12_345_u64;
        let mut random = || {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            if bits & 1 == 0 { 'a' } else { 'b' }
        };
        let text: String = std::iter::repeat_with(&mut random).take(300_000).collect();
        assert_eq!(finds("a[ab]{3}[^ab]", &text), Ok(false));
        assert_eq!(finds("a[ab]{500}[^ab]", &text), Err(Limit::Visits));
        assert_eq!(finds("a[ab]{500}[^ab]", &text[..5_000]), Ok(false));
    }
}
