//! Settings of the HTTP gateway: `[http]`, `[tls]` and `[[cache]].remote`, first raw, then checked.
//!
//! Checking never stops at the first mistake: each one is pushed with its path, and the caller prints them all.
//! Files and environment are the caller's business; secrets arrive resolved.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use larder_node::server::listen_address;
use serde::Deserialize;

/// Mistakes found so far: path of the setting, what is wrong and how to fix it.
pub type Mistakes = Vec<(String, String)>;

/// `[http]` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawHttp {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: String,
    /// Where the caller's address comes from.
    pub source: RawSource,
    /// Names accepted in `Host`, besides loopback addresses, `localhost` and `*.localhost`.
    pub hosts: Vec<String>,
    /// Origins whose pages may call, for example `https://app.example.com`.
    pub origins: Vec<String>,
    /// `"403"` or `"drop"`: what a caller outside every allowlist meets.
    pub on_refuse: String,
    /// Whether `?_token=` is a credential.
    pub token_in_query: bool,
    /// Whether the path form runs commands that write on GET and HEAD.
    pub get_writes: bool,
    /// Longest request body, in bytes.
    pub item_bytes_max: u64,
    /// Most connections at once.
    pub connections_max: u64,
    /// Time to send a whole request head, in ms.
    pub header_timeout_ms: u64,
    /// Time to send a whole request body, in ms.
    pub body_timeout_ms: u64,
    /// Most commands in one `/pipeline` or `/multi-exec`.
    pub pipeline_commands_max: u64,
    /// Most concurrent requests on one HTTP/2 connection.
    pub h2_streams_max: u64,
}

impl Default for RawHttp {
    fn default() -> Self {
        RawHttp {
            listen: "127.0.0.1:8079".to_owned(),
            source: RawSource::default(),
            hosts: Vec::new(),
            origins: Vec::new(),
            on_refuse: "403".to_owned(),
            token_in_query: false,
            get_writes: false,
            item_bytes_max: 10_000_000,
            connections_max: 10_000,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            pipeline_commands_max: 1_000,
            h2_streams_max: 256,
        }
    }
}

/// `[http].source` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum RawSource {
    /// `"peer"` or `"proxy-v2"`.
    Word(String),
    /// `{ header = "X-Forwarded-For", trusted = ["10.0.0.0/8"] }`.
    Header(RawSourceHeader),
}

impl Default for RawSource {
    fn default() -> Self {
        RawSource::Word("peer".to_owned())
    }
}

/// A header that proxies append addresses to, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSourceHeader {
    /// Its name.
    pub header: String,
    /// Networks of the proxies that may be believed.
    pub trusted: Vec<String>,
}

/// `[tls]` as written. Absent as a whole: no TLS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawTls {
    /// PEM file with the certificate chain, leaf first.
    pub cert: Option<String>,
    /// PEM file with the private key.
    pub key: Option<String>,
    /// Make a development certificate for localhost at each start.
    pub generated: bool,
    /// PEM file with the authorities whose certificates clients of RESP may show.
    pub client_ca: Option<String>,
    /// Whether clients of RESP have to show one.
    pub client_required: bool,
}

/// `[[cache]].remote` as written.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawRemote {
    /// `redis://host:port`.
    pub url: String,
    /// User of AUTH; the server's `default` when absent.
    pub user: Option<String>,
    /// Password of AUTH, already resolved.
    pub password: Option<String>,
    /// Time for one reply, in ms.
    pub timeout_ms: u64,
    /// Most connections for transactions, per worker.
    pub pool_max: u64,
}

impl std::fmt::Debug for RawRemote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawRemote").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Default for RawRemote {
    fn default() -> Self {
        RawRemote { url: String::new(), user: None, password: None, timeout_ms: 5_000, pool_max: 8 }
    }
}

/// `[http]`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the caller's address comes from.
    pub source: SourceFrom,
    /// Extra names accepted in `Host`, lower case.
    pub hosts: Vec<String>,
    /// Origins of pages that may call, lower case.
    pub origins: Vec<String>,
    /// Whether a refused peer is dropped without a word.
    pub drop_refused: bool,
    /// Whether `?_token=` is a credential.
    pub token_in_query: bool,
    /// Whether the path form runs commands that write on GET and HEAD.
    pub get_writes: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Http {
    fn default() -> Self {
        let raw = RawHttp::default();
        Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 8079)),
            source: SourceFrom::Peer,
            hosts: Vec::new(),
            origins: Vec::new(),
            drop_refused: false,
            token_in_query: false,
            get_writes: false,
            limits: Limits::of(&raw),
        }
    }
}

