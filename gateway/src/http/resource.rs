//! The resource dialect: `keys/{key}` and `sessions` under `/v1/caches/{cache}` (contract section 5).

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use larder_node::db::entry::ATTRIBUTE_BYTES_MAX;

use super::answer::{Answer, PROBLEM, RESP};
use super::etag::{Conditions, ETag, Failed, OCTET_STREAM, Tags};
use super::json::{percent_decode, write_string};
use super::request::{Request, decoded, is_presign, pairs};
use super::session::{self, SessionOp};
use crate::failure::Failure;
use crate::route::Target;
use crate::run::TRIES_MAX;
use crate::serve::Visit;
use crate::store::{Expect, Found, Write, Written};

pub(crate) const X_TTL_MS: HeaderName = HeaderName::from_static("x-ttl-ms");
const NOSNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
/// Longest TTL, in ms: far beyond any use, and far from overflowing a unix time.
pub(crate) const TTL_MS_MAX: u64 = 1 << 52;

/// What a request of this dialect asks for.
pub(crate) enum Op {
    Key(KeyOp),
    Session(SessionOp),
}

/// One value, read or written.
pub(crate) struct KeyOp {
    key: Vec<u8>,
    conditions: Conditions,
    verb: Verb,
}

enum Verb {
    Get,
    Put { value: bytes::Bytes, content_type: Option<String>, ttl_ms: Option<u64> },
    Delete,
}

/// Reads a request of this dialect.
///
/// # Errors
/// 400, 404, 405, and 501 for what the contract names and this version has not.
pub(crate) fn read(request: &Request<'_>) -> Result<Op, Failure> {
    if let Some(key) = request.place.rest.strip_prefix("/keys/").filter(|key| !key.is_empty()) {
        return match key.contains('/') {
            true => Err(Failure::Malformed("write / inside a key as %2F".into())),
            false => read_key(request, key).map(Op::Key),
        };
    }
    let mut segments = request.place.rest.split('/').skip(1);
    match (segments.next(), segments.next(), segments.next()) {
        (Some("keys"), ..) => Err(Failure::NotBuilt("listing keys (GET …/keys?prefix=)")),
        (Some("batch"), None, None) => Err(Failure::NotBuilt("batches (POST …/batch)")),
        (Some("sessions"), id, None) => session::read(request, id).map(Op::Session),
        _ => Err(Failure::Malformed(
            "the path is /v1/caches/{cache}/keys/{key} or /v1/caches/{cache}/sessions[/{id}]".into(),
        )),
    }
}

fn read_key(request: &Request<'_>, raw: &str) -> Result<KeyOp, Failure> {
    let mut key = Vec::with_capacity(raw.len());
    percent_decode(raw.as_bytes(), &mut key)
        .map_err(|_| Failure::Malformed("malformed percent escape in the key".into()))?;
    let verb = match *request.method {
        Method::GET | Method::HEAD => Verb::Get,
        Method::PUT => {
            let ttl_ms = ttl_ms(request)?;
            Verb::Put { value: request.body.clone(), content_type: content_type(request)?, ttl_ms }
        }
        Method::DELETE => Verb::Delete,
        _ => return Err(Failure::Method(&[Method::GET, Method::HEAD, Method::PUT, Method::DELETE])),
    };
    known_parameters(request, if matches!(verb, Verb::Put { .. }) { &["ttl_ms"] } else { &[] })?;
    Ok(KeyOp { key, conditions: conditions(request)?, verb })
}

/// Refuses parameters that mean nothing here.
pub(crate) fn known_parameters(request: &Request<'_>, known: &[&str]) -> Result<(), Failure> {
    let mut unknown = pairs(request.query()).map(|(name, _)| name);
    match unknown.find(|name| !known.contains(name) && *name != "_token" && !is_presign(name)) {
        Some(name) => Err(Failure::Malformed(format!("unknown query parameter {name:?}").into())),
        None => Ok(()),
    }
}

/// The value of a parameter that may stand once, decoded.
pub(crate) fn parameter(request: &Request<'_>, name: &str) -> Result<Option<String>, Failure> {
    let mut values = pairs(request.query()).filter(|(given, _)| *given == name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => decoded(value.unwrap_or_default()).map(Some),
        _ => Err(Failure::Malformed(format!("the query parameter {name} stands twice").into())),
    }
}

fn conditions(request: &Request<'_>) -> Result<Conditions, Failure> {
    let tags = |name: &HeaderName| match request.header(name)? {
        None => Ok(None),
        Some(text) => {
            let malformed = || Failure::Malformed(format!("{name} is * or a list of quoted tags").into());
            Tags::read(text).map(Some).ok_or_else(malformed)
        }
    };
    Ok(Conditions { if_match: tags(&IF_MATCH)?, if_none_match: tags(&IF_NONE_MATCH)? })
}

/// `?ttl_ms=`, or else `Cache-Control: max-age=` seconds.
fn ttl_ms(request: &Request<'_>) -> Result<Option<u64>, Failure> {
    let given = match parameter(request, "ttl_ms")? {
        Some(text) => Some((text.parse::<u64>().ok(), 1)),
        None => request.header(&CACHE_CONTROL)?.and_then(|text| {
            let mut ages = text.split(',').filter_map(|part| part.trim().strip_prefix("max-age="));
            ages.next_back().map(|age| (age.parse::<u64>().ok(), 1000))
        }),
    };
    match given {
        None => Ok(None),
        Some((Some(number), unit_ms)) => match number.checked_mul(unit_ms) {
            Some(ttl_ms @ 1..=TTL_MS_MAX) => Ok(Some(ttl_ms)),
            _ => Err(Failure::Malformed("the TTL is out of range; delete the key to end it now".into())),
        },
        Some((None, _)) => Err(Failure::Malformed("the TTL is no whole number".into())),
    }
}

