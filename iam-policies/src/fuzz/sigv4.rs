//! Signatures: any request read, its claim and canonical form made in two ways, signed and verified.

mod plain;

use std::collections::BTreeSet;

use self::plain::{PlainClaim, Raw, body_hash_fits, canonical, is_acceptable, sign};
use crate::sigv4::{Claim, Paths, Rules, SignedRequest, Signer, SigningKey, presign, verify};

const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TIMESTAMP: &str = "20150830T123600Z";
const WALL_MS: u64 = 1_440_938_160_000;
const REGION: &str = "us-east-1";
const SERVICE: &str = "elasticache";
const PATHS: [Paths; 3] = [Paths::Refused, Paths::AsSent, Paths::Normalised];

/// Reads `data` as a request. The claim it carries is read in two ways, and verifies when its signature is replaced by
/// that of a plain second canonical form, and by no other, and only if the plain rules accept it. Then the request is
/// signed here by header and by query, and must verify as it is, and with nothing changed.
///
/// # Panics
/// The two ways disagree, or a changed request verifies.
pub fn fuzz_sigv4(data: &[u8]) {
    let Some(mut raw) = Raw::read(data) else { return };
    let _ = raw.with(|request| Claim::is_present(&request));
    claim_it_carries(&raw);
    signed_by_query(&raw, data.len());
    if make_signable(&mut raw) {
        signed_by_header(&raw, data.len());
    }
}

/// The key of what a claim names, were the secret ours; whether the request verifies with it.
fn verifies(request: &SignedRequest<'_>, paths: Paths, wall_ms: u64) -> bool {
    let Ok(claim) = Claim::read(request) else { return false };
    let key = SigningKey::derive(SECRET, &claim.date, &claim.region, &claim.service);
    let rules = Rules { paths, ..Rules::strict(REGION, SERVICE) };
    verify(request, &claim, &key, &rules, wall_ms).is_ok()
}

fn claim_it_carries(raw: &Raw) {
    let plain = PlainClaim::read(raw);
    raw.with(|request| match (Claim::read(&request), &plain) {
        (Err(error), plain) => assert!(plain.is_none(), "refused ({}), and readable: {plain:?}", error.message),
        (Ok(claim), None) => panic!("read, and not readable: {claim:?}"),
        (Ok(claim), Some(plain)) => {
            let read = [&claim.access_key_id, &claim.date, &claim.region, &claim.service].map(|text| text.to_string());
            assert_eq!(read, [&plain.id, &plain.date, &plain.region, &plain.service].map(String::clone));
            assert_eq!(claim.timestamp, plain.timestamp);
            assert_eq!(claim.session_token.as_deref(), plain.token.as_deref());
        }
    });
    // A signature cannot be part of what it signs.
    let Some(plain) = plain.filter(|plain| !plain.signed_headers.iter().any(|name| name == "authorization")) else {
        return;
    };
    for paths in PATHS {
        let text = canonical(raw, &plain.signed_headers, plain.expires_s.is_some(), paths);
        let acceptable = is_acceptable(&plain, raw, (REGION, SERVICE), WALL_MS) && body_hash_fits(raw);
        let signature = text.as_deref().map_or_else(|| "0".repeat(64), |text| sign(SECRET, &plain, text));
        let verifies = |signature: &str| raw.with_signature(signature).with(|each| verifies(&each, paths, WALL_MS));
        assert_eq!(verifies(&signature), acceptable && text.is_some(), "{paths:?}: {plain:?} {text:?}");
        assert!(!verifies(&flipped(&signature, raw.body.len())), "another signature verifies");
    }
}

fn signed_by_query(raw: &Raw, choice: usize) {
    let host = "cache.example";
    let signer = Signer { access_key_id: "AKID", region: REGION, service: SERVICE, timestamp: TIMESTAMP };
    let Ok(query) = presign(&raw.method, host, &raw.path, &raw.query, SECRET, signer, 60) else { return };
    let verifies = |path: &str, query: &str, wall_ms| {
        let headers = [("host", host.as_bytes())];
        let request = SignedRequest { method: &raw.method, path, query, headers: &headers, body: b"" };
        verifies(&request, Paths::Refused, wall_ms)
    };
    assert!(verifies(&raw.path, &query, WALL_MS), "what presign made does not verify");
    assert!(!verifies(&raw.path, &query, WALL_MS + 60_001), "an expired URL verifies");
    assert!(!verifies(&format!("{}x", raw.path), &query, WALL_MS), "another path verifies");
    assert!(!verifies(&raw.path, &format!("{query}&x"), WALL_MS), "another query verifies");
    let (before, signature) = query.split_at(query.len() - 64);
    assert!(!verifies(&raw.path, &[before, &flipped(signature, choice)].concat(), WALL_MS), "another signature");
}

