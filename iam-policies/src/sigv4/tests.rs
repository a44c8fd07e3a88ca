//! The published suite, each part of each request flipped, and what the suite leaves out (facts 5.6).

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::canonical::hex;
use super::*;
use crate::json::Tree;

const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z
const NOW_MS: u64 = 1_440_938_160_000;

/// A request that can be changed.
#[derive(Clone, Debug)]
struct Owned {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Owned {
    /// Reads a request of the suite: paths may hold blanks, header lines may be folded.
    fn read(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let (line, rest) = head.split_once('\n').unwrap();
        let (method, target) = line.split_once(' ').unwrap();
        let target = target.rsplit_once(' ').unwrap().0;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        for line in rest.lines().filter(|line| !line.is_empty()) {
            if line.starts_with(' ') {
                let last = &mut headers.last_mut().unwrap().1;
                last.extend(b" ");
                last.extend(line.trim().bytes());
            } else {
                let (name, value) = line.split_once(':').unwrap();
                headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
            }
        }
        Self { method: method.into(), path: path.into(), query: query.into(), headers, body: body.trim_end().into() }
    }

    fn verify(&self, rules: &Rules<'_>, wall_ms: u64) -> Result<(), AuthnError> {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let request = SignedRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            body: &self.body,
        };
        let claim = Claim::read(&request)?;
        let key = SigningKey::derive(SECRET, &claim.date, &claim.region, &claim.service);
        verify(&request, &claim, &key, rules, wall_ms)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.iter_mut().find(|(each, _)| each == name).unwrap().1 = value.as_bytes().to_vec();
    }

    fn replace_auth(&mut self, from: &str, to: &str) {
        let auth = self.headers.iter_mut().find(|(name, _)| name == "authorization").unwrap();
        let text = String::from_utf8(auth.1.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        auth.1 = text.replace(from, to).into_bytes();
    }
}

fn cases() -> Vec<(String, Owned, Rules<'static>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/vectors/sigv4");
    let mut cases = Vec::new();
    for case in fs::read_dir(folder).unwrap() {
        let case = case.unwrap().path();
        let context = Tree::parse(&fs::read(case.join("context.json")).unwrap()).unwrap();
        let is = |name: &str| context.get(name) == Some(&Tree::Bool(true));
        let rules = Rules {
            region: "us-east-1",
            service: "service",
            paths: if is("normalize") { Paths::Normalised } else { Paths::AsSent },
            late_session_token: is("omit_session_token"),
        };
        for by in ["header", "query"] {
            let text = fs::read_to_string(case.join(format!("{by}-signed-request.txt"))).unwrap();
            let name = format!("{} by {by}", case.file_name().unwrap().to_string_lossy());
            cases.push((name, Owned::read(&text), rules));
        }
    }
    cases
}

#[test]
fn every_signature_of_the_suite_verifies() {
    let cases = cases();
    assert_eq!(cases.len(), 76);
    for (name, request, rules) in cases {
        assert_eq!(request.verify(&rules, NOW_MS), Ok(()), "{name}");
    }
}

/// Flips the lowest bit of one byte, staying printable.
fn flip(text: &mut String, at: usize) {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes[at] ^= 1;
    *text = String::from_utf8_lossy(&bytes).into_owned();
}

#[test]
fn every_signature_fails_after_one_flipped_byte_in_each_signed_part() {
    let mut flipped = 0;
    for (name, request, rules) in cases() {
        let mut broken: Vec<(String, Owned)> = Vec::new();
        let mut with = |part: &str, change: &dyn Fn(&mut Owned)| {
            let mut copy = request.clone();
            change(&mut copy);
            broken.push((format!("{name}: {part}"), copy));
        };
        with("method", &|r| flip(&mut r.method, 0));
        with("body", &|r| match r.body.first_mut() {
            Some(byte) => *byte ^= 1,
            None => r.body.push(b'x'),
        });
        if request.path.len() > 1 && rules.paths == Paths::AsSent {
            with("path byte", &|r| {
                let half = r.path.len() / 2;
                flip(&mut r.path, half);
            });
        }
        with("path", &|r| r.path.push('x'));
        for at in 0..request.query.len() {
            // Escapes are decoded before they are signed, so that the case of their hex digits is no part of it.
            let inside_escape = (at.saturating_sub(2)..at).any(|i| request.query.as_bytes()[i] == b'%');
            let late = rules.late_session_token
                && request.query[..at].contains("X-Amz-Security-Token=")
                && !request.query[..at].contains("X-Amz-Signature");
            if !inside_escape && !late && at % 7 == 0 {
                with(&format!("query byte {at}"), &|r| flip(&mut r.query, at));
            }
        }
        let signed: Vec<String> = request
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| name != "authorization" && !(rules.late_session_token && name == "x-amz-security-token"))
            .filter(|each| request.query.is_empty() || !request.query.contains("X-Amz-Signature") || each == "host")
            .collect();
        for header in signed {
            with(&header, &|r| {
                let value = &mut r.headers.iter_mut().find(|(name, _)| *name == header).unwrap().1;
                let at = value.iter().position(u8::is_ascii_alphanumeric).unwrap();
                value[at] ^= 1;
            });
        }
        if request.headers.iter().any(|(name, _)| name == "authorization") {
            for part in
                ["AKIDEXAMPLE/", "20150830", "us-east-1", "/service/", "aws4_request", "SignedHeaders=", "Signature="]
            {
                with(part, &|r| {
                    let auth = &mut r.headers.iter_mut().find(|(name, _)| name == "authorization").unwrap().1;
                    let at = String::from_utf8(auth.clone()).unwrap().rfind(part).unwrap();
                    let at = if part.ends_with('=') { at + part.len() } else { at + 1 };
                    auth[at] ^= 1;
                });
            }
        }
        for (what, request) in broken {
            // The id of the key is only looked up; here every id has the same secret.
            if what.ends_with("AKIDEXAMPLE/") {
                continue;
            }
            assert!(request.verify(&rules, NOW_MS).is_err(), "{what} still verifies: {request:?}");
            flipped += 1;
        }
    }
    assert!(flipped > 1500, "{flipped}");
}

