//! Filters: which of the values in a value are meant.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};

use super::Step;
use super::find::{Budget, Limit, sole};
use crate::json::Node;

/// What a compiled regular expression may take: bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// What making a regular expression costs, in values looked at.
const PATTERN_COST: usize = 10_000;

#[derive(Debug, Clone)]
pub(super) enum Filter {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Not(Box<Filter>),
    /// The term is something.
    There(Term),
    Compare(Box<Comparison>),
}

#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) left: Term,
    pub(super) operator: Operator,
    pub(super) right: Term,
    /// Of `=~` with a literal.
    pub(super) pattern: Option<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    AtLeast,
    Above,
    AtMost,
    Below,
    Is,
    IsNot,
    Matches,
}

#[derive(Debug, Clone)]
pub(super) enum Term {
    /// From the value that is asked about.
    Current(Vec<Step>),
    /// From the whole document.
    Root(Vec<Step>),
    Value(Node),
}

/// A regular expression; nothing matches what is none.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Option<Regex>);

impl Pattern {
    pub(super) fn read(text: &str) -> Self {
        let limited = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build();
        Self(limited.ok())
    }

    fn matches(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

impl Filter {
    /// Whether it admits `node`.
    pub(super) fn admits(&self, node: &Node, root: &Node, budget: &mut Budget) -> Result<bool, Limit> {
        budget.pay(1)?;
        match self {
            Filter::Any(any) => {
                for each in any {
                    if each.admits(node, root, budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::All(all) => {
                for each in all {
                    if !each.admits(node, root, budget)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Not(inner) => Ok(!inner.admits(node, root, budget)?),
            Filter::There(term) => Ok(term.value(node, root, budget)?.is_some()),
            Filter::Compare(comparison) => comparison.holds(node, root, budget),
        }
    }
}

impl Term {
    /// The one value it means; none when there are several.
    fn value<'n>(&'n self, node: &'n Node, root: &'n Node, budget: &mut Budget) -> Result<Option<&'n Node>, Limit> {
        match self {
            Term::Value(value) => Ok(Some(value)),
            Term::Current(steps) => sole(steps, node, node, budget),
            Term::Root(steps) => sole(steps, root, root, budget),
        }
    }
}

impl Comparison {
    fn holds(&self, node: &Node, root: &Node, budget: &mut Budget) -> Result<bool, Limit> {
        let left = self.left.value(node, root, budget)?;
        let right = self.right.value(node, root, budget)?;
        let (Some(left), Some(right)) = (left, right) else { return Ok(self.operator == Operator::IsNot) };
        let holds = match self.operator {
            Operator::Is => left.is(right, true, budget),
            Operator::IsNot => !left.is(right, true, budget),
            Operator::Matches => self.matches(left, right, budget)?,
            Operator::AtLeast => order(left, right).is_some_and(Ordering::is_ge),
            Operator::Above => order(left, right).is_some_and(Ordering::is_gt),
            Operator::AtMost => order(left, right).is_some_and(Ordering::is_le),
            Operator::Below => order(left, right).is_some_and(Ordering::is_lt),
        };
        budget.pay(0)?;
        Ok(holds)
    }

    fn matches(&self, left: &Node, right: &Node, budget: &mut Budget) -> Result<bool, Limit> {
        let (Some(text), Some(pattern)) = (left.text(), right.text()) else { return Ok(false) };
        budget.pay(text.len() / 16)?;
        match &self.pattern {
            Some(pattern) => Ok(pattern.matches(text)),
            None => {
                budget.pay(PATTERN_COST + pattern.len() * 16)?;
                Ok(Pattern::read(pattern).matches(text))
            }
        }
    }
}

/// The order of two values, where there is one.
fn order(left: &Node, right: &Node) -> Option<Ordering> {
    match (left, right) {
        (Node::Int(a), Node::Int(b)) => Some(a.cmp(b)),
        (Node::Text(a), Node::Text(b)) => Some(a.cmp(b)),
        (Node::Bool(a), Node::Bool(b)) => Some(a.cmp(b)),
        (Node::Null, Node::Null) => Some(Ordering::Equal),
        (a, b) => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}
