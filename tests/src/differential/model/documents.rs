//! Documents, and the paths that are sent to find something in them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value of a document; members are in the order they came.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Where a value is: which child of the root, which child of that, and so on.
pub(super) type Place = Vec<usize>;

impl Node {
    pub(super) fn read(text: &[u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(text).map_err(|_| "ERR no JSON")
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn children(&self) -> Vec<&Node> {
        match self {
            Self::Array(elements) => elements.iter().collect(),
            Self::Object(members) => members.iter().map(|(_, member)| member).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn at(&self, place: &[usize]) -> &Node {
        place.iter().fold(self, |node, step| node.children()[*step])
    }

    pub(super) fn at_mut(&mut self, place: &[usize]) -> &mut Node {
        place.iter().fold(self, |node, step| match node {
            Self::Array(elements) => &mut elements[*step],
            Self::Object(members) => &mut members[*step].1,
            _ => panic!("a place of another document"),
        })
    }

    /// Takes out what is at a place, which is not the root.
    pub(super) fn remove(&mut self, place: &[usize]) {
        let Some((last, parent)) = place.split_last() else { return };
        match self.at_mut(parent) {
            Self::Array(elements) => _ = elements.remove(*last),
            Self::Object(members) => _ = members.remove(*last),
            _ => {}
        }
    }

    /// Merges by RFC 7396.
    pub(super) fn merge(&mut self, patch: &Node) {
        let Self::Object(patch) = patch else {
            *self = patch.clone();
            return;
        };
        if !matches!(self, Self::Object(_)) {
            *self = Self::Object(Vec::new());
        }
        let Self::Object(members) = self else { return };
        for (name, patch) in patch {
            let found = members.iter().position(|(one, _)| one == name);
            match (found, patch) {
                (Some(at), Node::Null) => _ = members.remove(at),
                (None, Node::Null) => {}
                (Some(at), patch) => members[at].1.merge(patch),
                (None, patch) => {
                    let mut new = Node::Null;
                    new.merge(patch);
                    members.push((name.clone(), new));
                }
            }
        }
    }
}

/// What is written between the parts of a document: before a member once per level, at the end of a line, behind a colon.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout<'a> {
    pub(super) indent: &'a str,
    pub(super) newline: &'a str,
    pub(super) space: &'a str,
}

impl Layout<'_> {
    pub(super) fn text(self, node: &Node, depth: usize) -> String {
        let quoted = |text: &str| serde_json::to_string(text).expect("a text can be quoted");
        match node {
            Node::Null => "null".into(),
            Node::Bool(value) => value.to_string(),
            Node::Int(value) => value.to_string(),
            // RedisJSON writes no plus.
            Node::Float(value) => serde_json::to_string(value).expect("a finite number").replace("e+", "e"),
            Node::Text(text) => quoted(text),
            Node::Array(elements) => self.array(elements.iter(), depth),
            Node::Object(members) => {
                let member = |(name, member): &(String, Node)| {
                    format!("{}:{}{}", quoted(name), self.space, self.text(member, depth + 1))
                };
                self.lines(["{", "}"], members.iter().map(member).collect(), depth)
            }
        }
    }

    /// Values as a JSON array.
    pub(super) fn array<'n>(self, nodes: impl Iterator<Item = &'n Node>, depth: usize) -> String {
        self.lines(["[", "]"], nodes.map(|node| self.text(node, depth + 1)).collect(), depth)
    }

    fn lines(self, [begin, end]: [&str; 2], items: Vec<String>, depth: usize) -> String {
        let break_to = |depth: usize| format!("{}{}", self.newline, self.indent.repeat(depth));
        if items.is_empty() {
            return format!("{begin}{end}");
        }
        let separator = format!(",{}", break_to(depth + 1));
        format!("{begin}{}{}{}{end}", break_to(depth + 1), items.join(&separator), break_to(depth))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Layout::default().text(self, 0))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(i64::try_from(value).map_or(Node::Float(value as f64), Node::Int))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = from.next_element()? {
                    elements.push(element);
                }
                Ok(Node::Array(elements))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
                let mut members: Vec<(String, Node)> = Vec::new();
                while let Some((name, member)) = from.next_entry::<String, Node>()? {
                    match members.iter_mut().find(|(one, _)| *one == name) {
                        Some(held) => held.1 = member,
                        None => members.push((name, member)),
                    }
                }
                Ok(Node::Object(members))
            }
        }
        from.deserialize_any(Reader)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Select {
    Name(String),
    Index(i64),
    /// From one position to another, the latter not.
    Slice(i64, i64),
    All,
}

