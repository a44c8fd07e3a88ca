//! Replies of the command dialect: RESP2 bytes to JSON, with or without base64.
//!
//! A reply arrives as bytes, from the engine next door or from a remote node, and leaves as JSON without a tree in
//! between. The walk keeps its own stack, so depth costs memory it counts and not the thread's stack. RESP3 never
//! gets here: sessions of the gateway speak RESP2, so anything else is a broken backend.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json::write_string;

/// Deepest nesting of arrays in one reply.
pub(crate) const DEPTH_MAX: usize = 128;

/// How strings of a result are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As JSON text; bytes that are no UTF-8 become U+FFFD.
    Plain,
    /// `Upstash-Encoding: base64`: every string in standard base64, except a status `OK` at the top.
    Base64,
}

/// The reply is not whole RESP2: the backend is broken, not the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadReply;

/// A reply of a backend, split from what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head<'a> {
    /// `+text`
    Simple(&'a [u8]),
    /// `-text`
    Error(&'a [u8]),
    /// `:n`, kept as digits.
    Integer(&'a [u8]),
    /// `$n`, or `$-1` and `*-1`.
    Bulk(Option<&'a [u8]>),
    /// `*n`, its elements follow.
    Array(usize),
}

/// Reads one value, or the head of an array, from the front of `reply`.
///
/// # Errors
/// [`BadReply`] when it is cut short or not RESP2.
pub(crate) fn head(reply: &[u8]) -> Result<(Head<'_>, &[u8]), BadReply> {
    let (&kind, rest) = reply.split_first().ok_or(BadReply)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(BadReply)?;
    let (line, rest) = (&rest[..end], &rest[end + 2..]);
    Ok(match kind {
        b'+' => (Head::Simple(line), rest),
        b'-' => (Head::Error(line), rest),
        b':' => (Head::Integer(integer(line)?), rest),
        b'$' | b'*' if line == b"-1" => (Head::Bulk(None), rest),
        b'$' => {
            let length = count(line)?;
            let (Some(bytes), Some(b"\r\n")) = (rest.get(..length), rest.get(length..length + 2)) else {
                return Err(BadReply);
            };
            (Head::Bulk(Some(bytes)), &rest[length + 2..])
        }
        b'*' => (Head::Array(count(line)?), rest),
        _ => return Err(BadReply),
    })
}

fn integer(line: &[u8]) -> Result<&[u8], BadReply> {
    let text = std::str::from_utf8(line).map_err(|_| BadReply)?;
    text.parse::<i64>().map(|_| line).map_err(|_| BadReply)
}

fn count(line: &[u8]) -> Result<usize, BadReply> {
    let text = std::str::from_utf8(line).map_err(|_| BadReply)?;
    text.parse::<u32>().map(|n| n as usize).map_err(|_| BadReply)
}

/// The error text, when `reply` is an error.
pub(crate) fn error_text(reply: &[u8]) -> Option<&[u8]> {
    match head(reply) {
        Ok((Head::Error(text), _)) => Some(text),
        _ => None,
    }
}

/// Writes the envelope `{"result":…}` or `{"error":"…"}` of the first reply in `reply`; answers what follows it.
///
/// # Errors
/// [`BadReply`]; `out` then holds a part of the text.
pub(crate) fn envelope<'a>(reply: &'a [u8], encoding: Encoding, out: &mut Vec<u8>) -> Result<&'a [u8], BadReply> {
    if let (Head::Error(text), rest) = head(reply)? {
        write_error(text, out);
        return Ok(rest);
    }
    out.extend_from_slice(b"{\"result\":");
    let rest = value(reply, encoding, out)?;
    out.push(b'}');
    Ok(rest)
}

/// Writes `{"error":"…"}`.
pub(crate) fn write_error(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":");
    write_string(text, out);
    out.push(b'}');
}

/// Writes one value as JSON; answers what follows it.
fn value<'a>(reply: &'a [u8], encoding: Encoding, out: &mut Vec<u8>) -> Result<&'a [u8], BadReply> {
    let mut open: Vec<usize> = Vec::new();
    let mut rest = reply;
    loop {
        let (found, after) = head(rest)?;
        rest = after;
        match found {
            Head::Array(0) => out.extend_from_slice(b"[]"),
            Head::Array(elements) if open.len() < DEPTH_MAX => {
                out.push(b'[');
                open.push(elements);
                continue;
            }
            Head::Array(_) => return Err(BadReply),
            scalar => write_scalar(scalar, encoding, open.is_empty(), out),
        }
        loop {
            let Some(left) = open.last_mut() else {
                return Ok(rest);
            };
            *left -= 1;
            if *left > 0 {
                out.push(b',');
                break;
            }
            out.push(b']');
            open.pop();
        }
    }
}

fn write_scalar(scalar: Head<'_>, encoding: Encoding, top: bool, out: &mut Vec<u8>) {
    match (scalar, encoding) {
        (Head::Bulk(None) | Head::Array(_), _) => out.extend_from_slice(b"null"),
        (Head::Integer(digits), _) if is_safe(digits) => out.extend_from_slice(digits),
        // The SDK decodes a bare OK inside an array as base64, so only the top one stays bare.
        (Head::Simple(b"OK"), Encoding::Base64) if top => out.extend_from_slice(b"\"OK\""),
        (Head::Bulk(Some(text)) | Head::Simple(text) | Head::Error(text) | Head::Integer(text), _) => match encoding {
            Encoding::Plain => write_string(text, out),
            Encoding::Base64 => write_base64(text, out),
        },
    }
}