fn signed_by_header(raw: &Raw, choice: usize) {
    let names: BTreeSet<String> = raw.headers.iter().map(|(name, _)| name.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let scope = format!("20150830/{REGION}/{SERVICE}/aws4_request");
    let unsigned = format!("AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={}, Signature=", names.join(";"));
    let mut signed = raw.clone();
    signed.headers.push(("authorization".to_owned(), unsigned.into_bytes()));
    let Some(claim) = PlainClaim::read(&signed) else { unreachable!("it was just written") };
    for paths in PATHS {
        let text = canonical(raw, &names, false, paths);
        let signature = text.as_deref().map_or_else(|| "0".repeat(64), |text| sign(SECRET, &claim, text));
        let verifies = |request: &Raw, signature: &str| {
            request.with_signature(signature).with(|each| verifies(&each, paths, WALL_MS))
        };
        assert_eq!(verifies(&signed, &signature), text.is_some(), "{paths:?}: {text:?}");
        assert!(!verifies(&signed, &flipped(&signature, choice)), "another signature verifies");
        assert!(!verifies(&Raw { body: [&raw.body[..], b"x"].concat(), ..signed.clone() }, &signature), "another body");
        assert!(!verifies(&Raw { method: format!("{}X", raw.method), ..signed.clone() }, &signature), "another method");
        assert!(!verifies(&Raw { query: format!("{}&x", raw.query), ..signed.clone() }, &signature), "another query");
    }
}

/// The signature with one digit changed.
fn flipped(signature: &str, choice: usize) -> String {
    let mut digits = signature.as_bytes().to_vec();
    let at = choice % digits.len();
    digits[at] = if digits[at] == b'0' { b'1' } else { b'0' };
    String::from_utf8_lossy(&digits).into_owned()
}

/// Leaves what a client could sign: plain header names with text values, one Host, our date, no other signature.
fn make_signable(raw: &mut Raw) -> bool {
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let ours = ["host", "date", "authorization"];
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nearly_signed_requests_agree() {
        let scope = "20150830/us-east-1/elasticache/aws4_request";
        let auth = format!("authorization:AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders=");
        let date = "x-amz-date:20150830T123600Z";
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID/{scope}&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Signature=0"
        );
        for request in [
            format!("GET\n/\nhost:h\n{date}\n{auth}host;x-amz-date,Signature=0\n\n"),
            format!("GET\n/a//b?x=%2f&x\nhost:h\n{date}\nx-amz-a:b\n{auth}host;x-amz-a;x-amz-date,Signature=0\n\nbody"),
            format!("GET\n/\nhost:h\n{date}\nx-amz-a:b\n{auth}host;x-amz-date,Signature=0\n\n"),
            format!("GET\n/\nhost:h\nhost:h\n{date}\n{auth}host;x-amz-date,Signature=0\n\n"),
            format!("GET\n/\nhost:h\ndate:Sun, 30 Aug 2015 12:36:00 GMT\n{auth}date;host,Signature=0\n\n"),
            format!("GET\n/\nhost:h\n{date}\n{auth}host;x-amz-date,Signature=0,Signature=1\n\n"),
            format!("GET\n/?{query}&X-Amz-Expires=60\nhost:h\n\n"),
            format!("GET\n/?a=b&{query}&X-Amz-Expires=604801\nhost:h\n\n"),
            format!("GET\n/?{query}&X-Amz-Expires=60&X-Amz-Security-Token=%61\nhost:h\n\n"),
            format!("GET\n/?{query}&X-Amz-Expires=60&X-Amz-Meta=1\nhost:h\n\n"),
        ] {
            fuzz_sigv4(request.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn pieces_of_requests_agree(pieces in proptest::collection::vec(proptest::sample::select(vec![
            "GET\n/", "POST\n/a", "?", "&", "=", "a", "%2F", "%", "//", "/../", "/./", "\n", "host:h\n", "x-amz-date:20150830T123600Z\n",
            "x-amz-date:20150830T124101Z\n", "authorization:AWS4-HMAC-SHA256 ", "Credential=AKID/20150830/us-east-1/elasticache/aws4_request", ",",
            " ", "SignedHeaders=host;x-amz-date", "Signature=0", "X-Amz-Signature=0", "X-Amz-Expires=9", "content-encoding:gzip\n", "é", "\t",
        ]), 0..24)) {
            fuzz_sigv4(pieces.concat().as_bytes());
        }
    }
}
