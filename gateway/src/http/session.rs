//! Sessions of the resource dialect: a JSON document under an id that only its holder knows (contract section 5).
//!
//! The key holds a hash of the id, so whoever lists keys or reads logs learns no id. A session lives `ttl_ms` from its
//! creation, or from its last use when `sliding`, and never beyond `max_age_ms`.

use http::header::{ETAG, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use larder_node::resp::OwnedArgs;

use super::answer::{Answer, JSON};
use super::merge::{self, BadPatch};
use super::request::Request;
use super::resource::{TTL_MS_MAX, known_parameters, parameter};
use crate::failure::Failure;
use crate::run::TRIES_MAX;
use crate::serve::Visit;
use crate::store::{Expect, Found, Write, Written};

/// Default of `max_age_ms`: one day.
const MAX_AGE_MS: u64 = 24 * 60 * 60 * 1000;
/// Deepest nesting of a session's data.
const DEPTH_MAX: usize = 128;
const NOT_A_SESSION: &str = "the key holds no session";

/// One session, made, read, changed or ended.
pub(crate) struct SessionOp {
    prefix: String,
    verb: Verb,
}

enum Verb {
    Create(New),
    /// Of the session with this id; `u64` is the version of `If-Match`.
    Get(String),
    Put(String, Option<u64>, Replacement),
    Patch(String, Option<u64>, Box<RawValue>),
    Delete(String, Option<u64>),
}

/// The body of a POST.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    data: Box<RawValue>,
    ttl_ms: u64,
    #[serde(default)]
    sliding: bool,
    #[serde(default = "max_age_ms")]
    max_age_ms: u64,
}

/// The body of a PUT. What is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacement {
    data: Box<RawValue>,
    ttl_ms: Option<u64>,
    sliding: Option<bool>,
}

/// What the key holds, and, with the time it has left, what a GET answers.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u64,
    created_ms: u64,
    ttl_ms: u64,
    sliding: bool,
    max_age_ms: u64,
    data: Box<RawValue>,
}

fn max_age_ms() -> u64 {
    MAX_AGE_MS
}

/// Reads a request to `/sessions` or `/sessions/{id}`.
///
/// # Errors
/// 400, 404 and 405.
pub(crate) fn read(request: &Request<'_>, id: Option<&str>) -> Result<SessionOp, Failure> {
    known_parameters(request, &["prefix"])?;
    let prefix = parameter(request, "prefix")?.unwrap_or_default();
    let verb = match (id, request.method) {
        (None, &Method::POST) => Verb::Create(New::read(request)?),
        (None, _) => return Err(Failure::Method(&[Method::POST])),
        (Some(id), method) => {
            let id = known_form(id)?;
            let version = if_match(request)?;
            match *method {
                Method::GET | Method::HEAD => Verb::Get(id),
                Method::PUT => Verb::Put(id, version, Replacement::read(request)?),
                Method::PATCH => Verb::Patch(id, version, body(request)?),
                Method::DELETE => Verb::Delete(id, version),
                _ => {
                    const ALLOWED: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE];
                    return Err(Failure::Method(ALLOWED));
                }
            }
        }
    };
    Ok(SessionOp { prefix, verb })
}

/// An id that could exist. Others are unknown, as ids of ended sessions are.
fn known_form(id: &str) -> Result<String, Failure> {
    let hex = id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex { Ok(id.to_owned()) } else { Err(Failure::NoSuchKey) }
}

/// `If-Match: 3`, or `"3"` as the ETag says it.
fn if_match(request: &Request<'_>) -> Result<Option<u64>, Failure> {
    let Some(text) = request.header(&http::header::IF_MATCH)? else { return Ok(None) };
    let text = text.trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    match bare.parse() {
        Ok(version) => Ok(Some(version)),
        Err(_) if text == "*" => Ok(None),
        Err(_) => Err(Failure::Malformed("If-Match names a session's version".into())),
    }
}

