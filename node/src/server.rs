//! The road for RESP: a listener, and connections on the workers.
//!
//! Accepting runs on whatever runtime calls [`listen`]: the control thread, never a worker. The network is asked first:
//! what the listener's cache does not admit is dropped before a byte of it is read. A connection that is let in lives
//! on one worker to its end ([`crate::workers`]); the rest of the road, from AUTH to the reply, is walked per command
//! by [`Engine::exec_batch`].

mod address;
mod busy;
mod client;
pub mod config;
mod connection;
mod entry;
mod sweep;
mod unix;
mod unsent;
mod wire;

pub use address::listen_address;
pub(crate) use client::{Client, Holdings};
pub use config::{ConnectionLimits, Listener, RawNode};
pub use entry::{AddressSource, TlsDoor, TlsMode};
pub use sweep::sweep;
pub use unix::UnixPlace;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_iam_policies::access::Source;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};

use crate::echo::Echo;
use crate::engine::Engine;
use crate::session::{Address, Peer};
use crate::workers::{Drain, Guest, Phase, Seat, Workers};
use busy::Held;
use client::SessionClient;
use connection::Connection;
use entry::{Entered, Origin, ParcelIn};
use unix::UnixSocket;
use wire::Wire;

pub(crate) const BACKLOG: u32 = 1024;
/// What a connection is told that finds no room.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
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
    /// Where it listens.
    address: SocketAddr,
    unix: Option<Arc<str>>,
    source: AddressSource,
    tls: Option<TlsDoor>,
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
    place: Place,
    moved_by: String,
    cause: io::Error,
}

#[derive(Debug)]
enum Place {
    Net(SocketAddr),
    Unix(std::path::PathBuf),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, moved_by, cause } = self;
        let address = match place {
            Place::Net(address) => address,
            Place::Unix(path) if cause.kind() == io::ErrorKind::AddrInUse => {
                return write!(
                    f,
                    "the Unix socket {} is in use by another process: choose another path",
                    path.display()
                );
            }
            Place::Unix(path) => return write!(f, "cannot make the Unix socket {}: {cause}", path.display()),
        };
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
    let refused_at = |place, cause| ListenError { place, moved_by: listener.moved_by.clone(), cause };
    let refused = |cause| refused_at(Place::Net(listener.address), cause);
    let socket = bind(listener.address).map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    let unix = listener
        .unix
        .as_ref()
        .map(|place| UnixSocket::bind(place).map_err(|cause| refused_at(Place::Unix(place.path.clone()), cause)));
    let unix = unix.transpose()?;
    if let Front::Engine(engine) = &front {
        engine.doors.opened(listener, address);
        engine.buffers.opened_with(&listener.limits.buffers);
    }
    let shared = Arc::new(Shared {
        address,
        unix: listener.unix.as_ref().map(|place| place.path.to_string_lossy().into()),
        source: listener.source,
        tls: listener.tls.clone(),
        front,
        limits: listener.limits,
        workers: workers.clone(),
        drain: Drain::new(),
        refused: AtomicU64::new(0),
        turned_away: AtomicU64::new(0),
        busy: AtomicU64::new(0),
    });
    let accepting = tokio::spawn(accept(socket, unix, shared.clone()));
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

    /// Takes no more connections; the address is free afterwards. The open ones go on.
    pub async fn shut(&mut self) {
        self.accepting.abort();
        drop((&mut self.accepting).await);
    }

    /// Takes no more connections, lets the open ones finish what they have been sent for `timeout`, then cuts them.
    /// Answers how many were cut.
    pub async fn drain(self, timeout: Duration) -> usize {
        let cut = self.shared.drain.finish(timeout).await;
        self.accepting.abort();
        cut
    }
}

