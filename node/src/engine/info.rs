//! INFO: redis' field names, our figures. Fields of what this server does not have are left out, not invented.

use std::fmt::Write;

use super::cx::Cx;
use crate::metrics::{Count, Gauge};

type Section = fn(&Cx<'_>, &mut String);

const SECTIONS: [(&str, Section); 7] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Keyspace", keyspace),
];

/// The text of the wanted sections, by lower-case names; all of them when none is named.
pub(crate) fn info(cx: &Cx<'_>, wanted: &[String]) -> String {
    let all = wanted.is_empty() || wanted.iter().any(|name| matches!(name.as_str(), "all" | "default" | "everything"));
    let mut text = String::new();
    for (name, write) in SECTIONS {
        if all || wanted.iter().any(|one| one.eq_ignore_ascii_case(name)) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            field(&mut text, "# ", name, "");
            write(cx, &mut text);
        }
    }
    text
}

fn field(text: &mut String, name: &str, value: impl std::fmt::Display, colon: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{name}{colon}{value}\r\n");
}

fn put(text: &mut String, name: &str, value: impl std::fmt::Display) {
    field(text, name, value, ":");
}

fn server(cx: &Cx<'_>, text: &mut String) {
    let engine = cx.engine;
    let uptime_s = cx.now.wall_ms.saturating_sub(engine.started.wall_ms) / 1000;
    put(text, "redis_version", "7.0.15");
    put(text, "larder_version", env!("CARGO_PKG_VERSION"));
    put(text, "redis_mode", "standalone");
    put(text, "os", std::env::consts::OS);
    put(text, "arch_bits", usize::BITS);
    put(text, "process_id", std::process::id());
    put(text, "run_id", &engine.run_id);
    put(text, "tcp_port", cx.session.source.port);
    put(text, "server_time_usec", cx.now.wall_ms.saturating_mul(1000));
    put(text, "uptime_in_seconds", uptime_s);
    put(text, "uptime_in_days", uptime_s / 86_400);
    put(text, "io_threads_active", 0);
}

fn clients(cx: &Cx<'_>, text: &mut String) {
    let metrics = &cx.engine.metrics;
    put(text, "connected_clients", metrics.gauge(Gauge::Clients));
    put(text, "cluster_connections", 0);
    put(text, "blocked_clients", metrics.gauge(Gauge::Blocked));
    put(text, "tracking_clients", 0);
}

fn memory(cx: &Cx<'_>, text: &mut String) {
    let used = cx.engine.metrics.gauge(Gauge::UsedBytes);
    let max = cx.engine.config.maxmemory_bytes;
    let resident = resident_bytes();
    put(text, "used_memory", used);
    put(text, "used_memory_human", human(used));
    put(text, "used_memory_rss", resident);
    put(text, "used_memory_rss_human", human(resident));
    put(text, "used_memory_dataset", used);
    put(text, "maxmemory", max);
    put(text, "maxmemory_human", human(max));
    put(text, "maxmemory_policy", "noeviction");
    put(text, "mem_allocator", if cfg!(debug_assertions) { "system" } else { "mimalloc" });
}

fn stats(cx: &Cx<'_>, text: &mut String) {
    let metrics = &cx.engine.metrics;
    put(text, Count::Connections.name(), metrics.count(Count::Connections));
    put(text, "total_commands_processed", metrics.commands());
    for count in [Count::BytesIn, Count::BytesOut, Count::Expired] {
        put(text, count.name(), metrics.count(count));
    }
    put(text, "evicted_keys", 0);
    for count in [Count::Hits, Count::Misses] {
        put(text, count.name(), metrics.count(count));
    }
    put(text, "pubsub_channels", cx.engine.pubsub.channels());
    put(text, "pubsub_patterns", 0);
    for count in [Count::Errors, Count::Denied, Count::AuthFailures, Count::Throttled, Count::Busy, Count::Gates] {
        put(text, count.name(), metrics.count(count));
    }
}

fn replication(cx: &Cx<'_>, text: &mut String) {
    put(text, "role", "master");
    put(text, "connected_slaves", 0);
    put(text, "master_failover_state", "no-failover");
    put(text, "master_replid", &cx.engine.run_id);
    put(text, "master_repl_offset", cx.engine.log.end());
}

fn cpu(_: &Cx<'_>, text: &mut String) {
    let (system_s, user_s) = cpu_seconds();
    put(text, "used_cpu_sys", format_args!("{system_s:.6}"));
    put(text, "used_cpu_user", format_args!("{user_s:.6}"));
}

fn keyspace(cx: &Cx<'_>, text: &mut String) {
    let (keys, expires) = (cx.engine.metrics.gauge(Gauge::Keys), cx.engine.metrics.gauge(Gauge::Volatile));
    if keys > 0 {
        put(text, "db0", format_args!("keys={keys},expires={expires},avg_ttl=0"));
    }
}

/// As redis' `bytesToHuman`.
fn human(bytes: u64) -> String {
    let units = [(1_u64 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

/// Memory of this process in RAM, all caches of it together; 0 where `/proc` is not there.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

/// System and user seconds of this process, all caches of it together, in ticks of 1/100 s.
fn cpu_seconds() -> (f64, f64) {
    let read = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some((ticks(12)? / 100.0, ticks(11)? / 100.0))
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_redis_writes_them() {
        assert_eq!((human(0), human(1023), human(1024)), ("0B".into(), "1023B".into(), "1.00K".into()));
        assert_eq!(human(1_089_752), "1.04M");
    }
}