/// A path: `$` or a legacy one, then names, positions, slices and `*`, each perhaps anywhere below.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) is_legacy: bool,
    /// What is selected, and whether of everything below.
    steps: Vec<(Select, bool)>,
}

/// What a path that can lead to one place only ends with.
pub(super) enum Tail {
    Name(String),
    Index,
}

impl Path {
    pub(super) fn read(text: &[u8]) -> Result<Self, &'static str> {
        const WRONG: &str = "ERR no path";
        let text = std::str::from_utf8(text).map_err(|_| WRONG)?;
        let is_legacy = !text.starts_with('$');
        let mut rest = text.strip_prefix('$').unwrap_or(text).to_owned();
        if is_legacy && !rest.starts_with(['.', '[']) {
            rest.insert(0, '.');
        }
        let mut rest = if rest == "." { "" } else { rest.as_str() };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let is_deep = rest.starts_with("..");
            rest = rest.strip_prefix("..").or_else(|| rest.strip_prefix('.')).unwrap_or(rest);
            let (select, behind) = match rest.strip_prefix('[') {
                Some(inner) => {
                    let (inner, behind) = inner.split_once(']').ok_or(WRONG)?;
                    (bracket(inner).ok_or(WRONG)?, behind)
                }
                None => {
                    let (name, behind) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
                    (if name == "*" { Select::All } else { Select::Name(name.to_owned()) }, behind)
                }
            };
            if select == Select::Name(String::new()) {
                return Err(WRONG);
            }
            rest = behind;
            steps.push((select, is_deep));
        }
        Ok(Self { is_legacy, steps })
    }

    pub(super) fn is_root(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn parent(&self) -> Self {
        let steps = self.steps[..self.steps.len().saturating_sub(1)].to_vec();
        Self { steps, ..self.clone() }
    }

    pub(super) fn tail(&self) -> Option<Tail> {
        let is_single =
            |(select, is_deep): &(Select, bool)| !is_deep && matches!(select, Select::Name(_) | Select::Index(_));
        match self.steps.iter().all(is_single).then(|| self.steps.last()).flatten()? {
            (Select::Name(name), _) => Some(Tail::Name(name.clone())),
            _ => Some(Tail::Index),
        }
    }

    /// Where it leads, in order.
    pub(super) fn find(&self, root: &Node) -> Vec<Place> {
        let mut found = vec![Place::new()];
        for (select, is_deep) in &self.steps {
            let from = if *is_deep { found.iter().flat_map(|place| below(root, place)).collect() } else { found };
            found = from.iter().flat_map(|place| selected(root.at(place), select, place)).collect();
        }
        found
    }
}

fn bracket(inner: &str) -> Option<Select> {
    if inner == "*" {
        return Some(Select::All);
    }
    if let Some(name) = inner.strip_prefix('\'').and_then(|name| name.strip_suffix('\'')) {
        return Some(Select::Name(name.to_owned()));
    }
    match inner.split_once(':') {
        Some((from, to)) => Some(Select::Slice(from.parse().ok()?, to.parse().ok()?)),
        None => Some(Select::Index(inner.parse().ok()?)),
    }
}

/// A place and all those below, each before what is below it.
fn below(root: &Node, place: &Place) -> Vec<Place> {
    let mut all = vec![place.clone()];
    for step in 0..root.at(place).children().len() {
        all.extend(below(root, &[place.as_slice(), &[step]].concat()));
    }
    all
}

fn selected(node: &Node, select: &Select, place: &Place) -> Vec<Place> {
    let count = node.children().len();
    let from_either_end = |index: i64| if index < 0 { index + count as i64 } else { index };
    let is_array = matches!(node, Node::Array(_));
    let steps: Vec<usize> = match (select, node) {
        (Select::All, _) => (0..count).collect(),
        (Select::Name(name), Node::Object(members)) => {
            members.iter().position(|(one, _)| one == name).into_iter().collect()
        }
        (Select::Index(index), _) if is_array => {
            usize::try_from(from_either_end(*index)).ok().filter(|at| *at < count).into_iter().collect()
        }
        (Select::Slice(from, to), _) if is_array => {
            (from_either_end(*from).max(0)..from_either_end(*to).min(count as i64)).map(|at| at as usize).collect()
        }
        _ => Vec::new(),
    };
    steps.into_iter().map(|step| [place.as_slice(), &[step]].concat()).collect()
}

/// Each of these places that is within no other, in order.
pub(super) fn outermost(places: Vec<Place>) -> Vec<Place> {
    let is_within = |place: &Place| places.iter().any(|outer| outer != place && place.starts_with(outer));
    let mut outer: Vec<Place> = places.iter().filter(|place| !is_within(place)).cloned().collect();
    outer.sort();
    outer.dedup();
    outer
}