/// A signed request of our own: by header, to our rules.
fn ours(path: &str, query: &str, extra: &[(&str, &str)], body: &str) -> Owned {
    sign_at("20150830T123600Z", "us-east-1", "elasticache", path, query, extra, body)
}

fn sign_at(
    at: &str,
    region: &str,
    service: &str,
    path: &str,
    query: &str,
    extra: &[(&str, &str)],
    body: &str,
) -> Owned {
    let mut headers = vec![("host".to_owned(), b"cache.localhost:8079".to_vec()), ("x-amz-date".into(), at.into())];
    headers.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())));
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let date = &at[..8];
    let auth = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{date}/{region}/{service}/aws4_request, SignedHeaders={}, Signature=",
        names.join(";")
    );
    headers.push(("authorization".into(), auth.into_bytes()));
    let mut owned = Owned { method: "POST".into(), path: path.into(), query: query.into(), headers, body: body.into() };
    let signature = {
        let headers: Vec<_> = owned.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let request = SignedRequest { method: "POST", path, query, headers: &headers, body: body.as_bytes() };
        let claim = Claim::read(&request).unwrap();
        let rules = Rules { region, service, paths: Paths::AsSent, late_session_token: false };
        let hash = hex(&<sha2::Sha256 as sha2::Digest>::digest(body.as_bytes()));
        let text = canonical::request(&request, &claim, &rules, &hash).unwrap();
        SigningKey::derive(SECRET, date, region, service).signature(&canonical::string_to_sign(&claim, &text))
    };
    owned.headers.last_mut().unwrap().1.extend(signature.bytes());
    owned
}

fn strict() -> Rules<'static> {
    Rules::strict("us-east-1", "elasticache")
}

fn code(request: &Owned) -> (&'static str, u16) {
    let error = request.verify(&strict(), NOW_MS).expect_err("must be refused");
    (error.code, error.status)
}

