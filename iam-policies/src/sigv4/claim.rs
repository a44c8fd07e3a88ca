//! What a request claims of its signature, by header or by query.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use smallvec::SmallVec;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

use super::{EXPIRES_S_MAX, Rules, SIGNED_HEADERS_MAX, SKEW_MS, SignedRequest};
use crate::access::AuthnError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What was signed, by whom, and the signature: read, not yet believed.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// The access key id.
    pub access_key_id: Cow<'a, str>,
    /// `YYYYMMDD` of the credential scope.
    pub date: Cow<'a, str>,
    /// The region of the credential scope.
    pub region: Cow<'a, str>,
    /// The service of the credential scope.
    pub service: Cow<'a, str>,
    /// `YYYYMMDDTHHMMSSZ`
    pub timestamp: Cow<'a, str>,
    /// The session token, of temporary credentials.
    pub session_token: Option<Cow<'a, str>>,
    pub(super) signed_headers: SmallVec<[Cow<'a, str>; 8]>,
    pub(super) signature: Cow<'a, str>,
    pub(super) carrier: Carrier,
    signed_at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Header,
    /// A pre-signed URL, with its lifetime.
    Query {
        expires_s: u64,
    },
}

fn incomplete(message: impl Into<String>) -> AuthnError {
    AuthnError::malformed("IncompleteSignature", message)
}

fn bad_query(message: impl Into<String>) -> AuthnError {
    AuthnError::malformed("AuthorizationQueryParametersError", message)
}

impl<'a> Claim<'a> {
    /// Whether a request carries a signature at all, by header or by query.
    pub fn is_present(request: &SignedRequest<'_>) -> bool {
        request.header("authorization").any(|value| value.starts_with(b"AWS4-"))
            || query_pairs(request.query).any(|(name, _)| name == "X-Amz-Algorithm" || name == "X-Amz-Signature")
    }

    /// Reads the claim.
    ///
    /// # Errors
    /// [`AuthnError`]: no signature, two, or one that cannot be read.
    pub fn read(request: &SignedRequest<'a>) -> Result<Self, AuthnError> {
        let mut authorizations = request.header("authorization");
        let authorization = authorizations.next();
        if authorizations.next().is_some() {
            return Err(incomplete("the Authorization header stands twice"));
        }
        let by_query = query_pairs(request.query).any(|(name, _)| name.starts_with("X-Amz-"));
        match (authorization, by_query) {
            (Some(_), true) => Err(incomplete("signed by header and by query: use one of them")),
            (Some(value), false) => Self::by_header(request, value),
            (None, true) => Self::by_query(request),
            (None, false) => Err(AuthnError::refused("MissingAuthenticationToken", "the request is not signed")),
        }
    }

