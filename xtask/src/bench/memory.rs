//! Bytes per key: what the process grows by, less key and value.

use super::server::Server;
use super::table::{Aim, Section};
use super::{Bench, load};
use anyhow::Result;

const KEY_BYTES: f64 = 16.0;
const VALUE_BYTES: f64 = 64.0;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let keys = bench.plan.memory_keys;
    let mut aims = Vec::new();
    for (server, most) in [(Server::redis(bench)?, None), (Server::node(bench, false)?, Some(36.0))] {
        let before = server.rss_bytes()?;
        load::fill(bench, server.address, keys)?;
        let grown = server.rss_bytes()?.saturating_sub(before);
        let measured = grown as f64 / keys as f64 - KEY_BYTES - VALUE_BYTES;
        aims.push(Aim { what: format!("bytes per key over key and value, {}", server.name), measured, most });
    }
    let about =
        format!("{keys} keys of 16 bytes with values of 64 bytes, no TTL, in a fresh process; resident memory.");
    Ok(Section { title: "Memory", about, rows: Vec::new(), aims })
}
