//! Listeners: accept on the control runtime, ask the network, give the connection to a worker.
//!
//! What none of the gateway's caches admits is refused here, before a byte of it is parsed.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::time::Duration;

use larder_iam_policies::access::LastEntry;
use larder_node::proxy;
use larder_node::workers::{Drain, Phase, Seat, Workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::config::{Http, SourceFrom};
use crate::http::connection::{self, Here, Origin, Server};
use crate::serve::Gateway;
use crate::source;
use crate::tls::Tls;

/// How long accept waits after the system refused a socket (no more file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// What a refused peer is told.
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: 57\r\n\
connection: close\r\n\r\n{\"error\":\"NOPERM this address is not allowed to connect\"}";

/// An open listener.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    drain: Drain,
    accepting: tokio::task::JoinHandle<()>,
}

impl Listening {
    /// Where it listens; the port is the real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it accepts.
    pub fn is_accepting(&self) -> bool {
        !self.accepting.is_finished()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.drain.guests()
    }

    /// Takes no more connections, lets the open ones finish their answers, and cuts what is left after `wait`. Answers
    /// how many were cut.
    pub async fn drain(&self, wait: Duration) -> usize {
        self.drain.finish(wait).await
    }
}

/// What each connection of a listener needs.
#[derive(Clone)]
struct Door {
    server: Server,
    tls: Option<Tls>,
    source: SourceFrom,
    drop_refused: bool,
    port: u16,
    drain: Drain,
}

impl Gateway {
    /// Opens the listener of the settings. Call it on the control runtime.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn listen(self: &Arc<Gateway>, workers: &Workers, tls: Option<Tls>) -> io::Result<Listening> {
        open(&self.http, Server::Gateway(self.clone()), workers, tls).await
    }
}

/// Opens a listener that answers everything with a constant: the floor that benches compare with.
///
/// # Errors
/// As [`Gateway::listen`].
pub async fn listen_echo(http: &Http, workers: &Workers, tls: Option<Tls>) -> io::Result<Listening> {
    open(http, Server::Echo(http.limits), workers, tls).await
}

async fn open(http: &Http, server: Server, workers: &Workers, tls: Option<Tls>) -> io::Result<Listening> {
    let listener = TcpListener::bind(http.listen).await?;
    let address = listener.local_addr()?;
    let drain = Drain::new();
    let door = Door {
        server,
        tls,
        source: http.source.clone(),
        drop_refused: http.drop_refused,
        port: address.port(),
        drain: drain.clone(),
    };
    let accepting = tokio::spawn(accept(listener, door, workers.clone(), http.limits.connections_max));
    Ok(Listening { address, drain, accepting })
}

async fn accept(listener: TcpListener, door: Door, workers: Workers, connections_max: usize) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.drain.reached(Phase::Draining) => return,
        };
        match accepted {
            Ok((stream, peer)) => door.greet(stream, peer, &workers, connections_max),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Door {
    /// Refuses a connection, or gives it to a worker.
    fn greet(&self, stream: TcpStream, peer: SocketAddr, workers: &Workers, connections_max: usize) {
        let ip = source::canonical(peer.ip());
        if self.is_final(ip) && !self.admits(ip) {
            return self.refuse(stream);
        }
        let Some(guest) = self.drain.enter(connections_max) else {
            tracing::warn!(connections_max, "too many connections; one was closed");
            return;
        };
        let Ok(stream) = stream.into_std() else { return };
        let door = self.clone();
        let placed = workers.place(move |seat| async move {
            let _guest = guest;
            door.enter(stream, ip, &seat).await;
        });
        if placed.is_err() {
            tracing::warn!("no worker responds; a connection was closed");
        }
    }

    /// Whether the peer's address is the caller's, and no proxy's.
    fn is_final(&self, ip: IpAddr) -> bool {
        match &self.source {
            SourceFrom::Peer => true,
            SourceFrom::ProxyV2 => false,
            SourceFrom::Header { trusted, .. } => !trusted.iter().any(|network| network.contains(&ip)),
        }
    }

    fn admits(&self, ip: IpAddr) -> bool {
        let Server::Gateway(gateway) = &self.server else { return true };
        let routes = gateway.routes();
        let names: Vec<&str> = routes.names().collect();
        gateway.access.load().admits_any(&names, ip, self.port)
    }

    fn refuse(&self, mut stream: TcpStream) {
        if let Server::Gateway(gateway) = &self.server {
            gateway.metrics.refused();
        }
        // Over TLS there is nobody to tell before a handshake, which strangers do not get.
        if self.drop_refused || self.tls.is_some() {
            return;
        }
        tokio::spawn(async move {
            let farewell = async {
                stream.write_all(FORBIDDEN).await?;
                stream.shutdown().await?;
                // Unread bytes at close would reset the connection, and the answer with it.
                let mut sink = [0; 1024];
                while stream.read(&mut sink).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = timeout(Duration::from_millis(200), farewell).await;
        });
    }

    /// The connection's life on its worker.
    async fn enter(self, stream: StdStream, peer: IpAddr, seat: &Seat) {
        let Ok(mut stream) = TcpStream::from_std(stream) else { return };
        let _ = stream.set_nodelay(true);
        let mut origin = Origin { ip: peer, secure: self.tls.is_some(), vpce: None, port: self.port };
        let wait = self.server.limits().handshake_timeout;
        if self.source == SourceFrom::ProxyV2 {
            match timeout(wait, self.read_proxy(&mut stream, &mut origin)).await {
                Ok(Some(())) if self.admits(origin.ip) => {}
                Ok(Some(())) => return self.refuse(stream),
                _ => return,
            }
        }
        if let Server::Gateway(gateway) = &self.server {
            gateway.metrics.connected();
        }
        let here = Here { server: self.server, origin, seat: seat.clone(), last: LastEntry::default() };
        match &self.tls {
            None => connection::serve(stream, here, &self.drain).await,
            Some(tls) => {
                let handshake = TlsAcceptor::from(tls.http()).accept(stream);
                let Ok(Ok(stream)) = timeout(wait, handshake).await else { return };
                connection::serve(stream, here, &self.drain).await;
            }
        }
    }

    /// Reads the PROXY header; `None` without one.
    async fn read_proxy(&self, stream: &mut TcpStream, origin: &mut Origin) -> Option<()> {
        let proxied = proxy::receive(stream, proxy::Version::V2).await?;
        // A proxy's own health check comes from the proxy.
        origin.ip = proxied.address.map_or(origin.ip, |address| address.ip());
        origin.secure |= proxied.secure;
        origin.vpce = proxied.vpce;
        Some(())
    }
}
