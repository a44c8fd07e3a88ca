//! Signatures: any request read, made canonical in two ways, signed and verified.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::sigv4::{Claim, Paths, Rules, SignedRequest, SigningKey, verify};

const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TIMESTAMP: &str = "20150830T123600Z";
const WALL_MS: u64 = 1_440_938_160_000;
const SCOPE: &str = "20150830/us-east-1/elasticache/aws4_request";

/// A request, owned.
struct Raw {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Raw {
    /// Lines: method, target, headers as `name:value`; an empty line; the body.
    fn read(data: &[u8]) -> Option<Raw> {
        let mut lines = data.split(|&byte| byte == b'\n');
        let method = String::from_utf8(lines.next()?.to_vec()).ok()?;
        let target = String::from_utf8(lines.next()?.to_vec()).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut headers = Vec::new();
        for line in lines.by_ref().take_while(|line| !line.is_empty()).take(64) {
            let colon = line.iter().position(|&byte| byte == b':')?;
            headers.push((String::from_utf8(line[..colon].to_vec()).ok()?, line[colon + 1..].to_vec()));
        }
        Some(Raw { method, path, query, headers, body: lines.collect::<Vec<_>>().join(&b'\n') })
    }

    fn with<R>(&self, body: &[u8], use_it: impl FnOnce(SignedRequest<'_>) -> R) -> R {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        let Raw { method, path, query, .. } = self;
        use_it(SignedRequest { method, path, query, headers: &headers, body })
    }
}

/// Reads `data` as a request. Whatever signature it carries is refused without a panic; then it is signed here, by a
/// plain second way of making it canonical, and must verify as it is, and with nothing changed.
///
/// # Panics
/// The two ways disagree, or a changed request verifies.
pub fn fuzz_sigv4(data: &[u8]) {
    let Some(mut raw) = Raw::read(data) else { return };
    let key = SigningKey::derive(SECRET, "20150830", "us-east-1", "elasticache");
    for paths in [Paths::Refused, Paths::AsSent, Paths::Normalised] {
        let rules = Rules { paths, ..Rules::strict("us-east-1", "elasticache") };
        raw.with(&raw.body, |request| {
            let _ = Claim::is_present(&request);
            if let Ok(claim) = Claim::read(&request) {
                // Nobody who wrote this input knows the secret, unless it is the suite's own example.
                let _ = verify(&request, &claim, &key, &rules, WALL_MS);
            }
        });
    }
    if !make_signable(&mut raw) {
        return;
    }
    for paths in [Paths::Refused, Paths::AsSent, Paths::Normalised] {
        let canonical = canonical(&raw, paths);
        let signature = canonical.as_ref().map_or_else(|| "0".repeat(64), |text| sign(text));
        let names: BTreeSet<&str> = raw.headers.iter().map(|(name, _)| name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let authorization = |signature: &str| {
            let names = names.join(";");
            format!("AWS4-HMAC-SHA256 Credential=AKID/{SCOPE}, SignedHeaders={names}, Signature={signature}")
        };
        let rules = Rules { paths, ..Rules::strict("us-east-1", "elasticache") };
        let verifies = |body: &[u8], signature: &str| {
            let mut signed = Raw { headers: raw.headers.clone(), ..empty(&raw) };
            signed.headers.push(("authorization".to_owned(), authorization(signature).into_bytes()));
            signed.with(body, |request| {
                let claim = Claim::read(&request);
                claim.is_ok_and(|claim| verify(&request, &claim, &key, &rules, WALL_MS).is_ok())
            })
        };
        assert_eq!(verifies(&raw.body, &signature), canonical.is_some(), "{paths:?}: {canonical:?}");
        let other = if signature.starts_with('0') { "1" } else { "0" };
        assert!(!verifies(&raw.body, &format!("{other}{}", &signature[1..])), "another signature verifies");
        assert!(!verifies(&[&raw.body[..], b"x"].concat(), &signature), "another body verifies");
    }
}

fn empty(raw: &Raw) -> Raw {
    let Raw { method, path, query, .. } = raw;
    Raw { method: method.clone(), path: path.clone(), query: query.clone(), headers: Vec::new(), body: Vec::new() }
}

/// Leaves what a client could sign: plain header names with text values, one Host, our date, no other signature.
fn make_signable(raw: &mut Raw) -> bool {
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let ours = ["host", "date", "authorization", "content-encoding"];
    raw.headers.retain(|(name, value)| {
        plain(name)
            && !ours.contains(&name.as_str())
            && !name.starts_with("x-amz-")
            && std::str::from_utf8(value).is_ok()
    });
    raw.headers.push(("host".to_owned(), b"cache.example".to_vec()));
    raw.headers.push(("x-amz-date".to_owned(), TIMESTAMP.as_bytes().to_vec()));
    !raw.query.split('&').any(|pair| pair.starts_with("X-Amz-"))
}

/// The canonical request, step by step as AWS's page lists them; `None` when the rules refuse the request.
fn canonical(raw: &Raw, paths: Paths) -> Option<String> {
    let segments: Vec<&str> = raw.path.split('/').collect();
    // The empty text behind a trailing slash is no segment.
    let inner = if raw.path.ends_with('/') { &segments[..segments.len() - 1] } else { &segments[..] };
    let odd = inner.iter().skip(1).any(|segment| ["", ".", ".."].contains(segment));
    if odd && paths == Paths::Refused {
        return None;
    }
    let mut path = raw.path.clone();
    if odd && paths == Paths::Normalised {
        let mut stack = Vec::new();
        for segment in &segments {
            if *segment == ".." {
                stack.pop();
            } else if !segment.is_empty() && *segment != "." {
                stack.push(*segment);
            }
        }
        let end = if raw.path.ends_with('/') && !stack.is_empty() { "/" } else { "" };
        path = format!("/{}{end}", stack.join("/"));
    }
    if path.is_empty() {
        path = "/".to_owned();
    }
    let path: Vec<String> = path.split('/').map(|segment| encode(segment.as_bytes())).collect();
    let mut pairs = Vec::new();
    for pair in raw.query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((encode(&decode(name)?), encode(&decode(value)?)));
    }
    pairs.sort();
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let names: BTreeSet<&str> = raw.headers.iter().map(|(name, _)| name.as_str()).collect();
    let mut lines = vec![raw.method.clone(), path.join("/"), query.join("&")];
    for name in &names {
        let values = raw.headers.iter().filter(|(each, _)| each == name);
        let values: Vec<String> = values.map(|(_, value)| collapse(value)).collect();
        lines.push(format!("{name}:{}", values.join(",")));
    }
    lines.push(String::new());
    lines.push(names.into_iter().collect::<Vec<_>>().join(";"));
    lines.push(hex(&Sha256::digest(&raw.body)));
    Some(lines.join("\n"))
}

fn sign(canonical: &str) -> String {
    let text = format!("AWS4-HMAC-SHA256\n{TIMESTAMP}\n{SCOPE}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut key = [b"AWS4", SECRET].concat();
    for part in SCOPE.split('/') {
        key = mac(&key, part.as_bytes());
    }
    hex(&mac(&key, text.as_bytes()))
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("a MAC takes keys of every length") };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(bytes: &[u8]) -> String {
    let one = |&byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

/// `None` for a `%` without two hex digits behind it.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(bytes)
}

fn collapse(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value).replace(['\t', '\r', '\n'], " ");
    let mut text = text.trim_matches(' ').to_owned();
    while text.contains("  ") {
        text = text.replace("  ", " ");
    }
    text
}
