//! A request as the road sees it: head and whole body, where it is addressed to, and what credential it shows.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use larder_iam_policies::access::{AuthnError, Evidence};
use larder_iam_policies::sigv4::SignedRequest;

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
            let (cache, rest) = rest.split_at(memchr::memchr(b'/', rest.as_bytes()).unwrap_or(rest.len()));
            (!cache.is_empty()).then_some((cache, rest))
        };
        let dialect = if path.starts_with("/v1/") { Dialect::Resource } else { Dialect::Command };
        let named = match dialect {
            Dialect::Resource => after("/v1/caches/"),
            Dialect::Command => after("/caches/"),
        };
        match named {
            Some((cache, rest)) => Place { dialect, cache: Some(cache), rest },
            None => Place { dialect, cache: None, rest: path },
        }
    }
}

/// The credential a request shows, before anybody judged it.
pub(crate) struct Shown<'a> {
    headers: Vec<(&'a str, &'a [u8])>,
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
        self.single(name)?.map(|value| value.to_str()).transpose().map_err(|_| not_one_text(name))
    }

    fn single(&self, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Failure> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next();
        if values.next().is_some() { Err(not_one_text(name)) } else { Ok(value) }
    }

    /// Finds the one credential of the request.
    ///
    /// # Errors
    /// 401 without any: a cache may take anonymous RESP connections, but every HTTP request shows a credential. 400 for
    /// two credentials and for schemes that are not known.
    pub(crate) fn shown(&self, settings: &Http) -> Result<Shown<'a>, Failure> {
        let presigned = pairs(self.query()).any(|(name, _)| is_presign(name));
        let token = pairs(self.query()).find(|(name, _)| *name == "_token").and_then(|(_, value)| value);
        let kind = match (self.single(&header::AUTHORIZATION)?, presigned) {
            (Some(_), true) => return Err(Failure::Malformed("send one credential, in the head or in the URL".into())),
            (Some(value), false) => Kind::of(value)?,
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
        let headers = if matches!(kind, Kind::Signed) { self.header_list() } else { Vec::new() };
        Ok(Shown { headers, kind })
    }

    /// All headers in order of arrival; HTTP/2's `:authority` as `host`.
    fn header_list(&self) -> Vec<(&'a str, &'a [u8])> {
        let mut list = Vec::with_capacity(self.headers.len() + 1);
        if !self.headers.contains_key(header::HOST) {
            list.push(("host", self.addressed.authority.as_bytes()));
        }
        list.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        list
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

fn not_one_text(name: &HeaderName) -> Failure {
    Failure::Malformed(format!("the header {name} must stand once, in ASCII").into())
}

fn missing() -> Failure {
    let message = "sign the request, or send Authorization: Bearer".to_owned();
    Failure::Authn(AuthnError { code: "MissingAuthenticationToken", status: 401, message })
}

impl<'a> Kind<'a> {
    fn of(authorization: &'a HeaderValue) -> Result<Kind<'a>, Failure> {
        // Whether the rest is text is for the judge to say, who reads it.
        if authorization.as_bytes().starts_with(b"AWS4-") {
            return Ok(Kind::Signed);
        }
        let text = authorization.to_str().map_err(|_| not_one_text(&header::AUTHORIZATION))?;
        match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Kind::Bearer(token.trim().into())),
            _ => Err(Failure::Malformed("Authorization must be Bearer or AWS4-HMAC-SHA256".into())),
        }
    }
}

/// The parameters of a query: raw name, raw value if there is a `=`. Empty pieces are skipped.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let pieces = (!query.is_empty()).then(|| query.split('&'));
    pieces.into_iter().flatten().filter(|piece| !piece.is_empty()).map(|piece| match piece.split_once('=') {
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
