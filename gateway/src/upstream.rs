//! Connections to a remote RESP server: one pipelined connection per worker, and a few of their own for transactions.
//!
//! Requests of all HTTP callers of a worker share one socket. They are appended to one write buffer, flushed when the
//! worker's run queue gets to the link's task, so whatever arrived together leaves in one write; replies are matched
//! first in, first out, and their bytes passed through. A connection that dies or stalls fails its whole queue at once;
//! after a failed connect further requests fail fast until the backoff is over. Nothing is sent twice except reads.
//!
//! Connections belong to the thread that made them, so there is no lock: an [`Upstream`] is a key to its thread's lane.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use larder_node::resp::{OwnedArgs, encode_request};
use tokio::net::TcpStream;

use crate::config::Remote;

mod frame;
mod link;
mod pool;

use frame::Framer;
use link::Link;
pub(crate) use pool::Lease;
use pool::Pool;

/// Bounds of one worker's connections to one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most requests waiting for their replies on the shared connection.
    pub(crate) waiting_max: usize,
    /// Most bytes waiting to be written to it.
    pub(crate) unsent_bytes_max: usize,
    /// Longest group of replies to one request, in bytes.
    pub(crate) reply_bytes_max: usize,
    /// First wait after a failed connect; doubles up to `backoff_max`.
    pub(crate) backoff_min: Duration,
    /// Longest wait after a failed connect.
    pub(crate) backoff_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            waiting_max: 16_384,
            unsent_bytes_max: 64 * 1024 * 1024,
            reply_bytes_max: 256 * 1024 * 1024,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(2),
        }
    }
}

/// Why there is no reply. The server is at fault, or the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamError {
    /// No connection could be made.
    Connect(Arc<str>),
    /// The server refused our login.
    Login(Arc<str>),
    /// The connection ended before the reply; the command may have run.
    Lost,
    /// No reply in time; the command may have run.
    TimedOut,
    /// Too much is waiting already; nothing was sent.
    Busy,
    /// What came back is no RESP2 reply, or too long.
    BadReply,
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UpstreamError::Connect(cause) => write!(f, "cannot reach the backend: {cause}"),
            UpstreamError::Login(cause) => write!(f, "the backend refused the gateway's login: {cause}"),
            UpstreamError::Lost => f.write_str("the connection to the backend was lost; a write may have been done"),
            UpstreamError::TimedOut => f.write_str("the backend did not answer in time; a write may have been done"),
            UpstreamError::Busy => f.write_str("too many requests are waiting for the backend"),
            UpstreamError::BadReply => f.write_str("the backend sent something that is no reply"),
        }
    }
}

impl std::error::Error for UpstreamError {}

/// A remote RESP server. Clones and threads share the settings, threads have connections of their own.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    /// Unique in the process: the key of each thread's lane.
    id: u64,
    remote: Remote,
    limits: Limits,
}

/// One thread's connections to one server.
struct Lane {
    node: Weak<Node>,
    link: Link,
    pool: Pool,
}

thread_local! {
    static LANES: RefCell<HashMap<u64, Rc<Lane>>> = RefCell::default();
}

impl Upstream {
    /// A server that will be connected to when it is first needed.
    pub(crate) fn new(remote: Remote, limits: Limits) -> Upstream {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Upstream { node: Arc::new(Node { id, remote, limits }) }
    }

    /// Sends encoded requests on the shared connection and waits for their `replies`, in order.
    ///
    /// `repeatable` requests only read: they are sent once more when the connection ends before the reply.
    ///
    /// # Errors
    /// [`UpstreamError`]; only for `Connect`, `Login` and `Busy` it is certain that nothing ran.
    pub(crate) async fn ask(&self, requests: &[u8], replies: usize, repeatable: bool) -> Result<Bytes, UpstreamError> {
        let lane = self.lane();
        match lane.link.ask(requests, replies).await {
            Err(UpstreamError::Lost) if repeatable => lane.link.ask(requests, replies).await,
            outcome => outcome,
        }
    }

    /// A connection that nobody else uses until it is given back.
    ///
    /// # Errors
    /// `Connect` and `Login`, and `Busy` when none becomes free in time.
    pub(crate) async fn lease(&self) -> Result<Lease, UpstreamError> {
        self.lane().pool.lease().await
    }

    fn lane(&self) -> Rc<Lane> {
        LANES.with_borrow_mut(|lanes| {
            if let Some(lane) = lanes.get(&self.node.id) {
                return lane.clone();
            }
            // A reload drops servers that are gone from the configuration; their links end by themselves.
            lanes.retain(|_, lane| lane.node.strong_count() > 0);
            let node = Arc::downgrade(&self.node);
            let link = Link::start(self.node.remote.clone(), self.node.limits, node.clone());
            let pool = Pool::new(self.node.remote.clone(), self.node.limits);
            let lane = Rc::new(Lane { node, link, pool });
            lanes.insert(self.node.id, lane.clone());
            lane
        })
    }
}

/// Connects and logs in, all within the server's timeout.
async fn connect(remote: &Remote, limits: &Limits) -> Result<TcpStream, UpstreamError> {
    match tokio::time::timeout(remote.timeout, open(remote, limits)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(UpstreamError::Connect(
            format!("no connection to {}:{} within {} ms", remote.host, remote.port, remote.timeout.as_millis()).into(),
        )),
    }
}

async fn open(remote: &Remote, limits: &Limits) -> Result<TcpStream, UpstreamError> {
    let failed = |error: io::Error| UpstreamError::Connect(format!("{}:{}: {error}", remote.host, remote.port).into());
    let mut stream = TcpStream::connect((remote.host.as_str(), remote.port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    if let Some(password) = &remote.password {
        let words = ["AUTH"].into_iter().chain(remote.user.as_deref()).chain([password.as_str()]);
        let mut request = Vec::new();
        encode_request(OwnedArgs::from_slices(words).as_args(), &mut request);
        let reply = exchange(&mut stream, &mut BytesMut::new(), &request, 1, limits).await?;
        if let Some(text) = reply.strip_prefix(b"-") {
            return Err(UpstreamError::Login(String::from_utf8_lossy(text.trim_ascii()).into()));
        }
    }
    Ok(stream)
}

/// One request group and its replies on a connection nobody else uses.
async fn exchange(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    requests: &[u8],
    replies: usize,
    limits: &Limits,
) -> Result<Bytes, UpstreamError> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(requests).await.map_err(|_| UpstreamError::Lost)?;
    let mut framer = Framer::new(replies, limits.reply_bytes_max);
    loop {
        if let Some(end) = framer.advance(buffer).map_err(|_| UpstreamError::BadReply)? {
            return Ok(buffer.split_to(end).freeze());
        }
        buffer.reserve(4096);
        match stream.read_buf(buffer).await {
            Ok(0) | Err(_) => return Err(UpstreamError::Lost),
            Ok(_) => {}
        }
    }
}
