//! The functions of `string` that take patterns, on a matcher with a budget.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::library::{Outcome, Problem, Raised, Words, function, function_at, room, wrong};
use super::patterns::{Capture, Matcher, Stop, is_plain};
use super::watch::Watch;

impl From<Stop> for Problem {
    fn from(stop: Stop) -> Self {
        Self::Said(match stop {
            Stop::Malformed(why) => why.to_owned(),
            Stop::OutOfBudget => "the pattern takes too long".to_owned(),
        })
    }
}

/// Puts them where the prelude builds from.
pub(super) fn put(lua: &Lua, raised: &Rc<Raised>, host: &Table, watch: &Rc<Watch>) -> mlua::Result<()> {
    let seen = watch.clone();
    host.raw_set("find", function(lua, raised, move |lua, words| find(lua, words, &seen, true))?)?;
    let seen = watch.clone();
    host.raw_set("match", function(lua, raised, move |lua, words| find(lua, words, &seen, false))?)?;
    let (seen, raises) = (watch.clone(), raised.clone());
    host.raw_set("gmatch", function(lua, raised, move |lua, words| gmatch(lua, &raises, words, &seen))?)?;
    host.raw_set("rep", function(lua, raised, rep)?)?;
    // These are called by the prelude's `gsub`.
    let seen = watch.clone();
    host.raw_set("first", function_at(lua, raised, 2, move |lua, words| first(lua, words, &seen))?)?;
    let seen = watch.clone();
    host.raw_set("gsub", function_at(lua, raised, 2, move |lua, words| gsub(lua, words, &seen))?)?;
    host.raw_set("prepared", function_at(lua, raised, 2, prepared)?)
}

