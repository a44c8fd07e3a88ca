//! What a connection goes through before its first request: where it says it comes from, and whether it speaks TLS.

use std::fmt;
use std::io;
use std::net::SocketAddr;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use super::wire::TlsStream;
use crate::proxy::{self, Proxied};

/// Time for a PROXY header, and for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The one place that a listener takes its callers' addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressSource {
    /// The socket's peer.
    #[default]
    Peer,
    /// A PROXY protocol header before the first byte; a connection without one is dropped.
    Proxy(proxy::Version),
}

/// Whether a listener's clients speak TLS. The words are ElastiCache's, of a cache's transit encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// None do.
    #[default]
    Off,
    /// Those that begin with a TLS handshake.
    Preferred,
    /// All do; who does not is dropped.
    Required,
}

/// TLS as a listener offers it: how, and the settings that are in force at each handshake.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub struct TlsDoor {
    /// Who has to speak it; [`TlsMode::Off`] offers none.
    pub mode: TlsMode,
    /// The settings now.
    pub settings: Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>,
}

#[cfg(feature = "tls")]
impl fmt::Debug for TlsDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsDoor").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// TLS without the feature: there is none.
#[cfg(not(feature = "tls"))]
#[derive(Clone, Debug)]
pub struct TlsDoor {
    /// Ignored.
    pub mode: TlsMode,
}

/// A connection that may speak now.
pub(super) enum Entered {
    Plain(TcpStream),
    /// TLS, and the settings that it began with.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>, Arc<rustls::ServerConfig>),
}

/// The same, in no runtime's care.
pub(super) enum ParcelIn {
    Plain(std::net::TcpStream),
    #[cfg(feature = "tls")]
    Tls(std::net::TcpStream, Box<rustls::ServerConnection>, Arc<rustls::ServerConfig>),
}

impl Entered {
    pub(super) fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    pub(super) fn pack(self) -> io::Result<ParcelIn> {
        Ok(match self {
            Self::Plain(stream) => ParcelIn::Plain(stream.into_std()?),
            #[cfg(feature = "tls")]
            Self::Tls(stream, settings) => {
                let (stream, session) = stream.into_inner();
                ParcelIn::Tls(stream.into_std()?, Box::new(session), settings)
            }
        })
    }
}

impl ParcelIn {
    pub(super) async fn unpack(self) -> io::Result<Entered> {
        Ok(match self {
            Self::Plain(stream) => Entered::Plain(TcpStream::from_std(stream)?),
            #[cfg(feature = "tls")]
            Self::Tls(stream, session, settings) => {
                let stream = TcpStream::from_std(stream)?;
                let acceptor = tokio_rustls::TlsAcceptor::from(settings.clone());
                // The handshake is behind it: what was agreed on goes on.
                let stream = acceptor.accept_with(stream, move |fresh| *fresh = *session).await?;
                Entered::Tls(Box::new(stream), settings)
            }
        })
    }
}

/// Reads who a connection says it is from; itself, where its listener asks no proxy. `None`: it is to be dropped.
pub(super) async fn origin(stream: &mut TcpStream, source: AddressSource, peer: SocketAddr) -> Option<Origin> {
    let AddressSource::Proxy(version) = source else {
        return Some(Origin { address: peer, secure: false, vpce: None });
    };
    let header = tokio::time::timeout(HANDSHAKE, proxy::receive(stream, version));
    let Proxied { address, secure, vpce } = header.await.ok()??;
    // A proxy's own health check comes from the proxy.
    Some(Origin { address: address.unwrap_or(peer), secure, vpce })
}

/// Where a caller is.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    pub(super) secure: bool,
    pub(super) vpce: Option<String>,
}

/// Lets a connection speak TLS where it has to or wants to. `None`: it is to be dropped. A client that may do either is
/// waited for, for `idle_ms` or for ever: until its first byte it cannot be told what it speaks.
#[cfg(feature = "tls")]
pub(super) async fn secure(stream: TcpStream, tls: Option<&TlsDoor>, idle_ms: u64) -> Option<Entered> {
    /// How a TLS record with a handshake begins: RFC 8446, section 5.1. No RESP request begins so.
    const HANDSHAKE_RECORD: u8 = 0x16;
    let Some(tls) = tls.filter(|tls| tls.mode != TlsMode::Off) else { return Some(Entered::Plain(stream)) };
    if tls.mode == TlsMode::Preferred {
        let mut first = [0];
        let peeked = stream.peek(&mut first);
        let peeked = match idle_ms {
            0 => peeked.await,
            idle_ms => tokio::time::timeout(Duration::from_millis(idle_ms), peeked).await.ok()?,
        };
        if peeked.ok()? == 0 {
            return None;
        }
        if first[0] != HANDSHAKE_RECORD {
            return Some(Entered::Plain(stream));
        }
    }
    let settings = (tls.settings)();
    let handshake = tokio_rustls::TlsAcceptor::from(settings.clone()).accept(stream);
    match tokio::time::timeout(HANDSHAKE, handshake).await.ok()? {
        Ok(stream) => Some(Entered::Tls(Box::new(stream), settings)),
        Err(error) => {
            tracing::debug!(%error, "no TLS handshake");
            None
        }
    }
}

#[cfg(not(feature = "tls"))]
pub(super) async fn secure(stream: TcpStream, tls: Option<&TlsDoor>, _: u64) -> Option<Entered> {
    let is_required = tls.is_some_and(|tls| tls.mode == TlsMode::Required);
    (!is_required).then_some(Entered::Plain(stream))
}

impl fmt::Display for TlsMode {
    /// The word of the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Preferred => "preferred",
            Self::Required => "required",
        })
    }
}
