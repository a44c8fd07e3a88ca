//! The fuzz body of glob patterns.

use std::time::{Duration, Instant};

use super::{matches, matches_in_any_case};

/// Longest pattern and text, in bytes, that the slow reading can take.
const BYTES_MAX: usize = 512;
/// What a match of these lengths may take at the very most.
const PATIENCE: Duration = Duration::from_secs(2);

/// A pattern's element.
enum Token {
    /// `*`.
    Any,
    /// What takes one byte: these.
    One(Box<[bool; 256]>),
}

/// Reads `data` as a pattern and, behind the first line end, a text: matching answers what the rules say, and soon.
///
/// # Panics
/// A finding.
pub fn fuzz_glob(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n');
    let (pattern, text) = at.map_or((data, data), |at| (&data[..at], &data[at + 1..]));
    let start = Instant::now();
    let found = matches(pattern, text);
    assert!(start.elapsed() < PATIENCE, "{} bytes against {}", pattern.len(), text.len());
    let _ = matches_in_any_case(pattern, text);
    // What a few bytes may mean at most: the pattern many times over, against a text that nearly matches.
    let (long, many) = (pattern.repeat(64 / pattern.len().max(1) + 1), text.repeat(1024 / text.len().max(1) + 1));
    let start = Instant::now();
    let _ = matches(&long, &many);
    assert!(start.elapsed() < PATIENCE, "{} bytes against {}", long.len(), many.len());
    if pattern.len() <= BYTES_MAX && text.len() <= BYTES_MAX {
        assert_eq!(found, slowly(&tokens(pattern), text), "{pattern:?} {text:?}");
    }
}

fn tokens(pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        at += 1;
        let mut set = Box::new([false; 256]);
        match byte {
            b'*' => {
                tokens.push(Token::Any);
                continue;
            }
            b'?' => *set = [true; 256],
            b'[' => at = class(pattern, at, &mut set),
            b'\\' if at < pattern.len() => {
                set[usize::from(pattern[at])] = true;
                at += 1;
            }
            byte => set[usize::from(*byte)] = true,
        }
        tokens.push(Token::One(set));
    }
    tokens
}

/// Reads a class from behind its bracket; where the pattern goes on.
fn class(pattern: &[u8], mut at: usize, set: &mut [bool; 256]) -> usize {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', byte, ..] => {
                set[usize::from(*byte)] = true;
                at += 2;
            }
            [from, b'-', to, ..] => {
                (*from.min(to)..=*from.max(to)).for_each(|byte| set[usize::from(byte)] = true);
                at += 3;
            }
            [byte, ..] => {
                set[usize::from(*byte)] = true;
                at += 1;
            }
        }
    }
    if negated {
        set.iter_mut().for_each(|is| *is = !*is);
    }
    at
}

/// Every token against every place of the text: a table of what can be reached.
fn slowly(tokens: &[Token], text: &[u8]) -> bool {
    if text.is_empty() {
        // Redis: not even by `*`.
        return tokens.is_empty();
    }
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for token in tokens {
        reached = match token {
            Token::Any => {
                let first = reached.iter().position(|is| *is).unwrap_or(reached.len());
                (0..=text.len()).map(|at| at >= first).collect()
            }
            Token::One(set) => {
                let steps = text.iter().zip(&reached).map(|(byte, is)| *is && set[usize::from(*byte)]);
                std::iter::once(false).chain(steps).collect()
            }
        };
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn patterns_of_pieces(pieces in proptest::collection::vec(proptest::sample::select(vec![
            "*", "?", "[", "]", "^", "-", "\\", "a", "b", "ab", "[a-c]", "[^a]", "*a*", "\n", "***", "[]", "[^", "[a-",
        ]), 0..24)) {
            fuzz_glob(pieces.concat().as_bytes());
        }
    }

    #[test]
    fn what_explodes_when_read_naively() {
        fuzz_glob(format!("{}b\n{}", "a*".repeat(200), "a".repeat(400)).as_bytes());
        fuzz_glob(format!("{}\n{}", "*[^a]".repeat(90), "b".repeat(400)).as_bytes());
    }
}
