//! The client's side: pre-signed URLs, and the connect token of ElastiCache logins.

use super::canonical::{body_hash, request, string_to_sign};
use super::claim::{Carrier, Claim};
use super::key::SigningKey;
use super::{Paths, Rules, SignedRequest};
use crate::access::AuthnError;

/// How long a connect token is valid, in seconds (ElastiCache guide, "Authenticating with IAM").
const CONNECT_EXPIRES_S: u64 = 900;

/// Whose key signs, for what, and when (`YYYYMMDDTHHMMSSZ`).
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// The access key id.
    pub access_key_id: &'a str,
    /// The region.
    pub region: &'a str,
    /// The service.
    pub service: &'a str,
    /// The time of signing.
    pub timestamp: &'a str,
}

/// The query of a pre-signed URL, signature included, for a request whose own query is `query`.
///
/// # Errors
/// [`AuthnError`] when the request cannot be signed as it is: a path with odd segments, a wrong time.
pub fn presign(
    method: &str,
    host: &str,
    path: &str,
    query: &str,
    secret: &[u8],
    signer: Signer<'_>,
    expires_s: u64,
) -> Result<String, AuthnError> {
    let Signer { access_key_id, region, service, timestamp } = signer;
    let date = timestamp.get(..8).unwrap_or_default();
    let join = if query.is_empty() { "" } else { "&" };
    let unsigned = format!(
        "{query}{join}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={access_key_id}%2F{date}%2F{region}%2F{service}\
         %2Faws4_request&X-Amz-Date={timestamp}&X-Amz-Expires={expires_s}&X-Amz-SignedHeaders=host"
    );
    let claimed = format!("{unsigned}&X-Amz-Signature=");
    let headers = [("host", host.as_bytes())];
    let signed = SignedRequest { method, path, query: &claimed, headers: &headers, body: b"" };
    let claim = Claim::read(&signed)?;
    debug_assert!(matches!(claim.carrier, Carrier::Query { .. }));
    let rules = Rules { region, service, paths: Paths::Refused, late_session_token: false };
    let text = request(&signed, &claim, &rules, &body_hash(&signed)?)?;
    let signature = SigningKey::derive(secret, date, region, service).signature(&string_to_sign(&claim, &text));
    Ok(format!("{claimed}{signature}"))
}

/// An ElastiCache IAM token: what follows `http://` of a pre-signed `Action=connect` to a cache (facts 5.8).
///
/// # Errors
/// [`AuthnError`] as [`presign`] gives.
pub fn connect_token(
    cache: &str,
    user: &str,
    serverless: bool,
    secret: &[u8],
    signer: Signer<'_>,
) -> Result<String, AuthnError> {
    let kind = if serverless { "&ResourceType=ServerlessCache" } else { "" };
    let query = format!("Action=connect&User={user}{kind}");
    let signed = presign("GET", cache, "/", &query, secret, signer, CONNECT_EXPIRES_S)?;
    Ok(format!("{cache}/?{signed}"))
}

/// Splits a connect token into host and query, to be verified as `GET /` with an empty body; `None` when a password is no
/// such token.
pub fn connect_token_request(token: &str) -> Option<(&str, &str)> {
    let (host, query) = token.split_once("/?")?;
    (!host.contains('/') && query.contains("X-Amz-Signature=")).then_some((host, query))
}
