//! Finding what a path means, for a price: whoever asks for too much is told so, whatever the path.

use super::{Path, Select, Step};
use crate::json::Node;

/// Most values that finding looks at.
const VISITS_MAX: usize = 4_000_000;

/// Most values that it finds, at any of a path's steps.
const MATCHES_MAX: usize = 1_000_000;

/// How many positions of a place cost as much as looking at a value.
const POSITIONS_PER_VISIT: usize = 8;

/// Where a value is: positions from the root inwards, members and elements alike.
pub type Place = Box<[u32]>;

/// Why finding stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// It looked at too many values.
    Visits,
    /// It found too many.
    Matches,
}

impl Limit {
    /// For the client.
    pub fn text(self) -> String {
        match self {
            Self::Visits => format!("ERR the path looks at more than {VISITS_MAX} values"),
            Self::Matches => format!("ERR the path matches more than {MATCHES_MAX} values"),
        }
    }
}

/// What one command may look at.
#[derive(Debug)]
pub struct Budget {
    left: usize,
    is_over: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: VISITS_MAX, is_over: false }
    }
}

impl Budget {
    /// For what was paid already.
    pub fn boundless() -> Self {
        Self { left: usize::MAX, is_over: false }
    }

    /// Pays for `count` values; false when there is no more.
    pub fn spend(&mut self, count: usize) -> bool {
        match self.left.checked_sub(count) {
            Some(left) => self.left = left,
            None => self.is_over = true,
        }
        !self.is_over
    }

    pub(super) fn pay(&mut self, count: usize) -> Result<(), Limit> {
        if self.spend(count) { Ok(()) } else { Err(Limit::Visits) }
    }

    /// Whether something was left undone.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

/// What was found, in the document's order as far as the path has none of its own.
#[derive(Debug)]
pub struct Found<'d> {
    matches: Vec<(&'d Node, u32)>,
    trail: Option<Trail>,
}

impl<'d> Found<'d> {
    /// How many.
    pub fn len(&self) -> usize {
        self.matches.len()
    }

    /// True when there is nothing.
    pub fn is_empty(&self) -> bool {
        self.matches.is_empty()
    }

    /// The values.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &'d Node> {
        self.matches.iter().map(|(node, _)| *node)
    }

    /// The values with their places. Deep ones cost: many of them take more memory than what they are in.
    ///
    /// # Errors
    /// The places are too many and too deep.
    pub fn placed(&self, budget: &mut Budget) -> Result<Vec<(&'d Node, Place)>, Limit> {
        let place = |(node, at): &(&'d Node, u32)| {
            let place = self.trail.as_ref().map(|trail| trail.place(*at)).unwrap_or_default();
            budget.pay(place.len() / POSITIONS_PER_VISIT).map(|()| (*node, place))
        };
        self.matches.iter().map(place).collect()
    }
}

impl Path {
    /// Every value that the path means.
    ///
    /// # Errors
    /// There is too much to look at, or too much found.
    pub fn find<'d>(&self, root: &'d Node, budget: &mut Budget) -> Result<Found<'d>, Limit> {
        find(&self.steps, root, root, None, budget)
    }

    /// As [`Path::find`], remembering where each value is.
    ///
    /// # Errors
    /// As [`Path::find`].
    pub fn find_places<'d>(&self, root: &'d Node, budget: &mut Budget) -> Result<Found<'d>, Limit> {
        find(&self.steps, root, root, Some(Trail::default()), budget)
    }
}

/// The only value that steps lead to.
pub(super) fn sole<'d>(
    steps: &[Step],
    from: &'d Node,
    root: &'d Node,
    budget: &mut Budget,
) -> Result<Option<&'d Node>, Limit> {
    let found = find(steps, from, root, None, budget)?;
    match found.matches.as_slice() {
        [(node, _)] => Ok(Some(*node)),
        _ => Ok(None),
    }
}

fn find<'d>(
    steps: &[Step],
    from: &'d Node,
    root: &'d Node,
    mut trail: Option<Trail>,
    budget: &mut Budget,
) -> Result<Found<'d>, Limit> {
    let mut matches = vec![(from, Trail::ROOT)];
    for step in steps {
        let mut walk = Walk { step, root, trail: &mut trail, way: Vec::new(), next: Vec::new(), budget };
        for (node, at) in matches {
            walk.way.clear();
            walk.way.push((0, at));
            walk.value(node)?;
        }
        matches = walk.next;
    }
    Ok(Found { matches, trail })
}

