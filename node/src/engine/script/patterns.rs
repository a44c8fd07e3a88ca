//! Lua's patterns: `string.find`, `match`, `gmatch` and `gsub`, with a budget.
//!
//! Lua's own matcher backtracks without end where a pattern makes it, and no hook is called meanwhile. This one does the
//! same, counts its steps, and asks the budget for more of them.

/// Captures of one pattern.
const CAPTURES_MAX: usize = 32;
/// Levels of the matcher, each on the thread's stack.
const LEVELS_MAX: usize = 400;
/// Steps between two questions to the budget.
const STEPS: u32 = 10_000;

const UNFINISHED: isize = -1;
const POSITION: isize = -2;

/// Why a match came to no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The pattern is wrong.
    Malformed(&'static str),
    /// It takes too long.
    OutOfBudget,
}

type Matched<T> = Result<T, Stop>;

/// What a capture caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capture {
    /// These bytes of the subject.
    Bytes(usize, usize),
    /// A place in it, from 1.
    Position(usize),
}

/// A pattern at work on a subject.
pub(super) struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    captures: [(usize, isize); CAPTURES_MAX],
    level: usize,
    depth: usize,
    steps: u32,
    /// Whether there may be this many more steps.
    budget: &'a dyn Fn(u32) -> bool,
}

impl<'a> Matcher<'a> {
    /// For the part of a pattern behind its `^`.
    pub(super) fn new(subject: &'a [u8], pattern: &'a [u8], budget: &'a dyn Fn(u32) -> bool) -> Self {
        Self { subject, pattern, captures: [(0, 0); CAPTURES_MAX], level: 0, depth: 0, steps: STEPS, budget }
    }

    /// Where the match that begins at `at` ends.
    pub(super) fn at(&mut self, at: usize) -> Matched<Option<usize>> {
        self.level = 0;
        self.depth = 0;
        self.step()?;
        self.run(at, 0)
    }

    /// The first match from `from` on: its place and end.
    pub(super) fn first(&mut self, from: usize, is_anchored: bool) -> Matched<Option<(usize, usize)>> {
        for at in from..=self.subject.len() {
            if let Some(end) = self.at(at)? {
                return Ok(Some((at, end)));
            }
            if is_anchored {
                break;
            }
        }
        Ok(None)
    }

    /// The captures of the last match; all of it, from `at` to `end`, when the pattern has none.
    pub(super) fn captured(&self, at: usize, end: usize) -> Matched<Vec<Capture>> {
        if self.level == 0 {
            return Ok(vec![Capture::Bytes(at, end)]);
        }
        (0..self.level).map(|index| self.capture(index, at, end)).collect()
    }

    /// Whether the pattern has no captures.
    pub(super) fn is_whole(&self) -> bool {
        self.level == 0
    }

    /// One of them.
    pub(super) fn capture(&self, index: usize, at: usize, end: usize) -> Matched<Capture> {
        if index >= self.level {
            return match index {
                0 => Ok(Capture::Bytes(at, end)),
                _ => Err(Stop::Malformed("invalid capture index")),
            };
        }
        match self.captures[index] {
            (_, UNFINISHED) => Err(Stop::Malformed("unfinished capture")),
            (from, POSITION) => Ok(Capture::Position(from + 1)),
            (from, length) => Ok(Capture::Bytes(from, from + length.unsigned_abs())),
        }
    }

    #[inline]
    fn step(&mut self) -> Matched<()> {
        self.take(1)
    }

