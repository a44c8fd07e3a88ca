//! Scripts without end: whoever comes is answered, health too, and SCRIPT KILL ends each of them.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use larder_tests::larder::{Larder, wait_for};
use larder_tests::wire::{HOME, Request, Resp};

const ENDLESS: &[&str] = &["EVAL", "while true do end", "0"];
const KILLED: &str = "-ERR Script killed by user with SCRIPT KILL... script: \
                      694a5fe1ddb97a4c6a1bf299d9537c7d3d0f84e7, on @user_script:1.";
const BUSY: &str = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

fn resp(to: SocketAddr) -> Resp {
    Resp::connect(HOME, to).unwrap()
}

/// A cache whose scripts are slow after 100 ms and endless otherwise.
fn set(to: SocketAddr) {
    let set = ["CONFIG", "SET", "lua-time-limit", "100", "lua-instruction-limit", "0"];
    assert_eq!(resp(to).ask(&set).unwrap(), "OK");
}

/// Waits until who comes anew (by `connect`) is told that a script runs too long: if it asks for a script, as scripts run one
/// at a time while another worker answers what needs no key of theirs.
fn until_busy(connect: impl Fn() -> Resp) {
    until_told("-BUSY Redis is busy running a script.", connect);
}

/// As [`until_busy`], of another cache than the script's.
fn until_held(connect: impl Fn() -> Resp) {
    until_told("-BUSY Larder's workers are all held by long commands;", connect);
}

fn until_told(why: &str, connect: impl Fn() -> Resp) {
    // Who came just before the script is not answered at all.
    let is_told = |reply: std::io::Result<String>| reply.is_ok_and(|reply| reply.starts_with(why));
    wait_for(|| is_told(connect().ask(&["EVAL", "return 1", "0"])).then_some(()));
}

/// Ten new connections, of which each gets an answer to what it asks while the scripts run.
fn ten_are_answered(to: SocketAddr) {
    for _ in 0..10 {
        let mut client = resp(to);
        assert_eq!(client.ask(&["PING"]).unwrap(), "PONG");
        let pong = client.ask(&["HELLO", "2"]).unwrap();
        assert!(pong.contains("redis"), "{pong}");
    }
}

fn healthy(at: SocketAddr, page: &str) {
    assert_eq!(Request::new("GET", page, "").send(HOME, at).unwrap().status, 200);
}

/// Asks for SCRIPT KILL until every one of these clients has its answer; how many scripts that ended.
fn kill_all(to: SocketAddr, clients: Vec<Resp>) -> usize {
    let (tell, answered) = std::sync::mpsc::channel();
    for mut client in clients {
        let tell = tell.clone();
        std::thread::spawn(move || tell.send(client.reply().unwrap()));
    }
    drop(tell);
    let mut killed = 0;
    wait_for(|| {
        match &*resp(to).ask(&["SCRIPT", "KILL"]).unwrap() {
            "OK" => killed += 1,
            "-NOTBUSY No scripts in execution right now." => {}
            other => panic!("{other}"),
        }
        match answered.try_recv() {
            Ok(reply) => assert!(reply == KILLED || reply == BUSY, "{reply}"),
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return Some(()),
        }
        None
    });
    killed
}

#[test]
fn an_endless_script_on_every_worker_keeps_nobody_out() {
    let larder = Larder::start(&["node", "--workers", "2", "--anonymous", "--listen", "127.0.0.1:0"], None);
    let at = larder.resp("default");
    set(at);
    // One after another they go to the worker with fewer connections.
    let mut clients: Vec<Resp> = (0..4).map(|_| resp(at)).collect();
    clients.iter_mut().for_each(|client| client.send(ENDLESS).unwrap());
    until_busy(|| resp(at));
    ten_are_answered(at);
    healthy(larder.admin(), "/readyz");
    assert!(kill_all(at, clients) >= 1);
    assert_eq!(resp(at).ask(&["EVAL", "return 7", "0"]).unwrap(), ":7");
}

