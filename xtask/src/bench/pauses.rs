//! How long the node holds its partitions at ten million keys: its own histogram of processor time per hold, stage by
//! stage. Every hold is timed here, where the node times one in 256. Beside it, what the machine alone makes of steps that
//! hold nothing: the kernel counts interrupts, and what the host takes from a guest, as the processor time of a thread.

use super::Bench;
use super::server::Server;
use super::table::{Aim, Bound, Section};
use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Keys for each of those that the memory measurement has.
const KEYS_TIMES: u64 = 10;
/// Elements of the big collections for each key of the memory measurement.
const ELEMENTS_TIMES: u64 = 1;
/// Requests on their way at once.
const BATCH: u64 = 512;
/// The aim: most processor time of one hold, in us; the histogram's place of 1 ms.
const HOLD_US_MOST: u64 = 1024;
/// How long keys that are due, and what is freed elsewhere, may take to go.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// Additions of one step of the loop that holds nothing: about what a hold takes.
const STEP: u64 = 1_000;

/// Holds by their length: at most so many us, how many.
type Histogram = BTreeMap<u64, u64>;

/// What is done to the node, and what it is called.
type Stage = (&'static str, fn(&mut Client, u64, u64) -> Result<()>);

/// A string that outgrows its block is copied whole, megabytes at a time: a command's own work, which the aim leaves out.
const COPYING: &str = "growing a string by APPEND and SETBIT";

const STAGES: [Stage; 11] = [
    ("filling strings, one in ten with a TTL", |client, keys, _| {
        client.each(keys, |n| match n % 10 {
            0 => format!("SET key:{n:012} {:016} PX 60000", n * 7),
            _ => format!("SET key:{n:012} {:016}", n * 7),
        })
    }),
    ("growing a list, a hash, a set, a sorted set and a stream", |client, _, elements| {
        client.each(elements, |n| format!("RPUSH list {n:016}"))?;
        client.each(elements, |n| format!("LPUSH list {n:016}"))?;
        client.each(elements, |n| format!("HSET hash field:{n} {n:016}"))?;
        client.each(elements, |n| format!("SADD set member:{n}"))?;
        client.each(elements, |n| format!("ZADD zset {} member:{n}", n * 7919 % 1_000_003))?;
        client.each(elements, |n| format!("XADD stream * field {n:016}"))
    }),
    ("reading and changing them in the middle", |client, _, elements| {
        client.each(2000, |n| format!("LINDEX list {}", n * 7919 % elements))?;
        client.each(2000, |n| format!("LSET list {} {n:010}", n * 7919 % elements))?;
        client.each(200, |n| format!("ZRANGE zset {0} {0}", n * 7919 % elements))?;
        client.each(elements / 2, |n| format!("ZADD zset {} member:{n}", n * 104_729 % 1_000_003))
    }),
    (COPYING, |client, _, elements| {
        client.each(elements / 4, |n| format!("APPEND text {n:032}"))?;
        client.each(elements / 4, |n| format!("SETBIT bits {} 1", n * 64))
    }),
    ("emptying a list, replacing and removing what is big", |client, _, elements| {
        client.each(elements, |n| if n % 2 == 0 { "LPOP list" } else { "RPOP list" }.to_owned())?;
        client.each(1, |_| "SET hash x".to_owned())?;
        client.each(1, |_| "RENAME set zset".to_owned())?;
        client.each(1, |_| "DEL stream list text bits".to_owned())?;
        client.each(1, |_| "UNLINK zset".to_owned())
    }),
    ("overwriting with values of another size", |client, keys, _| {
        client.each(keys / 10, |n| format!("SET key:{:012} {:0100}", n * 9 + 1, n))
    }),
    ("removing every third key", |client, keys, _| client.each(keys / 3, |n| format!("DEL key:{:012}", n * 3))),
    ("a million keys that expire at once", |client, _, elements| {
        client.each(elements, |n| format!("SET due:{n} {n:016} PX 20000"))?;
        client.wait(|client| Ok(client.say("EXISTS due:7")?.contains(":0") && client.figure("expires=")? == 0))
    }),
    ("eviction of a third, allkeys-lru", |client, _, elements| {
        let used = client.figure("used_memory:")?;
        client.say("CONFIG SET maxmemory-policy allkeys-lru")?;
        client.say(&format!("CONFIG SET maxmemory {}", used / 3 * 2))?;
        client.each(elements / 2, |n| format!("SET new:{n} {n:016}"))?;
        client.say("CONFIG SET maxmemory 0").map(drop)
    }),
    ("FLUSHALL ASYNC", |client, _, _| {
        client.say("FLUSHALL ASYNC")?;
        client.wait(|client| Ok(client.figure("lazyfree_pending_objects:")? == 0))
    }),
    // What another thread gave back, the allocator hands to the worker when that asks for memory again.
    ("filling strings and hashes after it", |client, keys, elements| {
        client.each(keys / 10, |n| format!("SET key:{n:012} {:016}", n * 7))?;
        client.each(elements / 10, |n| format!("HSET map:{n} field {n:064}"))
    }),
];

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let keys = bench.plan.memory_keys * KEYS_TIMES;
    let elements = bench.plan.memory_keys * ELEMENTS_TIMES;
    let server = Server::node(bench, false)?;
    let mut client = Client::connect(&server)?;
    client.say("CONFIG SET lock-hold-sampling 1")?;
    let mut about = format!(
        "{keys} keys and collections of {elements} elements; every hold of partitions is timed. Holds by their processor \
         time: at most so many us = how many.\n"
    );
    // As many steps as the first stage has holds.
    let alone = counting(keys);
    let _ = write!(about, "\n- no hold, but a loop that counts to {STEP}: {}", shown(&alone));
    let mut aims = vec![Aim {
        what: format!("counting to {STEP}, which holds nothing: longest, us, at most"),
        measured: longest(&alone),
        bound: None,
    }];
    let mut before = client.histogram()?;
    for (what, run) in &STAGES {
        let started = Instant::now();
        run(&mut client, keys, elements).with_context(|| (*what).to_owned())?;
        let after = client.histogram()?;
        let new = grown(&before, &after);
        before = after;
        let _ = write!(about, "\n- {what}, {:.1} s: {}", started.elapsed().as_secs_f64(), shown(&new));
        let bound = (*what != COPYING).then_some(Bound::Most(HOLD_US_MOST as f64));
        aims.push(Aim { what: format!("{what}: longest hold, us, at most"), measured: longest(&new), bound });
    }
    about.push('\n');
    Ok(Section { title: "Pauses", about, rows: Vec::new(), aims })
}

