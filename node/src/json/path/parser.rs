//! From a path's text to its steps. Total: bounded by the text, and by how deep filters nest.

use super::filter::{Comparison, Filter, Operator, Term};
use super::pattern::Pattern;
use super::{Select, Step};
use crate::json::Node;
use std::cell::RefCell;

/// How deep parentheses, negations and filters within filters nest.
const NESTING_MAX: usize = 32;

/// Most regular expressions in one path: each takes memory of its own.
pub const PATTERNS_MAX: usize = 16;

pub(super) struct Parser<'t> {
    text: &'t str,
    at: usize,
    nesting: usize,
    patterns: usize,
}

type Parsed<T> = Result<T, String>;

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, nesting: 0, patterns: 0 }
    }

    /// `$` and steps, to the end of the text; and how many regular expressions are in them.
    pub(super) fn path(mut self) -> Parsed<(Vec<Step>, usize)> {
        self.expect("$")?;
        let steps = self.steps(true)?;
        self.blanks();
        if self.at < self.text.len() { self.wrong("a path element") } else { Ok((steps, self.patterns)) }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(' ').len();
    }

    /// Takes this token, blanks in front of it too.
    fn take(&mut self, token: &str) -> bool {
        let before = self.at;
        self.blanks();
        if self.rest().starts_with(token) {
            self.at += token.len();
            return true;
        }
        self.at = before;
        false
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.take(token) { Ok(()) } else { self.wrong(&format!("'{token}'")) }
    }

    fn wrong<T>(&self, expected: &str) -> Parsed<T> {
        let (before, after) = self.text.split_at(self.at.min(self.text.len()));
        let shown = if after.is_empty() { format!("{before} <<<<----") } else { format!("{before} ---->>>> {after}") };
        Err(format!(
            "ERR Error occurred on position {}, \"{shown}\", expected one of the following: {expected}.",
            self.at
        ))
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= NESTING_MAX {
            return Err(format!("ERR filters of a path nest {NESTING_MAX} deep at most"));
        }
        self.nesting += 1;
        let read = read(self);
        self.nesting -= 1;
        read
    }

    /// As many steps as there are. The first may be a name without a dot, behind `@`.
    fn steps(&mut self, dotted: bool) -> Parsed<Vec<Step>> {
        let mut steps = Vec::new();
        if !dotted && let Some(name) = self.literal() {
            steps.push(Step { deep: false, select: Select::Names(vec![name.into()]) });
        }
        loop {
            if self.take("..") {
                steps.push(Step { deep: true, select: self.behind_dots()? });
            } else if self.take(".") {
                steps.push(Step { deep: false, select: self.behind_dots()? });
            } else if self.take("[") {
                steps.push(Step { deep: false, select: self.bracket()? });
            } else {
                return Ok(steps);
            }
        }
    }

    fn behind_dots(&mut self) -> Parsed<Select> {
        self.blanks();
        if self.take("*") {
            Ok(Select::All)
        } else if self.take("[") {
            self.bracket()
        } else {
            match self.literal() {
                Some(name) => Ok(Select::Names(vec![name.into()])),
                None => self.wrong("<string>, '*'"),
            }
        }
    }

    /// A name that needs no quotes.
    fn literal(&mut self) -> Option<&'t str> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_`~+#%$^/:".contains(c) || !c.is_ascii();
        let rest = self.rest();
        let end = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).filter(|name| !name.is_empty())
    }

    /// What stands between `[` and `]`.
    fn bracket(&mut self) -> Parsed<Select> {
        let select = if self.take("*") {
            Select::All
        } else if self.take("?") {
            Select::Filter(self.nested(Self::filter)?)
        } else if let Some(name) = self.quoted()? {
            let mut names = vec![name];
            while self.take(",") {
                match self.quoted()? {
                    Some(name) => names.push(name),
                    None => return self.wrong("<string>"),
                }
            }
            Select::Names(names)
        } else {
            self.positions()?
        };
        self.expect("]")?;
        Ok(select)
    }

    /// `1`, `1,2`, `1:`, `:2`, `1:2:3` and the like.
    fn positions(&mut self) -> Parsed<Select> {
        let from = self.integer()?;
        if self.take(":") {
            let to = self.integer()?;
            let step = if self.take(":") { self.integer()? } else { None };
            return match step.map_or(Ok(1), usize::try_from) {
                Ok(step) if step > 0 => Ok(Select::Slice { from, to, step }),
                _ => self.wrong("a step above 0"),
            };
        }
        let Some(first) = from else {
            return self.wrong("'*', '<number>[,<number>,...]', ['start:end:steps'], '<string>[,<string>,...]', '?'");
        };
        let mut indexes = vec![first];
        while self.take(",") {
            match self.integer()? {
                Some(index) => indexes.push(index),
                None => return self.wrong("'<number>'"),
            }
        }
        Ok(Select::Indexes(indexes))
    }

    fn integer(&mut self) -> Parsed<Option<i64>> {
        self.blanks();
        let rest = self.rest();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let count = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let end = rest.len() - digits.len() + count;
        if count == 0 {
            return Ok(None);
        }
        match rest.get(..end).and_then(|text| text.parse().ok()) {
            Some(value) => {
                self.at += end;
                Ok(Some(value))
            }
            None => self.wrong("a 64-bit number"),
        }
    }

    /// A string in quotes of either sort; a backslash takes the character behind it as it is.
    fn quoted(&mut self) -> Parsed<Option<Box<str>>> {
        self.blanks();
        let mut chars = self.rest().char_indices();
        let quote = match chars.next() {
            Some((_, quote @ ('\'' | '"'))) => quote,
            _ => return Ok(None),
        };
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += at + c.len_utf8();
                    return Ok(Some(text.into()));
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('\'' | '"' | '\\'))) => text.push(escaped),
                    // Of a regular expression.
                    Some((_, other)) => text.extend(['\\', other]),
                    None => break,
                },
                c => text.push(c),
            }
        }
        self.wrong(&format!("a closing {quote}"))
    }

    /// `a && b || c`: `&&` binds tighter.
    fn filter(&mut self) -> Parsed<Filter> {
        let mut any = vec![self.all()?];
        while self.take("||") {
            any.push(self.all()?);
        }
        Ok(match any.pop() {
            Some(only) if any.is_empty() => only,
            last => {
                any.extend(last);
                Filter::Any(any)
            }
        })
    }

    fn all(&mut self) -> Parsed<Filter> {
        let mut all = vec![self.test()?];
        while self.take("&&") {
            all.push(self.test()?);
        }
        Ok(match all.pop() {
            Some(only) if all.is_empty() => only,
            last => {
                all.extend(last);
                Filter::All(all)
            }
        })
    }

    fn test(&mut self) -> Parsed<Filter> {
        if self.take("(") {
            let inner = self.nested(Self::filter)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("!") {
            return Ok(Filter::Not(Box::new(self.nested(Self::test)?)));
        }
        let left = self.term()?;
        let Some(operator) = self.operator() else { return Ok(Filter::There(left)) };
        let right = self.term()?;
        let pattern = match (operator, &right) {
            (Operator::Matches, Term::Value(Node::Text(text))) => {
                self.patterns += 1;
                if self.patterns > PATTERNS_MAX {
                    return Err(format!("ERR a path has {PATTERNS_MAX} regular expressions at most"));
                }
                Some(Pattern::read(text))
            }
            _ => None,
        };
        Ok(Filter::Compare(Box::new(Comparison { left, operator, right, pattern, met: RefCell::default() })))
    }

    fn operator(&mut self) -> Option<Operator> {
        const OPERATORS: [(&str, Operator); 7] = [
            (">=", Operator::AtLeast),
            (">", Operator::Above),
            ("<=", Operator::AtMost),
            ("<", Operator::Below),
            ("==", Operator::Is),
            ("!=", Operator::IsNot),
            ("=~", Operator::Matches),
        ];
        OPERATORS.iter().find(|(token, _)| self.take(token)).map(|(_, operator)| *operator)
    }

    fn term(&mut self) -> Parsed<Term> {
        if self.take("@") {
            return self.nested(|parser| parser.steps(false)).map(Term::Current);
        }
        if self.take("$") {
            return self.nested(|parser| parser.steps(false)).map(Term::Root);
        }
        if let Some(text) = self.quoted()? {
            return Ok(Term::Value(Node::Text(text)));
        }
        for (word, node) in [("true", Node::Bool(true)), ("false", Node::Bool(false)), ("null", Node::Null)] {
            if self.take(word) {
                return Ok(Term::Value(node));
            }
        }
        self.number()
    }

    fn number(&mut self) -> Parsed<Term> {
        self.blanks();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        match crate::json::read_number(text) {
            Ok(Some(number)) => {
                self.at += end;
                Ok(Term::Value(number))
            }
            _ => self.wrong("'@', '$', <number>, <string>, true, false, null"),
        }
    }
}