/// Bounds of the HTTP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request body, in bytes.
    pub item_bytes_max: usize,
    /// Most connections at once; later ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Longest request head, in bytes.
    pub head_bytes_max: usize,
    /// Most header fields of a request.
    pub headers_max: usize,
    /// Time to send a whole request head.
    pub header_timeout: Duration,
    /// Time to send a whole request body.
    pub body_timeout: Duration,
    /// Time for a TLS or PROXY handshake.
    pub handshake_timeout: Duration,
    /// Most commands in one request.
    pub pipeline_commands_max: usize,
    /// Most concurrent requests on one HTTP/2 connection.
    pub h2_streams_max: u32,
    /// Longest reply to one request, in bytes; a longer one is 502.
    pub reply_bytes_max: usize,
}

impl Limits {
    fn of(raw: &RawHttp) -> Limits {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Limits {
            item_bytes_max: size(raw.item_bytes_max),
            connections_max: size(raw.connections_max),
            head_bytes_max: 32 * 1024,
            headers_max: 100,
            header_timeout: Duration::from_millis(raw.header_timeout_ms),
            body_timeout: Duration::from_millis(raw.body_timeout_ms),
            handshake_timeout: Duration::from_millis(raw.header_timeout_ms),
            pipeline_commands_max: size(raw.pipeline_commands_max),
            h2_streams_max: u32::try_from(raw.h2_streams_max).unwrap_or(u32::MAX),
            reply_bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// Where the caller's address comes from: exactly one place per listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceFrom {
    /// The socket's peer.
    Peer,
    /// A PROXY protocol version 2 header before the first byte.
    ProxyV2,
    /// A header that proxies append to, read right to left through `trusted`.
    Header {
        /// Its name.
        name: HeaderName,
        /// Networks of proxies that may be believed.
        trusted: Vec<IpNet>,
    },
}

/// `[tls]`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The listeners' certificate.
    pub certificate: TlsSource,
    /// What clients of RESP have to show, if anything.
    pub clients: Option<ClientCertificates>,
}

impl From<TlsSource> for TlsConfig {
    /// Clients show nothing.
    fn from(certificate: TlsSource) -> Self {
        Self { certificate, clients: None }
    }
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file with the authorities they come from.
    pub ca: PathBuf,
    /// Whether every client needs one; otherwise those that show none are let in as well.
    pub required: bool,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// Two PEM files.
    Files {
        /// The certificate chain, leaf first.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// A certificate for `localhost` made at start, trusted by nobody.
    Generated,
}

/// A RESP server elsewhere, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// Host name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User of AUTH.
    pub user: Option<String>,
    /// Password of AUTH.
    pub password: Option<String>,
    /// Time for one reply.
    pub timeout: Duration,
    /// Most connections for transactions, per worker.
    pub pool_max: usize,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl RawHttp {
    /// Checks every setting; `path` is the table's name, usually `http`.
    pub fn check(&self, path: &str, mistakes: &mut Mistakes) -> Option<Http> {
        let before = mistakes.len();
        let mut say = |name: &str, what: String| mistakes.push((format!("{path}.{name}"), what));
        let listen = listen_address(&self.listen).map_err(|why| say("listen", why));
        let source = self.source.check(&mut say);
        for host in self.hosts.iter().filter(|host| !is_host_name(host)) {
            say("hosts", format!("{host:?} is not a host name; write it without scheme, port and path"));
        }
        for origin in self.origins.iter().filter(|origin| !is_origin(origin)) {
            say("origins", format!("{origin:?} is not an origin; write scheme://host[:port] without a path"));
        }
        if !matches!(self.on_refuse.as_str(), "403" | "drop") {
            say("on_refuse", format!("{:?} is neither \"403\" nor \"drop\"", self.on_refuse));
        }
        self.check_bounds(&mut say);
        if mistakes.len() > before {
            return None;
        }
        Some(Http {
            listen: listen.ok()?,
            source: source?,
            hosts: self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: self.origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
            drop_refused: self.on_refuse == "drop",
            token_in_query: self.token_in_query,
            get_writes: self.get_writes,
            limits: Limits::of(self),
        })
    }

    fn check_bounds(&self, say: &mut impl FnMut(&str, String)) {
        let bounds = [
            ("item_bytes_max", self.item_bytes_max, 1, 512 * 1024 * 1024),
            ("connections_max", self.connections_max, 1, 1_000_000),
            ("header_timeout_ms", self.header_timeout_ms, 1, 600_000),
            ("body_timeout_ms", self.body_timeout_ms, 1, 600_000),
            ("pipeline_commands_max", self.pipeline_commands_max, 1, 100_000),
            ("h2_streams_max", self.h2_streams_max, 1, 100_000),
        ];
        for (name, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                say(name, format!("{value} is not within {min} and {max}"));
            }
        }
    }
}

impl RawSource {
    fn check(&self, say: &mut impl FnMut(&str, String)) -> Option<SourceFrom> {
        match self {
            RawSource::Word(word) if word == "peer" => Some(SourceFrom::Peer),
            RawSource::Word(word) if word == "proxy-v2" => Some(SourceFrom::ProxyV2),
            RawSource::Word(word) => {
                say(
                    "source",
                    format!("{word:?} is none of \"peer\", \"proxy-v2\" and {{ header = …, trusted = […] }}"),
                );
                None
            }
            RawSource::Header(raw) => raw.check(say),
        }
    }
}

impl RawSourceHeader {
    fn check(&self, say: &mut impl FnMut(&str, String)) -> Option<SourceFrom> {
        let name = self.header.parse::<HeaderName>().ok();
        match &name {
            None => say("source.header", format!("{:?} is not a header name", self.header)),
            Some(name) if *name == http::header::FORWARDED => {
                say("source.header", "\"Forwarded\" is not built; name a header that holds a plain list of addresses, for example \"X-Forwarded-For\"".to_owned());
            }
            Some(_) => {}
        }
        let mut trusted = Vec::new();
        for network in &self.trusted {
            match network.parse::<IpNet>().or_else(|_| network.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => trusted.push(network),
                Err(_) => say("source.trusted", format!("{network:?} is neither an address nor a CIDR block")),
            }
        }
        if self.trusted.is_empty() {
            say(
                "source.trusted",
                "name at least one proxy network; without one the header would never be read".to_owned(),
            );
        }
        Some(SourceFrom::Header { name: name?, trusted })
    }
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':'))
        && (text.parse::<IpAddr>().is_ok() || !text.contains(':'))
}

fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https")
            && !rest.is_empty()
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']'))
    })
}

impl RawTls {
    /// Checks the table; `path` is its name, usually `tls`. Files are read later, by `Tls::load`.
    pub fn check(&self, path: &str, mistakes: &mut Mistakes) -> Option<TlsConfig> {
        let before = mistakes.len();
        let certificate = self.certificate(path, mistakes);
        if self.client_required && self.client_ca.is_none() {
            let what = "needs `client_ca`: the authorities that sign the clients' certificates".to_owned();
            mistakes.push((format!("{path}.client_required"), what));
        }
        let clients =
            self.client_ca.as_ref().map(|ca| ClientCertificates { ca: ca.into(), required: self.client_required });
        (mistakes.len() == before).then_some(TlsConfig { certificate: certificate?, clients })
    }

    fn certificate(&self, path: &str, mistakes: &mut Mistakes) -> Option<TlsSource> {
        match (&self.cert, &self.key, self.generated) {
            (Some(cert), Some(key), false) => Some(TlsSource::Files { cert: cert.into(), key: key.into() }),
            (None, None, true) => Some(TlsSource::Generated),
            (_, _, true) => {
                mistakes.push((
                    format!("{path}.generated"),
                    "give either `generated = true` or `cert` and `key`, not both".to_owned(),
                ));
                None
            }
            _ => {
                mistakes.push((path.to_owned(), "give `cert` and `key`, or `generated = true`".to_owned()));
                None
            }
        }
    }
}

