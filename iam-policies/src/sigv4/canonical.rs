//! The canonical request and the string to sign.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::claim::{Carrier, Claim, query_pairs};
use super::{Paths, Rules, SignedRequest};
use crate::access::AuthnError;

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| HEX_OF[usize::from(*byte)]).collect();
    String::from_utf8(pairs.into_flattened()).unwrap_or_default()
}

/// Lower-case hex of a SHA-256 or a signature, of which every request has two.
pub(super) fn hex_of_hash(hash: [u8; 32]) -> [u8; 64] {
    let mut text = [0; 64];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(hash) {
        *pair = HEX_OF[usize::from(byte)];
    }
    text
}

/// Each byte in lower-case hex.
const HEX_OF: [[u8; 2]; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [HEX[byte >> 4], HEX[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The SHA-256 of nothing, which most reads have for a body.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The SHA-256 of the body in hex; what `x-amz-content-sha256` says must be just that. The body is the command, so a
/// signature that leaves it out is refused.
pub(super) fn body_hash(request: &SignedRequest<'_>) -> Result<Cow<'static, str>, AuthnError> {
    let hash = match request.body {
        [] => Cow::Borrowed(OF_NOTHING),
        body => Cow::Owned(hex(&Sha256::digest(body))),
    };
    let mut said = request.header("x-amz-content-sha256");
    match (said.next(), said.next()) {
        (None, _) => Ok(hash),
        (Some(said), None) if said == hash.as_bytes() => Ok(hash),
        (Some(b"UNSIGNED-PAYLOAD"), None) => Err(AuthnError::refused(
            "SignatureDoesNotMatch",
            "UNSIGNED-PAYLOAD is refused: the body is the command, so it must be signed",
        )),
        (Some(said), None) if said.starts_with(b"STREAMING-") => Err(AuthnError::refused(
            "SignatureDoesNotMatch",
            "streaming signatures are refused: send the body whole, with its SHA-256",
        )),
        _ => Err(AuthnError::refused("SignatureDoesNotMatch", "x-amz-content-sha256 is not the SHA-256 of the body")),
    }
}

/// The canonical request.
pub(super) fn request(
    request: &SignedRequest<'_>,
    claim: &Claim<'_>,
    rules: &Rules<'_>,
    body_hash: &str,
) -> Result<String, AuthnError> {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(request.method.as_bytes());
    text.push(b'\n');
    path(&mut text, request.path, rules.paths)?;
    text.push(b'\n');
    query(&mut text, request.query, claim, rules)?;
    text.push(b'\n');
    for name in &claim.signed_headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        for (at, value) in request.header(name).enumerate() {
            if at > 0 {
                text.push(b',');
            }
            collapsed(&mut text, value);
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    for (at, name) in claim.signed_headers.iter().enumerate() {
        if at > 0 {
            text.push(b';');
        }
        text.extend_from_slice(name.as_bytes());
    }
    text.push(b'\n');
    text.extend_from_slice(body_hash.as_bytes());
    // All but the values of headers was text before.
    String::from_utf8(text).map_err(|_| AuthnError::malformed("IncompleteSignature", "a signed header is no text"))
}

/// What is signed in the end.
pub(super) fn string_to_sign(claim: &Claim<'_>, canonical: &str) -> String {
    let hash = hex_of_hash(Sha256::digest(canonical.as_bytes()).into());
    let scope = [&*claim.date, "/", &*claim.region, "/", &*claim.service, "/aws4_request\n"];
    let mut text = String::with_capacity(160);
    ["AWS4-HMAC-SHA256\n", &*claim.timestamp, "\n"].into_iter().chain(scope).for_each(|part| text.push_str(part));
    text.push_str(str::from_utf8(&hash).unwrap_or_default());
    text
}

fn path(text: &mut Vec<u8>, path: &str, paths: Paths) -> Result<(), AuthnError> {
    let odd = has_odd_segment(path);
    if odd && paths == Paths::Refused {
        return Err(AuthnError::malformed(
            "IncompleteSignature",
            "a signed path may have no empty, `.` or `..` segment: send such a key in the body, or percent-encoded",
        ));
    }
    let normal = if odd && paths == Paths::Normalised { Cow::Owned(normalised(path)) } else { Cow::Borrowed(path) };
    let mut rest = if normal.is_empty() { b"/" } else { normal.as_bytes() };
    // Nearly all of a path stands for itself: what does is taken in one piece.
    while let Some(at) = rest.iter().position(|byte| *byte != b'/' && !is_unreserved(*byte)) {
        text.extend_from_slice(&rest[..at]);
        encode(text, rest[at]);
        rest = &rest[at + 1..];
    }
    text.extend_from_slice(rest);
    Ok(())
}

/// Whether a path has an empty, `.` or `..` segment. One trailing slash is part of the path, which every signer keeps.
fn has_odd_segment(path: &str) -> bool {
    // Such a segment makes a slash be followed by another or by a dot, which few paths have anywhere.
    let bytes = path.as_bytes();
    memchr::memchr_iter(b'/', bytes).any(|at| matches!(bytes.get(at + 1), Some(b'/' | b'.')))
        && path.strip_suffix('/').unwrap_or(path).split('/').skip(1).any(|segment| matches!(segment, "" | "." | ".."))
}

/// Removes empty and dot segments; a trailing slash stays while segments remain.
fn normalised(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}", kept.join("/"))
}

fn query(text: &mut Vec<u8>, query: &str, claim: &Claim<'_>, rules: &Rules<'_>) -> Result<(), AuthnError> {
    let signed = |name: &str| match claim.carrier {
        Carrier::Header => true,
        Carrier::Query { .. } => {
            name != "X-Amz-Signature" && !(rules.late_session_token && name == "X-Amz-Security-Token")
        }
    };
    let mut pairs = Vec::new();
    for (name, value) in query_pairs(query).filter(|(name, _)| signed(name)) {
        pairs.push((recoded(name)?, recoded(value)?));
    }
    pairs.sort_unstable();
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            text.push(b'&');
        }
        text.extend_from_slice(name);
        text.push(b'=');
        text.extend_from_slice(value);
    }
    Ok(())
}

/// Decodes once and encodes again. `+` is a plus, never a space; an escape that is none is refused.
fn recoded(part: &str) -> Result<Vec<u8>, AuthnError> {
    for (at, _) in part.match_indices('%') {
        let hex = part.as_bytes().get(at + 1..at + 3);
        if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(AuthnError::malformed("IncompleteSignature", "the query has a `%` without two hex digits"));
        }
    }
    let mut text = Vec::with_capacity(part.len());
    percent_decode_str(part).for_each(|byte| encode(&mut text, byte));
    Ok(text)
}

fn is_unreserved(byte: u8) -> bool {
    const UNRESERVED: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0u8;
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            byte += 1;
        }
        table
    };
    UNRESERVED[usize::from(byte)]
}

fn encode(text: &mut Vec<u8>, byte: u8) {
    if is_unreserved(byte) {
        return text.push(byte);
    }
    let [high, low] = HEX_OF[usize::from(byte)];
    text.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
}

/// Trims, and makes each run of blanks one space, inside quotes too.
fn collapsed(text: &mut Vec<u8>, value: &[u8]) {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    // Asked of all bytes at once: most values have no blank, and `any` would look at them one by one.
    if !value.iter().fold(false, |found, byte| found | is_blank(byte)) {
        return text.extend_from_slice(value);
    }
    let words = value.split(is_blank).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}
