//! Inline commands: a line of words, as a person types into telnet. Quoting rules are Redis's `sdssplitargs`.

use super::args::OwnedArgs;

/// What one line holds.
pub(super) enum Line {
    /// Words without quotes, found in place; their ranges were appended.
    Plain,
    /// Words that needed unescaping.
    Quoted(OwnedArgs),
    /// A quote that is not closed, or is followed by something else than a space.
    Unbalanced,
}

/// Splits `buf[start..end]`, a line without its line break, appending ranges of `buf`.
pub(super) fn split(buf: &[u8], start: usize, end: usize, ranges: &mut Vec<(u32, u32)>) -> Line {
    let line = buf.get(start..end).unwrap_or_default();
    if line.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        return match unquote(line) {
            Some(args) => Line::Quoted(args),
            None => Line::Unbalanced,
        };
    }
    let mut word = None;
    for (at, byte) in line.iter().enumerate() {
        match word {
            Some(from) if ends_word(*byte) => {
                ranges.push(((start + from) as u32, (start + at) as u32));
                word = None;
            }
            None if !is_space(*byte) => word = Some(at),
            _ => {}
        }
    }
    if let Some(from) = word {
        ranges.push(((start + from) as u32, end as u32));
    }
    Line::Plain
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Inside a word Redis ends at these only: `\v` and `\f` are skipped before a word, and belong to one they follow.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The words of a line, quotes undone; `None` when one is not closed.
pub(crate) fn unquote(line: &[u8]) -> Option<OwnedArgs> {
    let mut args = OwnedArgs::new();
    let mut rest = line;
    loop {
        while let [byte, tail @ ..] = rest
            && is_space(*byte)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Some(args);
        }
        let (word, tail) = word(rest)?;
        args.push(&word);
        rest = tail;
    }
}

/// One word and what follows it.
fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Some((word, rest)),
            [byte, ..] if ends_word(*byte) => return Some((word, rest)),
            [b'"', tail @ ..] => {
                return closed(double_quoted(tail, &mut word)?).map(|tail| (word, tail));
            }
            [b'\'', tail @ ..] => {
                return closed(single_quoted(tail, &mut word)?).map(|tail| (word, tail));
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

/// A closing quote is followed by a space or by nothing.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_space(*byte)).then_some(rest)
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                rest = tail;
            }
            [b'\\', escape, tail @ ..] => {
                word.push(match escape {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                rest = tail;
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut ranges = Vec::new();
        match split(line, 0, line.len(), &mut ranges) {
            Line::Plain => Some(ranges.iter().map(|r| line[r.0 as usize..r.1 as usize].to_vec()).collect()),
            Line::Quoted(args) => Some(args.as_args().iter().map(<[u8]>::to_vec).collect()),
            Line::Unbalanced => None,
        }
    }

    #[test]
    fn words_as_redis_splits_them() {
        let some = |words: &[&[u8]]| Some(words.iter().map(|w| w.to_vec()).collect::<Vec<_>>());
        assert_eq!(words(b""), some(&[]));
        assert_eq!(words(b"  \t "), some(&[]));
        assert_eq!(words(b" set  k\tv "), some(&[b"set", b"k", b"v"]));
        assert_eq!(words(b"\x0bset \x0ck\x0b v"), some(&[b"set", b"k\x0b", b"v"]));
        assert_eq!(words(br#"set k "a b" 'c d'"#), some(&[b"set", b"k", b"a b", b"c d"]));
        assert_eq!(words(br#""\x41\n\r\t\b\a\q\\\"""#), some(&[b"A\n\r\t\x08\x07q\\\""]));
        assert_eq!(words(br#"'it\'s' '\n'"#), some(&[b"it's", br"\n"]));
        assert_eq!(words(br#"pre"fix" ''"#), some(&[b"prefix", b""]));
        assert_eq!(words(br#""\x4g""#), some(&[b"x4g"]));
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [&br#""abc"#[..], b"'abc", br#""abc"def"#, b"'a'b", br#""abc\"#, br#""abc\""#] {
            assert_eq!(words(line), None, "{}", line.escape_ascii());
        }
    }
}
