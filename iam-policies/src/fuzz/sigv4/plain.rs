//! Signature Version 4 once more, step by step as AWS's pages list them, with copies and without speed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::sigv4::Paths;
use crate::sigv4::SignedRequest;

/// A request, owned.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Raw {
    /// Lines: method, target, headers as `name:value`; an empty line; the body.
    pub(super) fn read(data: &[u8]) -> Option<Raw> {
        let mut lines = data.split(|&byte| byte == b'\n');
        let method = String::from_utf8(lines.next()?.to_vec()).ok()?;
        let target = String::from_utf8(lines.next()?.to_vec()).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut headers = Vec::new();
        for line in lines.by_ref().take_while(|line| !line.is_empty()).take(128) {
            let colon = line.iter().position(|&byte| byte == b':')?;
            headers.push((String::from_utf8(line[..colon].to_vec()).ok()?, line[colon + 1..].to_vec()));
        }
        Some(Raw { method, path, query, headers, body: lines.collect::<Vec<_>>().join(&b'\n') })
    }

    pub(super) fn with<R>(&self, use_it: impl FnOnce(SignedRequest<'_>) -> R) -> R {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        let Raw { method, path, query, body, .. } = self;
        use_it(SignedRequest { method, path, query, headers: &headers, body })
    }

    /// The same request with another signature in the place of its own.
    pub(super) fn with_signature(&self, signature: &str) -> Raw {
        let mut raw = self.clone();
        for (_, value) in raw.headers.iter_mut().filter(|(name, _)| name == "authorization") {
            let text = String::from_utf8_lossy(value).into_owned();
            let fresh = text.split(',').map(|part| match part.split_once("Signature=") {
                Some((before, _)) if matches!(before.trim(), "" | "AWS4-HMAC-SHA256") => {
                    format!("{before}Signature={signature}")
                }
                _ => part.to_owned(),
            });
            *value = fresh.collect::<Vec<_>>().join(",").into_bytes();
        }
        let fresh = raw.query.split('&').map(|pair| match pair.split('=').next() {
            Some("X-Amz-Signature") => format!("X-Amz-Signature={signature}"),
            _ => pair.to_owned(),
        });
        raw.query = fresh.collect::<Vec<_>>().join("&");
        raw
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.headers.iter().filter(|(each, _)| each == name).map(|(_, value)| &value[..]).collect()
    }

    /// The value of a header that may stand once; `Err` when it stands twice or is no text.
    fn value(&self, name: &str) -> Result<Option<String>, ()> {
        match self.values(name)[..] {
            [] => Ok(None),
            [one] => std::str::from_utf8(one).map(|text| Some(text.trim().to_owned())).map_err(drop),
            _ => Err(()),
        }
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect()
    }
}

/// What a request says of its signature.
#[derive(Debug, Clone)]
pub(super) struct PlainClaim {
    pub(super) id: String,
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) timestamp: String,
    pub(super) token: Option<String>,
    pub(super) signed_headers: Vec<String>,
    /// Of a pre-signed URL only.
    pub(super) expires_s: Option<u64>,
}

impl PlainClaim {
    pub(super) fn read(raw: &Raw) -> Option<PlainClaim> {
        let by_query = raw.pairs().iter().any(|(name, _)| name.starts_with("X-Amz-"));
        match (&raw.values("authorization")[..], by_query) {
            ([value], false) => Self::by_header(raw, std::str::from_utf8(value).ok()?),
            ([], true) => Self::by_query(raw),
            _ => None,
        }
    }

    fn by_header(raw: &Raw, value: &str) -> Option<PlainClaim> {
        let parts = value.strip_prefix("AWS4-HMAC-SHA256 ")?.split(',').map(|part| part.trim().split_once('='));
        let mut parts: Vec<(&str, &str)> = parts.collect::<Option<_>>()?;
        parts.sort_unstable();
        let [("Credential", credential), ("Signature", _), ("SignedHeaders", headers)] = parts[..] else { return None };
        let timestamp = match raw.value("x-amz-date").ok()? {
            Some(timestamp) => timestamp,
            None => of_date(&raw.value("date").ok()??)?,
        };
        Self::new(credential, headers, timestamp, raw.value("x-amz-security-token").ok()?, None)
    }