async fn accept(socket: TcpListener, unix: Option<UnixSocket>, shared: Arc<Shared>) {
    let by_unix = async || match &unix {
        Some(unix) => unix.listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    };
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted.map(|(stream, address)| shared.take(stream, address)),
            accepted = by_unix() => accepted.map(|stream| shared.take_local(stream)),
            () = shared.drain.reached(Phase::Draining) => return,
        };
        match accepted {
            Ok(()) => {}
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
    /// The first stage of the road, at accept: network, then room, then a worker. Who comes through a proxy is known only
    /// once that has said so.
    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        if self.source == AddressSource::Peer && !self.admits(peer.ip().to_canonical(), local.port()) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(stream.set_nodelay(true));
        self.keep_alive(&stream);
        let Some(guest) = self.enter() else {
            drop(stream.try_write(TOO_MANY));
            return;
        };
        self.begin(guest, Carrier::Net { stream, peer, local });
    }

    /// As [`Shared::take`], by the Unix socket: from this machine.
    fn take_local(self: &Arc<Self>, stream: UnixStream) {
        if !self.admits(Ipv4Addr::LOCALHOST.into(), self.address.port()) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(guest) = self.enter() else {
            drop(stream.try_write(TOO_MANY));
            return;
        };
        self.begin(guest, Carrier::Unix(stream));
    }

    fn begin(self: &Arc<Self>, guest: Guest, stream: Carrier) {
        let arrival = Arrival { shared: self.clone(), guest };
        let held = Held { stream, input: Vec::new(), session: None };
        match self.workers.choose() {
            Some(_) => arrival.place(held),
            None => arrival.hold(held),
        }
    }

    fn enter(&self) -> Option<Guest> {
        let guest = self.drain.enter(self.connections_max());
        if guest.is_none() {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            if let Front::Engine(engine) = &self.front {
                engine.doors.turned_away();
            }
        }
        guest
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
            engine.doors.closed(self.limits, self.address);
        }
    }
}

/// A connection on its way to a worker.
struct Arrival {
    shared: Arc<Shared>,
    guest: Guest,
}

/// A connection's life on its worker, boxed by itself: the task that begins it has no room for the largest kind there is.
type Conversation = Pin<Box<dyn Future<Output = ()>>>;

/// A connection that was given to a worker and that the worker has not begun.
type Sent = Arc<Mutex<Option<(Arrival, Held<Parcel>)>>>;

/// What a connection came by.
enum Carrier {
    Net {
        stream: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
    },
    Unix(UnixStream),
    /// It has said all that comes before its first request.
    In {
        stream: Entered,
        peer: Peer,
    },
}

/// The same, in no runtime's care.
enum Parcel {
    Net { stream: std::net::TcpStream, peer: SocketAddr, local: SocketAddr },
    Unix(std::os::unix::net::UnixStream),
    In { stream: ParcelIn, peer: Peer },
}

impl Carrier {
    fn pack(self) -> io::Result<Parcel> {
        Ok(match self {
            Self::Net { stream, peer, local } => Parcel::Net { stream: stream.into_std()?, peer, local },
            Self::Unix(stream) => Parcel::Unix(stream.into_std()?),
            Self::In { stream, peer } => Parcel::In { stream: stream.pack()?, peer },
        })
    }
}

impl Parcel {
    async fn unpack(self) -> io::Result<Carrier> {
        Ok(match self {
            Self::Net { stream, peer, local } => Carrier::Net { stream: TcpStream::from_std(stream)?, peer, local },
            Self::Unix(stream) => Carrier::Unix(UnixStream::from_std(stream)?),
            Self::In { stream, peer } => Carrier::In { stream: stream.unpack().await?, peer },
        })
    }
}

impl Arrival {
    /// Serves the connection here until a worker responds.
    fn hold(self, held: Held<Carrier>) {
        self.shared.busy.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.wait(held));
    }

    async fn wait(self, held: Held<Carrier>) {
        let held = tokio::select! {
            held = self.shared.serve_until_placed(held) => held,
            () = self.shared.drain.reached(Phase::Draining) => None,
        };
        if let Some(held) = held {
            self.place(held);
        }
    }

    fn place(self, held: Held<Carrier>) {
        let Held { stream, input, session } = held;
        // The worker's runtime watches the socket from here on, not this one.
        let Ok(stream) = stream.pack() else { return };
        let workers = self.shared.workers.clone();
        let sent: Sent = Arc::new(Mutex::new(Some((self, Held { stream, input, session }))));
        let parcel = sent.clone();
        let placed = workers.place(move |seat: Seat| async move {
            let Some((arrival, Held { stream, input, session })) = parcel.lock().take() else { return };
            match Box::pin(stream.unpack()).await {
                Ok(stream) => arrival.live(Held { stream, input, session }, seat).await,
                Err(error) => tracing::warn!(%error, "cannot watch a connection"),
            }
        });
        let Ok(worker) = placed else { return take_back(&sent) };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEGUN).await;
                if sent.lock().is_none() {
                    return;
                }
                if !workers.responds(worker) {
                    return take_back(&sent);
                }
            }
        });
    }

    /// The connection's life on its worker.
    async fn live(self, held: Held<Carrier>, seat: Seat) {
        let Self { shared, guest } = self;
        let Held { stream, input, session } = held;
        let conversation = match stream {
            Carrier::Unix(stream) => {
                let peer = shared.local_peer();
                shared.converse(Held { stream, input, session }, peer, guest, seat)
            }
            Carrier::Net { stream, peer, local } => {
                let entered = tokio::select! {
                    entered = Box::pin(shared.let_in(stream, peer, local)) => entered,
                    () = shared.drain.reached(Phase::Draining) => None,
                };
                let Some((stream, peer)) = entered else { return };
                shared.converse_in(Held { stream, input, session }, peer, guest, seat)
            }
            Carrier::In { stream, peer } => shared.converse_in(Held { stream, input, session }, peer, guest, seat),
        };
        if let Some(conversation) = conversation {
            conversation.await;
        }
    }
}

