//! A hostile look at the node over its socket: frames that are none, clients that are slow, silent, greedy or gone, every
//! limit on each of its sides, and a stop in the middle of it all. Whatever one client does, the others are served.
#![allow(clippy::unwrap_used)]

#[path = "node_hostile/frames.rs"]
mod frames;
#[path = "node_hostile/gone.rs"]
mod gone;
#[path = "node_hostile/greedy.rs"]
mod greedy;
#[path = "node_hostile/limits.rs"]
mod limits;
#[path = "node_hostile/slow.rs"]
mod slow;

use larder_tests::node::{Client, Node, Setup};

/// A node whose one worker all clients share: what one does, the others feel.
fn one_worker() -> Node {
    Node::start(Setup { workers: 1, ..Setup::default() })
}

/// Asks `line` until the reply is `want`.
fn until(client: &mut Client, line: &str, want: &str) {
    let started = std::time::Instant::now();
    loop {
        let reply = client.say(line);
        if reply == want {
            return;
        }
        assert!(started.elapsed().as_secs() < 30, "{line} still answers {reply}, not {want}");
        std::thread::yield_now();
    }
}

/// The value of a field of INFO.
fn info(client: &mut Client, field: &str) -> String {
    let text = client.say("INFO");
    let value = text.split('|').find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    value.unwrap_or_else(|| panic!("no {field} in {text}"))
}

/// Asks for a field of INFO until it has this value.
fn until_info(client: &mut Client, field: &str, want: &str) {
    let started = std::time::Instant::now();
    loop {
        let value = info(client, field);
        if value == want {
            return;
        }
        assert!(started.elapsed().as_secs() < 30, "{field} is still {value}, not {want}");
        std::thread::yield_now();
    }
}