/// The media type to store; `None` for the default.
fn content_type(request: &Request<'_>) -> Result<Option<String>, Failure> {
    match request.header(&CONTENT_TYPE)? {
        None => Ok(None),
        Some(text) if text.eq_ignore_ascii_case(OCTET_STREAM) => Ok(None),
        Some(text) if text.len() <= ATTRIBUTE_BYTES_MAX && !text.is_empty() => Ok(Some(text.to_owned())),
        Some(_) => Err(Failure::Malformed(format!("Content-Type is at most {ATTRIBUTE_BYTES_MAX} bytes").into())),
    }
}

impl Op {
    /// Does it.
    ///
    /// # Errors
    /// Whatever kept it from being done.
    pub(crate) async fn run(&self, visit: &Visit<'_>) -> Result<Answer, Failure> {
        match self {
            Op::Key(op) => op.run(visit).await,
            Op::Session(op) => op.run(visit).await,
        }
    }
}

impl KeyOp {
    async fn run(&self, visit: &Visit<'_>) -> Result<Answer, Failure> {
        match &self.verb {
            Verb::Get => self.get(visit).await,
            Verb::Put { value, content_type, ttl_ms } => {
                let content_type = content_type.as_deref();
                if content_type.is_some() && matches!(visit.route.target, Target::Remote(_)) {
                    let what = "this cache keeps no Content-Type: send application/octet-stream, or none";
                    return Err(Failure::Malformed(what.into()));
                }
                self.write(visit, &Write::Put { value, content_type, ttl_ms: *ttl_ms }).await?;
                let tag = ETag::of(value, content_type.unwrap_or(OCTET_STREAM));
                let mut answer = Answer::validated(StatusCode::NO_CONTENT, None, "");
                answer.set(ETAG, tag.value());
                Ok(answer)
            }
            Verb::Delete => match self.write(visit, &Write::Delete).await? {
                Written::Nothing => Err(Failure::NoSuchKey),
                _ => Ok(Answer::validated(StatusCode::NO_CONTENT, None, "")),
            },
        }
    }

    async fn get(&self, visit: &Visit<'_>) -> Result<Answer, Failure> {
        let found = visit.fetch(&self.key).await?;
        let tag = found.as_ref().map(Found::etag);
        match (self.conditions.judge(tag), tag, found) {
            (Err(Failed::Match), ..) => Err(Failure::Precondition),
            (Err(Failed::NoneMatch), Some(tag), _) => Err(Failure::NotModified(tag)),
            (_, Some(tag), Some(found)) => Ok(shown(found, tag)),
            _ => Err(Failure::NoSuchKey),
        }
    }

    /// Writes under the conditions, each time judging what is stored now.
    async fn write(&self, visit: &Visit<'_>, write: &Write<'_>) -> Result<Written, Failure> {
        if self.conditions.is_empty() || self.conditions.is_absence() && matches!(write, Write::Put { .. }) {
            let expect = if self.conditions.is_empty() { Expect::Anything } else { Expect::Absent };
            return match visit.write(&self.key, expect, write).await? {
                Written::Changed => Err(Failure::Precondition),
                written => Ok(written),
            };
        }
        for _ in 0..TRIES_MAX {
            let found = visit.fetch(&self.key).await?;
            self.conditions.judge(found.as_ref().map(Found::etag)).map_err(|_| Failure::Precondition)?;
            let written = match (&found, write) {
                (None, Write::Delete) => Written::Nothing,
                (None, Write::Put { .. }) => visit.write(&self.key, Expect::Absent, write).await?,
                (Some(found), _) => visit.write(&self.key, Expect::Value(found), write).await?,
            };
            if written != Written::Changed {
                return Ok(written);
            }
        }
        Err(Failure::Contended)
    }
}

fn shown(found: Found, tag: ETag) -> Answer {
    let content_type = found.content_type.as_deref().map_or(Some(RESP), |text| HeaderValue::from_str(text).ok());
    let mut answer = Answer::validated(StatusCode::OK, content_type, found.value);
    answer.set(ETAG, tag.value());
    answer.set(NOSNIFF.0, NOSNIFF.1);
    if let Some(ttl_ms) = found.ttl_ms {
        answer.set_text(X_TTL_MS, ttl_ms.to_string());
    }
    answer
}

/// The answer of this dialect to a failure: RFC 9457.
pub(crate) fn failed(failure: &Failure, request_id: &str) -> Answer {
    if let Failure::NotModified(tag) = failure {
        let mut answer = Answer::validated(StatusCode::NOT_MODIFIED, None, "");
        answer.set(ETAG, tag.value());
        return answer;
    }
    let status = failure.status();
    let mut body = b"{\"type\":\"about:blank\",\"title\":".to_vec();
    write_string(status.canonical_reason().unwrap_or("Error").as_bytes(), &mut body);
    body.extend_from_slice(format!(",\"status\":{},\"detail\":", status.as_u16()).as_bytes());
    write_string(failure.text().as_bytes(), &mut body);
    body.extend_from_slice(b",\"request_id\":");
    write_string(request_id.as_bytes(), &mut body);
    body.push(b'}');
    Answer::new(status, PROBLEM, body)
}

/// Headers that a failure has in both dialects.
pub(crate) fn failure_headers(failure: &Failure, answer: &mut Answer) {
    if let Some(seconds) = failure.retry_after_s() {
        answer.set_text(RETRY_AFTER, seconds.to_string());
    }
    if let Failure::Method(allowed) = failure {
        answer.set_text(ALLOW, allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", "));
    }
    if answer.status == StatusCode::UNAUTHORIZED {
        answer.set(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, AWS4-HMAC-SHA256"));
    }
}