#[test]
fn our_own_requests_verify() {
    assert_eq!(ours("/", "", &[], r#"["GET","k"]"#).verify(&strict(), NOW_MS), Ok(()));
    let key = ours("/v1/caches/default/keys/a%2Fb%20c", "b=2&a=1&a=+&c", &[("x-amz-meta", "  a   b ")], "");
    assert_eq!(key.verify(&strict(), NOW_MS), Ok(()));
    // Lower-case escapes in the path are another path; in the query they are the same value.
    let mut lower = key.clone();
    lower.path = lower.path.replace("%2F", "%2f");
    assert_eq!(code(&lower), ("SignatureDoesNotMatch", 401));
    let mut query = ours("/", "a=%2F", &[], "");
    query.query = "a=%2f".into();
    assert_eq!(query.verify(&strict(), NOW_MS), Ok(()));
}

#[test]
fn wrong_scope_is_refused() {
    let refused = ("SignatureDoesNotMatch", 401);
    assert_eq!(code(&sign_at("20150830T123600Z", "eu-west-1", "elasticache", "/", "", &[], "")), refused);
    assert_eq!(code(&sign_at("20150830T123600Z", "us-east-1", "s3", "/", "", &[], "")), refused);
    let mut date = ours("/", "", &[], "");
    date.replace_auth("20150830", "20150829");
    assert_eq!(code(&date), refused);
    let mut short = ours("/", "", &[], "");
    short.replace_auth("/elasticache/aws4_request", "/elasticache");
    assert_eq!(code(&short), ("IncompleteSignature", 400));
}

#[test]
fn a_scope_of_the_next_day_is_refused_even_one_second_over() {
    let mut request = sign_at("20150831T000000Z", "us-east-1", "elasticache", "/", "", &[], "");
    let midnight_ms = NOW_MS + (11 * 3600 + 24 * 60) * 1000;
    assert_eq!(request.verify(&strict(), midnight_ms), Ok(()));
    request.set("x-amz-date", "20150830T235959Z");
    assert_eq!(request.verify(&strict(), midnight_ms).unwrap_err().code, "SignatureDoesNotMatch");
}

#[test]
fn clocks_may_be_five_minutes_off() {
    let request = ours("/", "", &[], "");
    for (off_ms, ok) in [(300_000i64, true), (-300_000, true), (300_001, false), (-300_001, false), (900_000, false)] {
        let result = request.verify(&strict(), NOW_MS.saturating_add_signed(off_ms));
        assert_eq!(result.is_ok(), ok, "{off_ms}");
        assert!(ok || result.unwrap_err().code == "RequestExpired");
    }
}

#[test]
fn headers_are_held_to_every_rule() {
    let refused = ("SignatureDoesNotMatch", 401);
    let mut unsigned = ours("/", "", &[], "");
    unsigned.headers.push(("x-amz-target".into(), b"x".to_vec()));
    assert_eq!(code(&unsigned), refused);
    let mut no_host = ours("/", "", &[], "");
    no_host.replace_auth("host;", "");
    assert_eq!(code(&no_host), refused);
    let mut gone = ours("/", "", &[("x-amz-a", "1")], "");
    gone.headers.retain(|(name, _)| name != "x-amz-a");
    assert_eq!(code(&gone), refused);
    let mut order = ours("/", "", &[], "");
    order.replace_auth("host;x-amz-date", "x-amz-date;host");
    assert_eq!(code(&order), ("IncompleteSignature", 400));
    let twice = ours("/", "", &[("my", "a"), ("my", "b")], "");
    assert_eq!(twice.verify(&strict(), NOW_MS), Ok(()));
    let mut swapped = twice;
    let at = swapped.headers.iter().position(|(name, _)| name == "my").unwrap();
    swapped.headers.swap(at, at + 1);
    assert_eq!(code(&swapped), refused);
    let mut auth = ours("/", "", &[], "");
    auth.headers.push(auth.headers.last().unwrap().clone());
    assert_eq!(code(&auth), ("IncompleteSignature", 400));
}

#[test]
fn signatures_are_lower_case_hex_of_one_length() {
    let good = ours("/", "", &[], "");
    let text = String::from_utf8(good.headers.last().unwrap().1.clone()).unwrap();
    let signature = text.rsplit_once('=').unwrap().1.to_owned();
    for wrong in [signature.to_uppercase(), signature[1..].to_owned(), format!("{signature}0"), String::new()] {
        let mut request = good.clone();
        request.replace_auth(&signature, &wrong);
        assert_eq!(code(&request), ("SignatureDoesNotMatch", 401), "{wrong}");
    }
}

#[test]
fn odd_paths_are_refused() {
    for path in ["//", "/a//b", "/./a", "/a/..", "/a/../b", "/a//", "/../", "/./"] {
        assert_eq!(code(&ours(path, "", &[], "")), ("IncompleteSignature", 400), "{path}");
    }
    // One trailing slash is what every signer keeps: `/caches/NAME/` is where a cache's commands go.
    for path in ["/", "/a/", "/a/%2e%2e/b"] {
        assert_eq!(ours(path, "", &[], "").verify(&strict(), NOW_MS), Ok(()), "{path}");
    }
    let mut slashed = ours("/a", "", &[], "");
    slashed.path = "/a/".into();
    assert_eq!(code(&slashed), ("SignatureDoesNotMatch", 401), "it is signed like the rest");
}

#[test]
fn the_body_must_be_signed() {
    for literal in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "e3b0"] {
        assert_eq!(code(&ours("/", "", &[("x-amz-content-sha256", literal)], "x")), ("SignatureDoesNotMatch", 401));
    }
    let hash = hex(&<sha2::Sha256 as sha2::Digest>::digest(b"x"));
    assert_eq!(ours("/", "", &[("x-amz-content-sha256", &hash)], "x").verify(&strict(), NOW_MS), Ok(()));
}

fn signer(timestamp: &str) -> Signer<'_> {
    Signer { access_key_id: "AKIDEXAMPLE", region: "us-east-1", service: "elasticache", timestamp }
}

