//! The words that start something: `up`, `gateway`, `node`; and `check`, which starts nothing.

use std::path::{Path, PathBuf};

use larder_cloud::config::{self, Given, Loaded, Mistakes, Mode, Override, Sources};
use larder_cloud::{Run, StartError, World};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Check, Gateway, Http, Node, Serve, Tls, Up};
use crate::banner::{self, Kind};
use crate::outcome::{Failure, say};

/// `larder up`
pub(crate) fn up(flags: &Up) -> Result<(), Failure> {
    not_built("--memcached", flags.memcached.is_some())?;
    not_built("--node-ports", flags.node_ports.is_some())?;
    let recipe = Recipe {
        resp: flags.resp.clone().map(|address| (address, "--resp")),
        unix_socket: unix_socket(&flags.unix_socket),
        ..Recipe::new(Mode::Up, &flags.serve)
    };
    recipe.with_http(&flags.http).serve(&flags.serve, Kind::Up)
}

/// `larder gateway`
pub(crate) fn gateway(flags: &Gateway) -> Result<(), Failure> {
    if flags.serve.config.is_none() && !flags.echo {
        return Err(Failure::Usage("a gateway needs --config FILE with the caches it is in front of".to_owned()));
    }
    let mode = if flags.echo { Mode::Echo } else { Mode::Gateway };
    let kind = if flags.echo { Kind::GatewayEcho } else { Kind::Gateway };
    Recipe::new(mode, &flags.serve).with_http(&flags.http).serve(&flags.serve, kind)
}

/// `larder node`
pub(crate) fn node(flags: &Node) -> Result<(), Failure> {
    if flags.serve.config.is_none() && !flags.anonymous && !flags.echo {
        let what = "nobody could log in to this node: give --anonymous for callers on this machine, or --config FILE with \
                    a cache and its [[user]]s";
        return Err(Failure::Usage(what.to_owned()));
    }
    let listen = flags.listen.clone().map(|address| (address, "--listen"));
    let mut recipe = Recipe::new(Mode::Node(flags.cache.clone()), &flags.serve);
    recipe.resp = listen;
    recipe.unix_socket = unix_socket(&flags.unix_socket);
    recipe.set_tls(&flags.tls);
    recipe.anonymous = flags.anonymous;
    recipe.serve(&flags.serve, if flags.echo { Kind::NodeEcho } else { Kind::Node })
}

/// `larder check`
pub(crate) fn check(flags: &Check) -> Result<(), Failure> {
    let recipe = Recipe { file: Some(flags.config.clone()), ..Recipe::of(Mode::Check) };
    let loaded = recipe.load()?;
    notes(&loaded.notes);
    say(&loaded.printed)
}

/// The configuration of `policy explain`.
pub(crate) fn load_for_questions(file: &Path) -> Result<Loaded, Failure> {
    Recipe { file: Some(file.to_owned()), ..Recipe::of(Mode::Check) }.load()
}

fn unix_socket(path: &Option<String>) -> Option<(String, &'static str)> {
    path.clone().map(|path| (path, "--unix-socket"))
}

fn not_built(flag: &str, given: bool) -> Result<(), Failure> {
    if given { Err(Failure::Usage(format!("{flag} is not built yet (docs/fidelity.md)"))) } else { Ok(()) }
}

