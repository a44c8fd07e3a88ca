//! Ids as commands are given them.

use crate::commands::parse::cursor;
use crate::db::entry::stream::Id;
use crate::error::CommandError;

const INVALID: CommandError = CommandError::Text("ERR Invalid stream ID specified as stream command argument");

/// Longest text that is looked at: bytes.
const TEXT_BYTES_MAX: usize = 127;

/// What an id's text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) ms: u64,
    /// `None` when the text leaves it out.
    pub(super) seq: Option<u64>,
    /// The text has a `*` in its place.
    pub(super) any_seq: bool,
}

/// Reads `ms`, `ms-seq` or `ms-*`.
pub(super) fn said(text: &[u8]) -> Result<Said, CommandError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(INVALID);
    }
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(dash) => (&text[..dash], Some(&text[dash + 1..])),
        None => (text, None),
    };
    let ms = number(ms)?;
    match seq {
        Some(b"*") => Ok(Said { ms, seq: None, any_seq: true }),
        seq => Ok(Said { ms, seq: seq.map(number).transpose()?, any_seq: false }),
    }
}

/// A number as C's `strtoull` reads it, of at least one digit; but a plain negative one is none.
fn number(text: &[u8]) -> Result<u64, CommandError> {
    if text.is_empty() || crate::resp::parse_i64(text).is_some_and(|value| value < 0) {
        return Err(INVALID);
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let text = &text[blanks..];
    if text.is_empty() { Err(INVALID) } else { cursor(text).map_err(|_| INVALID) }
}

/// An id that is one: without a number within its millisecond, the first.
pub(super) fn id(text: &[u8]) -> Result<Id, CommandError> {
    match said(text)? {
        Said { any_seq: true, .. } => Err(INVALID),
        Said { ms, seq, .. } => Ok(Id { ms, seq: seq.unwrap_or(0) }),
    }
}

/// As [`id`], or `-` and `+` for the lowest and the highest.
pub(super) fn id_or_edge(text: &[u8], missing_seq: u64) -> Result<Id, CommandError> {
    match text {
        b"-" => Ok(Id::MIN),
        b"+" => Ok(Id::MAX),
        _ => match said(text)? {
            Said { any_seq: true, .. } => Err(INVALID),
            Said { ms, seq, .. } => Ok(Id { ms, seq: seq.unwrap_or(missing_seq) }),
        },
    }
}

/// The lower bound of a range; `(` in front leaves the id itself out.
pub(super) fn lower(text: &[u8]) -> Result<Id, CommandError> {
    const INVALID_START: CommandError = CommandError::Text("ERR invalid start ID for the interval");
    match text {
        [b'(', text @ ..] if !text.is_empty() => id(text)?.next().ok_or(INVALID_START),
        _ => id_or_edge(text, 0),
    }
}

/// The upper bound of a range; without a number within its millisecond, the last of it.
pub(super) fn upper(text: &[u8]) -> Result<Id, CommandError> {
    const INVALID_END: CommandError = CommandError::Text("ERR invalid end ID for the interval");
    match text {
        [b'(', text @ ..] if !text.is_empty() => {
            let said = said(text)?;
            let id = Id { ms: said.ms, seq: said.seq.unwrap_or(u64::MAX) };
            if said.any_seq { Err(INVALID) } else { id.previous().ok_or(INVALID_END) }
        }
        _ => id_or_edge(text, u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        type Case = (&'static [u8], Option<(u64, u64)>);
        let cases: [Case; 22] = [
            (b"5", Some((5, 0))),
            (b"5-7", Some((5, 7))),
            (b"0-0", Some((0, 0))),
            (b"18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            (b"18446744073709551616", None),
            (b"007-+3", Some((7, 3))),
            (b" 5", Some((5, 0))),
            (b"5 ", None),
            (b"5-", None),
            (b"-", None),
            (b"-5", None),
            (b"+", None),
            (b"", None),
            (b"5--1", None),
            (b"5--01", Some((5, u64::MAX))),
            (b"5\0x", Some((5, 0))),
            (b"5-\0", None),
            (b"5-*", None),
            (b"*", None),
            (b"a", None),
            (b"5-a", None),
            (b"1-2-3", None),
        ];
        for (text, want) in cases {
            let got = id(text).ok().map(|id| (id.ms, id.seq));
            assert_eq!(got, want, "{}", text.escape_ascii());
        }
        assert!(id(&[b'0'; 128]).is_err() && id(&[b'0'; 127]).is_ok());
    }

    #[test]
    fn bounds() {
        assert_eq!(lower(b"-"), Ok(Id::MIN));
        assert_eq!(upper(b"+"), Ok(Id::MAX));
        assert_eq!(lower(b"(5"), Ok(Id { ms: 5, seq: 1 }));
        assert_eq!(upper(b"(5"), Ok(Id { ms: 5, seq: u64::MAX - 1 }));
        assert_eq!(upper(b"5"), Ok(Id { ms: 5, seq: u64::MAX }));
        for bad in [&b"("[..], b"(-", b"(+", b"(18446744073709551615-18446744073709551615", b"5-*"] {
            assert!(lower(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(upper(b"(0-0").is_err());
    }
}
