//! The road for RESP: a listener, and connections on the workers.
//!
//! Accepting runs on whatever runtime calls [`listen`]: the control thread, never a worker. The network is asked first:
//! what the listener's cache does not admit is dropped before a byte of it is read. A connection that is let in lives
//! on one worker to its end ([`crate::workers`]); the rest of the road, from AUTH to the reply, is walked per command
//! by [`Engine::exec_batch`].

mod busy;
mod client;
pub mod config;
mod connection;
mod sweep;
mod unsent;

pub(crate) use client::Client;
pub use config::{ConnectionLimits, Listener, RawNode};
pub use sweep::sweep;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_iam_policies::access::Source;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::echo::Echo;
use crate::engine::Engine;
use crate::session::{Peer, Session};
use crate::workers::{Drain, Guest, Phase, Seat, Workers};
use busy::Held;
use client::SessionClient;
use connection::Connection;

const BACKLOG: u32 = 1024;
/// How long a worker may take to begin a connection.
const BEGUN: Duration = Duration::from_millis(20);
/// How long accepting rests after the system refused a connection its files or memory.
const ACCEPT_REST: Duration = Duration::from_millis(10);

/// A listener that accepts, until it is drained or dropped with its runtime.
pub struct Listening {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

/// What one listener counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenerStats {
    /// Connections open now.
    pub connections: usize,
    /// Connections dropped because the network rules admit their address to no cache here.
    pub refused: u64,
    /// Connections turned away because `connections_max` were open.
    pub turned_away: u64,
    /// Connections that arrived while no worker responded.
    pub busy: u64,
}

struct Shared {
    front: Front,
    limits: ConnectionLimits,
    workers: Workers,
    drain: Drain,
    refused: AtomicU64,
    turned_away: AtomicU64,
    busy: AtomicU64,
}

/// What answers behind a listener.
#[derive(Clone)]
enum Front {
    Engine(Arc<Engine>),
    Echo,
}

