//! Glob patterns with the meaning of Redis's `stringmatchlen`, over bytes.
//!
//! `*` any bytes, `?` one byte, `[abc]`, `[a-z]` (ends in either order), `[^abc]`, `\x` the byte x. An unclosed class
//! ends with the pattern; a lone `\` at the end is a backslash.
//!
//! Time is bounded, as patterns and texts come from strangers and are matched under locks. One `*` is tried again at a
//! time, the newest, which is enough because what stood before it has matched already; what follows the last one has one
//! place, the text's end. What is beyond the bounds matches nothing, which denies wherever a match allows.

mod fuzz;

pub use fuzz::fuzz_glob;

/// Longest pattern, in bytes, that matches anything.
pub const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Bytes of a pattern that may be read for one match beyond its own length and the text's: some milliseconds at most.
const WORK_MAX: usize = 1 << 20;

/// True when the whole of `text` matches `pattern`.
///
/// An empty text matches the empty pattern and no other, not even `*`: so says redis.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
        return text.is_empty() && pattern.is_empty();
    }
    let mut work_left = WORK_MAX + pattern.len() + text.len();
    let (mut pattern, mut text) = (pattern, text);
    // The rest of the pattern after the newest `*`, and the text it was last tried at.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            ([], []) => return true,
            ([b'*', ..], _) => {
                let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
                pattern = &pattern[stars..];
                match width(pattern, text.len()) {
                    Width::Exactly(bytes) => (text, retry) = (&text[text.len() - bytes..], None),
                    Width::Any => retry = Some((pattern, text)),
                    Width::TooWide => return false,
                }
            }
            // From a later place on there would be even less.
            ([], _) | (_, []) => return false,
            (_, [byte, after @ ..]) => {
                let (fits, rest) = one(pattern, *byte);
                let Some(left) = work_left.checked_sub(pattern.len() - rest.len()) else { return false };
                work_left = left;
                (pattern, text) = match retry {
                    _ if fits => (rest, after),
                    Some((again, [_, later @ ..])) => {
                        retry = Some((again, later));
                        (again, later)
                    }
                    _ => return false,
                };
            }
        }
    }
}

/// How many bytes a pattern takes.
enum Width {
    /// It has no `*`.
    Exactly(usize),
    Any,
    /// More than there are, up to its first `*` already.
    TooWide,
}

fn width(mut pattern: &[u8], bytes_max: usize) -> Width {
    for bytes in 0..=bytes_max {
        match pattern {
            [] => return Width::Exactly(bytes),
            [b'*', ..] => return Width::Any,
            _ => pattern = one(pattern, 0).1,
        }
    }
    Width::TooWide
}

/// As [`matches`], with ASCII letters in either case.
pub fn matches_in_any_case(pattern: &[u8], text: &[u8]) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// Whether one byte matches the pattern's first element (not `*`), and the rest of the pattern.
fn one(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [] => (false, pattern),
        [b'?', rest @ ..] => (true, rest),
        [b'[', class @ ..] => in_class(class, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte, rest),
    }
}

/// `class` begins after `[`.
fn in_class(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    let rest = loop {
        class = match class {
            [] => break class,
            [b']', rest @ ..] => break rest,
            [b'\\', literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
            [low, b'-', high, rest @ ..] => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
        };
    };
    (found != negated, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain recursive reading of the rules: exponential, and obviously what they say.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            _ => match text {
                [byte, after @ ..] => {
                    let (fits, rest) = one(pattern, *byte);
                    fits && slow(rest, after)
                }
                [] => false,
            },
        }
    }

    #[test]
    fn rules() {
        let yes: &[(&str, &str)] = &[
            ("", ""),
            ("*", "abc"),
            ("h?llo", "hello"),
            ("h*llo", "hllo"),
            ("h*llo", "heeeello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            (r"h\?llo", "h?llo"),
            (r"[\]]", "]"),
            ("[abc", "c"),
            ("a**b", "axxb"),
            ("*a*b*", "xaxbx"),
            (r"\", r"\"),
            ("*[*]", "a*"),
            (r"*\*", "a*"),
            ("*a?[bc]", "aaaxb"),
            ("a*b*c", "abbcbc"),
            ("[a-]", "a"),
            ("[a-", "-"),
            ("[^]", "x"),
        ];
        let no: &[(&str, &str)] = &[
            ("", "a"),
            ("?", ""),
            ("*", ""),
            ("**", ""),
            ("h[^e]llo", "hello"),
            ("h[a-b]llo", "hcllo"),
            ("a", "ab"),
            ("*a", "ab"),
            ("[]", "a"),
            ("[]a]", "a"),
            ("*abc", "bc"),
            ("a*a", "a"),
            ("*aab*", "aaaa"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = b"*a".repeat(2000);
        let mut text = vec![b'a'; 20_000];
        text.push(b'b');
        assert!(!matches(&pattern, &text));
        let pattern = [&b"*".repeat(PATTERN_BYTES_MAX - 1)[..], b"b"].concat();
        assert!(matches(&pattern, &text) && !matches(&pattern, &text[1..text.len() - 1]));
    }

    /// Length times length would be minutes.
    #[test]
    fn what_follows_the_last_star_is_looked_for_at_the_end_only() {
        let tail = [&b"a".repeat(PATTERN_BYTES_MAX - 2)[..], b"b"].concat();
        let pattern = [b"*", &tail[..]].concat();
        let text = b"a".repeat(1 << 20);
        assert!(!matches(&pattern, &text) && matches(&pattern, &[&text[..], b"b"].concat()));
        // However often: it is no work beyond the lengths.
        let escaped = [&b"*"[..], &br"\a".repeat(PATTERN_BYTES_MAX / 2 - 1)].concat();
        assert!(matches(&escaped, &text));
    }

    #[test]
    fn a_match_is_bounded_and_what_is_beyond_matches_nothing() {
        let within = |pattern: &str, a: usize| matches(pattern.as_bytes(), &[&b"a".repeat(a)[..], b"b"].concat());
        let (short, long) = (format!("*{}b*", "a".repeat(10)), format!("*{}b*", "a".repeat(30_000)));
        assert!(within(&short, 100_000) && within(&long, 30_030));
        assert!(!within(&short, 1 << 20) && !within(&long, 60_000));
        // A class is read as a whole for each byte.
        let class = format!("*[{}]c*", "a".repeat(10_000));
        assert!(!within(&class, 1 << 20));
        let literal = b"a".repeat(PATTERN_BYTES_MAX + 1);
        assert!(matches(&literal[1..], &literal[1..]) && !matches(&literal, &literal));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn agrees_with_the_recursive_reading(
            pattern in r"[ab*?\[\]\^\\-]{0,10}",
            text in r"[ab\]\[\^\\*-]{0,10}",
        ) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            let said = if text.is_empty() { pattern.is_empty() } else { slow(pattern, text) };
            prop_assert_eq!(matches(pattern, text), said);
        }
    }
}