    fn by_header(request: &SignedRequest<'a>, value: &'a [u8]) -> Result<Self, AuthnError> {
        let text = std::str::from_utf8(value).map_err(|_| incomplete("the Authorization header is no text"))?;
        let (algorithm, rest) =
            split_once(text, b' ').ok_or_else(|| incomplete("Authorization holds no parameters"))?;
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("the algorithm must be {ALGORITHM}")));
        }
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for part in split(rest, b',') {
            let (name, value) = split_once(part.trim_ascii(), b'=')
                .ok_or_else(|| incomplete("Authorization is name=value, by commas"))?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete("Authorization holds Credential, SignedHeaders and Signature")),
            };
            if place.replace(value).is_some() {
                return Err(incomplete(format!("{name} stands twice in Authorization")));
            }
        }
        let need = |value: Option<&'a str>, name| value.ok_or_else(|| incomplete(format!("{name} is missing")));
        let timestamp = timestamp_of(request)?;
        let token = single(request, "x-amz-security-token")?.map(Cow::Borrowed);
        Self::assemble(
            Cow::Borrowed(need(credential, "Credential")?),
            Cow::Borrowed(need(headers, "SignedHeaders")?),
            Cow::Borrowed(need(signature, "Signature")?),
            timestamp,
            token,
            Carrier::Header,
        )
    }

    fn by_query(request: &SignedRequest<'a>) -> Result<Self, AuthnError> {
        let mut found: [(&str, Option<Cow<'a, str>>); 7] = [
            ("X-Amz-Algorithm", None),
            ("X-Amz-Credential", None),
            ("X-Amz-Date", None),
            ("X-Amz-Expires", None),
            ("X-Amz-SignedHeaders", None),
            ("X-Amz-Signature", None),
            ("X-Amz-Security-Token", None),
        ];
        for (name, value) in query_pairs(request.query).filter(|(name, _)| name.starts_with("X-Amz-")) {
            let place = found.iter_mut().find(|(each, _)| *each == name);
            let (_, place) = place.ok_or_else(|| bad_query(format!("{name} is no parameter of a signature")))?;
            let value = percent_decode_str(value).decode_utf8().map_err(|_| bad_query(format!("{name} is no text")))?;
            if place.replace(value).is_some() {
                return Err(bad_query(format!("{name} stands twice")));
            }
        }
        let [algorithm, credential, date, expires, headers, signature, token] = found;
        let need =
            |(name, value): (&str, Option<Cow<'a, str>>)| value.ok_or_else(|| bad_query(format!("{name} is missing")));
        if need(algorithm)? != ALGORITHM {
            return Err(bad_query(format!("X-Amz-Algorithm must be {ALGORITHM}")));
        }
        let expires = need(expires)?;
        let digits = !expires.is_empty() && expires.bytes().all(|byte| byte.is_ascii_digit());
        let expires_s = digits.then(|| expires.parse().ok()).flatten().filter(|s| (1..=EXPIRES_S_MAX).contains(s));
        let expires_s =
            expires_s.ok_or_else(|| bad_query(format!("X-Amz-Expires must be 1 to {EXPIRES_S_MAX} seconds")))?;
        let (timestamp, carrier) = (need(date)?, Carrier::Query { expires_s });
        Self::assemble(need(credential)?, need(headers)?, need(signature)?, timestamp, token.1, carrier)
    }

    fn assemble(
        credential: Cow<'a, str>,
        headers: Cow<'a, str>,
        signature: Cow<'a, str>,
        timestamp: Cow<'a, str>,
        session_token: Option<Cow<'a, str>>,
        carrier: Carrier,
    ) -> Result<Self, AuthnError> {
        let parts: SmallVec<[Cow<'a, str>; 5]> = pieces(credential, b'/');
        let [access_key_id, date, region, service, terminator]: [_; 5] =
            parts.into_inner().map_err(|_| incomplete("Credential is KEY/DATE/REGION/SERVICE/aws4_request"))?;
        if terminator != "aws4_request" || access_key_id.is_empty() {
            return Err(incomplete("Credential must end in /aws4_request"));
        }
        let lower = is_lower(&headers);
        let signed_headers: SmallVec<[Cow<'a, str>; 8]> = pieces(headers, b';');
        if signed_headers.len() > SIGNED_HEADERS_MAX {
            return Err(incomplete(format!("more than {SIGNED_HEADERS_MAX} signed headers")));
        }
        // Only the first can be empty where each is more than the one before it.
        if !lower || !signed_headers.is_sorted_by(|a, b| a < b) || signed_headers[0].is_empty() {
            return Err(incomplete("SignedHeaders must be lower-case names, sorted, each once"));
        }
        let signed_at_ms = unix_ms(&timestamp).ok_or_else(|| incomplete("X-Amz-Date must be YYYYMMDDTHHMMSSZ"))?;
        Ok(Self {
            access_key_id,
            date,
            region,
            service,
            timestamp,
            session_token,
            signed_headers,
            signature,
            carrier,
            signed_at_ms,
        })
    }

    pub(super) fn check_scope(&self, rules: &Rules<'_>) -> Result<(), AuthnError> {
        let wrong = |what: String| Err(AuthnError::refused("SignatureDoesNotMatch", what));
        if self.date != self.timestamp[..8] {
            return wrong("the date of the credential scope is not the date of the request".to_owned());
        }
        if self.region != rules.region {
            return wrong(format!("credential should be scoped to the region {}", rules.region));
        }
        if self.service != rules.service {
            return wrong(format!("credential should be scoped to the service {}", rules.service));
        }
        Ok(())
    }

    pub(super) fn check_time(&self, wall_ms: u64) -> Result<(), AuthnError> {
        let early = self.signed_at_ms > wall_ms.saturating_add(SKEW_MS);
        let last_ms = match self.carrier {
            Carrier::Header => self.signed_at_ms.saturating_add(SKEW_MS),
            Carrier::Query { expires_s } => self.signed_at_ms.saturating_add(expires_s * 1000),
        };
        if early {
            return Err(AuthnError::refused(
                "RequestExpired",
                format!("signature not yet current: {} is more than 5 minutes ahead; check the clock", self.timestamp),
            ));
        }
        if wall_ms > last_ms {
            return Err(AuthnError::refused(
                "RequestExpired",
                format!("signature expired: {} is too long ago; check the clock or sign again", self.timestamp),
            ));
        }
        Ok(())
    }

    pub(super) fn check_headers(&self, request: &SignedRequest<'_>, rules: &Rules<'_>) -> Result<(), AuthnError> {
        let wrong = |what: String| Err(AuthnError::refused("SignatureDoesNotMatch", what));
        let signs = |name: &str| self.signed_headers.iter().any(|each| each == name);
        if !signs("host") {
            return wrong("the Host header must be signed".to_owned());
        }
        if self.carrier == Carrier::Header && !signs("x-amz-date") && !signs("date") {
            return wrong("X-Amz-Date or Date must be signed".to_owned());
        }
        if let Some(absent) = self.signed_headers.iter().find(|name| request.header(name).next().is_none()) {
            return wrong(format!("the signed header {absent} is not in the request"));
        }
        if request.header("host").count() > 1 {
            return Err(incomplete("the Host header stands twice"));
        }
        let late = |name: &str| rules.late_session_token && name == "x-amz-security-token";
        let unsigned = request.headers.iter().find(|(name, _)| {
            (name.starts_with("x-amz-") || *name == "content-encoding") && !signs(name) && !late(name)
        });
        match unsigned {
            Some((name, _)) => wrong(format!("the header {name} is not signed")),
            None => Ok(()),
        }
    }
}

/// The query as sent, split and not decoded; a bare name has an empty value.
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    split(query, b'&').filter(|pair| !pair.is_empty()).map(|pair| split_once(pair, b'=').unwrap_or((pair, "")))
}

fn pieces<'a, const N: usize>(text: Cow<'a, str>, at: u8) -> SmallVec<[Cow<'a, str>; N]> {
    match text {
        Cow::Borrowed(text) => split(text, at).map(Cow::Borrowed).collect(),
        Cow::Owned(text) => split(&text, at).map(|piece| Cow::Owned(piece.to_owned())).collect(),
    }
}

/// As `str::split`, which takes twice as long on the short pieces of every signed request. `at` is ASCII.
fn split(text: &str, at: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let all = rest?;
        let (piece, after) = split_once(all, at).map_or((all, None), |(piece, after)| (piece, Some(after)));
        rest = after;
        Some(piece)
    })
}