fn shown(histogram: &Histogram) -> String {
    histogram.iter().map(|(us, count)| format!("{us}={count}")).collect::<Vec<_>>().join(" ")
}

fn longest(histogram: &Histogram) -> f64 {
    histogram.last_key_value().map_or(0.0, |(us, _)| *us as f64)
}

/// The processor time of each of so many steps that only count, as the node takes that of a hold.
fn counting(steps: u64) -> Histogram {
    let processor_ns = || {
        let at = clock_gettime(ClockId::ThreadCPUTime);
        at.tv_sec.unsigned_abs() * 1_000_000_000 + at.tv_nsec.unsigned_abs()
    };
    let mut histogram = Histogram::new();
    let mut before = processor_ns();
    for _ in 0..steps {
        std::hint::black_box((0..STEP).fold(0, |sum, n| std::hint::black_box(sum + n)));
        let after = processor_ns();
        *histogram.entry(((after - before) / 1000).max(1).next_power_of_two()).or_default() += 1;
        before = after;
    }
    histogram
}

/// What came to a histogram.
fn grown(before: &Histogram, after: &Histogram) -> Histogram {
    let new = |(us, count): (&u64, &u64)| (*us, count - before.get(us).copied().unwrap_or(0).min(*count));
    after.iter().map(new).filter(|(_, count)| *count > 0).collect()
}

/// Reads `1=5,2=7,…`.
fn histogram(text: &str) -> Histogram {
    let pairs = text.split(',').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter_map(|(us, count)| Some((us.parse().ok()?, count.parse().ok()?))).collect()
}

/// One connection, whose every request is answered by one line or, what a stage does not look at, more.
struct Client {
    stream: TcpStream,
    /// What was read and not looked at.
    read: Vec<u8>,
}

impl Client {
    fn connect(server: &Server) -> Result<Self> {
        let stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends inline requests, [`BATCH`] at a time, each batch ended by a PING of its own by which its end is known.
    fn each(&mut self, requests: u64, request: impl Fn(u64) -> String) -> Result<()> {
        for first in (0..requests).step_by(BATCH as usize) {
            let last = requests.min(first + BATCH);
            let mut text: String = (first..last).map(|n| request(n) + "\r\n").collect();
            let _ = write!(text, "PING end-of-{first}\r\n");
            self.stream.write_all(text.as_bytes())?;
            self.until(&format!("end-of-{first}\r\n"))?;
        }
        Ok(())
    }

    /// Reads up to this text, which nothing else that is asked for holds; what came with it. An error is one.
    fn until(&mut self, end: &str) -> Result<String> {
        let mut some = [0; 64 << 10];
        while !self.read.ends_with(end.as_bytes()) {
            let n = self.stream.read(&mut some)?;
            if n == 0 {
                bail!("the node closed the connection");
            }
            self.read.extend_from_slice(&some[..n]);
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned();
        if let Some(line) = text.lines().find(|line| line.starts_with('-')) {
            bail!("the node answered {line}");
        }
        Ok(text)
    }

    fn say(&mut self, request: &str) -> Result<String> {
        self.stream.write_all(format!("{request}\r\nPING end-of-it\r\n").as_bytes())?;
        self.until("end-of-it\r\n")
    }

    /// The number behind a name in INFO; 0 without one.
    fn figure(&mut self, name: &str) -> Result<u64> {
        let info = self.say("INFO everything")?;
        let found = info.split_once(name).map(|(_, rest)| rest);
        let digits = found.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        Ok(digits.and_then(|digits| digits.parse().ok()).unwrap_or(0))
    }

    fn histogram(&mut self) -> Result<Histogram> {
        let info = self.say("INFO stats")?;
        let line = info.lines().find_map(|line| line.strip_prefix("lock_hold_usec:"));
        Ok(histogram(line.context("INFO has no lock_hold_usec")?))
    }

    fn wait(&mut self, done: impl Fn(&mut Self) -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while !done(self)? {
            if started.elapsed() > SETTLE_MAX {
                bail!("it took longer than {} s", SETTLE_MAX.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_read_and_compared() {
        let (before, after) = (histogram("1=5,2=7"), histogram("1=5,2=9,1024=1"));
        assert_eq!(grown(&before, &after), Histogram::from([(2, 2), (1024, 1)]));
        assert!(histogram("").is_empty());
        assert_eq!((shown(&after).as_str(), longest(&after), longest(&histogram(""))), ("1=5 2=9 1024=1", 1024.0, 0.0));
        assert_eq!(counting(100).values().sum::<u64>(), 100);
    }
}