/// How to make the configuration, at the start and at each reload.
struct Recipe {
    mode: Mode,
    file: Option<PathBuf>,
    flags: Vec<Override>,
    resp: Option<(String, &'static str)>,
    unix_socket: Option<(String, &'static str)>,
    anonymous: bool,
}

impl Recipe {
    fn of(mode: Mode) -> Recipe {
        Recipe { mode, file: None, flags: Vec::new(), resp: None, unix_socket: None, anonymous: false }
    }

    fn new(mode: Mode, serve: &Serve) -> Recipe {
        let mut recipe = Recipe { file: serve.config.clone(), ..Recipe::of(mode) };
        recipe.set("admin.listen", "--admin", serve.admin.clone());
        recipe.set("workers", "--workers", serve.workers.map(|n| n.to_string()));
        recipe.set("log.level", "--log", serve.log.clone());
        recipe.set("log.format", "--log-format", serve.log_format.clone());
        recipe.set("drain_timeout_ms", "--drain-timeout", serve.drain_timeout.map(|ms| ms.to_string()));
        recipe
    }

    fn with_http(mut self, http: &Http) -> Recipe {
        self.set("http.listen", "--http", http.http.clone());
        self.set("aws.listen", "--aws", http.aws.clone());
        self.set_tls(&http.tls);
        self
    }

    fn set_tls(&mut self, tls: &Tls) {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        self.set("tls.cert", "--tls-cert", path(&tls.tls_cert));
        self.set("tls.key", "--tls-key", path(&tls.tls_key));
        self.set("tls.generated", "--tls-generated", tls.tls_generated.then(|| "true".to_owned()));
        self.set("tls.client_ca", "--tls-client-ca", path(&tls.tls_client_ca));
    }

    fn set(&mut self, path: &'static str, flag: &str, text: Option<String>) {
        self.flags.extend(text.map(|text| Override { path, text, origin: flag.to_owned() }));
    }

    fn load(&self) -> Result<Loaded, Failure> {
        let text = match &self.file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::Mistake(format!("cannot read the configuration {}: {error}", file.display()))
            })?),
            None => None,
        };
        let given = Given {
            file: text.as_deref(),
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            flags: self.flags.clone(),
            resp: self.resp.clone(),
            unix_socket: self.unix_socket.clone(),
            anonymous: self.anonymous,
        };
        let folder = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let sources =
            Sources { variable: &|name| std::env::var(name).ok(), read: &|path| std::fs::read_to_string(path), folder };
        config::load(&given, &self.mode, &sources).map_err(|mistakes| Failure::Mistake(self.told(&mistakes)))
    }

    /// Every mistake, one a line.
    fn told(&self, mistakes: &Mistakes) -> String {
        let what = if mistakes.len() == 1 { "a mistake".to_owned() } else { format!("{} mistakes", mistakes.len()) };
        let place = match &self.file {
            Some(file) => format!("in the configuration {}", file.display()),
            None => "in the configuration".to_owned(),
        };
        let each = mistakes.iter().map(|(path, what)| format!("\n  {path}: {what}"));
        format!("{what} {place}{}", each.collect::<String>())
    }

    fn serve(self, serve: &Serve, kind: Kind) -> Result<(), Failure> {
        not_built("--data-dir", serve.data_dir.is_some())?;
        if let Some(file) = serve.ready_file.as_ref().filter(|_| !serve.print_config) {
            // What an earlier server wrote must not be believed while this one starts, or fails to.
            let _ = std::fs::remove_file(file);
        }
        let loaded = self.load()?;
        if serve.print_config {
            notes(&loaded.notes);
            return say(&loaded.printed);
        }
        start_log(&loaded.config.log);
        notes(&loaded.notes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Broke(format!("the system refuses a runtime: {error}")))?;
        runtime.block_on(self.live(loaded, serve, kind))
    }

    /// From the start to the end of a server.
    async fn live(self, loaded: Loaded, serve: &Serve, kind: Kind) -> Result<(), Failure> {
        let mut signals =
            Signals::listen().map_err(|error| Failure::Broke(format!("cannot listen to signals: {error}")))?;
        let (development, tls) = (loaded.config.development, loaded.config.tls.is_some());
        let run = match kind {
            Kind::Up | Kind::Gateway => Run::Everything,
            Kind::Node => Run::Node,
            Kind::GatewayEcho => Run::HttpEcho,
            Kind::NodeEcho => Run::RespEcho,
        };
        let world = World::start(loaded.config, run).await.map_err(|error| match error {
            StartError::Mistake(what) => Failure::Mistake(what),
            StartError::Broke(what) => Failure::Broke(what),
        })?;
        let addresses = world.addresses();
        if let Some(file) = &serve.ready_file {
            banner::write_ready(file, &addresses, tls, world.certificate_pem())?;
        }
        // A server whose terminal is gone goes on.
        let _ = say(&banner::text(kind, &addresses, development, tls));
        loop {
            match signals.next().await {
                Told::Stop => break,
                Told::Reload => self.reload(&world).await,
            }
        }
        tracing::info!("stopping: requests under way may finish");
        tokio::select! {
            cut = world.stop() => {
                if cut > 0 {
                    tracing::warn!(cut, "connections were cut at the end of the drain timeout");
                }
                if let Some(file) = &serve.ready_file {
                    let _ = std::fs::remove_file(file);
                }
                Ok(())
            }
            () = signals.stop() => Err(Failure::Broke("stopped at once by a second signal".to_owned())),
        }
    }

    async fn reload(&self, world: &World) {
        let loaded = match self.load() {
            Ok(loaded) => loaded,
            Err(Failure::Mistake(what) | Failure::Usage(what) | Failure::Broke(what)) => {
                tracing::error!("the configuration was not reloaded, the old one stays: {what}");
                return;
            }
        };
        notes(&loaded.notes);
        for what in world.reload(loaded.config).await {
            tracing::warn!("reload: {what}");
        }
        tracing::info!("the configuration was reloaded");
    }
}

/// What a signal asks for.
enum Told {
    Stop,
    Reload,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    async fn stop(&mut self) {
        while let Told::Reload = self.next().await {}
    }
}

fn notes(notes: &[String]) {
    for note in notes {
        tracing::warn!("{note}");
        if !tracing::enabled!(tracing::Level::WARN) {
            eprintln!("larder: note: {note}");
        }
    }
}

fn start_log(log: &config::Log) {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::new(&log.level);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if log.json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
