//! Measures the table and the codec in one process: `cargo run --release -p larder-node --example storage_bench`.
//!
//! Prints bytes per key beyond key and value (from the process's own memory), lookups one by one and in prefetched
//! batches of 16 over 5 million keys in 1,024 tables, and the parse of a SET. One line each; run it on a quiet machine.

use larder_node::db::entry::{Entry, Value};
use larder_node::db::table::{KeyHash, Table};
use larder_node::resp::{Limits, OwnedArgs, Resume, encode_request, parse};
use std::hint::black_box;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: larder_node::allocator::Allocator = larder_node::allocator::Allocator;

const TABLES: usize = 1024;

fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    key[4..].copy_from_slice(format!("{n:012}").as_bytes());
    key
}

fn rss_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn table(hash: u64) -> usize {
    (hash >> 54) as usize
}

fn fill(hash: &KeyHash, keys: u64, value: &[u8], expire: Option<u64>) -> (Vec<Table>, u128) {
    let mut tables: Vec<_> = (0..TABLES).map(|_| Table::new(hash.clone())).collect();
    let mut longest = 0;
    for n in 0..keys {
        let key = key(n);
        let h = hash.hash(&key);
        let start = Instant::now();
        tables[table(h)].upsert(h, Entry::string(&key, value, expire));
        longest = longest.max(start.elapsed().as_micros());
    }
    (tables, longest)
}

/// One case in a process of its own, so that nothing freed before is filled again.
fn memory(hash: &KeyHash, value: usize, expire: Option<u64>, keys: u64) {
    let before = rss_bytes() as f64;
    let (tables, longest) = fill(hash, keys, &vec![b'v'; value], expire);
    let payload = 16.0 + value as f64;
    let each = (rss_bytes() as f64 - before) / keys as f64 - payload;
    let counted = tables.iter().map(Table::heap_bytes).sum::<usize>() as f64 / keys as f64 - payload;
    println!(
        "memory value={value} ttl={} keys={keys}: {each:.1} B a key over key and value by RSS, {counted:.1} by own count, longest insert {longest} us",
        expire.is_some()
    );
}

fn memory_cases() {
    let Ok(program) = std::env::current_exe() else { return };
    for value in [16, 64] {
        for ttl in [0, 1u64 << 41] {
            for keys in [1u64 << 21, 3 << 20, 1 << 22] {
                let case = [value.to_string(), ttl.to_string(), keys.to_string()];
                let ran = std::process::Command::new(&program).args(case).status();
                assert!(ran.is_ok_and(|status| status.success()));
            }
        }
    }
}

fn lookups(hash: &KeyHash) {
    let keys = 5_000_000u64;
    let (tables, _) = fill(hash, keys, &[b'v'; 64], None);
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        key((state >> 20) % keys)
    };
    let wanted: Vec<_> = (0..2_000_000).map(|_| draw()).collect();
    let touch = |h: u64, key: &[u8]| match tables[table(h)].find(h, key).map(|entry| entry.value()) {
        Some(Value::Bytes(value)) => u64::from(value[63]),
        _ => 0,
    };
    for _ in 0..3 {
        let start = Instant::now();
        let sum: u64 = wanted.iter().map(|key| touch(hash.hash(key), key)).sum();
        let single = start.elapsed().as_nanos() / wanted.len() as u128;
        let start = Instant::now();
        let mut batched = 0;
        for batch in wanted.chunks(16) {
            let mut hashes = [0; 16];
            for (slot, key) in hashes.iter_mut().zip(batch) {
                *slot = hash.hash(key);
            }
            batch.iter().zip(hashes).for_each(|(_, h)| tables[table(h)].prefetch(h));
            batch.iter().zip(hashes).for_each(|(_, h)| tables[table(h)].prefetch_entry(h));
            batched += batch.iter().zip(hashes).map(|(key, h)| touch(h, key)).sum::<u64>();
        }
        assert_eq!(sum, batched);
        let batch = start.elapsed().as_nanos() / wanted.len() as u128;
        println!("lookup keys={keys}: {single} ns one by one, {batch} ns in batches of 16");
    }
}

fn parsing() {
    let mut wire = Vec::new();
    for n in 0..32 {
        encode_request(OwnedArgs::from_slices([&b"SET"[..], &key(n), &[b'v'; 64]]).as_args(), &mut wire);
    }
    let mut ranges = Vec::with_capacity(128);
    let rounds = 100_000u128;
    for _ in 0..3 {
        let start = Instant::now();
        for _ in 0..rounds {
            ranges.clear();
            let (mut at, mut resume) = (0, Resume::default());
            while let Ok(larder_node::resp::Parsed::Complete { end, .. }) =
                parse(black_box(&wire), at, &mut ranges, &Limits::DEFAULT, &mut resume)
            {
                at = end;
            }
            black_box(&ranges);
        }
        println!("parse: {:.1} ns a SET of 64 B", start.elapsed().as_nanos() as f64 / (rounds * 32) as f64);
    }
}

fn main() {
    larder_node::allocator::start();
    let hash = KeyHash::new(42);
    let case: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    if let [value, ttl, keys] = case[..] {
        return memory(&hash, value as usize, Some(ttl).filter(|ttl| *ttl > 0), keys);
    }
    parsing();
    lookups(&hash);
    memory_cases();
}
