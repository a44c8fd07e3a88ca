//! Requests: arrays of bulk strings, or inline lines. Follows Redis's `processMultibulkBuffer` byte for byte.

use super::Limits;
use super::args::OwnedArgs;
use super::inline::{self, Line};
use super::number::parse_i64;
use std::borrow::Cow;

/// What [`parse`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request: the last `args` ranges appended; the next request begins at `end`. Zero arguments (`*0`, `*-1`,
    /// an empty line) is a request that is skipped without an answer.
    Complete {
        /// Where the next request begins.
        end: usize,
        /// How many ranges were appended.
        args: usize,
    },
    /// A whole inline request whose words had quotes; nothing was appended to the ranges.
    Quoted {
        /// Where the next request begins.
        end: usize,
        /// The words, unescaped.
        args: OwnedArgs,
    },
    /// More bytes are needed; nothing was appended to the ranges.
    Incomplete {
        /// At least so many more bytes are needed: room worth making in the read buffer.
        missing: usize,
    },
}

/// A request that cannot be framed. The connection answers `-ERR` with [`ProtocolError::text`] and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// The count after `*` is no integer, or above `Limits::args_max`.
    MultibulkLength,
    /// As before, by a client that has not logged in.
    UnauthenticatedMultibulkLength,
    /// An argument begins with this byte instead of `$`.
    ExpectedBulk(u8),
    /// The length after `$` is no integer, negative, or above `Limits::bulk_bytes_max`.
    BulkLength,
    /// As before, by a client that has not logged in.
    UnauthenticatedBulkLength,
    /// No line end within `Limits::inline_bytes_max` after `*`.
    MultibulkLine,
    /// No line end within `Limits::inline_bytes_max` after `$`.
    BulkLine,
    /// No line end within `Limits::inline_bytes_max` of an inline request.
    InlineLine,
    /// A quote that is not closed, or is followed by something else than a space.
    Quotes,
    /// A frame longer than `Limits::frame_bytes_max`.
    FrameBytes,
    /// A reply of unknown type, with this first byte.
    ReplyType(u8),
    /// A reply whose line does not hold what its type says.
    ReplyLine,
    /// A reply nested deeper than `Limits::depth_max`.
    Depth,
}

impl ProtocolError {
    /// Redis's own text, without `-ERR ` and line end. A CR or LF inside is shown as a space, as Redis does.
    pub fn text(&self) -> Cow<'static, [u8]> {
        Cow::Borrowed(match self {
            ProtocolError::MultibulkLength => b"Protocol error: invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => b"Protocol error: unauthenticated multibulk length",
            ProtocolError::ExpectedBulk(got) => {
                let got = if matches!(got, b'\r' | b'\n') { b' ' } else { *got };
                return Cow::Owned([b"Protocol error: expected '$', got '", &[got][..], b"'"].concat());
            }
            ProtocolError::BulkLength => b"Protocol error: invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => b"Protocol error: unauthenticated bulk length",
            ProtocolError::MultibulkLine => b"Protocol error: too big mbulk count string",
            ProtocolError::BulkLine => b"Protocol error: too big bulk count string",
            ProtocolError::InlineLine => b"Protocol error: too big inline request",
            ProtocolError::Quotes => b"Protocol error: unbalanced quotes in request",
            ProtocolError::FrameBytes => b"Protocol error: request is longer than this server accepts",
            ProtocolError::ReplyType(_) => b"Protocol error: unknown reply type",
            ProtocolError::ReplyLine => b"Protocol error: malformed reply line",
            ProtocolError::Depth => b"Protocol error: reply nested too deeply",
        })
    }
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.text().escape_ascii())
    }
}

impl std::error::Error for ProtocolError {}

/// Where the parse of a partial request stopped, so that the next call does not begin anew. One per connection; offsets
/// are relative to the request's first byte, so the buffer may be moved between calls.
#[derive(Debug, Default)]
pub struct Resume {
    /// Bytes of the request already understood; zero means the next call begins a request.
    done: usize,
    /// Bytes after `done` already searched for a line end.
    searched: usize,
    /// Arguments still to come.
    left: usize,
    /// Ranges found so far, relative to the request.
    ranges: Vec<(u32, u32)>,
}

impl Resume {
    /// Forgets a partial request.
    pub fn reset(&mut self) {
        *self = Resume::default();
    }

    /// True when a request has been begun and not finished.
    pub fn is_partial(&self) -> bool {
        self.done > 0 || self.searched > 0
    }
}

