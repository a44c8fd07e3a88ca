//! Glob patterns with the meaning of Redis's `stringmatchlen`, over bytes.
//!
//! `*` any bytes, `?` one byte, `[abc]`, `[a-z]` (ends in either order), `[^abc]`, `\x` the byte x. An unclosed class
//! ends with the pattern; a lone `\` at the end is a backslash. Time is at most pattern length times text length: one
//! `*` is tried again at a time, the newest, which is enough because what stood before it has matched already.

mod fuzz;

pub use fuzz::fuzz_glob;

/// True when the whole of `text` matches `pattern`.
///
/// An empty text matches the empty pattern and no other, not even `*`: so says redis.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    // The rest of the pattern after the newest `*`, and the text it was last tried at.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (pattern, text) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                if rest.iter().all(|byte| *byte == b'*') {
                    return true;
                }
                retry = Some((rest, text));
                Some((rest, text))
            }
            ([], _) | (_, []) => None,
            (_, [byte, after @ ..]) => one(pattern, *byte).map(|rest| (rest, after)),
        };
        (pattern, text) = match (step, retry) {
            (Some(step), _) => step,
            (None, Some((rest, [_, after @ ..]))) => {
                retry = Some((rest, after));
                (rest, after)
            }
            (None, _) => return false,
        };
    }
}

/// As [`matches`], with ASCII letters in either case.
pub fn matches_in_any_case(pattern: &[u8], text: &[u8]) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// Matches one byte against the pattern's first element (not `*`); the rest of the pattern if it does.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => in_class(class, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// `class` begins after `[`.
fn in_class(class: &[u8], byte: u8) -> Option<&[u8]> {
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
    (found != negated).then_some(rest)
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
                [byte, after @ ..] => one(pattern, *byte).is_some_and(|rest| slow(rest, after)),
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