    fn by_query(raw: &Raw) -> Option<PlainClaim> {
        let mut ours: Vec<(&str, String)> = Vec::new();
        for (name, value) in raw.pairs().into_iter().filter(|(name, _)| name.starts_with("X-Amz-")) {
            ours.push((name.strip_prefix("X-Amz-")?, String::from_utf8(leniently_decoded(value)).ok()?));
        }
        ours.sort_unstable();
        let mut names: Vec<&str> = ours.iter().map(|(name, _)| *name).collect();
        names.retain(|name| *name != "Security-Token");
        if names != ["Algorithm", "Credential", "Date", "Expires", "Signature", "SignedHeaders"] {
            return None;
        }
        let tokens: Vec<String> =
            ours.iter().filter(|(name, _)| *name == "Security-Token").map(|it| it.1.clone()).collect();
        ours.retain(|(name, _)| *name != "Security-Token");
        let [algorithm, credential, date, expires, _, headers] = [0, 1, 2, 3, 4, 5].map(|at| ours[at].1.clone());
        if algorithm != "AWS4-HMAC-SHA256" || tokens.len() > 1 || !expires.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let expires_s = expires.parse().ok().filter(|seconds| (1..=7 * 24 * 3600).contains(seconds))?;
        Self::new(&credential, &headers, date, tokens.into_iter().next(), Some(expires_s))
    }

    fn new(
        credential: &str,
        headers: &str,
        timestamp: String,
        token: Option<String>,
        expires_s: Option<u64>,
    ) -> Option<PlainClaim> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [id, date, region, service, "aws4_request"] = parts[..] else { return None };
        let [id, date, region, service] = [id, date, region, service].map(str::to_owned);
        let signed_headers: Vec<String> = headers.split(';').map(str::to_owned).collect();
        let mut sorted = signed_headers.clone();
        sorted.sort();
        sorted.dedup();
        let lower = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| matches!(b, b'!'..=b'~') && !b.is_ascii_uppercase())
        };
        let good =
            !id.is_empty() && sorted == signed_headers && signed_headers.iter().all(lower) && sorted.len() <= 100;
        seconds(&timestamp).filter(|_| good)?;
        Some(PlainClaim { id, date, region, service, timestamp, token, signed_headers, expires_s })
    }
}