/// Reads one request at `buf[from..]`, appending one (start, end) range of `buf` for each argument.
///
/// After [`Parsed::Incomplete`], call again with the same `resume` when more bytes follow; the request must then still
/// begin at the `from` given, wherever the buffer has moved.
///
/// # Errors
/// The request breaks the protocol or passes a limit: see [`ProtocolError`].
#[inline]
pub fn parse(
    buf: &[u8],
    from: usize,
    ranges: &mut Vec<(u32, u32)>,
    limits: &Limits,
    resume: &mut Resume,
) -> Result<Parsed, ProtocolError> {
    let held = ranges.len();
    let parsed = match buf.get(from) {
        None => return Ok(Parsed::Incomplete { missing: 1 }),
        Some(b'*') if resume.done == 0 && resume.searched == 0 => fresh(buf, from, ranges, limits, resume),
        Some(b'*') => resumed(buf, from, ranges, limits, resume),
        Some(_) => inline(buf, from, ranges, limits, resume),
    };
    if !matches!(parsed, Ok(Parsed::Complete { .. })) {
        ranges.truncate(held);
    }
    parsed
}

/// A request whose first byte is new: ranges go straight to the caller's.
#[inline]
fn fresh(
    buf: &[u8],
    from: usize,
    ranges: &mut Vec<(u32, u32)>,
    limits: &Limits,
    resume: &mut Resume,
) -> Result<Parsed, ProtocolError> {
    let held = ranges.len();
    let (count, mut at) = match count(buf, from, limits, resume)? {
        Step::Done(count, at) => (count, at),
        Step::Missing(missing) => return Ok(Parsed::Incomplete { missing }),
    };
    for n in 0..count {
        match bulk(buf, from, at, limits, resume)? {
            Step::Done(range, next) => {
                ranges.push(range);
                at = next;
            }
            Step::Missing(missing) => {
                let base = from as u32;
                let found = ranges.get(held..).unwrap_or_default();
                resume.ranges.extend(found.iter().map(|&(start, end)| (start - base, end - base)));
                (resume.done, resume.left) = (at - from, count - n);
                return Ok(Parsed::Incomplete { missing });
            }
        }
    }
    Ok(Parsed::Complete { end: at, args: count })
}

/// A request begun in an earlier call: ranges gather in `resume`, relative, until the request is whole.
#[cold]
fn resumed(
    buf: &[u8],
    from: usize,
    ranges: &mut Vec<(u32, u32)>,
    limits: &Limits,
    resume: &mut Resume,
) -> Result<Parsed, ProtocolError> {
    if resume.done == 0 {
        match count(buf, from, limits, resume)? {
            Step::Done(count, at) => (resume.done, resume.left) = (at - from, count),
            Step::Missing(missing) => return Ok(Parsed::Incomplete { missing }),
        }
    }
    let base = from as u32;
    while resume.left > 0 {
        match bulk(buf, from, from + resume.done, limits, resume)? {
            Step::Done((start, end), next) => {
                resume.ranges.push((start - base, end - base));
                resume.done = next - from;
                resume.left -= 1;
            }
            Step::Missing(missing) => return Ok(Parsed::Incomplete { missing }),
        }
    }
    let end = from + resume.done;
    let args = resume.ranges.len();
    ranges.extend(resume.ranges.iter().map(|&(start, end)| (start + base, end + base)));
    resume.reset();
    Ok(Parsed::Complete { end, args })
}

enum Step<T> {
    /// What was read, and where the next byte is.
    Done(T, usize),
    /// At least so many bytes are missing.
    Missing(usize),
}

/// `*count CR LF`. Redis looks for CR, and skips the byte after it unseen; so do we.
#[inline]
fn count(buf: &[u8], from: usize, limits: &Limits, resume: &mut Resume) -> Result<Step<usize>, ProtocolError> {
    if let [b'*', digit @ b'1'..=b'9', b'\r', _, ..] = buf.get(from..).unwrap_or_default() {
        let count = usize::from(digit - b'0');
        if count <= limits.args_max {
            resume.searched = 0;
            return Ok(Step::Done(count, from + 4));
        }
    }
    let (line, next) = match line(buf, from + 1, limits, resume, ProtocolError::MultibulkLine)? {
        Step::Done(line, next) => (line, next),
        Step::Missing(missing) => return Ok(Step::Missing(missing)),
    };
    let count = parse_i64(line).ok_or(ProtocolError::MultibulkLength)?;
    match usize::try_from(count) {
        Ok(count) if count > limits.args_max => Err(too_many(count, limits)),
        Ok(count) => Ok(Step::Done(count, next)),
        Err(_) => Ok(Step::Done(0, next)),
    }
}

