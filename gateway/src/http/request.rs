//! A request as the road sees it: head and whole body, where it is addressed to, and what credential it shows.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Uri, header};
use larder_iam_policies::access::{AuthnError, Evidence};
use larder_iam_policies::sigv4::SignedRequest;
use smallvec::SmallVec;

use super::browser::Addressed;
use super::json::percent_decode;
use crate::config::Http;
use crate::failure::Failure;
use crate::metrics::Dialect;

/// One request, completely received.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) addressed: Addressed<'a>,
    pub(crate) place: Place<'a>,
}

/// What a path means: the dialect, the cache it names, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) cache: Option<&'a str>,
    /// Begins with `/`, or is empty.
    pub(crate) rest: &'a str,
}

impl<'a> Place<'a> {
    /// Reads a raw path: nothing is decoded, nothing normalised.
    pub(crate) fn of(path: &'a str) -> Place<'a> {
        let after = |prefix: &str| {
            let rest = path.strip_prefix(prefix)?;
            let (cache, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (!cache.is_empty()).then_some((cache, rest))
        };
        match (after("/v1/caches/"), after("/caches/")) {
            (Some((cache, rest)), _) => Place { dialect: Dialect::Resource, cache: Some(cache), rest },
            (_, Some((cache, rest))) => Place { dialect: Dialect::Command, cache: Some(cache), rest },
            _ if path.starts_with("/v1/") => Place { dialect: Dialect::Resource, cache: None, rest: path },
            _ => Place { dialect: Dialect::Command, cache: None, rest: path },
        }
    }
}

/// The credential a request shows, before anybody judged it.
pub(crate) struct Shown<'a> {
    headers: SmallVec<[(&'a str, &'a [u8]); 16]>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Signed,
    Bearer(Cow<'a, str>),
}

impl Shown<'_> {
    /// Whether the request is signed, in its head or in its URL.
    pub(crate) fn is_signed(&self) -> bool {
        matches!(self.kind, Kind::Signed)
    }

    /// The evidence, for the judge.
    pub(crate) fn evidence<'e>(&'e self, request: &'e Request<'_>) -> Evidence<'e> {
        match &self.kind {
            Kind::Bearer(token) => Evidence::Bearer(token),
            Kind::Signed => Evidence::Signed(SignedRequest {
                method: request.method.as_str(),
                path: request.uri.path(),
                query: request.query(),
                headers: &self.headers,
                body: &request.body,
            }),
        }
    }
}

impl<'a> Request<'a> {
    /// The raw query, empty when there is none.
    pub(crate) fn query(&self) -> &'a str {
        self.uri.query().unwrap_or_default()
    }

    /// The text of a header that may stand once.
    ///
    /// # Errors
    /// 400 when it stands more often, or is not ASCII.
    pub(crate) fn header(&self, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        match (value.to_str(), values.next()) {
            (Ok(text), None) => Ok(Some(text)),
            _ => Err(Failure::Malformed(format!("the header {name} must stand once, in ASCII").into())),
        }
    }

    /// Finds the one credential of the request.
    ///
    /// # Errors
    /// 401 without any: a cache may take anonymous RESP connections, but every HTTP request shows a credential. 400 for
    /// two credentials and for schemes that are not known.
    pub(crate) fn shown(&self, settings: &Http) -> Result<Shown<'a>, Failure> {
        let presigned = pairs(self.query()).any(|(name, _)| is_presign(name));
        let token = pairs(self.query()).find(|(name, _)| *name == "_token").and_then(|(_, value)| value);
        let kind = match (self.header(&header::AUTHORIZATION)?, presigned) {
            (Some(_), true) => return Err(Failure::Malformed("send one credential, in the head or in the URL".into())),
            (Some(text), false) => Kind::of(text)?,
            (None, true) => Kind::Signed,
            (None, false) => match token {
                Some(_) if !settings.token_in_query => {
                    let what = "tokens in the URL are off; send Authorization: Bearer, or set [http].token_in_query";
                    return Err(Failure::Malformed(what.into()));
                }
                Some(raw) => Kind::Bearer(decoded(raw)?.into()),
                None => return Err(missing()),
            },
        };
        let headers = if matches!(kind, Kind::Signed) { self.header_list() } else { SmallVec::new() };
        Ok(Shown { headers, kind })
    }

    /// All headers in order of arrival; HTTP/2's `:authority` as `host`.
    fn header_list(&self) -> SmallVec<[(&'a str, &'a [u8]); 16]> {
        let host = self.addressed.authority;
        let missing = (!self.headers.contains_key(header::HOST)).then_some(("host", host.as_bytes()));
        missing.into_iter().chain(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))).collect()
    }

    /// The one cache that the token, the path and the Host mean.
    ///
    /// # Errors
    /// 400 when they mean different ones.
    pub(crate) fn cache(&self, of_token: Option<&str>) -> Result<Cow<'a, str>, Failure> {
        let here = self.place.cache.or(self.addressed.cache);
        let named = [of_token, self.place.cache, self.addressed.cache];
        let mut names = named.into_iter().flatten();
        let first = names.next().unwrap_or("default");
        if names.any(|other| other != first) {
            return Err(Failure::Malformed("the token, the path and the Host name different caches".into()));
        }
        Ok(here.map_or_else(|| Cow::Owned(first.to_owned()), Cow::Borrowed))
    }
}

