//! Real servers for whole-system tests: `larder` and redis-server as processes on free ports, gone when dropped.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a server may take to be ready on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// The `larder` binary that was built with these tests.
///
/// # Panics
/// It is not there.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.ancestors().find(|folder| folder.join("larder").is_file());
    folder
        .expect("no `larder` beside the tests: run `cargo build --workspace --bins`, or `cargo xtask test`")
        .join("larder")
}

/// A folder of this workspace's target directory, for example `py`.
pub fn target(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    // A test is in target/PROFILE/deps, a binary in target/PROFILE.
    let profile = own.ancestors().find(|folder| folder.join("deps").is_dir());
    profile.and_then(Path::parent).expect("this was built by cargo").join(name)
}

/// `larder WORDS…`, without the settings and credentials of whoever runs the tests.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(words).stdin(Stdio::null());
    let foreign = |name: &str| name.starts_with("LARDER_") || name.starts_with("AWS_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(foreign)) {
        command.env_remove(name);
    }
    command
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command to its end.
///
/// # Panics
/// It cannot be started.
pub fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A running `larder up`, `gateway` or `node`.
pub struct Larder {
    child: Child,
    folder: TempDir,
    ready: Value,
}

impl Larder {
    /// `larder up` with nothing configured, on free ports.
    pub fn up() -> Larder {
        Larder::start(&["up"], None)
    }

    /// `larder WORDS…` on free ports, with this configuration.
    ///
    /// # Panics
    /// It ends before it is ready, or is not ready in time; with what it said.
    pub fn start(words: &[&str], config: Option<&str>) -> Larder {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Larder::command(words, folder.path(), config);
        let ready = folder.path().join("ready");
        command.arg("--ready-file").arg(&ready);
        let create = |name: &str| std::fs::File::create(folder.path().join(name)).expect("an output file");
        command.stdin(Stdio::null()).stdout(create("banner")).stderr(create("log"));
        let child = command.spawn().expect("larder starts");
        let mut larder = Larder { child, folder, ready: Value::Null };
        larder.ready = wait_for(|| {
            if let Some(status) = larder.child.try_wait().expect("a child can be asked") {
                panic!("larder {words:?} ended with {status}: {}", larder.log());
            }
            std::fs::read_to_string(&ready).ok().and_then(|text| serde_json::from_str(&text).ok())
        });
        larder
    }

    /// The command of [`Larder::start`], for tests that want its end and not its life. Free ports, development logs.
    pub fn command(words: &[&str], folder: &Path, config: Option<&str>) -> Command {
        let mut command = command(words);
        command.args(["--log", "info"]).current_dir(folder);
        let given = |flag: &&str| words.contains(flag);
        let free: &[&str] = match words.first() {
            Some(&"up") => &["--http", "--aws", "--admin"],
            Some(&"gateway") => &["--http", "--admin"],
            _ => &["--admin"],
        };
        for flag in free.iter().filter(|flag| !given(flag)) {
            command.args([flag, "0"]);
        }
        if words == ["up"] && config.is_none() {
            command.args(["--resp", "0"]);
        }
        if let Some(config) = config {
            std::fs::write(folder.join("larder.toml"), config).expect("the configuration can be written");
            command.args(["--config", "larder.toml"]);
        }
        command
    }

    /// What it said on standard output.
    pub fn banner(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("banner")).unwrap_or_default()
    }

    /// What it said on standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it wrote when it was ready.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    fn address(value: &Value) -> SocketAddr {
        let text = value.as_str().unwrap_or_else(|| panic!("no address: {value}"));
        text.parse().unwrap_or_else(|_| panic!("no address: {text}"))
    }

    /// Its HTTP data gateway.
    pub fn http(&self) -> SocketAddr {
        Larder::address(&self.ready["http"])
    }

    /// Its health and metrics.
    pub fn admin(&self) -> SocketAddr {
        Larder::address(&self.ready["admin"])
    }

    /// The pages of `/_larder/`.
    pub fn aws(&self) -> SocketAddr {
        Larder::address(&self.ready["aws"])
    }

    /// Where a cache speaks RESP.
    pub fn resp(&self, cache: &str) -> SocketAddr {
        let caches = self.ready["caches"].as_array().expect("caches are a list");
        let found = caches.iter().find(|each| each["name"] == cache);
        Larder::address(&found.unwrap_or_else(|| panic!("no cache {cache}"))["resp"])
    }

    /// Sends a signal: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Replaces the configuration and waits until it is in force, as the log says.
    pub fn reload(&self, config: &str) {
        let before = self.log().len();
        std::fs::write(self.folder.path().join("larder.toml"), config).expect("the configuration can be written");
        self.signal("HUP");
        wait_for(|| self.log()[before..].contains("reloaded").then_some(()));
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for(|| self.child.try_wait().expect("a child can be asked"))
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many free ports are tried for one redis-server.
const PORTS_TRIED: usize = 5;

/// A running redis-server of Debian's, without persistence.
pub struct Redis {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// There is no redis-server, or it is not ready in time.
    pub fn start() -> Redis {
        Redis::with("")
    }

    /// As [`Redis::start`], with more lines of configuration.
    ///
    /// # Panics
    /// As [`Redis::start`], or it does not accept the lines.
    pub fn with(config: &str) -> Redis {
        // Between finding a free port and redis taking it somebody else may: then another one.
        (0..PORTS_TRIED).find_map(|_| Redis::once(config)).expect("redis-server keeps ending before it is ready")
    }

    fn once(config: &str) -> Option<Redis> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = free_address();
        let lines = format!("bind 127.0.0.1\nport {}\nsave \"\"\nappendonly no\n{config}", address.port());
        // Not from a file, which CONFIG REWRITE would write to.
        let mut child = Command::new("redis-server")
            .arg("-")
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("no redis-server on PATH: `cargo xtask test` installs it");
        let mut input = child.stdin.take().expect("it was piped");
        input.write_all(lines.as_bytes()).expect("the configuration can be written");
        drop(input);
        let mut redis = Redis { child, address, _folder: folder };
        let is_there = wait_for(|| {
            let ended = redis.child.try_wait().expect("a child can be asked");
            if ended.is_some() { Some(false) } else { TcpStream::connect(address).ok().map(|_| true) }
        });
        is_there.then_some(redis)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running fakeredis, of the Python clients that `cargo xtask test` installs.
pub struct Fakeredis {
    child: Child,
    address: SocketAddr,
}

impl Fakeredis {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// It is not installed, or does not start.
    pub fn start() -> Fakeredis {
        let python = target("py/bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/fakeredis_server.py");
        let mut child = Command::new(&python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: `cargo xtask test` installs it", python.display()));
        let mut said = String::new();
        let output = child.stdout.take().expect("it was piped");
        BufReader::new(output).read_line(&mut said).expect("its output can be read");
        let port = said.trim().parse().expect("fakeredis says its port: `cargo xtask test` installs it");
        Fakeredis { child, address: (Ipv4Addr::LOCALHOST, port).into() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Fakeredis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address nobody listens on just now.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// Asks until there is an answer.
///
/// # Panics
/// There is none in a minute.
pub fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < START_MAX, "waited for {} s in vain", START_MAX.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}