#[test]
fn when_every_worker_is_held_the_control_thread_answers() {
    let config = r#"
        [[cache]]
        name = "one"
        listen = "127.0.0.1:0"
        anonymous = true
        [[cache]]
        name = "two"
        listen = "127.0.0.1:0"
        anonymous = true
    "#;
    let larder = Larder::start(&["up", "--workers", "2"], Some(config));
    let (one, two) = (larder.resp("one"), larder.resp("two"));
    [one, two].into_iter().for_each(set);
    let mut first = resp(one);
    assert_eq!(first.ask(&["PING"]).unwrap(), "PONG");
    first.send(ENDLESS).unwrap();
    until_busy(|| resp(one));
    // The other worker is the only one that responds.
    let mut second = resp(two);
    second.send(ENDLESS).unwrap();
    until_busy(|| resp(two));
    for at in [one, two] {
        ten_are_answered(at);
        let mut client = resp(at);
        assert_eq!(client.ask(&["GET", "k"]).unwrap(), BUSY);
        assert_eq!(client.ask(&["CLIENT", "SETNAME", "me"]).unwrap(), "OK");
    }
    healthy(larder.admin(), "/readyz");
    healthy(larder.aws(), "/_larder/health");
    assert_eq!(resp(one).ask(&["SCRIPT", "KILL"]).unwrap(), "OK");
    assert_eq!(first.reply().unwrap(), KILLED);
    assert_eq!(resp(two).ask(&["SCRIPT", "KILL"]).unwrap(), "OK");
    assert_eq!(second.reply().unwrap(), KILLED);
    for at in [one, two] {
        let nothing = wait_for(|| {
            let reply = resp(at).ask(&["SCRIPT", "KILL"]).unwrap();
            (reply != "OK").then_some(reply)
        });
        assert_eq!(nothing, "-NOTBUSY No scripts in execution right now.");
    }
}

#[test]
fn who_is_nobody_ends_no_script_while_workers_are_held() {
    let config = r#"
        [[cache]]
        name = "one"
        listen = "127.0.0.1:0"
        [[user]]
        name = "root"
        passwords = ["root-password"]
        access_string = "on ~* &* +@all"
        caches = ["one"]
        [[user]]
        name = "app"
        passwords = ["app-password"]
        access_string = "on ~* &* +@all -@dangerous -script|kill"
        caches = ["one"]
    "#;
    let larder = Larder::start(&["up", "--workers", "1"], Some(config));
    let at = larder.resp("one");
    let login = |name: &str| {
        let mut client = resp(at);
        assert_eq!(client.ask(&["AUTH", name, &format!("{name}-password")]).unwrap(), "OK");
        client
    };
    let set = ["CONFIG", "SET", "lua-time-limit", "100", "lua-instruction-limit", "0"];
    assert_eq!(login("root").ask(&set).unwrap(), "OK");
    let mut endless = login("app");
    endless.send(ENDLESS).unwrap();
    // Who is there already waits; whoever comes is told.
    until_busy(|| login("app"));
    for words in [&["PING"][..], &["SCRIPT", "KILL"], &["GET", "k"]] {
        assert_eq!(resp(at).ask(words).unwrap(), "-NOAUTH Authentication required.");
    }
    assert!(resp(at).ask(&["AUTH", "root", "wrong"]).unwrap().starts_with("-WRONGPASS"));
    let refused = login("app").ask(&["SCRIPT", "KILL"]).unwrap();
    assert!(refused.starts_with("-NOPERM"), "{refused}");
    // Who waits for a worker is served by it as who it said to be.
    let mut waits = login("app");
    assert!(waits.ask(&["SET", "k", "v"]).unwrap().starts_with("-BUSY"));
    assert_eq!(login("root").ask(&["SCRIPT", "KILL"]).unwrap(), "OK");
    assert_eq!(endless.reply().unwrap(), KILLED);
    // Its worker is back in a moment.
    wait_for(|| (waits.ask(&["SET", "k", "v"]).unwrap() == "OK").then_some(()));
    assert_eq!(waits.ask(&["ACL", "WHOAMI"]).unwrap(), "app");
}