fn missing() -> Failure {
    let message = "sign the request, or send Authorization: Bearer".to_owned();
    Failure::Authn(AuthnError { code: "MissingAuthenticationToken", status: 401, message })
}

impl<'a> Kind<'a> {
    fn of(authorization: &'a str) -> Result<Kind<'a>, Failure> {
        match authorization.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Kind::Bearer(token.trim().into())),
            Some((scheme, _)) if scheme.starts_with("AWS4-") => Ok(Kind::Signed),
            _ => Err(Failure::Malformed("Authorization must be Bearer or AWS4-HMAC-SHA256".into())),
        }
    }
}

/// The parameters of a query: raw name, raw value if there is a `=`. Empty pieces are skipped.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    query.split('&').filter(|piece| !piece.is_empty()).map(|piece| match piece.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (piece, None),
    })
}

/// Whether a query parameter belongs to a signature and not to the request.
pub(crate) fn is_presign(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

/// A decoded query value that must be text.
pub(crate) fn decoded(raw: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let good = percent_decode(raw.as_bytes(), &mut bytes).is_ok();
    String::from_utf8(bytes).ok().filter(|_| good).ok_or_else(|| Failure::Malformed("malformed query".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_dialect_and_cache() {
        let place = |path| {
            let place = Place::of(path);
            (place.dialect, place.cache, place.rest)
        };
        assert_eq!(place("/"), (Dialect::Command, None, "/"));
        assert_eq!(place("/set/a%2Fb"), (Dialect::Command, None, "/set/a%2Fb"));
        assert_eq!(place("/caches/c/get/k"), (Dialect::Command, Some("c"), "/get/k"));
        assert_eq!(place("/caches/c"), (Dialect::Command, Some("c"), ""));
        assert_eq!(place("/caches/"), (Dialect::Command, None, "/caches/"));
        assert_eq!(place("/v1/caches/c/keys/k"), (Dialect::Resource, Some("c"), "/keys/k"));
        assert_eq!(place("/v1/x"), (Dialect::Resource, None, "/v1/x"));
    }

    #[test]
    fn queries_split_into_pairs() {
        assert_eq!(
            pairs("a=1&&b&c=&d=e=f").collect::<Vec<_>>(),
            [("a", Some("1")), ("b", None), ("c", Some("")), ("d", Some("e=f"))]
        );
        assert!(is_presign("X-Amz-Date") && is_presign("x-amz-foo") && !is_presign("X-Amz") && !is_presign("éééé"));
    }
}