/// As `str::split_once`, likewise.
fn split_once(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = memchr::memchr(at, text.as_bytes())?;
    Some((&text[..place], &text[place + 1..]))
}

/// Whether all can be part of a header's name in lower case. Asked of all bytes at once, which `all` would not.
fn is_lower(names: &str) -> bool {
    names.bytes().fold(true, |lower, byte| lower & (byte.is_ascii_graphic() & !byte.is_ascii_uppercase()))
}

fn single<'a>(request: &SignedRequest<'a>, name: &str) -> Result<Option<&'a str>, AuthnError> {
    let mut values = request.header(name);
    let first = values.next();
    if values.next().is_some() {
        return Err(incomplete(format!("the header {name} stands twice")));
    }
    let text = first.map(|value| std::str::from_utf8(value).map(str::trim_ascii));
    text.transpose().map_err(|_| incomplete(format!("the header {name} is no text")))
}

/// `X-Amz-Date`, else `Date` in the form of RFC 1123.
fn timestamp_of<'a>(request: &SignedRequest<'a>) -> Result<Cow<'a, str>, AuthnError> {
    if let Some(text) = single(request, "x-amz-date")? {
        return Ok(text.into());
    }
    let date = single(request, "date")?.ok_or_else(|| incomplete("X-Amz-Date or Date is missing"))?;
    let at = OffsetDateTime::parse(date, &Rfc2822).map_err(|_| incomplete("Date is no RFC 1123 date"))?;
    let at = at.to_offset(time::UtcOffset::UTC);
    at.format(format_description!("[year][month][day]T[hour][minute][second]Z"))
        .map(Cow::Owned)
        .map_err(|_| incomplete("Date is no RFC 1123 date"))
}

/// `YYYYMMDDTHHMMSSZ` in unix ms. Read by hand: it is done for every request, and the general reader took longer than the
/// signature's hash.
fn unix_ms(timestamp: &str) -> Option<u64> {
    let bytes: &[u8; 16] = timestamp.as_bytes().try_into().ok()?;
    if bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().try_fold(0u32, |all, byte| byte.is_ascii_digit().then(|| all * 10 + u32::from(byte - b'0')))
    };
    let small = |range| number(range).and_then(|number| u8::try_from(number).ok());
    let month = Month::try_from(small(4..6)?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(number(0..4)?).ok()?, month, small(6..8)?).ok()?;
    let time = Time::from_hms(small(9..11)?, small(11..13)?, small(13..15)?).ok()?;
    u64::try_from(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp()).ok()?.checked_mul(1000)
}