fn presigned(query: &str, expires_s: u64) -> Owned {
    let at = signer("20150830T123600Z");
    let query = presign("GET", "h", "/get/k", query, SECRET, at, expires_s).unwrap_or_else(|_| {
        let valid = presign("GET", "h", "/get/k", query, SECRET, at, 1).unwrap();
        valid.replace("X-Amz-Expires=1&", &format!("X-Amz-Expires={expires_s}&"))
    });
    Owned {
        method: "GET".into(),
        path: "/get/k".into(),
        query,
        headers: vec![("host".into(), b"h".to_vec())],
        body: vec![],
    }
}

#[test]
fn presigned_urls_live_as_long_as_they_say() {
    let request = presigned("a=1", 600);
    assert_eq!(request.verify(&strict(), NOW_MS + 600_000), Ok(()));
    assert_eq!(request.verify(&strict(), NOW_MS + 600_001).unwrap_err().code, "RequestExpired");
    assert_eq!(request.verify(&strict(), NOW_MS - 300_001).unwrap_err().code, "RequestExpired");
    assert_eq!(presigned("", 604_800).verify(&strict(), NOW_MS), Ok(()));
    for wrong in [0, 604_801] {
        assert_eq!(code(&presigned("", wrong)), ("AuthorizationQueryParametersError", 400), "{wrong}");
    }
}

#[test]
fn two_carriers_and_doubled_parameters_are_refused() {
    let mut both = presigned("", 60);
    both.headers.push(("authorization".into(), b"AWS4-HMAC-SHA256 x".to_vec()));
    assert_eq!(code(&both), ("IncompleteSignature", 400));
    let mut twice = presigned("", 60);
    twice.query.push_str("&X-Amz-Date=20150830T123600Z");
    assert_eq!(code(&twice), ("AuthorizationQueryParametersError", 400));
    let unsigned = Owned { headers: vec![("host".into(), b"h".to_vec())], query: String::new(), ..presigned("", 60) };
    assert_eq!(code(&unsigned), ("MissingAuthenticationToken", 401));
}

#[test]
fn connect_tokens_have_the_published_signatures() {
    for (serverless, signature) in [
        (false, "6647817305f8e1864961c1e272c45e5202480cbdd5e7f35169033b8caee220cb"),
        (true, "54c299809f7fb0b8d769f2b709c97578094a30b46fa45344edcfcbbfb4125562"),
    ] {
        let token = connect_token("my-cache", "alice", serverless, SECRET, signer("20150830T123600Z")).unwrap();
        assert!(token.ends_with(signature), "{token}");
        let (host, query) = connect_token_request(&token).unwrap();
        let headers = vec![("host".to_owned(), host.as_bytes().to_vec())];
        let request = Owned { method: "GET".into(), path: "/".into(), query: query.into(), headers, body: vec![] };
        assert_eq!(request.verify(&strict(), NOW_MS), Ok(()));
    }
    assert_eq!(connect_token_request("password"), None);
}

#[test]
fn the_date_header_serves_when_there_is_no_other() {
    let mut request = ours("/", "", &[], "");
    request.headers.retain(|(name, _)| name != "x-amz-date");
    request.headers.push(("date".into(), b"Sun, 30 Aug 2015 12:36:00 GMT".to_vec()));
    // It is read; the signature is of another request.
    assert_eq!(code(&request), ("SignatureDoesNotMatch", 401));
    request.set("date", "yesterday");
    assert_eq!(code(&request), ("IncompleteSignature", 400));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(path in "/?[a%2./é]{0,12}", query in "[aX\\-Amz=&%2+é]{0,40}", auth in "[A-Z0-9a-z=,;/ \\-]{0,80}") {
        let headers = vec![("host".to_owned(), b"h".to_vec()), ("authorization".into(), auth.into_bytes()), ("x-amz-date".into(), b"20150830T123600Z".to_vec())];
        let _ = Owned { method: "GET".into(), path, query, headers, body: vec![] }.verify(&strict(), NOW_MS);
    }
}

#[test]
fn a_kept_signing_key_is_for_its_scope_alone() {
    let last = LastKey::default();
    let scopes = [
        ("20150830", "us-east-1", "elasticache"),
        ("20150831", "us-east-1", "elasticache"),
        ("20150830", "eu-west-1", "elasticache"),
        ("20150830", "us-east-1", "iam"),
    ];
    for (date, region, service) in scopes.into_iter().flat_map(|scope| [scope, scope, scopes[0]]) {
        let kept = last.get(SECRET, date, region, service).key.signature("text");
        assert_eq!(kept, SigningKey::derive(SECRET, date, region, service).signature("text"));
    }
}
