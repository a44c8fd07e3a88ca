//! The two servers: redis-server as the oracle, and the node.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use larder_iam_policies::access::LiveAccess;
use larder_iam_policies::config::{RawAccess, RawCacheAccess, RawUser};
use larder_node::commands::Vocabulary;
use larder_node::server::{ConnectionLimits, Listener, listen, sweep};
use larder_node::workers::Workers;
use larder_node::{Engine, EngineConfig};
use tokio::sync::oneshot;

use crate::larder::Redis;

/// Who may log in: name, password, and what they may do, in words that redis and an access string share.
pub const USERS: [(&str, &str, &str); 2] = [
    ("app", "app-password", "~* &* +@all"),
    ("reader", "reader-password", "~r:* &r:* -@all +@read +@transaction +publish +subscribe +blpop +ping"),
];
/// The user that is there only where nobody is anonymous, as an anonymous caller may do everything.
const LIMITED: &str = "reader";

/// How long the node may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with nothing in it, which runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    _running: Running,
}

enum Running {
    Redis { _server: Redis },
    Node { stop: Option<oneshot::Sender<()>>, thread: Option<JoinHandle<()>> },
}

impl Server {
    /// A redis-server. `guarded`: nobody is anonymous.
    ///
    /// # Panics
    /// There is none on PATH, or it does not start.
    #[must_use]
    pub fn redis(guarded: bool) -> Self {
        let server = Redis::with(&redis_config(guarded));
        Self { address: server.address(), _running: Running::Redis { _server: server } }
    }

    /// A node, on two workers of this process.
    ///
    /// # Errors
    /// It does not start.
    pub fn node(guarded: bool) -> Result<Self, String> {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread =
            std::thread::spawn(move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(serve(guarded, &tell, stopped)),
                Err(error) => drop(tell.send(Err(error.to_string()))),
            });
        let address = told.recv_timeout(PATIENCE).map_err(|error| error.to_string())??;
        Ok(Self { address, _running: Running::Node { stop: Some(stop), thread: Some(thread) } })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Running::Node { stop, thread } = self {
            drop(stop.take());
            drop(thread.take().map(JoinHandle::join));
        }
    }
}

fn redis_config(guarded: bool) -> String {
    let mut lines = String::new();
    for (name, password, rights) in USERS.iter().filter(|(name, ..)| guarded || *name != LIMITED) {
        lines.push_str(&format!("user {name} on >{password} resetchannels {rights}\n"));
    }
    if guarded {
        lines.push_str("user default off\n");
    }
    lines
}

async fn serve(guarded: bool, tell: &mpsc::Sender<Result<SocketAddr, String>>, stopped: oneshot::Receiver<()>) {
    let started = async {
        let workers = Workers::start(2).map_err(|error| error.to_string())?;
        let mut config = EngineConfig::new("default");
        config.workers = workers.count();
        let engine = Engine::new(config, Arc::new(LiveAccess::new(access(guarded)?)), 7, workers.clock().now());
        sweep(&engine, &workers);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener { address, moved_by: "a test".into(), limits: ConnectionLimits::default() };
        let listening = listen(&listener, engine, &workers).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((listening, workers))
    };
    match started.await {
        Err(why) => drop(tell.send(Err(why))),
        Ok((listening, workers)) => {
            drop(tell.send(Ok(listening.address())));
            // Ends when the server is dropped, which is all it waits for.
            drop(stopped.await);
            listening.drain(Duration::ZERO).await;
            workers.stop();
        }
    }
}

fn access(guarded: bool) -> Result<larder_iam_policies::access::Access, String> {
    let users = USERS.iter().filter(|(name, ..)| guarded || *name != LIMITED);
    let user = |(name, password, rights): &(&str, &str, &str)| RawUser {
        name: (*name).into(),
        passwords: vec![(*password).into()],
        access_string: format!("on {rights}"),
        caches: vec!["default".into()],
    };
    let raw = RawAccess {
        account: "000000000000".into(),
        region: "us-east-1".into(),
        user: users.map(user).collect(),
        ..Default::default()
    };
    let cache =
        RawCacheAccess { name: "default".into(), engine: "valkey".into(), anonymous: !guarded, ..Default::default() };
    let mut mistakes = Vec::new();
    raw.check(&[cache], &Vocabulary, &mut mistakes).ok_or_else(|| format!("{mistakes:?}"))
}
