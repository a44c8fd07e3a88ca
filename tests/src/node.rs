//! A node in this process, for tests that look inside it, and a client that says exactly what it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use larder_iam_policies::access::{Access, LiveAccess};
use larder_iam_policies::config::{RawAccess, RawCacheAccess, RawUser};
use larder_node::commands::Vocabulary;
use larder_node::resp::{Limits, read_reply};
use larder_node::server::{ConnectionLimits, Listener, ListenerStats, Listening, listen, sweep};
use larder_node::workers::Workers;
use larder_node::{Engine, EngineConfig};
use tokio::sync::mpsc as orders;

/// Whoever is silent for so long will say nothing more.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a node is set up.
pub struct Setup {
    /// The engine's settings; its workers are set to those there are.
    pub config: EngineConfig,
    /// The listener's limits.
    pub limits: ConnectionLimits,
    /// Worker threads.
    pub workers: usize,
    /// Whether callers need no login.
    pub anonymous: bool,
    /// Users: name, password, access string without `on`.
    pub users: Vec<(&'static str, &'static str, &'static str)>,
}

impl Default for Setup {
    fn default() -> Self {
        let (config, limits) = (EngineConfig::new("default"), ConnectionLimits::default());
        Self { config, limits, workers: 2, anonymous: true, users: Vec::new() }
    }
}

/// A running node, which ends when it is dropped.
pub struct Node {
    address: SocketAddr,
    engine: Arc<Engine>,
    workers: Workers,
    orders: orders::UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Stats(mpsc::Sender<ListenerStats>),
    Drain(Duration, mpsc::Sender<usize>),
}

impl Node {
    /// Starts one.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(setup: Setup) -> Self {
        let workers = Workers::start(setup.workers).expect("worker threads");
        let mut config = setup.config.clone();
        config.workers = workers.count();
        let access = Arc::new(LiveAccess::new(access(&setup)));
        let engine = Engine::new(config, access, 7, workers.clock().now());
        sweep(&engine, &workers);
        let (orders, ordered) = orders::unbounded_channel();
        let (tell, told) = mpsc::channel();
        let thread = {
            let (engine, workers) = (engine.clone(), workers.clone());
            std::thread::spawn(move || control(setup.limits, engine, &workers, &tell, ordered))
        };
        let address = told.recv_timeout(PATIENCE).expect("the listener opens");
        Self { address, engine, workers, orders, thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Its workers.
    #[must_use]
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// What its listener counted.
    ///
    /// # Panics
    /// It was drained.
    #[must_use]
    pub fn stats(&self) -> ListenerStats {
        let (tell, told) = mpsc::channel();
        self.orders.send(Order::Stats(tell)).ok().and_then(|()| told.recv().ok()).expect("a listener")
    }

    /// Drains the listener; how many connections had to be cut.
    ///
    /// # Panics
    /// It was drained before.
    pub fn drain(&self, timeout: Duration) -> usize {
        let (tell, told) = mpsc::channel();
        self.orders.send(Order::Drain(timeout, tell)).ok().and_then(|()| told.recv().ok()).expect("a listener")
    }

    /// Tasks that ended by a panic.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.workers.stats().iter().map(|worker| worker.panics).sum()
    }

    /// A new connection.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let (tell, _told) = mpsc::channel();
        // Drained already, or drained now.
        drop(self.orders.send(Order::Drain(Duration::ZERO, tell)));
        drop(self.thread.take().map(JoinHandle::join));
        self.workers.stop();
    }
}

/// The control thread: accepts, and does what it is told.
fn control(
    limits: ConnectionLimits,
    engine: Arc<Engine>,
    workers: &Workers,
    tell: &mpsc::Sender<SocketAddr>,
    mut ordered: orders::UnboundedReceiver<Order>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::plain(address, "a test", limits);
        let listening: Listening = listen(&listener, engine, workers).await.expect("a free port");
        let _ = tell.send(listening.address());
        while let Some(order) = ordered.recv().await {
            match order {
                Order::Stats(tell) => drop(tell.send(listening.stats())),
                Order::Drain(timeout, tell) => {
                    let _ = tell.send(listening.drain(timeout).await);
                    return;
                }
            }
        }
    });
}

fn access(setup: &Setup) -> Access {
    let user = |(name, password, rights): &(&str, &str, &str)| RawUser {
        name: (*name).into(),
        passwords: vec![(*password).into()],
        access_string: format!("on {rights}"),
        iam: false,
        caches: vec!["default".into()],
    };
    let user = setup.users.iter().map(user).collect();
    let (account, region) = ("000000000000".into(), "us-east-1".into());
    let raw = RawAccess { account, region, user, ..Default::default() };
    let (name, engine) = ("default".into(), "valkey".into());
    let cache = RawCacheAccess { name, engine, anonymous: setup.anonymous, ..Default::default() };
    let mut mistakes = Vec::new();
    raw.check(&[cache], &Vocabulary, &mut mistakes).unwrap_or_else(|| panic!("{mistakes:?}"))
}

/// One RESP connection.
pub struct Client {
    /// The socket, for whoever wants to do something to it.
    pub stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// Nobody listens.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(PATIENCE)).expect("a timeout can be set");
        }
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Self { stream, input: Vec::new() }
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Sends a line and waits for its reply, line ends shown as `|`.
    ///
    /// # Panics
    /// There is no reply.
    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.reply()
    }

    /// As [`Client::say`]; `None` when the connection ends instead.
    ///
    /// # Panics
    /// What comes is no reply, or nothing comes.
    pub fn say_if_open(&mut self, line: &str) -> Option<String> {
        // The server may have closed it already.
        self.stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        self.next()
    }

    /// The next reply, line ends shown as `|`.
    ///
    /// # Panics
    /// There is none.
    pub fn reply(&mut self) -> String {
        self.next().unwrap_or_else(|| panic!("closed amid {:?}", self.input.escape_ascii().to_string()))
    }

    /// The next reply, or `None` when the connection ends first.
    ///
    /// # Panics
    /// What comes is no reply, or nothing comes.
    #[expect(clippy::should_implement_trait, reason = "it blocks and panics, which an iterator should not")]
    pub fn next(&mut self) -> Option<String> {
        loop {
            match read_reply(&self.input, &Limits::DEFAULT).expect("a reply") {
                Some((_, length)) => {
                    let reply: Vec<u8> = self.input.drain(..length).collect();
                    return Some(String::from_utf8_lossy(&reply).replace("\r\n", "|"));
                }
                None if self.fill() => {}
                None => return None,
            }
        }
    }

    /// Everything until the connection ends.
    ///
    /// # Panics
    /// It does not end.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.input)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn shut(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Reads some bytes; false at the end.
    fn fill(&mut self) -> bool {
        let mut bytes = vec![0; 256 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.input.extend_from_slice(&bytes[..count]);
                count > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}
