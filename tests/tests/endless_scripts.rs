//! Scripts without end: whoever comes is answered, health too, and SCRIPT KILL ends each of them.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

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

/// Ten new connections, of which each gets an answer to what it asks; at once or in the end.
fn ten_are_answered(to: SocketAddr) {
    for _ in 0..10 {
        let mut client = resp(to);
        let began = Instant::now();
        assert_eq!(client.ask(&["PING"]).unwrap(), "PONG");
        let pong = client.ask(&["HELLO", "2"]).unwrap();
        assert!(pong.contains("redis"), "{pong}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

fn healthy(at: SocketAddr, page: &str) {
    assert_eq!(Request::new("GET", page, "").send(HOME, at).unwrap().status, 200);
}

/// Asks for SCRIPT KILL until nothing runs; how many it ended.
fn kill_all(to: SocketAddr) -> usize {
    let mut killed = 0;
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < 20 {
        assert!(began.elapsed() < Duration::from_secs(30), "scripts do not end");
        match &*resp(to).ask(&["SCRIPT", "KILL"]).unwrap() {
            "OK" => (killed, quiet) = (killed + 1, 0),
            "-NOTBUSY No scripts in execution right now." => quiet += 1,
            other => panic!("{other}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    killed
}

#[test]
fn an_endless_script_on_every_worker_keeps_nobody_out() {
    let larder = Larder::start(&["node", "--workers", "2", "--anonymous", "--listen", "127.0.0.1:0"], None);
    let at = larder.resp("default");
    set(at);
    // One after another they go to the worker with fewer connections.
    let mut clients: Vec<_> = (0..4).map(|_| resp(at)).collect();
    clients.iter_mut().for_each(|client| client.send(ENDLESS).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    ten_are_answered(at);
    healthy(larder.admin(), "/readyz");
    // What needs the script's own key waits for it no longer than it may.
    assert!(kill_all(at) >= 1);
    for client in &mut clients {
        let reply = client.reply().unwrap();
        assert!(reply == KILLED || reply == BUSY, "{reply}");
    }
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
    std::thread::sleep(Duration::from_millis(50));
    // The other worker is the only one that responds.
    let mut second = resp(two);
    second.send(ENDLESS).unwrap();
    std::thread::sleep(Duration::from_millis(300));
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
    assert_eq!((kill_all(one), kill_all(two)), (0, 0));
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
    std::thread::sleep(Duration::from_millis(300));
    for words in [&["PING"][..], &["SCRIPT", "KILL"], &["GET", "k"]] {
        assert_eq!(resp(at).ask(words).unwrap(), "-NOAUTH Authentication required.");
    }
    assert!(resp(at).ask(&["AUTH", "root", "wrong"]).unwrap().starts_with("-WRONGPASS"));
    let refused = login("app").ask(&["SCRIPT", "KILL"]).unwrap();
    assert!(refused.starts_with("-NOPERM"), "{refused}");
    // Who waits for a worker is served by it as who it said to be.
    let mut waits = login("app");
    assert_eq!(waits.ask(&["SET", "k", "v"]).unwrap(), BUSY);
    assert_eq!(login("root").ask(&["SCRIPT", "KILL"]).unwrap(), "OK");
    assert_eq!(endless.reply().unwrap(), KILLED);
    // Its worker is back in a moment.
    wait_for(|| (waits.ask(&["SET", "k", "v"]).unwrap() == "OK").then_some(()));
    assert_eq!(waits.ask(&["ACL", "WHOAMI"]).map(|_| ()).ok(), Some(()));
}
