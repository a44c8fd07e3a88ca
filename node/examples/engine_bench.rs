//! Measures the engine in one process, without sockets: what two threads do against one.
//!
//! `cargo run --release -p larder-node --example engine_bench -- KEYS SECONDS ROUNDS`. Each thread is a client that sends
//! batches of 16 requests on random keys, one SET after nine GETs, 64-byte values. Three shapes take turns: one thread,
//! two threads on one engine, and two threads with an engine each, which is what the machine itself allows. Prints one JSON
//! object: millions of requests per second for each shape, round by round, and the same per second of processor time.

use larder_iam_policies::access::{LiveAccess, Source};
use larder_iam_policies::config::{RawAccess, RawCacheAccess};
use larder_node::resp::Out;
use larder_node::{Address, Engine, EngineConfig, Next, Now, Peer, Session};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant, SystemTime};

#[global_allocator]
static ALLOCATOR: larder_node::allocator::Allocator = larder_node::allocator::Allocator;

const VALUE: [u8; 64] = [b'x'; 64];
const BATCH: u64 = 16;

/// As a driver does: read once per batch.
struct Clock(Instant);

impl Clock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { wall_ms: wall.as_millis() as u64, mono_us: self.0.elapsed().as_micros() as u64 }
    }
}

fn engine(keys: u64, clock: &Clock) -> Arc<Engine> {
    let raw = RawAccess { account: "000000000000".into(), region: "us-east-1".into(), ..Default::default() };
    let cache =
        RawCacheAccess { name: "default".into(), engine: "valkey".into(), anonymous: true, ..Default::default() };
    let access = raw.check(&[cache], &larder_node::commands::Vocabulary, &mut Vec::new()).expect("nothing is wrong");
    let config = EngineConfig { workers: 2, ..EngineConfig::new("default") };
    let engine = Engine::new(config, Arc::new(LiveAccess::new(access)), 7, clock.now());
    let mut client = Client::new(&engine, 0, clock);
    for first in (0..keys).step_by(BATCH as usize) {
        client.input.clear();
        (first..keys.min(first + BATCH)).for_each(|n| client.set(n));
        client.say(clock);
    }
    engine
}

struct Client {
    engine: Arc<Engine>,
    session: Session,
    input: Vec<u8>,
    out: Out,
    state: u64,
}

impl Client {
    fn new(engine: &Arc<Engine>, worker: usize, clock: &Clock) -> Self {
        let address = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 4000)));
        let source = Source::new([127, 0, 0, 1].into(), false, 6379);
        let peer = Peer { source, address: address.clone(), local: address };
        let session = engine.open(peer, worker, clock.now()).expect("anonymous callers are let in");
        let state = 0x9e37_79b9_7f4a_7c15 ^ (worker as u64 + 1);
        Self { engine: engine.clone(), session, input: Vec::new(), out: Out::new(2), state }
    }

    fn draw(&mut self, keys: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 20) % keys
    }

    fn key(&mut self, n: u64) {
        let mut key = *b"$16\r\nkey:000000000000\r\n";
        let mut rest = n;
        for digit in key[9..21].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.input.extend_from_slice(&key);
    }

    fn set(&mut self, n: u64) {
        self.input.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
        self.key(n);
        self.input.extend_from_slice(b"$64\r\n");
        self.input.extend_from_slice(&VALUE);
        self.input.extend_from_slice(b"\r\n");
    }

    fn get(&mut self, n: u64) {
        self.input.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
        self.key(n);
    }

    fn batch(&mut self, keys: u64) {
        self.input.clear();
        for _ in 0..BATCH {
            let n = self.draw(keys);
            if self.state & 0xf_ffff < 0xf_ffff / 10 { self.set(n) } else { self.get(n) }
        }
    }

    /// Has the input answered.
    fn say(&mut self, clock: &Clock) {
        let mut from = 0;
        loop {
            let input = &self.input[from..];
            let progress = self.engine.exec_batch(&mut self.session, input, clock.now(), &mut self.out);
            from += progress.consumed;
            if !matches!(progress.next, Next::Again | Next::Busy) {
                break;
            }
        }
        assert_eq!(from, self.input.len());
        std::hint::black_box(self.out.take());
    }
}

/// Nanoseconds this thread has run.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN)
}

/// Runs a client on each of `engines` at once: millions of requests per second, and per second of processor time.
fn run(engines: &[&Arc<Engine>], keys: u64, time: Duration, clock: &Clock) -> (f64, f64) {
    let barrier = Barrier::new(engines.len());
    let done: Vec<(u64, f64, f64)> = std::thread::scope(|scope| {
        let client = |(worker, engine): (usize, &&Arc<Engine>)| {
            let mut client = Client::new(engine, worker, clock);
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                let (start, cpu) = (Instant::now(), cpu_ns());
                let mut count = 0;
                while start.elapsed() < time {
                    client.batch(keys);
                    client.say(clock);
                    count += BATCH;
                }
                (count, start.elapsed().as_secs_f64(), cpu_ns() - cpu)
            })
        };
        let threads: Vec<_> = engines.iter().enumerate().map(client).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
    });
    let wall = done.iter().map(|(count, seconds, _)| *count as f64 / seconds / 1e6).sum();
    let count: u64 = done.iter().map(|(count, ..)| count).sum();
    (wall, count as f64 * 1e3 / done.iter().map(|(_, _, cpu)| cpu).sum::<f64>())
}

fn main() {
    larder_node::allocator::start();
    let mut words = std::env::args().skip(1).map_while(|word| word.parse::<f64>().ok());
    let mut next = |default| words.next().unwrap_or(default);
    let (keys, seconds, rounds) = (next(3e6) as u64, next(1.0), next(7.0) as usize);
    let clock = Clock(Instant::now());
    let (one, other) = (engine(keys, &clock), engine(keys, &clock));
    let shapes = [("one", vec![&one]), ("two", vec![&one, &one]), ("apart", vec![&one, &other])];
    let mut lines = vec![(Vec::new(), Vec::new()); shapes.len()];
    for _ in 0..rounds {
        for ((_, engines), (wall, cpu)) in shapes.iter().zip(&mut lines) {
            let (per_s, per_cpu_s) = run(engines, keys, Duration::from_secs_f64(seconds), &clock);
            wall.push(per_s);
            cpu.push(per_cpu_s);
        }
    }
    let shown = shapes
        .iter()
        .zip(&lines)
        .map(|((name, _), (wall, cpu))| format!("\"{name}\": {{\"per_s\": {wall:?}, \"per_cpu_s\": {cpu:?}}}"));
    println!("{{{}}}", shown.collect::<Vec<_>>().join(", "));
}
