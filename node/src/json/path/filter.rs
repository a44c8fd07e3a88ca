//! Filters: which of the values in a value are meant.

use std::cell::RefCell;
use std::cmp::Ordering;

use super::Step;
use super::find::{Budget, Limit, sole};
use super::pattern::Pattern;
use crate::json::Node;

/// What making a regular expression costs, in values looked at.
const PATTERN_COST: usize = 200_000;

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
    /// Of `=~` with a value: the last pattern that one was.
    pub(super) met: RefCell<Option<(Box<str>, Pattern)>>,
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
        match &self.pattern {
            Some(read) => read.matches(text, budget),
            None => {
                let mut met = self.met.borrow_mut();
                let read = match &mut *met {
                    Some((of, read)) if **of == *pattern => read,
                    other => {
                        budget.pay(PATTERN_COST)?;
                        &other.insert((pattern.into(), Pattern::read(pattern))).1
                    }
                };
                read.matches(text, budget)
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
