//! `used_memory` against the allocator: a program of its own, as it counts every block of the process.
//!
//! The engine counts by size classes, never by asking. Here each block is weighed by what mimalloc says of it, while one
//! client fills an engine, overwrites, and deletes; after each step the engine's figure is within 10 % of the allocator's.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use larder_iam_policies::access::{LiveAccess, Source};
use larder_iam_policies::config::{RawAccess, RawCacheAccess};
use larder_node::allocator::Allocator;
use larder_node::resp::{Out, OwnedArgs, encode_request};
use larder_node::{Engine, EngineConfig, Next, Now, Peer, Session};

/// Bytes of all blocks that live.
static HELD: AtomicI64 = AtomicI64::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn weigh(block: *mut u8, sign: i64) {
    if !block.is_null() {
        // SAFETY: the block is a living one of mimalloc.
        let bytes = unsafe { libmimalloc_sys::mi_usable_size(block.cast()) };
        HELD.fetch_add(sign * bytes as i64, Ordering::SeqCst);
    }
}

// SAFETY: every call goes to mimalloc unchanged.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait asks.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { Allocator.alloc(layout) };
        weigh(block, 1);
        block
    }

    // SAFETY: as the trait asks.
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        weigh(block, -1);
        // SAFETY: the caller's promise.
        unsafe { Allocator.dealloc(block, layout) }
    }

    // SAFETY: as the trait asks.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        weigh(block, -1);
        // SAFETY: the caller's promise.
        let new = unsafe { Allocator.realloc(block, layout, bytes) };
        weigh(if new.is_null() { block } else { new }, 1);
        new
    }
}

const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000_000 };

/// Who may do what is not the engine's.
fn access() -> Arc<LiveAccess> {
    let raw = RawAccess { account: "000000000000".into(), region: "us-east-1".into(), ..Default::default() };
    let cache =
        RawCacheAccess { name: "default".into(), engine: "valkey".into(), anonymous: true, ..Default::default() };
    let mut mistakes = Vec::new();
    let access = raw.check(&[cache], &larder_node::commands::Vocabulary, &mut mistakes).unwrap();
    Arc::new(LiveAccess::new(access))
}

fn engine(access: &Arc<LiveAccess>) -> Arc<Engine> {
    Engine::new(EngineConfig::new("default"), access.clone(), 7, NOW)
}

struct Client {
    engine: Arc<Engine>,
    session: Session,
    out: Out,
}

impl Client {
    fn new(engine: &Arc<Engine>) -> Self {
        let address: std::net::SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let address = larder_node::Address::from(address);
        let peer =
            Peer { source: Source::new([127, 0, 0, 1].into(), false, 6379), address: address.clone(), local: address };
        let session = engine.open(peer, 0, NOW).unwrap();
        Self { engine: engine.clone(), session, out: Out::new(2) }
    }

    fn say(&mut self, words: &[&[u8]]) -> String {
        let mut request = Vec::new();
        encode_request(OwnedArgs::from_slices(words).as_args(), &mut request);
        let mut from = 0;
        loop {
            let progress = self.engine.exec_batch(&mut self.session, &request[from..], NOW, &mut self.out);
            from += progress.consumed;
            if !matches!(progress.next, Next::Again | Next::Busy) {
                let reply = String::from_utf8_lossy(&self.out.take()).into_owned();
                assert!(!reply.starts_with('-'), "{reply}");
                return reply;
            }
        }
    }

    fn figure(&mut self, name: &str) -> i64 {
        let text = self.say(&[b"INFO", b"memory"]);
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok()).unwrap()
    }

    /// Large values are freed by a thread of their own.
    fn settle(&mut self) {
        while self.figure("lazyfree_pending_objects") > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// What the engine says and what the allocator holds beyond `before`.
    fn compare(&mut self, before: i64, what: &str) -> String {
        self.settle();
        let used = self.figure("used_memory");
        let held = HELD.load(Ordering::SeqCst) - before;
        let off = (used - held) as f64 / held as f64 * 100.0;
        let line = format!("{what}: {used} of {held} bytes, {off:+.1} %");
        println!("{line}");
        if off.abs() > 10.0 { line } else { String::new() }
    }
}

type Fill = fn(&mut Client, usize, usize);