fn body<T: for<'de> Deserialize<'de>>(request: &Request<'_>) -> Result<T, Failure> {
    if let Some(text) = request.header(&http::header::CONTENT_TYPE)? {
        let kind = text.split(';').next().unwrap_or_default().trim();
        if !["application/json", "application/merge-patch+json"].iter().any(|json| kind.eq_ignore_ascii_case(json)) {
            return Err(Failure::Malformed("the body of a session request is JSON: send application/json".into()));
        }
    }
    let parsed = serde_json::from_slice(&request.body);
    let value = parsed.map_err(|error| Failure::Malformed(format!("the body is not as expected: {error}").into()))?;
    // Parsed means it is UTF-8.
    let shallow = std::str::from_utf8(&request.body).is_ok_and(|text| merge::is_shallow(text, DEPTH_MAX));
    if shallow { Ok(value) } else { Err(Failure::Malformed(format!("JSON nested deeper than {DEPTH_MAX}").into())) }
}

fn check_ttl(name: &'static str, ms: u64) -> Result<(), Failure> {
    if (1..=TTL_MS_MAX).contains(&ms) {
        Ok(())
    } else {
        Err(Failure::Malformed(format!("{name} is out of range").into()))
    }
}

impl New {
    fn read(request: &Request<'_>) -> Result<New, Failure> {
        let new: New = body(request)?;
        check_ttl("ttl_ms", new.ttl_ms)?;
        check_ttl("max_age_ms", new.max_age_ms)?;
        Ok(new)
    }
}

impl Replacement {
    fn read(request: &Request<'_>) -> Result<Replacement, Failure> {
        let replacement: Replacement = body(request)?;
        replacement.ttl_ms.map_or(Ok(()), |ttl_ms| check_ttl("ttl_ms", ttl_ms))?;
        Ok(replacement)
    }
}

impl Record {
    /// How long it may live from now if it is used now; `None` when its age is up.
    fn life_ms(&self, wall_ms: u64) -> Option<u64> {
        let end_ms = self.created_ms.saturating_add(self.max_age_ms);
        let life_ms = self.ttl_ms.min(end_ms.saturating_sub(wall_ms));
        (life_ms > 0).then_some(life_ms)
    }

    fn encode(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(self).map_err(|_| Failure::WrongKind(NOT_A_SESSION))
    }

    fn decode(found: &Found) -> Result<Record, Failure> {
        serde_json::from_slice(&found.value).map_err(|_| Failure::WrongKind(NOT_A_SESSION))
    }
}