/// Where what was found is: each place is a step from another.
#[derive(Debug, Default)]
struct Trail(Vec<(u32, u32)>);

impl Trail {
    const ROOT: u32 = u32::MAX;
    const UNKNOWN: u32 = u32::MAX - 1;

    fn place(&self, mut at: u32) -> Place {
        let mut steps = Vec::new();
        while let Some((parent, step)) = self.0.get(at as usize) {
            steps.push(*step);
            at = *parent;
        }
        steps.reverse();
        steps.into()
    }

    fn add(&mut self, parent: u32, position: u32) -> u32 {
        self.0.push((parent, position));
        (self.0.len() - 1) as u32
    }
}

/// One step, taken from one value.
struct Walk<'s, 'd, 'b> {
    step: &'s Step,
    root: &'d Node,
    trail: &'b mut Option<Trail>,
    /// From the value the step is taken from to the one that is looked at: positions, and where the trail has them. Most
    /// lead to nothing, so the trail is told of them when something is found.
    way: Vec<(u32, u32)>,
    next: Vec<(&'d Node, u32)>,
    budget: &'b mut Budget,
}

impl<'d> Walk<'_, 'd, '_> {
    /// What is selected of a value and, if the step says so, of everything in it. Recurses as deep as a document nests.
    fn value(&mut self, node: &'d Node) -> Result<(), Limit> {
        self.select(node)?;
        if self.step.deep {
            for (at, child) in node.children().enumerate() {
                if child.count() == 0 {
                    self.budget.pay(1)?;
                    continue;
                }
                self.way.push((at as u32, Trail::UNKNOWN));
                self.value(child)?;
                self.way.pop();
            }
        }
        Ok(())
    }

    fn select(&mut self, node: &'d Node) -> Result<(), Limit> {
        self.budget.pay(1)?;
        let step = self.step;
        match (&step.select, node) {
            (Select::Names(names), Node::Object(members)) => {
                for name in names {
                    self.budget.pay(1)?;
                    if let Some(at) = members.find(name) {
                        self.found(node, at)?;
                    }
                }
            }
            (Select::Indexes(indexes), Node::Array(elements)) => {
                for index in indexes {
                    self.budget.pay(1)?;
                    self.found(node, position(*index, elements.len()))?;
                }
            }
            (Select::Slice { from, to, step }, Node::Array(elements)) => {
                let len = elements.len();
                let from = from.map_or(0, |from| position(from, len));
                let to = to.map_or(len, |to| position(to, len));
                for at in (from..to).step_by(*step) {
                    self.found(node, at)?;
                }
            }
            (Select::All, _) => {
                for at in 0..node.count() {
                    self.found(node, at)?;
                }
            }
            (Select::Filter(filter), Node::Array(_) | Node::Object(_)) => {
                for (at, child) in node.children().enumerate() {
                    if filter.admits(child, self.root, self.budget)? {
                        self.found(node, at)?;
                    }
                }
            }
            (Select::Filter(filter), _) if !step.deep && filter.admits(node, self.root, self.budget)? => {
                let at = self.here();
                self.add(node, at)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes the value at a position of `node`, if there is one.
    fn found(&mut self, node: &'d Node, at: usize) -> Result<(), Limit> {
        self.budget.pay(1)?;
        let Some(child) = node.child(at) else { return Ok(()) };
        let here = self.here();
        let place = match self.trail {
            Some(trail) => trail.add(here, at as u32),
            None => Trail::ROOT,
        };
        self.add(child, place)
    }

    fn add(&mut self, node: &'d Node, place: u32) -> Result<(), Limit> {
        if self.next.len() >= MATCHES_MAX {
            return Err(Limit::Matches);
        }
        self.next.push((node, place));
        Ok(())
    }

    /// The trail of the value that is looked at.
    fn here(&mut self) -> u32 {
        let Some(trail) = self.trail else { return Trail::ROOT };
        let mut last = Trail::ROOT;
        for (position, at) in &mut self.way {
            if *at == Trail::UNKNOWN {
                *at = trail.add(last, *position);
            }
            last = *at;
        }
        last
    }
}

/// A position that may count from the end; RedisJSON takes what is before the first for the first.
fn position(index: i64, len: usize) -> usize {
    match usize::try_from(index) {
        Ok(index) => index.min(len),
        Err(_) => len.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}