/// What is filled in: how many keys, and what the `n`th is made of in the `round`th filling.
const WORKLOADS: &[(&str, usize, Fill)] = &[
    ("nothing", 0, |_, _, _| {}),
    ("a few strings", 10, |client, n, round| {
        client.say(&[b"SET", &key(n), &vec![b'v'; 10 * (round + 1)]]);
    }),
    ("integers", 20_000, |client, n, round| {
        client.say(&[b"SET", &key(n), (n * (round + 1)).to_string().as_bytes()]);
    }),
    ("strings of 0 to 200 bytes", 20_000, |client, n, round| {
        client.say(&[b"SET", &key(n), &vec![b'v'; (n * 7 + round * 13) % 200]]);
    }),
    ("strings of 64 bytes with a TTL", 20_000, |client, n, _| {
        client.say(&[b"SET", &key(n), &[b'v'; 64], b"EX", b"1000"]);
    }),
    ("strings of 0 to 64 KB", 1_000, |client, n, round| {
        client.say(&[b"SET", &key(n), &vec![b'v'; (n * 67 + round * 1111) % 65_536]]);
    }),
    ("strings that grow", 2_000, |client, n, _| {
        client.say(&[b"APPEND", &key(n), &vec![b'v'; n % 3000]]);
    }),
    ("hashes of 10 fields", 3_000, |client, n, round| {
        for field in 0..10 {
            client.say(&[b"HSET", &key(n), format!("field{field}").as_bytes(), &vec![b'v'; 8 + round]]);
        }
    }),
    ("hashes of 700 fields", 30, |client, n, round| {
        for field in 0..700 {
            client.say(&[b"HSET", &key(n), format!("field{field}").as_bytes(), &vec![b'v'; 30 + round]]);
        }
    }),
    ("sets of 10 members", 3_000, |client, n, round| {
        for member in 0..10 {
            client.say(&[b"SADD", &key(n), format!("member{member}.{round}").as_bytes()]);
        }
    }),
    ("sets of 300 numbers", 200, |client, n, round| {
        for member in 0..300 {
            client.say(&[b"SADD", &key(n), (member * (round + 1)).to_string().as_bytes()]);
        }
    }),
    ("sets of 500 members", 50, |client, n, round| {
        for member in 0..500 {
            client.say(&[b"SADD", &key(n), format!("member{member}.{round}").as_bytes()]);
        }
    }),
    ("sorted sets of 10 members", 3_000, |client, n, round| {
        for member in 0..10 {
            client.say(&[b"ZADD", &key(n), (member * round).to_string().as_bytes(), format!("m{member}").as_bytes()]);
        }
    }),
    ("sorted sets of 1000 members", 30, |client, n, round| {
        for member in 0..1000 {
            let score = (member * 7919 % 1000 + round).to_string();
            client.say(&[b"ZADD", &key(n), score.as_bytes(), format!("member{member}").as_bytes()]);
        }
    }),
    ("lists of 3 elements", 5_000, |client, n, round| {
        for element in 0..3 {
            client.say(&[b"RPUSH", &key(n), format!("{element}.{round}").as_bytes()]);
        }
    }),
    ("lists of 1000 elements", 50, |client, n, round| {
        for element in 0..1000 {
            client.say(&[b"RPUSH", &key(n), format!("element{element}.{round}").as_bytes()]);
        }
    }),
];

fn key(n: usize) -> Vec<u8> {
    format!("key:{n:012}").into_bytes()
}

/// What is not data.
fn others(access: &Arc<LiveAccess>) -> Vec<String> {
    let before = HELD.load(Ordering::SeqCst);
    let engine = engine(access);
    let (mut client, mut listener, mut busy) = (Client::new(&engine), Client::new(&engine), Client::new(&engine));
    for n in 0..3000 {
        listener.say(&[b"SUBSCRIBE", &key(n)]);
    }
    let mut wrong = vec![client.compare(before, "channels")];
    for n in 0..300 {
        client.say(&[b"PUBLISH", &key(n), &[b'm'; 2000]]);
    }
    wrong.push(client.compare(before, "messages"));
    for n in 0..300 {
        client.say(&[b"SCRIPT", b"LOAD", format!("-- {n}\nreturn '{}'", "x".repeat(1000)).as_bytes()]);
    }
    wrong.push(client.compare(before, "scripts"));
    client.say(&[b"EVAL", b"local t = {} for i = 1, 10000 do t[i] = tostring(i) end return #t", b"0"]);
    wrong.push(client.compare(before, "Lua"));
    busy.say(&[b"MULTI"]);
    for n in 0..3000 {
        busy.say(&[b"SET", &key(n), &[b'v'; 100]]);
    }
    wrong.push(client.compare(before, "transactions"));
    wrong
}

#[test]
fn the_engine_says_what_the_allocator_holds() {
    // Whatever is made once in the life of a process is made now.
    let access = access();
    let warm = engine(&access);
    let mut client = Client::new(&warm);
    client.say(&[b"SET", b"large", &[b'v'; 200_000]]);
    client.say(&[b"DEL", b"large"]);
    client.settle();
    let mut wrong = Vec::new();
    for (name, keys, fill) in WORKLOADS {
        let before = HELD.load(Ordering::SeqCst);
        let engine = engine(&access);
        let mut client = Client::new(&engine);
        for n in 0..*keys {
            fill(&mut client, n, 0);
        }
        wrong.push(client.compare(before, name));
        for n in 0..*keys {
            fill(&mut client, n, 1);
        }
        wrong.push(client.compare(before, &format!("{name}, again")));
        for n in (0..*keys).step_by(2) {
            client.say(&[b"DEL", &key(n)]);
        }
        wrong.push(client.compare(before, &format!("{name}, half deleted")));
        client.say(&[b"FLUSHALL"]);
        wrong.push(client.compare(before, &format!("{name}, flushed")));
    }
    wrong.extend(others(&access));
    wrong.retain(|line| !line.is_empty());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
