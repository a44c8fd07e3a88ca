//! A server under measurement: a process, and its memory.

use super::Bench;
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(20);

/// A running server; dropped, it is killed.
pub(super) struct Server {
    pub(super) name: &'static str,
    /// Where the load goes.
    pub(super) address: SocketAddr,
    /// What it wrote when it was ready; null for a peer.
    pub(super) ready: serde_json::Value,
    child: Child,
}

impl Server {
    /// The servers to compare with, each without persistence: redis-server, and valkey-server where there is one.
    pub(super) fn peers(bench: &Bench) -> Result<Vec<Self>> {
        bench.peers.iter().map(|(name, program)| Self::peer(bench, name, program)).collect()
    }

    fn peer(bench: &Bench, name: &'static str, program: &Path) -> Result<Self> {
        let address = free_address()?;
        let port = address.port().to_string();
        let mut command = Command::new(program);
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(bench.folder.join("files"));
        let child = spawn(&mut command)?;
        let mut server = Self { name, address, ready: serde_json::Value::Null, child };
        server.wait(|| Ok(TcpStream::connect(address).ok().map(drop)))?;
        Ok(server)
    }

    /// A `larder node`.
    pub(super) fn node(bench: &Bench, echo: bool) -> Result<Self> {
        let name = if echo { "node --echo" } else { "node" };
        let words = ["node", "--listen", "127.0.0.1:0", if echo { "--echo" } else { "--anonymous" }];
        Self::larder(bench, name, &words, |ready| address(&ready["caches"][0]["resp"]))
    }

    /// A `larder node` with a configuration of its own.
    pub(super) fn node_with(bench: &Bench, config: &str) -> Result<Self> {
        let file = bench.folder.join("files").join("node.toml");
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let file = file.to_str().context("the target folder's name is not UTF-8")?;
        Self::larder(bench, "node", &["node", "--config", file], |ready| address(&ready["caches"][0]["resp"]))
    }

    /// A `larder up`.
    pub(super) fn up(bench: &Bench) -> Result<Self> {
        let words = ["up", "--http", "127.0.0.1:0", "--aws", "127.0.0.1:0", "--resp", "127.0.0.1:0"];
        Self::larder(bench, "gateway", &words, |ready| address(&ready["http"]))
    }

    /// A `larder gateway --echo`.
    pub(super) fn gateway_echo(bench: &Bench) -> Result<Self> {
        let words = ["gateway", "--echo", "--http", "127.0.0.1:0"];
        Self::larder(bench, "gateway --echo", &words, |ready| address(&ready["http"]))
    }

    fn larder(
        bench: &Bench,
        name: &'static str,
        words: &[&str],
        address: impl Fn(&serde_json::Value) -> Option<SocketAddr>,
    ) -> Result<Self> {
        let (mut command, file) = bench.larder(words, &name.replace(' ', ""));
        let _ = fs::remove_file(&file);
        let unknown = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Self { name, address: unknown, ready: serde_json::Value::Null, child: spawn(&mut command)? };
        let ready = server.wait(|| read_ready(&file))?;
        server.address = address(&ready).with_context(|| format!("{name} names no address to bench: {ready}"))?;
        server.ready = ready;
        Ok(server)
    }

    /// Where the cache `default` speaks RESP.
    pub(super) fn resp(&self) -> Result<SocketAddr> {
        let caches = self.ready["caches"].as_array();
        let default = caches.and_then(|caches| caches.iter().find(|cache| cache["name"] == "default"));
        default.and_then(|cache| address(&cache["resp"])).context("cache `default` has no RESP listener")
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(super) fn rss_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|kb| kb.trim().parse::<u64>().ok());
        Ok(kb.context("no VmRSS")? * 1024)
    }

    /// Asks until there is an answer; the server must still run meanwhile.
    fn wait<T>(&mut self, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it was ready", self.name);
            }
            if start.elapsed() > START_MAX {
                bail!("{} was not ready within {} s", self.name, START_MAX.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address nobody listens on just now.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Starts a server whose output nobody reads; its complaints are shown.
pub(super) fn spawn(command: &mut Command) -> Result<Child> {
    let program = command.get_program().to_owned();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.with_context(|| format!("cannot start {}", program.display()))
}

fn read_ready(file: &Path) -> Result<Option<serde_json::Value>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn address(value: &serde_json::Value) -> Option<SocketAddr> {
    value.as_str()?.parse().ok()
}
