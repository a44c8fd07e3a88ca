//! Byte patterns: `*` and `?` over raw bytes, in linear time.
//!
//! Keys are bytes, never text: `*` matches any run of bytes, newline and NUL included, so that a Deny on `a*` cannot be
//! dodged by a key `a\nb` (facts of IAM evaluation, section 6.2). `?` is one Unicode scalar where the bytes are UTF-8 and
//! one byte where they are not.

/// One piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// These bytes.
    Literal(Box<[u8]>),
    /// One scalar or byte.
    One,
    /// Any run of bytes.
    Any,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Box<[Piece]>,
}

impl Pattern {
    /// Compiles `*` and `?`; every other byte is itself.
    pub fn new(text: &[u8]) -> Self {
        let mut built = PatternBuilder::default();
        built.wild(text);
        built.build()
    }

    /// The pattern that matches everything.
    pub fn any() -> Self {
        Self { pieces: Box::new([Piece::Any]) }
    }

    /// Whether it matches every input.
    pub fn is_any(&self) -> bool {
        matches!(&*self.pieces, [Piece::Any])
    }

    /// The prefix, when the pattern is a literal followed by nothing but `*`.
    pub fn as_prefix(&self) -> Option<&[u8]> {
        match &*self.pieces {
            [Piece::Any] => Some(b""),
            [Piece::Literal(bytes), Piece::Any] => Some(bytes),
            _ => None,
        }
    }

    /// The bytes, when the pattern has no wildcard.
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &*self.pieces {
            [] => Some(b""),
            [Piece::Literal(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// Whether the whole of `text` matches. Time is bounded by pieces times bytes, with no recursion.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut piece) = (0, 0);
        // Where to go on after the last `*`: the piece behind it, and the next byte it would swallow.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.pieces.get(piece) {
                Some(Piece::Any) => {
                    piece += 1;
                    if piece == self.pieces.len() {
                        return true;
                    }
                    retry = Some((piece, at));
                    continue;
                }
                Some(Piece::Literal(bytes)) if text[at..].starts_with(bytes) => {
                    at += bytes.len();
                    piece += 1;
                    continue;
                }
                Some(Piece::One) if at < text.len() => {
                    at += scalar_bytes(&text[at..]);
                    piece += 1;
                    continue;
                }
                None if at == text.len() => return true,
                _ => {}
            }
            match retry {
                Some((behind, swallowed)) if swallowed < text.len() => {
                    at = swallowed + 1;
                    piece = behind;
                    retry = Some((behind, at));
                }
                _ => return false,
            }
        }
    }
}

/// Builds a pattern of literal and wild parts, as policy variables need it: a value put in for `${…}` is literal.
#[derive(Debug, Default)]
pub struct PatternBuilder {
    pieces: Vec<Piece>,
}

impl PatternBuilder {
    /// Adds bytes that stand for themselves.
    pub fn literal(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(Piece::Literal(last)) = self.pieces.last_mut() {
            *last = [&**last, bytes].concat().into();
        } else {
            self.pieces.push(Piece::Literal(bytes.into()));
        }
    }

    /// Adds text in which `*` and `?` are wild.
    pub fn wild(&mut self, text: &[u8]) {
        let mut from = 0;
        for (at, &byte) in text.iter().enumerate() {
            let piece = match byte {
                b'*' => Piece::Any,
                b'?' => Piece::One,
                _ => continue,
            };
            self.literal(&text[from..at]);
            from = at + 1;
            if !(piece == Piece::Any && self.pieces.last() == Some(&Piece::Any)) {
                self.pieces.push(piece);
            }
        }
        self.literal(&text[from..]);
    }

    /// The pattern.
    pub fn build(self) -> Pattern {
        Pattern { pieces: self.pieces.into() }
    }
}

/// How many bytes the first scalar of non-empty `text` takes; 1 where it is not UTF-8.
fn scalar_bytes(text: &[u8]) -> usize {
    let want = match text[0] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    };
    match text.get(..want) {
        Some(bytes) if std::str::from_utf8(bytes).is_ok() => want,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, by recursion: the second opinion.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            Some((b'?', rest)) => !text.is_empty() && slow(rest, &text[scalar_bytes(text)..]),
            Some((byte, rest)) => text.first() == Some(byte) && slow(rest, &text[1..]),
        }
    }

    #[test]
    fn a_star_matches_newline_and_nul() {
        assert!(Pattern::new(b"a*").matches(b"a\nb\0c"));
        assert!(!Pattern::new(b"a*").matches(b"b"));
    }

    #[test]
    fn a_question_mark_is_one_scalar_or_one_stray_byte() {
        assert!(Pattern::new(b"a?c").matches("aéc".as_bytes()));
        assert!(Pattern::new(b"a?c").matches(b"a\xffc"));
        assert!(!Pattern::new(b"a?c").matches(b"ac"));
    }

    #[test]
    fn a_hostile_pattern_ends_quickly() {
        let pattern = Pattern::new("*a".repeat(60).as_bytes());
        assert!(!pattern.matches("a".repeat(59).repeat(50).as_bytes()[..59].as_ref()));
        assert!(!Pattern::new(b"*a*a*a*a*a*a*b").matches("a".repeat(20_000).as_bytes()));
    }

    #[test]
    fn values_put_in_are_literal() {
        let mut built = PatternBuilder::default();
        built.literal(b"a*");
        built.wild(b":*");
        let pattern = built.build();
        assert!(pattern.matches(b"a*:x"));
        assert!(!pattern.matches(b"ab:x"));
        assert_eq!(pattern.as_prefix(), Some(&b"a*:"[..]));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab?*é]{0,8}", text in "[abé\n]{0,10}") {
            prop_assert_eq!(Pattern::new(pattern.as_bytes()).matches(text.as_bytes()), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