    /// Takes steps: one for each byte that is looked at.
    #[inline]
    fn take(&mut self, steps: usize) -> Matched<()> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if steps < self.steps {
            self.steps -= steps;
            return Ok(());
        }
        let taken = (STEPS - self.steps).saturating_add(steps);
        self.steps = STEPS;
        if (self.budget)(taken) { Ok(()) } else { Err(Stop::OutOfBudget) }
    }

    fn run(&mut self, at: usize, rule: usize) -> Matched<Option<usize>> {
        self.depth += 1;
        if self.depth > LEVELS_MAX {
            return Err(Stop::Malformed("pattern too complex"));
        }
        let found = self.items(at, rule);
        self.depth -= 1;
        found
    }

    /// Matches the pattern from `rule` on at `at`.
    fn items(&mut self, mut at: usize, mut rule: usize) -> Matched<Option<usize>> {
        loop {
            self.step()?;
            let Some(byte) = self.pattern.get(rule) else { return Ok(Some(at)) };
            match (byte, self.pattern.get(rule + 1)) {
                (b'(', Some(b')')) => return self.open(at, rule + 2, POSITION),
                (b'(', _) => return self.open(at, rule + 1, UNFINISHED),
                (b')', _) => return self.close(at, rule + 1),
                (b'%', Some(b'b')) => match self.balanced(at, rule + 2)? {
                    Some(end) => (at, rule) = (end, rule + 4),
                    None => return Ok(None),
                },
                (b'%', Some(b'f')) => {
                    let set = rule + 2;
                    if self.pattern.get(set) != Some(&b'[') {
                        return Err(Stop::Malformed("missing '[' after '%f' in pattern"));
                    }
                    let end = self.class_end(set)?;
                    self.take(end - set)?;
                    let before = at.checked_sub(1).and_then(|at| self.subject.get(at)).copied().unwrap_or(0);
                    let here = self.subject.get(at).copied().unwrap_or(0);
                    if self.in_set(before, set, end - 1) || !self.in_set(here, set, end - 1) {
                        return Ok(None);
                    }
                    rule = end;
                }
                (b'%', Some(digit @ b'0'..=b'9')) => match self.again(at, *digit)? {
                    Some(end) => (at, rule) = (end, rule + 2),
                    None => return Ok(None),
                },
                (b'$', None) => return Ok((at == self.subject.len()).then_some(at)),
                _ => {
                    let end = self.class_end(rule)?;
                    self.take(end - rule)?;
                    let fits = at < self.subject.len() && self.single(self.subject[at], rule, end);
                    match self.pattern.get(end) {
                        Some(b'?') => {
                            if fits && let Some(found) = self.run(at + 1, end + 1)? {
                                return Ok(Some(found));
                            }
                            rule = end + 1;
                        }
                        Some(b'*') => return self.most(at, rule, end),
                        Some(b'+') if fits => return self.most(at + 1, rule, end),
                        Some(b'-') => return self.least(at, rule, end),
                        _ if !fits => return Ok(None),
                        _ => (at, rule) = (at + 1, end),
                    }
                }
            }
        }
    }

    /// Where the single character class at `rule` ends.
    fn class_end(&self, rule: usize) -> Matched<usize> {
        match self.pattern.get(rule) {
            Some(b'%') if rule + 1 >= self.pattern.len() => Err(Stop::Malformed("malformed pattern (ends with '%')")),
            Some(b'%') => Ok(rule + 2),
            Some(b'[') => {
                let mut at = rule + 1;
                if self.pattern.get(at) == Some(&b'^') {
                    at += 1;
                }
                loop {
                    // Its first character is in the set, a `]` too.
                    let byte = self.pattern.get(at);
                    at += 1;
                    match byte {
                        None => return Err(Stop::Malformed("malformed pattern (missing ']')")),
                        Some(b'%') if at < self.pattern.len() => at += 1,
                        Some(_) => {}
                    }
                    if self.pattern.get(at) == Some(&b']') {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(rule + 1),
        }
    }

    fn single(&self, byte: u8, rule: usize, end: usize) -> bool {
        match self.pattern[rule] {
            b'.' => true,
            b'%' => is_of_class(byte, self.pattern.get(rule + 1).copied().unwrap_or(0)),
            b'[' => self.in_set(byte, rule, end - 1),
            other => other == byte,
        }
    }

    /// Whether a byte is in the set between `[` at `from` and `]` at `to`.
    fn in_set(&self, byte: u8, from: usize, to: usize) -> bool {
        let at = |place: usize| self.pattern.get(place).copied().unwrap_or(0);
        let mut place = from + 1;
        let positive = at(place) != b'^';
        if !positive {
            place += 1;
        }
        while place < to {
            if at(place) == b'%' {
                if is_of_class(byte, at(place + 1)) {
                    return positive;
                }
                place += 2;
            } else if at(place + 1) == b'-' && place + 2 < to {
                if (at(place)..=at(place + 2)).contains(&byte) {
                    return positive;
                }
                place += 3;
            } else {
                if at(place) == byte {
                    return positive;
                }
                place += 1;
            }
        }
        !positive
    }

    /// `%bxy`.
    fn balanced(&mut self, at: usize, rule: usize) -> Matched<Option<usize>> {
        let (Some(open), Some(close)) = (self.pattern.get(rule), self.pattern.get(rule + 1)) else {
            return Err(Stop::Malformed("unbalanced pattern"));
        };
        let (open, close) = (*open, *close);
        if self.subject.get(at) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1_usize;
        for end in at + 1..self.subject.len() {
            self.step()?;
            let byte = self.subject[end];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(end + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// As many as there are, then fewer.
    fn most(&mut self, at: usize, rule: usize, end: usize) -> Matched<Option<usize>> {
        let mut count = 0;
        while at + count < self.subject.len() && self.single(self.subject[at + count], rule, end) {
            self.take(end - rule)?;
            count += 1;
        }
        loop {
            if let Some(found) = self.run(at + count, end + 1)? {
                return Ok(Some(found));
            }
            let Some(fewer) = count.checked_sub(1) else { return Ok(None) };
            count = fewer;
        }
    }

    /// None, then more.
    fn least(&mut self, mut at: usize, rule: usize, end: usize) -> Matched<Option<usize>> {
        loop {
            if let Some(found) = self.run(at, end + 1)? {
                return Ok(Some(found));
            }
            self.take(end - rule)?;
            if at >= self.subject.len() || !self.single(self.subject[at], rule, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open(&mut self, at: usize, rule: usize, length: isize) -> Matched<Option<usize>> {
        let Some(capture) = self.captures.get_mut(self.level) else {
            return Err(Stop::Malformed("too many captures"));
        };
        *capture = (at, length);
        self.level += 1;
        let found = self.run(at, rule)?;
        if found.is_none() {
            self.level -= 1;
        }
        Ok(found)
    }

    fn close(&mut self, at: usize, rule: usize) -> Matched<Option<usize>> {
        let open = self.captures[..self.level].iter().rposition(|(_, length)| *length == UNFINISHED);
        let Some(open) = open else { return Err(Stop::Malformed("invalid pattern capture")) };
        self.captures[open].1 = (at - self.captures[open].0) as isize;
        let found = self.run(at, rule)?;
        if found.is_none() {
            self.captures[open].1 = UNFINISHED;
        }
        Ok(found)
    }

    /// What a capture caught, once more.
    fn again(&mut self, at: usize, digit: u8) -> Matched<Option<usize>> {
        let caught =
            usize::from(digit).checked_sub(usize::from(b'1')).and_then(|index| self.captures[..self.level].get(index));
        let (from, length) = match caught {
            Some((from, length)) if *length != UNFINISHED => (*from, usize::try_from(*length).unwrap_or(usize::MAX)),
            _ => return Err(Stop::Malformed("invalid capture index")),
        };
        let Some(caught) = from.checked_add(length).and_then(|end| self.subject.get(from..end)) else {
            return Ok(None);
        };
        Ok(self.subject.get(at..).is_some_and(|rest| rest.starts_with(caught)).then_some(at + length))
    }
}

/// C's classes in the locale "C"; a letter in upper case is the complement.
fn is_of_class(byte: u8, class: u8) -> bool {
    let fits = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | 9..=13),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    fits != class.is_ascii_uppercase()
}

/// Whether a pattern is only text.
pub(super) fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pattern_without_end_is_ended() {
        let subject = [b'a'; 2000];
        let asked = std::cell::Cell::new(0);
        let budget = |steps| {
            asked.set(asked.get() + steps);
            asked.get() < 1_000_000
        };
        let mut matcher = Matcher::new(&subject, b".-.-.-.-b", &budget);
        assert_eq!(matcher.first(0, false), Err(Stop::OutOfBudget));
        assert!(asked.get() >= 1_000_000);
    }

    #[test]
    fn nothing_a_pattern_holds_can_panic() {
        let letters = b"a%[]()^$-*+?.bf1\0";
        let mut seed = 1_u64;
        for _ in 0..200_000 {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as usize
            };
            let pattern: Vec<u8> = (0..next() % 12).map(|_| letters[next() % letters.len()]).collect();
            let subject: Vec<u8> = (0..next() % 8).map(|_| letters[next() % letters.len()]).collect();
            let mut matcher = Matcher::new(&subject, &pattern, &|_| true);
            if let Ok(Some((at, end))) = matcher.first(0, false) {
                let _ = matcher.captured(at, end);
            }
        }
    }
}