fn of_date(text: &str) -> Option<String> {
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?.to_offset(time::UtcOffset::UTC);
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    Some(format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", time.hour(), time.minute(), time.second()))
}

/// Seconds since 1970 of `YYYYMMDDTHHMMSSZ`.
fn seconds(timestamp: &str) -> Option<u64> {
    let bytes = timestamp.as_bytes();
    let shape = bytes.len() == 16 && bytes[8] == b'T' && bytes[15] == b'Z';
    let digits = bytes.iter().enumerate().all(|(at, byte)| matches!(at, 8 | 15) || byte.is_ascii_digit());
    let part = |from: usize, to: usize| timestamp.get(from..to).and_then(|text| text.parse::<u64>().ok());
    if !shape || !digits {
        return None;
    }
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(9, 11)?, part(11, 13)?, part(13, 15)?);
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days_of = |year: u64, month: u64| match month {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let valid = year >= 1970 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years: u64 = (1970..year).map(|year| 365 + u64::from(leap(year))).sum();
    let months: u64 = (1..month).map(|month| days_of(year, month)).sum();
    Some((years + months + day - 1) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Whether scope, time and the rules of signed headers let a claim through.
pub(super) fn is_acceptable(claim: &PlainClaim, raw: &Raw, scope: (&str, &str), wall_ms: u64) -> bool {
    let Some(at_s) = seconds(&claim.timestamp) else { return false };
    let (at_ms, window_ms) = (at_s * 1000, 300_000);
    let lasts_ms = claim.expires_s.map_or(window_ms, |seconds| seconds * 1000);
    let in_time = at_ms <= wall_ms + window_ms && wall_ms <= at_ms + lasts_ms;
    let signs = |name: &str| claim.signed_headers.iter().any(|each| each == name);
    let dated = claim.expires_s.is_some() || signs("x-amz-date") || signs("date");
    let there = claim.signed_headers.iter().all(|name| !raw.values(name).is_empty());
    let must = |name: &str| name.starts_with("x-amz-") || name == "content-encoding";
    let all_signed = raw.headers.iter().all(|(name, _)| !must(name) || signs(name));
    let scoped = claim.timestamp.starts_with(&claim.date) && claim.date.len() == 8;
    let ours = (claim.region.as_str(), claim.service.as_str()) == scope;
    in_time && dated && there && all_signed && scoped && ours && signs("host") && raw.values("host").len() == 1
}

/// Whether the body is the one that the request says it has.
pub(super) fn body_hash_fits(raw: &Raw) -> bool {
    let said = raw.values("x-amz-content-sha256");
    said.is_empty() || said == [hex(&Sha256::digest(&raw.body)).as_bytes()]
}

/// The canonical request; `None` when the rules refuse to make one.
pub(super) fn canonical(raw: &Raw, signed_headers: &[String], by_query: bool, paths: Paths) -> Option<String> {
    let mut pairs = Vec::new();
    for (name, value) in raw.pairs().into_iter().filter(|(name, _)| !by_query || *name != "X-Amz-Signature") {
        pairs.push((encode(&decode(name)?), encode(&decode(value)?)));
    }
    pairs.sort();
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut lines = vec![raw.method.clone(), path(raw, paths)?, query.join("&")];
    for name in signed_headers {
        let values = raw.values(name).into_iter().map(|value| Some(collapse(std::str::from_utf8(value).ok()?)));
        lines.push(format!("{name}:{}", values.collect::<Option<Vec<_>>>()?.join(",")));
    }
    lines.push(String::new());
    lines.push(signed_headers.join(";"));
    lines.push(hex(&Sha256::digest(&raw.body)));
    Some(lines.join("\n"))
}

fn path(raw: &Raw, paths: Paths) -> Option<String> {
    let segments: Vec<&str> = raw.path.split('/').collect();
    // The empty text behind a trailing slash is no segment.
    let inner = if raw.path.ends_with('/') { &segments[..segments.len() - 1] } else { &segments[..] };
    let odd = inner.iter().skip(1).any(|segment| ["", ".", ".."].contains(segment));
    let mut path = raw.path.clone();
    if odd && paths == Paths::Refused {
        return None;
    }
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
    Some(path.split('/').map(|segment| encode(segment.as_bytes())).collect::<Vec<_>>().join("/"))
}

/// The signature of a canonical request under a secret, in the scope that was claimed.
pub(super) fn sign(secret: &[u8], claim: &PlainClaim, canonical: &str) -> String {
    let PlainClaim { date, region, service, timestamp, .. } = claim;
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let first = [b"AWS4", secret].concat();
    let key = scope.split('/').fold(first, |key, part| mac(&key, part.as_bytes()));
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
    let escapes = text.split('%').skip(1);
    let hex = |part: &str| part.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    escapes.into_iter().all(hex).then(|| leniently_decoded(text))
}

/// A `%` without two hex digits behind it stays.
fn leniently_decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => bytes.extend([&[byte], &part.as_bytes()[2..]].concat()),
            None => bytes.extend([b"%", part.as_bytes()].concat()),
        }
    }
    bytes
}

fn collapse(value: &str) -> String {
    let text = value.replace(['\t', '\r', '\n'], " ");
    let mut text = text.trim_matches(' ').to_owned();
    while text.contains("  ") {
        text = text.replace("  ", " ");
    }
    text
}