/// Whether a JSON number keeps these digits: at most 2^53 away from zero.
fn is_safe(digits: &[u8]) -> bool {
    if digits.len() < 16 {
        return true;
    }
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok());
    number.is_some_and(|n| n.unsigned_abs() <= 1 << 53)
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    let length = bytes.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written.ok(), Some(length));
    out.push(b'"');
}

/// The first whole reply in `reply` as it is, and what follows it.
///
/// # Errors
/// [`BadReply`] when it is cut short, too deep or not RESP2.
pub(crate) fn split(reply: &[u8]) -> Result<(&[u8], &[u8]), BadReply> {
    let mut left = 1usize;
    let mut rest = reply;
    while left > 0 {
        let (found, after) = head(rest)?;
        rest = after;
        left -= 1;
        if let Head::Array(elements) = found {
            left = left.checked_add(elements).ok_or(BadReply)?;
        }
    }
    Ok(reply.split_at(reply.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn render(reply: &[u8], encoding: Encoding) -> String {
        let mut out = Vec::new();
        assert_eq!(envelope(reply, encoding, &mut out), Ok(&b""[..]), "{}", reply.escape_ascii());
        String::from_utf8(out).unwrap()
    }

    /// The table of facts/http-gateway.md 1.4: reply, plain, base64.
    const TABLE: &[(&[u8], &str, &str)] = &[
        (b"+OK\r\n", r#"{"result":"OK"}"#, r#"{"result":"OK"}"#),
        (b"+PONG\r\n", r#"{"result":"PONG"}"#, r#"{"result":"UE9ORw=="}"#),
        (b"$2\r\nOK\r\n", r#"{"result":"OK"}"#, r#"{"result":"T0s="}"#),
        (b"$1\r\n\xff\r\n", "{\"result\":\"\u{FFFD}\"}", r#"{"result":"/w=="}"#),
        (b"$0\r\n\r\n", r#"{"result":""}"#, r#"{"result":""}"#),
        (b"$-1\r\n", r#"{"result":null}"#, r#"{"result":null}"#),
        (b"*-1\r\n", r#"{"result":null}"#, r#"{"result":null}"#),
        (b":-7\r\n", r#"{"result":-7}"#, r#"{"result":-7}"#),
        (b":9007199254740992\r\n", r#"{"result":9007199254740992}"#, r#"{"result":9007199254740992}"#),
        (b":9007199254740993\r\n", r#"{"result":"9007199254740993"}"#, r#"{"result":"OTAwNzE5OTI1NDc0MDk5Mw=="}"#),
        (
            b":-9223372036854775808\r\n",
            r#"{"result":"-9223372036854775808"}"#,
            r#"{"result":"LTkyMjMzNzIwMzY4NTQ3NzU4MDg="}"#,
        ),
        (b"*0\r\n", r#"{"result":[]}"#, r#"{"result":[]}"#),
        (
            b"*3\r\n+OK\r\n*2\r\n$1\r\na\r\n*0\r\n$-1\r\n",
            r#"{"result":["OK",["a",[]],null]}"#,
            r#"{"result":["T0s=",["YQ==",[]],null]}"#,
        ),
        (b"-ERR \"no\"\r\n", r#"{"error":"ERR \"no\""}"#, r#"{"error":"ERR \"no\""}"#),
    ];

    #[test]
    fn replies_render_as_the_table_says() {
        for (reply, plain, base64) in TABLE {
            assert_eq!(render(reply, Encoding::Plain), *plain);
            assert_eq!(render(reply, Encoding::Base64), *base64);
            assert_eq!(split(reply), Ok((*reply, &b""[..])));
        }
    }

    #[test]
    fn depth_holds_on_each_side() {
        let deep = |depth: usize| {
            let mut reply = b"*1\r\n".repeat(depth);
            reply.extend_from_slice(b":1\r\n");
            envelope(&reply, Encoding::Plain, &mut Vec::new()).is_ok()
        };
        assert!(deep(DEPTH_MAX));
        assert!(!deep(DEPTH_MAX + 1));
        assert!(!deep(1_000_000));
    }

    #[test]
    fn broken_replies_are_refused() {
        for reply in
            [&b""[..], b"$5\r\nabc\r\n", b"*2\r\n:1\r\n", b":x\r\n", b"$-2\r\n", b"%1\r\n", b"+OK", b"*4294967296\r\n"]
        {
            assert_eq!(envelope(reply, Encoding::Plain, &mut Vec::new()), Err(BadReply), "{}", reply.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(reply in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = envelope(&reply, Encoding::Base64, &mut Vec::new());
            let _ = split(&reply);
        }

        #[test]
        fn strings_survive(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reply = format!("${}\r\n", bytes.len()).into_bytes();
            reply.extend_from_slice(&bytes);
            reply.extend_from_slice(b"\r\n");
            let json: serde_json::Value = serde_json::from_str(&render(&reply, Encoding::Base64)).unwrap();
            prop_assert_eq!(STANDARD.decode(json["result"].as_str().unwrap()).unwrap(), bytes);
        }
    }
}