/// Patterns end at a NUL.
fn pattern(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

fn split_anchor(pattern: &[u8]) -> (&[u8], bool) {
    match pattern.split_first() {
        Some((b'^', rest)) => (rest, true),
        _ => (pattern, false),
    }
}

fn value(lua: &Lua, subject: &[u8], capture: Capture) -> Result<Value, Problem> {
    Ok(match capture {
        Capture::Bytes(from, to) => Value::String(lua.create_string(subject.get(from..to).unwrap_or_default())?),
        Capture::Position(at) => Value::Number(at as f64),
    })
}

fn find(lua: &Lua, words: Words<'_>, watch: &Watch, places: bool) -> Outcome {
    let (text, rules) = (words.text(1)?, words.text(2)?);
    let (text, rules) = (text.as_bytes(), rules.as_bytes());
    let from = start(words.integer_or(3, 1)?, text.len());
    let is_literal = matches!(words.get(4), Some(value) if !matches!(value, Value::Nil | Value::Boolean(false)));
    let ends = |from: usize, to: usize| [Value::Number((from + 1) as f64), Value::Number(to as f64)];
    if places && (is_literal || is_plain(pattern(&rules))) {
        let found = memchr::memmem::find(text.get(from..).unwrap_or_default(), &rules);
        return Ok(match found {
            Some(at) => ends(from + at, from + at + rules.len()).into_iter().collect(),
            None => MultiValue::from_iter([Value::Nil]),
        });
    }
    let (rules, is_anchored) = split_anchor(pattern(&rules));
    let budget = |steps| watch.allows(steps);
    let mut matcher = Matcher::new(&text, rules, &budget);
    let Some((at, end)) = matcher.first(from, is_anchored)? else { return Ok(MultiValue::from_iter([Value::Nil])) };
    let mut captures = matcher.captured(at, end)?;
    if places && matcher.is_whole() {
        captures.clear();
    }
    let captures = captures.into_iter().map(|capture| value(lua, &text, capture)).collect::<Result<Vec<_>, _>>()?;
    Ok(if places { ends(at, end).into_iter().chain(captures).collect() } else { captures.into_iter().collect() })
}

/// Where a search begins that is told to begin here: from 1, from the end when negative.
fn start(init: i64, length: usize) -> usize {
    let init = if init < 0 { (init + length as i64 + 1).max(0) } else { init };
    usize::try_from(init - 1).unwrap_or(0).min(length)
}

/// Lua's own repeats nothing a billion times, too.
fn rep(lua: &Lua, words: Words<'_>) -> Outcome {
    let (text, count) = (words.text(1)?, words.integer(2)?);
    let text = text.as_bytes();
    let count = usize::try_from(count as i32).unwrap_or(0);
    room(0, text.len().saturating_mul(count))?;
    let many = if text.is_empty() { Vec::new() } else { text.repeat(count) };
    Ok(MultiValue::from_iter([Value::String(lua.create_string(many)?)]))
}

/// An iterator over the matches. A `^` is a letter like others to it.
fn gmatch(lua: &Lua, raised: &Rc<Raised>, words: Words<'_>, watch: &Rc<Watch>) -> Outcome {
    let (text, rules) = (words.text(1)?, words.text(2)?);
    let (watch, from) = (watch.clone(), Cell::new(0));
    let next = function(lua, raised, move |lua, _| {
        let (text, rules) = (text.as_bytes(), rules.as_bytes());
        if from.get() > text.len() {
            return Ok(MultiValue::from_iter([Value::Nil]));
        }
        let budget = |steps| watch.allows(steps);
        let mut matcher = Matcher::new(&text, pattern(&rules), &budget);
        let Some((at, end)) = matcher.first(from.get(), false)? else {
            from.set(usize::MAX);
            return Ok(MultiValue::from_iter([Value::Nil]));
        };
        from.set(if end > at { end } else { end + 1 });
        matcher.captured(at, end)?.into_iter().map(|capture| value(lua, &text, capture)).collect()
    })?;
    Ok(MultiValue::from_iter([Value::Function(next)]))
}

/// The next match of a pattern for `gsub`: where it begins, the place behind it, the captures.
fn first(lua: &Lua, words: Words<'_>, watch: &Watch) -> Outcome {
    let (text, rules) = (words.text(1)?, words.text(2)?);
    let (text, rules) = (text.as_bytes(), rules.as_bytes());
    let from = usize::try_from(words.integer(3)?.saturating_sub(1)).unwrap_or(0);
    let is_anchored = matches!(words.get(4), Some(Value::Boolean(true)));
    if from > text.len() {
        return Ok(MultiValue::new());
    }
    let budget = |steps| watch.allows(steps);
    let mut matcher = Matcher::new(&text, pattern(&rules), &budget);
    let Some((at, end)) = matcher.first(from, is_anchored)? else { return Ok(MultiValue::new()) };
    let captures = matcher.captured(at, end)?.into_iter().map(|capture| value(lua, &text, capture));
    let captures = captures.collect::<Result<Vec<_>, _>>()?;
    let ends = [Value::Number((at + 1) as f64), Value::Number((end + 1) as f64)];
    Ok(ends.into_iter().chain(captures).collect())
}

/// The arguments of a `gsub` that calls back: the text, the pattern behind its `^`, whether it had one, how many at most.
fn prepared(lua: &Lua, words: Words<'_>) -> Outcome {
    let (text, rules) = (words.text(1)?, words.text(2)?);
    // The third here is its fourth.
    let most = match words.get(3) {
        Some(Value::Nil) | None => text.as_bytes().len() as i64 + 1,
        Some(_) => words.integer(3)?,
    };
    let rules = rules.as_bytes();
    let (rest, is_anchored) = split_anchor(&rules);
    let rest = Value::String(lua.create_string(rest)?);
    Ok(MultiValue::from_iter([Value::String(text), rest, Value::Boolean(is_anchored), Value::Number(most as f64)]))
}

fn gsub(lua: &Lua, words: Words<'_>, watch: &Watch) -> Outcome {
    let (text, rules) = (words.text(1)?, words.text(2)?);
    let (text, rules) = (text.as_bytes(), rules.as_bytes());
    let Ok(with) = words.text(3) else {
        return wrong(3, "string/function/table expected");
    };
    let with = with.as_bytes();
    let most = words.integer_or(4, text.len() as i64 + 1)?;
    let (rules, is_anchored) = split_anchor(pattern(&rules));
    let budget = |steps| watch.allows(steps);
    let mut matcher = Matcher::new(&text, rules, &budget);
    let (mut out, mut at, mut count) = (Vec::new(), 0, 0);
    while count < most {
        match matcher.at(at)? {
            Some(end) => {
                count += 1;
                put_replacement(&matcher, &text, (at, end), &with, &mut out)?;
                if end > at {
                    at = end;
                } else if let Some(byte) = text.get(at) {
                    out.push(*byte);
                    at += 1;
                } else {
                    break;
                }
            }
            None => {
                let Some(byte) = text.get(at) else { break };
                out.push(*byte);
                at += 1;
            }
        }
        room(out.len(), 0)?;
        if is_anchored {
            break;
        }
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    Ok(MultiValue::from_iter([Value::String(lua.create_string(out)?), Value::Number(count as f64)]))
}

fn put_replacement(
    matcher: &Matcher<'_>,
    text: &[u8],
    (at, end): (usize, usize),
    with: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    let mut rest = with.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let capture = match rest.next() {
            Some(b'0') => Capture::Bytes(at, end),
            Some(digit) if digit.is_ascii_digit() => matcher.capture(usize::from(digit - b'1'), at, end)?,
            other => {
                out.push(other.copied().unwrap_or(0));
                continue;
            }
        };
        match capture {
            Capture::Bytes(from, to) => {
                room(out.len(), to - from)?;
                out.extend_from_slice(text.get(from..to).unwrap_or_default());
            }
            Capture::Position(place) => out.extend(place.to_string().bytes()),
        }
    }
    room(out.len(), 0)
}