/// `$length CR LF bytes CR LF`, the last two unseen as in Redis.
#[inline]
fn bulk(
    buf: &[u8],
    from: usize,
    at: usize,
    limits: &Limits,
    resume: &mut Resume,
) -> Result<Step<(u32, u32)>, ProtocolError> {
    let (length, start) = match buf.get(at..).unwrap_or_default() {
        // Most arguments are shorter than 100 bytes: no search for the line's end.
        [b'$', digit @ b'0'..=b'9', b'\r', _, ..] => (usize::from(digit - b'0'), at + 4),
        [b'$', tens @ b'1'..=b'9', digit @ b'0'..=b'9', b'\r', _, ..] => {
            (usize::from(tens - b'0') * 10 + usize::from(digit - b'0'), at + 5)
        }
        _ => match long_bulk(buf, at, limits, resume)? {
            Step::Done(length, start) => (length, start),
            Step::Missing(missing) => return Ok(Step::Missing(missing)),
        },
    };
    resume.searched = 0;
    if length > limits.bulk_bytes_max {
        return Err(too_long(length, limits));
    }
    let end = start + length;
    if end + 2 - from > limits.frame_bytes_max || end + 2 > u32::MAX as usize {
        return Err(ProtocolError::FrameBytes);
    }
    if end + 2 > buf.len() {
        return Ok(Step::Missing(end + 2 - buf.len()));
    }
    Ok(Step::Done((start as u32, end as u32), end + 2))
}

#[inline(never)]
fn long_bulk(buf: &[u8], at: usize, limits: &Limits, resume: &mut Resume) -> Result<Step<usize>, ProtocolError> {
    let (line, start) = match line(buf, at, limits, resume, ProtocolError::BulkLine)? {
        Step::Done(line, next) => (line, next),
        Step::Missing(missing) => return Ok(Step::Missing(missing)),
    };
    let [b'$', text @ ..] = line else {
        return Err(ProtocolError::ExpectedBulk(line.first().copied().unwrap_or(b'\r')));
    };
    let length = parse_i64(text).and_then(|n| usize::try_from(n).ok()).ok_or(ProtocolError::BulkLength)?;
    Ok(Step::Done(length, start))
}

/// As [`too_long`], for the number of arguments: what redis lets nobody have is more than an `int` counts.
#[cold]
fn too_many(count: usize, limits: &Limits) -> ProtocolError {
    if limits.unauthenticated && i32::try_from(count).is_ok() {
        ProtocolError::UnauthenticatedMultibulkLength
    } else {
        ProtocolError::MultibulkLength
    }
}

/// Who asks for more than anybody may have is told so; who has not logged in, that.
#[cold]
fn too_long(length: usize, limits: &Limits) -> ProtocolError {
    if limits.unauthenticated && length <= Limits::DEFAULT.bulk_bytes_max {
        ProtocolError::UnauthenticatedBulkLength
    } else {
        ProtocolError::BulkLength
    }
}

/// The bytes from `at` to the next CR, and the place two bytes after it.
#[inline]
fn line<'a>(
    buf: &'a [u8],
    at: usize,
    limits: &Limits,
    resume: &mut Resume,
    too_long: ProtocolError,
) -> Result<Step<&'a [u8]>, ProtocolError> {
    let rest = buf.get(at..).unwrap_or_default();
    let skip = resume.searched.min(rest.len());
    let found = memchr::memchr(b'\r', rest.get(skip..).unwrap_or_default()).map(|found| found + skip);
    match found {
        Some(length) if length > limits.inline_bytes_max => Err(too_long),
        Some(length) if length + 2 > rest.len() => Ok(Step::Missing(1)),
        Some(length) => {
            resume.searched = 0;
            Ok(Step::Done(rest.get(..length).unwrap_or_default(), at + length + 2))
        }
        None if rest.len() > limits.inline_bytes_max => Err(too_long),
        None => {
            resume.searched = rest.len();
            Ok(Step::Missing(2))
        }
    }
}

#[cold]
fn inline(
    buf: &[u8],
    from: usize,
    ranges: &mut Vec<(u32, u32)>,
    limits: &Limits,
    resume: &mut Resume,
) -> Result<Parsed, ProtocolError> {
    let rest = buf.get(from..).unwrap_or_default();
    let skip = resume.searched.min(rest.len());
    let Some(length) = memchr::memchr(b'\n', rest.get(skip..).unwrap_or_default()).map(|found| found + skip) else {
        if rest.len() > limits.inline_bytes_max {
            return Err(ProtocolError::InlineLine);
        }
        resume.searched = rest.len();
        return Ok(Parsed::Incomplete { missing: 1 });
    };
    if length > limits.inline_bytes_max {
        return Err(ProtocolError::InlineLine);
    }
    resume.reset();
    let bare = if length > 0 && rest.get(length - 1) == Some(&b'\r') { length - 1 } else { length };
    let held = ranges.len();
    let end = from + length + 1;
    let (parsed, args) = match inline::split(buf, from, from + bare, ranges) {
        Line::Plain => {
            let args = ranges.len() - held;
            (Parsed::Complete { end, args }, args)
        }
        Line::Quoted(args) => {
            let n = args.as_args().len();
            (Parsed::Quoted { end, args }, n)
        }
        Line::Unbalanced => return Err(ProtocolError::Quotes),
    };
    match args > limits.args_max {
        true if limits.unauthenticated => Err(ProtocolError::UnauthenticatedMultibulkLength),
        true => Err(ProtocolError::MultibulkLength),
        false => Ok(parsed),
    }
}

#[cfg(test)]
mod tests;