/// Why a listener could not be opened.
#[derive(Debug)]
pub struct ListenError {
    address: SocketAddr,
    moved_by: String,
    cause: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, moved_by, cause } = self;
        match cause.kind() {
            io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "port {} of {} is taken by another process: choose another with {moved_by}",
                    address.port(),
                    address.ip()
                )
            }
            _ => write!(f, "cannot listen on {address}: {cause}; choose another address with {moved_by}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// Opens a RESP listener in front of one cache and accepts on the current runtime; connections go to `workers`.
///
/// # Errors
/// The address is taken, is not this machine's, or may not be used: the message names it and what moves it.
pub async fn listen(listener: &Listener, engine: Arc<Engine>, workers: &Workers) -> Result<Listening, ListenError> {
    open(listener, Front::Engine(engine), workers)
}

/// Opens a listener whose connections are answered by a constant: the floor that benches measure against.
///
/// # Errors
/// As [`listen`].
pub async fn listen_echo(listener: &Listener, workers: &Workers) -> Result<Listening, ListenError> {
    open(listener, Front::Echo, workers)
}

fn open(listener: &Listener, front: Front, workers: &Workers) -> Result<Listening, ListenError> {
    let refused = |cause| ListenError { address: listener.address, moved_by: listener.moved_by.clone(), cause };
    let socket = bind(listener.address).map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    if let Front::Engine(engine) = &front {
        engine.doors.opened(listener.limits);
    }
    let shared = Arc::new(Shared {
        front,
        limits: listener.limits,
        workers: workers.clone(),
        drain: Drain::new(),
        refused: AtomicU64::new(0),
        turned_away: AtomicU64::new(0),
        busy: AtomicU64::new(0),
    });
    let accepting = tokio::spawn(accept(socket, shared.clone()));
    Ok(Listening { address, shared, accepting })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a restart need not wait for old connections to be forgotten; it does not let two processes share a port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Listening {
    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counted.
    pub fn stats(&self) -> ListenerStats {
        let Shared { drain, refused, turned_away, busy, .. } = &*self.shared;
        ListenerStats {
            connections: drain.guests(),
            refused: refused.load(Ordering::Relaxed),
            turned_away: turned_away.load(Ordering::Relaxed),
            busy: busy.load(Ordering::Relaxed),
        }
    }

    /// Whether it accepts.
    pub fn is_accepting(&self) -> bool {
        !self.accepting.is_finished()
    }

    /// Takes no more connections, lets the open ones finish what they have been sent for `timeout`, then cuts them.
    /// Answers how many were cut.
    pub async fn drain(self, timeout: Duration) -> usize {
        let cut = self.shared.drain.finish(timeout).await;
        self.accepting.abort();
        cut
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = shared.drain.reached(Phase::Draining) => return,
        };
        match accepted {
            Ok((stream, address)) => shared.take(stream, address),
            Err(error) if is_one_connections_fault(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept; trying again shortly");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn is_one_connections_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl Shared {
    /// The first stage of the road, at accept: network, then room, then a worker.
    fn take(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        if !self.admits(address.ip().to_canonical(), local.port()) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(stream.set_nodelay(true));
        self.keep_alive(&stream);
        let Some(guest) = self.drain.enter(self.connections_max()) else {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            if let Front::Engine(engine) = &self.front {
                engine.doors.turned_away();
            }
            drop(stream.try_write(b"-ERR max number of clients reached\r\n"));
            return;
        };
        let arrival = Arrival { shared: self.clone(), address, local, guest };
        let held = Held { stream, input: Vec::new(), session: None };
        match self.workers.choose() {
            Some(_) => arrival.place(held),
            None => arrival.hold(held),
        }
    }

    fn connections_max(&self) -> usize {
        let opened_with = self.limits.connections_max;
        match &self.front {
            Front::Engine(engine) => engine.doors.connections_max_of(opened_with),
            Front::Echo => opened_with,
        }
    }

    /// Lets the system find out about peers that are gone without a word, as redis does: the first question after
    /// `tcp-keepalive` seconds, three of them in as many again.
    fn keep_alive(&self, stream: &TcpStream) {
        let Front::Engine(engine) = &self.front else { return };
        let seconds = engine.doors.keepalive_s();
        if seconds > 0 {
            let again = Duration::from_secs((seconds / 3).max(1));
            let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(seconds)).with_interval(again);
            drop(SockRef::from(stream).set_tcp_keepalive(&keepalive.with_retries(3)));
        }
    }

    fn admits(&self, ip: IpAddr, port: u16) -> bool {
        match &self.front {
            Front::Engine(engine) => engine.access().load().admits_any(&[engine.name()], ip, port),
            Front::Echo => ip.is_loopback(),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Front::Engine(engine) = &self.front {
            engine.doors.closed(self.limits);
        }
    }
}

/// A connection on its way to a worker.
struct Arrival {
    shared: Arc<Shared>,
    address: SocketAddr,
    local: SocketAddr,
    guest: Guest,
}

/// A connection that was given to a worker and that the worker has not begun.
type Parcel = Arc<Mutex<Option<(Arrival, std::net::TcpStream, Vec<u8>, Option<Session>)>>>;

impl Arrival {
    /// Serves the connection here until a worker responds.
    fn hold(self, held: Held) {
        self.shared.busy.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.wait(held));
    }

    async fn wait(self, held: Held) {
        let peer = self.peer();
        let held = tokio::select! {
            held = held.wait(&self.shared.front, &peer, &self.shared.workers) => held,
            () = self.shared.drain.reached(Phase::Draining) => None,
        };
        if let Some(held) = held {
            self.place(held);
        }
    }

    fn place(self, held: Held) {
        // The worker's runtime watches the socket from here on, not this one.
        let Ok(stream) = held.stream.into_std() else { return };
        let workers = self.shared.workers.clone();
        let parcel: Parcel = Arc::new(Mutex::new(Some((self, stream, held.input, held.session))));
        let sent = parcel.clone();
        let placed = workers.place(move |seat: Seat| async move {
            let Some((arrival, stream, input, session)) = sent.lock().take() else { return };
            match TcpStream::from_std(stream) {
                Ok(stream) => arrival.live(Held { stream, input, session }, seat).await,
                Err(error) => tracing::warn!(%error, "cannot watch a connection"),
            }
        });
        let Ok(worker) = placed else { return take_back(&parcel) };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEGUN).await;
                if parcel.lock().is_none() {
                    return;
                }
                if !workers.responds(worker) {
                    return take_back(&parcel);
                }
            }
        });
    }

    fn peer(&self) -> Peer {
        let source = Source::new(self.address.ip(), false, self.local.port());
        Peer { source, address: self.address, local: self.local }
    }

    async fn live(self, held: Held, seat: Seat) {
        let peer = self.peer();
        let Held { stream, input, session } = held;
        let Self { shared, guest, .. } = self;
        let limits = shared.limits;
        match &shared.front {
            Front::Echo => Connection::new(stream, Echo::default(), seat, limits, guest, input).run().await,
            Front::Engine(engine) => {
                let worker = seat.worker();
                let session = session.map_or_else(|| engine.open(peer, worker, seat.now()), Ok);
                let Ok(mut session) = session else { return };
                session.moves_to(worker);
                let client = SessionClient { engine: engine.clone(), session, worker };
                Connection::new(stream, client, seat, limits, guest, input).run().await;
            }
        }
    }
}

/// A worker that took a connection and did not begin it is held by something long: the connection is served here until
/// another is free.
fn take_back(parcel: &Parcel) {
    let Some((arrival, stream, input, session)) = parcel.lock().take() else { return };
    if let Ok(stream) = TcpStream::from_std(stream) {
        arrival.hold(Held { stream, input, session });
    }
}
