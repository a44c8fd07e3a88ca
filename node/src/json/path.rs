//! Paths: what of a document is meant.
//!
//! The language is RedisJSON's: `$`, `.name`, `['name',"name"]`, `[0,-1]`, `[from:to:step]`, `*`, `..` in front of any of
//! them, and `[?(…)]` with `==` `!=` `<` `<=` `>` `>=` `=~` `&&` `||` `!` over `@…`, `$…` and literals. A legacy path
//! (`.`, `.name`, `name`) is the same behind `$`, and means the first match only.

mod filter;
mod find;
mod fuzz;
mod parser;
mod pattern;

pub use find::{Budget, Found, Limit, Place};
pub use fuzz::fuzz_json_path;
pub use parser::PATTERNS_MAX;

use filter::Filter;
use parser::Parser;

/// The longest path: bytes.
const PATH_BYTES_MAX: usize = 16 * 1024;

/// A path, read.
#[derive(Debug, Clone)]
pub struct Path {
    steps: Vec<Step>,
    text: String,
    is_legacy: bool,
    patterns: usize,
}

/// One step into a value.
#[derive(Debug, Clone)]
struct Step {
    /// From the value and everything in it.
    deep: bool,
    select: Select,
}

/// Which of the values in a value.
#[derive(Debug, Clone)]
enum Select {
    Names(Vec<Box<str>>),
    Indexes(Vec<i64>),
    Slice { from: Option<i64>, to: Option<i64>, step: usize },
    All,
    Filter(Filter),
}

/// What a path that can mean one place only ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail<'a> {
    /// A member.
    Name(&'a str),
    /// An element.
    Index,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// Where it stops being one, and why, in RedisJSON's form.
    pub fn read(path: &str) -> Result<Self, String> {
        if path.len() > PATH_BYTES_MAX {
            return Err(format!("ERR the path is longer than {PATH_BYTES_MAX} bytes"));
        }
        let text = match path.as_bytes() {
            [b'$'] | [b'$', b'.' | b'[', ..] => None,
            b"." => Some("$".to_owned()),
            [b'.', ..] => Some(format!("${path}")),
            _ => Some(format!("$.{path}")),
        };
        let is_legacy = text.is_some();
        let text = text.unwrap_or_else(|| path.to_owned());
        let (steps, patterns) = Parser::new(&text).path()?;
        Ok(Self { steps, text, is_legacy, patterns })
    }

    /// The whole document, as a legacy path.
    pub fn legacy_root() -> Self {
        Self { steps: Vec::new(), text: "$".to_owned(), is_legacy: true, patterns: 0 }
    }

    /// True when only the first match is meant, and shown as itself.
    pub fn is_legacy(&self) -> bool {
        self.is_legacy
    }

    /// How many regular expressions are in it.
    pub fn patterns(&self) -> usize {
        self.patterns
    }

    /// True for the whole document.
    pub fn is_root(&self) -> bool {
        self.steps.is_empty()
    }

    /// As errors name it: from `$` on.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The last step, if this path can mean one place only; `None` also for the root.
    pub fn tail(&self) -> Option<Tail<'_>> {
        let single = |step: &Step| match (&step.select, step.deep) {
            (Select::Names(names), false) => names.len() == 1,
            (Select::Indexes(indexes), false) => indexes.len() == 1,
            _ => false,
        };
        match &self.steps.last()?.select {
            _ if !self.steps.iter().all(single) => None,
            Select::Names(names) => names.first().map(|name| Tail::Name(name)),
            _ => Some(Tail::Index),
        }
    }

    /// The path without its last step.
    pub fn parent(&self) -> Self {
        let mut parent = self.clone();
        parent.steps.pop();
        parent
    }
}