impl SessionOp {
    /// The key of a session: a hash of its id.
    fn key(&self, id: &str) -> Vec<u8> {
        let mut key = format!("{}session:", self.prefix).into_bytes();
        for byte in Sha256::digest(id.as_bytes()) {
            key.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        key
    }

    /// Does it.
    ///
    /// # Errors
    /// 404 for ids that are not known, 412 for another version, and whatever keeps commands from running.
    pub(crate) async fn run(&self, visit: &Visit<'_>) -> Result<Answer, Failure> {
        match &self.verb {
            Verb::Create(new) => self.create(visit, new).await,
            Verb::Get(id) => self.get(visit, id).await,
            Verb::Put(id, version, replacement) => {
                self.change(visit, id, *version, &|record| {
                    record.data = replacement.data.clone();
                    record.sliding = replacement.sliding.unwrap_or(record.sliding);
                    record.ttl_ms = replacement.ttl_ms.unwrap_or(record.ttl_ms);
                    Ok(record.sliding || replacement.ttl_ms.is_some())
                })
                .await
            }
            Verb::Patch(id, version, patch) => {
                self.change(visit, id, *version, &|record| {
                    record.data = merge::merge(&record.data, patch).map_err(|bad| match bad {
                        BadPatch::TooDeep => Failure::Malformed("the patch is nested too deep".into()),
                        BadPatch::NotJson => Failure::WrongKind(NOT_A_SESSION),
                    })?;
                    Ok(record.sliding)
                })
                .await
            }
            Verb::Delete(id, version) => self.delete(visit, id, *version).await,
        }
    }

    async fn create(&self, visit: &Visit<'_>, new: &New) -> Result<Answer, Failure> {
        let record = Record {
            version: 1,
            created_ms: visit.now.wall_ms,
            ttl_ms: new.ttl_ms,
            sliding: new.sliding,
            max_age_ms: new.max_age_ms,
            data: new.data.clone(),
        };
        let value = record.encode()?;
        let write = Write::Put { value: &value, content_type: None, ttl_ms: record.life_ms(visit.now.wall_ms) };
        for _ in 0..TRIES_MAX {
            let id = format!("{:032x}", rand::random::<u128>());
            if visit.write(&self.key(&id), Expect::Absent, &write).await? == Written::Done {
                let mut answer = Answer::new(StatusCode::CREATED, JSON, format!("{{\"id\":\"{id}\",\"version\":1}}"));
                answer.set_text(LOCATION, format!("/v1/caches/{}/sessions/{id}", visit.route.name));
                answer.set_text(ETAG, "\"1\"");
                return Ok(answer);
            }
        }
        Err(Failure::Contended)
    }

    async fn get(&self, visit: &Visit<'_>, id: &str) -> Result<Answer, Failure> {
        let key = self.key(id);
        let found = visit.fetch(&key).await?.ok_or(Failure::NoSuchKey)?;
        let record = Record::decode(&found)?;
        let mut left_ms = found.ttl_ms;
        if record.sliding {
            let life_ms = record.life_ms(visit.now.wall_ms).ok_or(Failure::NoSuchKey)?;
            if self.slide(visit, &key, life_ms).await? {
                left_ms = Some(life_ms);
            }
        }
        Ok(shown(&record, left_ms))
    }

    /// Extends the session's life; false when its reader may not.
    async fn slide(&self, visit: &Visit<'_>, key: &[u8], life_ms: u64) -> Result<bool, Failure> {
        let life = life_ms.to_string();
        let args = OwnedArgs::from_slices([b"GETEX", key, b"PX", life.as_bytes()]);
        match visit.one(args.as_args()).await {
            Ok(reply) if reply.starts_with(b"$-1") => Err(Failure::NoSuchKey),
            Ok(reply) => Ok(!reply.starts_with(b"-")),
            Err(Failure::Denied(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// One atomic step: reads, lets `edit` change the record, and writes if nobody else did meanwhile. `edit` answers
    /// whether the session's life begins again.
    async fn change(
        &self,
        visit: &Visit<'_>,
        id: &str,
        version: Option<u64>,
        edit: &dyn Fn(&mut Record) -> Result<bool, Failure>,
    ) -> Result<Answer, Failure> {
        let key = self.key(id);
        for _ in 0..TRIES_MAX {
            let found = visit.fetch(&key).await?.ok_or(Failure::NoSuchKey)?;
            let mut record = Record::decode(&found)?;
            expect_version(&record, version)?;
            let renewed = edit(&mut record)?;
            record.version += 1;
            let life_ms = record.life_ms(visit.now.wall_ms).ok_or(Failure::NoSuchKey)?;
            let ttl_ms = if renewed { Some(life_ms) } else { found.ttl_ms.map(|left_ms| left_ms.max(1)) };
            let value = record.encode()?;
            let write = Write::Put { value: &value, content_type: None, ttl_ms };
            if visit.write(&key, Expect::Value(&found), &write).await? == Written::Done {
                return Ok(shown(&record, ttl_ms));
            }
        }
        Err(Failure::Contended)
    }

    async fn delete(&self, visit: &Visit<'_>, id: &str, version: Option<u64>) -> Result<Answer, Failure> {
        let key = self.key(id);
        for _ in 0..TRIES_MAX {
            let written = match version {
                None => visit.write(&key, Expect::Anything, &Write::Delete).await?,
                Some(_) => {
                    let found = visit.fetch(&key).await?.ok_or(Failure::NoSuchKey)?;
                    expect_version(&Record::decode(&found)?, version)?;
                    visit.write(&key, Expect::Value(&found), &Write::Delete).await?
                }
            };
            match written {
                Written::Done => return Ok(Answer::new(StatusCode::NO_CONTENT, JSON, "")),
                Written::Nothing => return Err(Failure::NoSuchKey),
                Written::Changed => {}
            }
        }
        Err(Failure::Contended)
    }
}

fn expect_version(record: &Record, version: Option<u64>) -> Result<(), Failure> {
    if version.is_none_or(|version| version == record.version) { Ok(()) } else { Err(Failure::Precondition) }
}

fn shown(record: &Record, left_ms: Option<u64>) -> Answer {
    let Record { version, created_ms, sliding, max_age_ms, data, .. } = record;
    let left = left_ms.map_or("null".to_owned(), |left_ms| left_ms.to_string());
    let body = format!(
        "{{\"version\":{version},\"ttl_ms\":{left},\"sliding\":{sliding},\"created_ms\":{created_ms},\"max_age_ms\":{max_age_ms},\"data\":{data}}}"
    );
    let mut answer = Answer::new(StatusCode::OK, JSON, body);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        answer.set(ETAG, tag);
    }
    answer
}