/// A client that speaks TLS: redis-cli, asked line by line.
struct Tls {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Tls {
    fn connect(to: SocketAddr) -> Self {
        let mut command = Command::new("redis-cli");
        command.args(["--tls", "--insecure", "-h", &to.ip().to_string(), "-p", &to.port().to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that is not empty.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        while line.trim().is_empty() {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "redis-cli ended");
        }
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.answer()
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that comes through a proxy.
fn proxied(to: SocketAddr) -> Resp {
    let mut client = resp(to);
    client.send_raw(b"PROXY TCP4 127.0.0.1 127.0.0.1 4660 6379\r\n").unwrap();
    client
}

#[test]
fn by_tls_and_through_a_proxy_clients_are_answered_while_every_worker_is_held() {
    let config = r#"
        [tls]
        generated = true
        [[cache]]
        name = "plain"
        listen = "127.0.0.1:0"
        anonymous = true
        tls = "off"
        [[cache]]
        name = "secure"
        listen = "127.0.0.1:0"
        anonymous = true
        tls = "required"
        [[cache]]
        name = "proxied"
        listen = "127.0.0.1:0"
        anonymous = true
        tls = "off"
        source = "proxy-v1"
    "#;
    let larder = Larder::start(&["up", "--workers", "1"], Some(config));
    let (plain, secure, proxy) = (larder.resp("plain"), larder.resp("secure"), larder.resp("proxied"));
    set(plain);
    let limits = ["lua-time-limit", "100", "lua-instruction-limit", "0"];
    let set = ["CONFIG", "SET"].into_iter().chain(limits).collect::<Vec<_>>();
    assert_eq!(proxied(proxy).ask(&set).unwrap(), "OK");
    assert_eq!(Tls::connect(secure).ask(&set.join(" ")), "OK");

    // Each kind of client in turn is the one whose script does not end.
    let held = |at_whom: &str| {
        for _ in 0..10 {
            assert_eq!(proxied(proxy).ask(&["PING"]).unwrap(), "PONG", "{at_whom}");
            assert_eq!(Tls::connect(secure).ask("PING"), "PONG", "{at_whom}");
        }
        healthy(larder.admin(), "/readyz");
    };
    let mut endless = Tls::connect(secure);
    assert_eq!(endless.ask("PING"), "PONG");
    endless.send("EVAL \"while true do end\" 0");
    until_held(|| resp(plain));
    held("TLS");
    let mut waits = Tls::connect(secure);
    assert_eq!(waits.ask("CLIENT SETNAME waits"), "OK");
    until_held(|| proxied(proxy));
    assert_eq!(Tls::connect(secure).ask("SCRIPT KILL"), "OK");
    let killed = endless.answer();
    assert!(killed.contains("Script killed by user with SCRIPT KILL"), "{killed}");
    // It goes on at the worker as what it said to be, with the same keys.
    wait_for(|| (waits.ask("SET k v") == "OK").then_some(()));
    assert_eq!((waits.ask("CLIENT GETNAME"), waits.ask("GET k")), ("waits".to_owned(), "v".to_owned()));

    let mut endless = proxied(proxy);
    endless.send(ENDLESS).unwrap();
    until_busy(|| proxied(proxy));
    held("proxy");
    let mut waits = proxied(proxy);
    assert_eq!(waits.ask(&["CLIENT", "SETNAME", "waits"]).unwrap(), "OK");
    assert_eq!(proxied(proxy).ask(&["SCRIPT", "KILL"]).unwrap(), "OK");
    assert_eq!(endless.reply().unwrap(), KILLED);
    wait_for(|| (waits.ask(&["SET", "k", "v"]).unwrap() == "OK").then_some(()));
    assert_eq!(waits.ask(&["CLIENT", "GETNAME"]).unwrap(), "waits");
}

#[test]
fn an_endless_function_is_ended_by_function_kill() {
    let larder = Larder::start(&["node", "--workers", "1", "--anonymous", "--listen", "127.0.0.1:0"], None);
    let at = larder.resp("default");
    set(at);
    let library = "#!lua name=endless\nredis.register_function('run', function() while true do end end)";
    assert_eq!(resp(at).ask(&["FUNCTION", "LOAD", library]).unwrap(), "endless");
    let mut endless = resp(at);
    endless.send(&["FCALL", "run", "0"]).unwrap();
    until_busy(|| resp(at));
    ten_are_answered(at);
    healthy(larder.admin(), "/readyz");
    assert!(resp(at).ask(&["SCRIPT", "KILL"]).unwrap().starts_with('-'));
    assert_eq!(resp(at).ask(&["FUNCTION", "KILL"]).unwrap(), "OK");
    let killed = endless.reply().unwrap();
    assert!(killed.starts_with("-ERR Script killed by user with"), "{killed}");
    wait_for(|| (resp(at).ask(&["SET", "k", "v"]).unwrap() == "OK").then_some(()));
    let nothing = resp(at).ask(&["FUNCTION", "KILL"]).unwrap();
    assert!(nothing.starts_with("-NOTBUSY"), "{nothing}");
}