/// A worker that took a connection and did not begin it is held by something long: the connection is served here until
/// another is free.
fn take_back(sent: &Sent) {
    let Some((arrival, Held { stream, input, session })) = sent.lock().take() else { return };
    tokio::spawn(async move {
        if let Ok(stream) = stream.unpack().await {
            arrival.hold(Held { stream, input, session });
        }
    });
}

impl Shared {
    /// What a TCP connection says before its first request. `None`: it is dropped.
    async fn let_in(&self, mut stream: TcpStream, peer: SocketAddr, local: SocketAddr) -> Option<(Entered, Peer)> {
        let port = local.port();
        let origin = entry::origin(&mut stream, self.source, peer).await;
        let origin = origin.filter(|origin| {
            self.source == AddressSource::Peer || self.admits(origin.address.ip().to_canonical(), port)
        });
        let Some(origin) = origin else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let Origin { address, secure, vpce } = origin;
        let entered = entry::secure(stream, self.tls.as_ref(), self.idle_timeout_ms()).await?;
        let mut source = Source::new(address.ip(), secure || entered.is_tls(), port);
        source.vpce = vpce;
        Some((entered, Peer { source, address: address.into(), local: local.into() }))
    }

    fn idle_timeout_ms(&self) -> u64 {
        match &self.front {
            Front::Engine(engine) => engine.doors.idle_timeout_ms(),
            Front::Echo => self.limits.idle_timeout_ms,
        }
    }

    /// Serves a connection on this thread until a worker responds. `None`: it ended.
    async fn serve_until_placed(&self, held: Held<Carrier>) -> Option<Held<Carrier>> {
        let Held { stream, input, session } = held;
        let (stream, peer) = match stream {
            Carrier::Unix(stream) => {
                let held = Held { stream, input, session };
                let held = held.wait(&self.front, &self.local_peer(), &self.workers).await?;
                return Some(held.with(Carrier::Unix));
            }
            Carrier::Net { stream, peer, local } => self.let_in(stream, peer, local).await?,
            Carrier::In { stream, peer } => (stream, peer),
        };
        Some(match stream {
            Entered::Plain(stream) => {
                let held = Held { stream, input, session }.wait(&self.front, &peer, &self.workers).await?;
                held.with(|stream| Carrier::In { stream: Entered::Plain(stream), peer })
            }
            #[cfg(feature = "tls")]
            Entered::Tls(stream, settings) => {
                let held = Held { stream, input, session }.wait(&self.front, &peer, &self.workers).await?;
                held.with(|stream| Carrier::In { stream: Entered::Tls(stream, settings), peer })
            }
        })
    }

    /// Who comes by the Unix socket.
    fn local_peer(&self) -> Peer {
        let path = self.unix.clone().unwrap_or_else(|| "".into());
        let source = Source::new(Ipv4Addr::LOCALHOST.into(), false, self.address.port());
        Peer { source, address: Address::Unix(path.clone()), local: Address::Unix(path) }
    }

    fn converse_in(&self, held: Held<Entered>, peer: Peer, guest: Guest, seat: Seat) -> Option<Conversation> {
        let Held { stream, input, session } = held;
        match stream {
            Entered::Plain(stream) => self.converse(Held { stream, input, session }, peer, guest, seat),
            #[cfg(feature = "tls")]
            Entered::Tls(stream, _) => self.converse(Held { stream: *stream, input, session }, peer, guest, seat),
        }
    }

    fn converse(&self, held: Held<impl Wire + 'static>, peer: Peer, guest: Guest, seat: Seat) -> Option<Conversation> {
        let Held { stream, input, session } = held;
        let limits = self.limits;
        Some(match &self.front {
            Front::Echo => Box::pin(Connection::new(stream, Echo::default(), seat, limits, guest, input).run()),
            Front::Engine(engine) => {
                let worker = seat.worker();
                let session = session.map_or_else(|| engine.open(peer, worker, seat.now()), Ok);
                let mut session = session.ok()?;
                session.moves_to(worker);
                let client = SessionClient { engine: engine.clone(), session, worker };
                Box::pin(Connection::new(stream, client, seat, limits, guest, input).run())
            }
        })
    }
}