impl RawRemote {
    /// Checks the table; `path` is its name, for example `cache.default.remote`.
    pub fn check(&self, path: &str, mistakes: &mut Mistakes) -> Option<Remote> {
        let before = mistakes.len();
        let mut say = |name: &str, what: String| mistakes.push((format!("{path}.{name}"), what));
        let place = host_and_port(&self.url);
        if let Err(what) = &place {
            say("url", what.clone());
        }
        if self.user.is_some() && self.password.is_none() {
            say("password", "`user` needs a `password`".to_owned());
        }
        for (name, value, min, max) in
            [("timeout_ms", self.timeout_ms, 1, 600_000), ("pool_max", self.pool_max, 1, 1_000)]
        {
            if !(min..=max).contains(&value) {
                say(name, format!("{value} is not within {min} and {max}"));
            }
        }
        if mistakes.len() > before {
            return None;
        }
        let (host, port) = place.ok()?;
        Some(Remote {
            host,
            port,
            user: self.user.clone(),
            password: self.password.clone(),
            timeout: Duration::from_millis(self.timeout_ms),
            pool_max: usize::try_from(self.pool_max).unwrap_or(usize::MAX),
        })
    }
}

/// Host and port of `redis://host[:port]`. Everything else in a URL has a setting of its own, or is not built.
fn host_and_port(url: &str) -> Result<(String, u16), String> {
    let rest = match url.split_once("://") {
        Some(("redis", rest)) => rest,
        Some(("rediss", _)) => {
            return Err("rediss:// (TLS to the backend) is not built yet; use redis://host:port".to_owned());
        }
        _ => return Err(format!("{url:?} is not redis://host:port")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err("put the credentials into `user` and `password`, not into the URL".to_owned());
    }
    if rest.contains(['/', '?', '#']) {
        return Err("only database 0 is used: write redis://host:port without a path".to_owned());
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => (rest, "6379"),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match port.parse::<u16>() {
        Ok(port) if port > 0 && is_host_name(host) => Ok((host.to_owned(), port)),
        _ => Err(format!("{url:?} is not redis://host:port")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn defaults_are_right() {
        let mut mistakes = Vec::new();
        let http = RawHttp::default().check("http", &mut mistakes).unwrap();
        assert!(mistakes.is_empty());
        assert_eq!(http.listen, Http::default().listen);
        assert_eq!(http.limits, Http::default().limits);
    }

    #[test]
    fn every_mistake_is_listed() {
        let raw: RawHttp = serde_json::from_str(
            r#"{"listen":"x","source":{"header":"Forwarded","trusted":["a"]},"hosts":["https://a"],"origins":["a"],"on_refuse":"x","item_bytes_max":0}"#,
        )
        .unwrap();
        let mut mistakes = Vec::new();
        assert!(raw.check("http", &mut mistakes).is_none());
        let paths: Vec<&str> = mistakes.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "http.listen",
                "http.source.header",
                "http.source.trusted",
                "http.hosts",
                "http.origins",
                "http.on_refuse",
                "http.item_bytes_max"
            ]
        );
        assert!(serde_json::from_str::<RawHttp>(r#"{"listn":""}"#).is_err());
    }

    #[test]
    fn remotes_are_checked() {
        let place = |url: &str| host_and_port(url);
        assert_eq!(place("redis://127.0.0.1:6380").unwrap(), ("127.0.0.1".to_owned(), 6380));
        assert_eq!(place("redis://cache.local/").unwrap(), ("cache.local".to_owned(), 6379));
        assert_eq!(place("redis://[::1]:7000").unwrap(), ("::1".to_owned(), 7000));
        assert_eq!(place("redis://[::1]").unwrap(), ("::1".to_owned(), 6379));
        for url in [
            "",
            "127.0.0.1:1",
            "rediss://a:1",
            "redis://u:p@a:1",
            "redis://a:1/2",
            "redis://a:0",
            "redis://a:x",
            "redis://",
        ] {
            assert!(place(url).is_err(), "{url}");
        }
        let remote =
            RawRemote { url: "redis://a:1".to_owned(), password: Some("hunter2".to_owned()), ..RawRemote::default() };
        assert!(!format!("{:?}", remote.check("r", &mut Vec::new()).unwrap()).contains("hunter2"));
    }

    #[test]
    fn tls_is_one_or_the_other() {
        let tls = |cert: Option<&str>, key: Option<&str>, generated| {
            RawTls { cert: cert.map(str::to_owned), key: key.map(str::to_owned), generated, ..RawTls::default() }
                .check("tls", &mut Vec::new())
        };
        assert_eq!(tls(None, None, true), Some(TlsSource::Generated.into()));
        assert!(tls(Some("c"), Some("k"), false).is_some());
        for (cert, key, generated) in [(None, None, false), (Some("c"), None, false), (Some("c"), Some("k"), true)] {
            assert_eq!(tls(cert, key, generated), None);
        }
    }
}
