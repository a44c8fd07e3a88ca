//! Signature Version 4: reading what a request claims, and checking it.
//!
//! Rules: AWS General Reference, "Signing AWS API requests", and RFC 3986 for percent-encoding. One standard canonical form
//! only: the path as sent is encoded once more, the query is decoded and encoded again and sorted, runs of blanks in header
//! values are one space. No second form is tried, since each would be another request that the same signature fits.

mod canonical;
mod claim;
mod key;
mod sign;

#[cfg(test)]
mod tests;

use subtle::ConstantTimeEq;

pub(crate) use canonical::hex;
pub use claim::Claim;
pub(crate) use claim::query_pairs;
pub(crate) use key::hmac;
pub use key::{Derived, LastKey, SigningKey};
pub use sign::{Signer, connect_token, connect_token_request, presign};

use crate::access::AuthnError;

/// How far a request's clock may be off, in ms.
pub const SKEW_MS: u64 = 5 * 60 * 1000;
/// How long a pre-signed URL may be valid, in seconds.
pub const EXPIRES_S_MAX: u64 = 7 * 24 * 3600;
/// How many headers a request may sign.
pub const SIGNED_HEADERS_MAX: usize = 100;

/// A request as it was received, for checking its signature.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path exactly as sent: not decoded, not normalised.
    pub path: &'a str,
    /// The query exactly as sent, without `?`; empty when there is none.
    pub query: &'a str,
    /// Every header in arrival order, names in lower case; `:authority` of HTTP/2 is given as `host`.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> SignedRequest<'a> {
    /// The values of a header.
    pub(crate) fn header<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.headers.iter().filter(move |(each, _)| *each == name).map(|(_, value)| *value)
    }
}

/// What an endpoint expects of signatures.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Its region.
    pub region: &'a str,
    /// Its service.
    pub service: &'a str,
    /// How paths with empty, `.` or `..` segments are read.
    pub paths: Paths,
    /// Whether the session token may be added after signing, as some services allow. We do not; the published suite has a
    /// case for it.
    pub late_session_token: bool,
}

/// How a path with empty, `.` or `..` segments is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// Refused: what was signed and what would run could differ.
    Refused,
    /// Taken as sent.
    AsSent,
    /// Normalised before encoding, as most AWS services do.
    Normalised,
}

impl<'a> Rules<'a> {
    /// The rules of the data gateway.
    pub fn strict(region: &'a str, service: &'a str) -> Self {
        Self { region, service, paths: Paths::Refused, late_session_token: false }
    }
}

/// Checks a claim against the key of the one it names. `key` is that of the claimed access key id, date, region and
/// service; a stand-in key for an unknown id costs the same and never fits.
///
/// # Errors
/// [`AuthnError`], with the code that AWS documents for it. 400 when the request cannot be read, 401 otherwise.
pub fn verify(
    request: &SignedRequest<'_>,
    claim: &Claim<'_>,
    key: &SigningKey,
    rules: &Rules<'_>,
    wall_ms: u64,
) -> Result<(), AuthnError> {
    claim.check_scope(rules)?;
    claim.check_time(wall_ms)?;
    claim.check_headers(request, rules)?;
    let body_hash = canonical::body_hash(request)?;
    let text = canonical::request(request, claim, rules, &body_hash)?;
    let expected = canonical::hex_of_hash(key.mac(&canonical::string_to_sign(claim, &text)));
    let claimed: Option<&[u8; 64]> = claim.signature.as_bytes().try_into().ok();
    if claimed.is_some_and(|claimed| bool::from(words(&expected).ct_eq(&words(claimed)))) {
        return Ok(());
    }
    Err(AuthnError::refused(
        "SignatureDoesNotMatch",
        "the signature does not match the request: check the secret key, the signed headers, the path and the body",
    ))
}

/// The same as words, of which comparing without a hint takes an eighth of the steps.
fn words(signature: &[u8; 64]) -> [u64; 8] {
    let (words, _) = signature.as_chunks();
    std::array::from_fn(|at| u64::from_ne_bytes(words[at]))
}
