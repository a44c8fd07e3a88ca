//! The canonical request and the string to sign.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::claim::{Carrier, Claim, query_pairs};
use super::{Paths, Rules, SignedRequest};
use crate::access::AuthnError;

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = vec![0; bytes.len() * 2];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    String::from_utf8(text).unwrap_or_default()
}

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
    let mut text = String::with_capacity(512);
    text.push_str(request.method);
    text.push('\n');
    path(&mut text, request.path, rules.paths)?;
    text.push('\n');
    query(&mut text, request.query, claim, rules)?;
    text.push('\n');
    for name in &claim.signed_headers {
        text.push_str(name);
        text.push(':');
        for (at, value) in request.header(name).enumerate() {
            if at > 0 {
                text.push(',');
            }
            let value = std::str::from_utf8(value);
            let value =
                value.map_err(|_| AuthnError::malformed("IncompleteSignature", "a signed header is no text"))?;
            collapsed(&mut text, value);
        }
        text.push('\n');
    }
    text.push('\n');
    for (at, name) in claim.signed_headers.iter().enumerate() {
        if at > 0 {
            text.push(';');
        }
        text.push_str(name);
    }
    text.push('\n');
    text.push_str(body_hash);
    Ok(text)
}

/// What is signed in the end.
pub(super) fn string_to_sign(claim: &Claim<'_>, canonical: &str) -> String {
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    let scope = [&*claim.date, "/", &*claim.region, "/", &*claim.service, "/aws4_request\n"];
    let mut text = String::with_capacity(160);
    ["AWS4-HMAC-SHA256\n", &*claim.timestamp, "\n"].into_iter().chain(scope).for_each(|part| text.push_str(part));
    text.push_str(&hash);
    text
}

fn path(text: &mut String, path: &str, paths: Paths) -> Result<(), AuthnError> {
    // One trailing slash is part of the path, which every signer keeps.
    let segments = path.strip_suffix('/').unwrap_or(path).split('/').skip(1);
    let odd = segments.into_iter().any(|segment| matches!(segment, "" | "." | ".."));
    if odd && paths == Paths::Refused {
        return Err(AuthnError::malformed(
            "IncompleteSignature",
            "a signed path may have no empty, `.` or `..` segment: send such a key in the body, or percent-encoded",
        ));
    }
    let normal = if odd && paths == Paths::Normalised { Cow::Owned(normalised(path)) } else { Cow::Borrowed(path) };
    let normal = if normal.is_empty() { "/" } else { &*normal };
    // Nearly all of a path stands for itself: what does is taken in one piece.
    let mut rest = normal;
    while let Some(at) = rest.bytes().position(|byte| byte != b'/' && !is_unreserved(byte)) {
        text.push_str(&rest[..at]);
        let odd = rest[at..].chars().next().map_or(1, char::len_utf8);
        rest[at..at + odd].bytes().for_each(|byte| encode(text, byte));
        rest = &rest[at + odd..];
    }
    text.push_str(rest);
    Ok(())
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

fn query(text: &mut String, query: &str, claim: &Claim<'_>, rules: &Rules<'_>) -> Result<(), AuthnError> {
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
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    Ok(())
}

/// Decodes once and encodes again. `+` is a plus, never a space; an escape that is none is refused.
fn recoded(part: &str) -> Result<String, AuthnError> {
    for (at, _) in part.match_indices('%') {
        let hex = part.as_bytes().get(at + 1..at + 3);
        if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(AuthnError::malformed("IncompleteSignature", "the query has a `%` without two hex digits"));
        }
    }
    let mut text = String::with_capacity(part.len());
    percent_decode_str(part).for_each(|byte| encode(&mut text, byte));
    Ok(text)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn encode(text: &mut String, byte: u8) {
    if is_unreserved(byte) {
        text.push(char::from(byte));
        return;
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(HEX[usize::from(byte >> 4)]));
    text.push(char::from(HEX[usize::from(byte & 15)]));
}

/// Trims, and makes each run of blanks one space, inside quotes too.
fn collapsed(text: &mut String, value: &str) {
    if !value.bytes().any(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        return text.push_str(value);
    }
    let words = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
}
