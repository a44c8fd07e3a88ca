//! Browser defences (contract section 4): which names a request may be addressed to, which pages may call.
//!
//! A page a developer happens to visit must not reach a cache on that developer's machine, neither directly (foreign
//! `Origin`, cross-site fetch) nor by pointing a name of its own at 127.0.0.1 (foreign `Host`).

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Uri};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which names and origins are ours.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Extra host names, lower case.
    pub hosts: Vec<String>,
    /// Origins of pages that may call, lower case.
    pub origins: Vec<String>,
}

/// Why a request is refused before anything else is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// No Host, several, or not a host: 400.
    NoHost,
    /// A Host that is not ours: 421.
    Host,
    /// A page that may not call: 403.
    Origin,
}

/// What the Host says, once accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed<'a> {
    /// Host and port as sent.
    pub authority: &'a str,
    /// The cache of `{cache}.cache.localhost`.
    pub cache: Option<&'a str>,
}

impl Names {
    /// Judges where a request is addressed to and which page sent it.
    ///
    /// # Errors
    /// [`Foreign`].
    pub fn admit<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Addressed<'a>, Foreign> {
        let authority = authority(uri, headers)?;
        let host = host_of(authority).ok_or(Foreign::NoHost)?;
        if !self.is_ours(host) {
            return Err(Foreign::Host);
        }
        self.admit_page(authority, headers)?;
        Ok(Addressed { authority, cache: cache_of(host) })
    }

    /// The allowed foreign origin a request comes from, which is told so in the answer.
    pub(crate) fn allowed_origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        if self.origins.is_empty() {
            return None;
        }
        let origin = headers.get(ORIGIN)?.to_str().ok()?;
        self.origins.iter().any(|ours| ours.eq_ignore_ascii_case(origin)).then_some(origin)
    }

    fn is_ours(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return ip.to_canonical().is_loopback() || self.hosts.iter().any(|ours| ours == bare);
        }
        let under_localhost = host.len() > 10
            && host.is_char_boundary(host.len() - 10)
            && host[host.len() - 10..].eq_ignore_ascii_case(".localhost");
        host.eq_ignore_ascii_case("localhost")
            || under_localhost
            || self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
    }

    fn admit_page(&self, authority: &str, headers: &HeaderMap) -> Result<(), Foreign> {
        let site = headers.get(SEC_FETCH_SITE);
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return if site.is_some_and(|site| site == "cross-site") { Err(Foreign::Origin) } else { Ok(()) };
        };
        let origin = origin.to_str().map_err(|_| Foreign::Origin)?;
        if origins.next().is_some() {
            return Err(Foreign::Origin);
        }
        if self.origins.iter().any(|ours| ours.eq_ignore_ascii_case(origin)) {
            return Ok(());
        }
        let same = origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(authority));
        let cross = site.is_some_and(|site| site == "cross-site");
        if same && !cross { Ok(()) } else { Err(Foreign::Origin) }
    }
}

/// The one authority of a request: `:authority`, an absolute target, or `Host`. Two that differ are ambiguous.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Foreign> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| host.to_str().map_err(|_| Foreign::NoHost)).transpose()?;
    if hosts.next().is_some() {
        return Err(Foreign::NoHost);
    }
    match (uri.authority().map(http::uri::Authority::as_str), host) {
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => Err(Foreign::NoHost),
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(Foreign::NoHost),
    }
}

/// The host without its port; `None` when it is malformed.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            let port = &authority[end..];
            (&authority[..end], if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match memchr::memchr(b':', authority.as_bytes()) {
            Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
            None => (authority, None),
        },
    };
    let digits = port.is_none_or(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()));
    (digits && !host.is_empty()).then_some(host)
}

fn cache_of(host: &str) -> Option<&str> {
    const SUFFIX: &str = ".cache.localhost";
    let at = host.len().checked_sub(SUFFIX.len())?;
    let cache = host.get(..at)?;
    (!cache.is_empty() && host[at..].eq_ignore_ascii_case(SUFFIX)).then_some(cache)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    fn admit(host: &str, more: &[(&'static str, &str)]) -> Result<Option<String>, Foreign> {
        let names = Names {
            hosts: vec!["cache.example.com".into(), "192.0.2.7".into()],
            origins: vec!["https://app.example.com".into()],
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        for (name, value) in more {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        names.admit(&Uri::from_static("/"), &headers).map(|a| a.cache.map(str::to_owned))
    }

    #[test]
    fn hosts_are_ours_or_foreign() {
        for host in [
            "localhost",
            "LOCALHOST:8079",
            "127.0.0.1:8079",
            "127.9.9.9",
            "[::1]:8079",
            "[::1]",
            "a.localhost",
            "Cache.Example.com:443",
            "192.0.2.7",
        ] {
            assert_eq!(admit(host, &[]), Ok(None), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.8",
            "xlocalhost",
            ".localhost.",
            "127.0.0.1.evil.example",
            "[2001:db8::1]",
        ] {
            assert_eq!(admit(host, &[]), Err(Foreign::Host), "{host}");
        }
        for host in ["", ":80", "localhost:x", "[::1", "[::1]x", "localhost:80:80"] {
            assert_eq!(admit(host, &[]), Err(Foreign::NoHost), "{host}");
        }
        assert_eq!(admit("localhost", &[("host", "localhost")]), Err(Foreign::NoHost), "two hosts");
    }

    #[test]
    fn the_host_may_name_a_cache() {
        assert_eq!(admit("sessions.cache.localhost:8079", &[]), Ok(Some("sessions".into())));
        assert_eq!(admit(".cache.localhost", &[]), Ok(None));
    }

    #[test]
    fn foreign_pages_are_refused() {
        let host = "localhost:8079";
        assert!(admit(host, &[("origin", "http://localhost:8079")]).is_ok());
        assert!(admit(host, &[("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")]).is_ok());
        for origin in ["null", "http://localhost:3000", "https://evil.example", "http://localhost:8079.evil.example"] {
            assert_eq!(admit(host, &[("origin", origin)]), Err(Foreign::Origin), "{origin}");
        }
        assert_eq!(admit(host, &[("sec-fetch-site", "cross-site")]), Err(Foreign::Origin));
        assert_eq!(admit(host, &[("origin", "http://localhost:8079"), ("origin", "null")]), Err(Foreign::Origin));
        assert!(admit(host, &[("sec-fetch-site", "none")]).is_ok());
    }

    #[test]
    fn a_target_with_another_authority_is_ambiguous() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        let judge = |uri: &'static str| {
            Names::default().admit(&Uri::from_static(uri), &headers).map(|a| a.authority.to_owned())
        };
        assert_eq!(judge("http://evil.example/"), Err(Foreign::NoHost));
        assert_eq!(judge("http://localhost/"), Ok("localhost".to_owned()));
    }
}
