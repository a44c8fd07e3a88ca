//! INFO: redis 7.0's sections and fields, in its order, so that whoever reads redis' INFO reads ours.
//!
//! A figure is ours where there is such a thing here. What there is not (snapshots, replicas, scripts, a backlog) is
//! shown as redis shows it when it has none either. Times by command are of
//! requests that came alone.

mod machine;

pub(super) use machine::resident_bytes;

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::Engine;
use super::cx::Cx;
use super::memory::Usage;
use super::percentiles;
use crate::allocator;
use crate::buffers::Cut;
use crate::commands::{self, Spec};
use crate::metrics::{Count, Gauge, Stats};

type Section = fn(&Cx<'_>, &mut String);

/// Name, whether it is shown when none is asked for, and what writes its fields.
const SECTIONS: [(&str, bool, Section); 13] = [
    ("Server", true, server),
    ("Clients", true, clients),
    ("Memory", true, memory),
    ("Persistence", true, persistence),
    ("Stats", true, stats),
    ("Replication", true, replication),
    ("CPU", true, cpu),
    ("Modules", true, nothing),
    ("Commandstats", false, command_stats),
    ("Errorstats", true, error_stats),
    ("Latencystats", false, latency_stats),
    ("Cluster", true, cluster),
    ("Keyspace", true, keyspace),
];

/// The text of the wanted sections, by lower-case names; the default ones when none is named.
pub(crate) fn info(cx: &Cx<'_>, wanted: &[String]) -> String {
    let asked = |names: &[&str]| wanted.iter().any(|one| names.contains(&one.as_str()));
    let all = asked(&["all", "everything"]);
    let default = wanted.is_empty() || asked(&["default"]);
    let mut text = String::new();
    for (name, by_default, write) in SECTIONS {
        if all || (default && by_default) || wanted.iter().any(|one| one.eq_ignore_ascii_case(name)) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            text.push_str("# ");
            text.push_str(name);
            text.push_str("\r\n");
            write(cx, &mut text);
        }
    }
    text
}

fn put(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{name}:{value}\r\n");
}

/// Fields of what there is nothing of.
fn put_all(text: &mut String, names: &[&str], value: &str) {
    names.iter().for_each(|name| put(text, name, value));
}

/// A size, and the same for people under `name_human`.
fn put_bytes(text: &mut String, name: &str, bytes: u64) {
    put(text, name, bytes);
    put(text, &format!("{name}_human"), human(bytes));
}

fn server(cx: &Cx<'_>, text: &mut String) {
    let engine = cx.engine;
    let uptime_s = cx.now.wall_ms.saturating_sub(engine.started.wall_ms) / 1000;
    put(text, "redis_version", "7.0.15");
    put(text, "larder_version", env!("CARGO_PKG_VERSION"));
    put(text, "redis_git_sha1", "00000000");
    put(text, "redis_git_dirty", 0);
    put(text, "redis_build_id", concat!("larder-", env!("CARGO_PKG_VERSION")));
    put(text, "redis_mode", "standalone");
    put(text, "os", machine::name());
    put(text, "arch_bits", usize::BITS);
    put(text, "monotonic_clock", "POSIX clock_gettime");
    put(text, "multiplexing_api", if cfg!(target_os = "linux") { "epoll" } else { "kqueue" });
    put(text, "atomicvar_api", "rust");
    // What redis says when it was not built by gcc.
    put(text, "gcc_version", "0.0.0");
    put(text, "process_id", std::process::id());
    put(text, "process_supervised", "no");
    put(text, "run_id", &engine.run_id);
    put(text, "tcp_port", cx.session.source.port);
    put(text, "server_time_usec", cx.now.wall_ms.saturating_mul(1000));
    put(text, "uptime_in_seconds", uptime_s);
    put(text, "uptime_in_days", uptime_s / 86_400);
    // The sweepers rest 100 ms between two slices.
    put_all(text, &["hz", "configured_hz"], "10");
    put(text, "lru_clock", (cx.now.wall_ms / 1000) & ((1 << 24) - 1));
    // Where files lie is no client's business.
    put_all(text, &["executable", "config_file"], "");
    put(text, "io_threads_active", 0);
}

fn clients(cx: &Cx<'_>, text: &mut String) {
    let metrics = &cx.engine.metrics;
    put(text, "connected_clients", metrics.gauge(Gauge::Clients));
    put(text, "cluster_connections", 0);
    put(text, "maxclients", cx.engine.doors.connections_max());
    let (input, output) = cx.engine.clients.largest_buffers();
    put(text, "client_recent_max_input_buffer", input);
    put(text, "client_recent_max_output_buffer", output);
    // As in redis, who waits for the end of a pause is blocked, too.
    put(text, "blocked_clients", metrics.gauge(Gauge::Blocked) + cx.engine.clients.held(cx.now));
    put(text, "tracking_clients", cx.engine.tracking.clients());
    put(text, "clients_in_timeout_table", 0);
}

fn memory(cx: &Cx<'_>, text: &mut String) {
    let usage = cx.engine.usage();
    let used = usage.total();
    let (resident, peak) = (machine::resident_bytes(), cx.engine.samples.peak_bytes(used));
    let percent = |part: u64, whole: u64| format!("{:.2}%", ratio(part, whole) * 100.0);
    put_bytes(text, "used_memory", used);
    put_bytes(text, "used_memory_rss", resident);
    put_bytes(text, "used_memory_peak", peak);
    put(text, "used_memory_peak_perc", percent(used, peak));
    // Redis counts its tables as overhead; here they are one with the keys.
    put(text, "used_memory_overhead", usage.overhead());
    put(text, "used_memory_startup", usage.startup);
    put(text, "used_memory_dataset", usage.data);
    put(text, "used_memory_dataset_perc", percent(usage.data, used - usage.startup));
    put(text, "allocator_allocated", used);
    put_all(text, &["allocator_active", "allocator_resident"], &resident.to_string());
    put_bytes(text, "total_system_memory", machine::total_bytes());
    scripts(cx, &usage, text);
    put_bytes(text, "maxmemory", cx.engine.db.eviction.limit());
    put(text, "maxmemory_policy", cx.engine.db.eviction.policy().name());
    fragmentation(text, used, resident);
    put(text, "mem_not_counted_for_evict", usage.freeing);
    put(text, "mem_replication_backlog", usage.log);
    put_all(text, &["mem_total_replication_buffers", "mem_clients_slaves"], "0");
    put(text, "mem_clients_normal", usage.clients);
    put_all(text, &["mem_cluster_links", "mem_aof_buffer"], "0");
    put(text, "mem_allocator", if allocator::is_started() { "mimalloc" } else { "system" });
    put(text, "active_defrag_running", 0);
    put(text, "lazyfree_pending_objects", cx.engine.db.freeing.values());
    put(text, "lazyfreed_objects", cx.engine.freed_since_reset());
}

fn scripts(cx: &Cx<'_>, usage: &Usage, text: &mut String) {
    put_all(text, &["used_memory_lua", "used_memory_vm_eval"], &usage.lua.to_string());
    put(text, "used_memory_lua_human", human(usage.lua));
    put(text, "used_memory_scripts_eval", usage.scripts);
    put(text, "number_of_cached_scripts", cx.engine.scripts.kept());
    let libraries = cx.engine.scripts.functions.now();
    put(text, "number_of_functions", libraries.functions());
    put(text, "number_of_libraries", libraries.all.len());
    put(text, "used_memory_vm_functions", 0);
    put_bytes(text, "used_memory_vm_total", usage.lua);
    put(text, "used_memory_functions", usage.functions);
    put_bytes(text, "used_memory_scripts", usage.scripts + usage.functions);
}

fn fragmentation(text: &mut String, used: u64, resident: u64) {
    let over = i128::from(resident) - i128::from(used);
    put(text, "allocator_frag_ratio", format_args!("{:.2}", ratio(resident, used)));
    put(text, "allocator_frag_bytes", over);
    put(text, "allocator_rss_ratio", "1.00");
    put(text, "allocator_rss_bytes", 0);
    put(text, "rss_overhead_ratio", "1.00");
    put(text, "rss_overhead_bytes", 0);
    put(text, "mem_fragmentation_ratio", format_args!("{:.2}", ratio(resident, used)));
    put(text, "mem_fragmentation_bytes", over);
}

fn persistence(cx: &Cx<'_>, text: &mut String) {
    put_all(text, &["loading", "async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"], "0");
    put(text, "current_fork_perc", "0.00");
    let progress = ["current_save_keys_processed", "current_save_keys_total", "rdb_changes_since_last_save"];
    put_all(text, &progress, "0");
    put(text, "rdb_bgsave_in_progress", 0);
    put(text, "rdb_last_save_time", cx.engine.started.wall_ms / 1000);
    put(text, "rdb_last_bgsave_status", "ok");
    put_all(text, &["rdb_last_bgsave_time_sec", "rdb_current_bgsave_time_sec"], "-1");
    let loads = ["rdb_saves", "rdb_last_cow_size", "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded"];
    put_all(text, &loads, "0");
    put_all(text, &["aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"], "0");
    put_all(text, &["aof_last_rewrite_time_sec", "aof_current_rewrite_time_sec"], "-1");
    put(text, "aof_last_bgrewrite_status", "ok");
    put_all(text, &["aof_rewrites", "aof_rewrites_consecutive_failures"], "0");
    put(text, "aof_last_write_status", "ok");
    put_all(text, &["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"], "0");
}

fn stats(cx: &Cx<'_>, text: &mut String) {
    let count = |text: &mut String, count: Count| put(text, count.name(), cx.engine.count_since_reset(count));
    let rates = cx.engine.samples.rates();
    count(text, Count::Connections);
    put(text, "total_commands_processed", cx.engine.commands_since_reset());
    put(text, "instantaneous_ops_per_sec", rates.commands);
    count(text, Count::BytesIn);
    count(text, Count::BytesOut);
    put_all(text, &["total_net_repl_input_bytes", "total_net_repl_output_bytes"], "0");
    put(text, "instantaneous_input_kbps", format_args!("{:.2}", rates.input_kib));
    put(text, "instantaneous_output_kbps", format_args!("{:.2}", rates.output_kib));
    put_all(text, &["instantaneous_input_repl_kbps", "instantaneous_output_repl_kbps"], "0.00");
    put(text, "rejected_connections", cx.engine.rejected_since_reset());
    put_all(text, &["sync_full", "sync_partial_ok", "sync_partial_err"], "0");
    count(text, Count::Expired);
    put(text, "expired_stale_perc", "0.00");
    put_all(text, &["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"], "0");
    count(text, Count::Evicted);
    let buffers = &cx.engine.buffers;
    put(text, "evicted_clients", buffers.cuts(Cut::Evicted));
    put_all(text, &["total_eviction_exceeded_time", "current_eviction_exceeded_time"], "0");
    count(text, Count::Hits);
    count(text, Count::Misses);
    put(text, "pubsub_channels", cx.engine.pubsub.channels.len());
    put(text, "pubsub_patterns", cx.engine.pubsub.patterns());
    put(text, "pubsubshard_channels", cx.engine.pubsub.shards.len());
    put_all(text, &["latest_fork_usec", "total_forks"], "0");
    put_all(text, &["migrate_cached_sockets", "slave_expires_tracked_keys"], "0");
    let defrag = ["active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits", "active_defrag_key_misses"];
    put_all(text, &defrag, "0");
    put_all(text, &["total_active_defrag_time", "current_active_defrag_time"], "0");
    put(text, "tracking_total_keys", cx.engine.tracking.keys());
    put(text, "tracking_total_items", cx.engine.tracking.items());
    put(text, "tracking_total_prefixes", cx.engine.tracking.prefixes());
    put(text, "unexpected_error_replies", 0);
    count(text, Count::Errors);
    put(text, "dump_payload_sanitizations", 0);
    count(text, Count::Reads);
    count(text, Count::Writes);
    put_all(text, &["io_threaded_reads_processed", "io_threaded_writes_processed"], "0");
    // Valkey 8's.
    put(text, "client_query_buffer_limit_disconnections", buffers.cuts(Cut::Query));
    put(text, "client_output_buffer_limit_disconnections", buffers.cuts(Cut::Output));
    put_all(text, &["reply_buffer_shrinks", "reply_buffer_expands"], "0");
    put(text, "lock_hold_usec", holds(cx.engine));
    put(text, "lock_hold_usec_max", cx.engine.db.holds.longest_us());
    for ours in [Count::Denied, Count::AuthFailures, Count::Throttled, Count::Busy, Count::Gates] {
        count(text, ours);
    }
}

/// Processor time per hold of partitions: how many of those that were timed took at most how many us.
fn holds(engine: &Engine) -> String {
    let within = engine.db.holds.within();
    let places = within.iter().enumerate().filter(|(_, count)| **count > 0);
    places.map(|(place, count)| format!("{}={count}", 1_u64 << place)).collect::<Vec<_>>().join(",")
}

fn replication(cx: &Cx<'_>, text: &mut String) {
    put(text, "role", "master");
    put(text, "connected_slaves", 0);
    put(text, "master_failover_state", "no-failover");
    put(text, "master_replid", &cx.engine.run_id);
    put(text, "master_replid2", "0".repeat(40));
    put(text, "master_repl_offset", cx.engine.log.end());
    put(text, "second_repl_offset", -1);
    let backlog =
        ["repl_backlog_active", "repl_backlog_size", "repl_backlog_first_byte_offset", "repl_backlog_histlen"];
    put_all(text, &backlog, "0");
}

fn cpu(_: &Cx<'_>, text: &mut String) {
    let (whole, main) = (machine::cpu(), machine::cpu_of_main_thread());
    for (name, seconds) in [
        ("used_cpu_sys", whole.system_s),
        ("used_cpu_user", whole.user_s),
        ("used_cpu_sys_children", whole.system_children_s),
        ("used_cpu_user_children", whole.user_children_s),
        ("used_cpu_sys_main_thread", main.system_s),
        ("used_cpu_user_main_thread", main.user_s),
    ] {
        put(text, name, format_args!("{seconds:.6}"));
    }
}

fn nothing(_: &Cx<'_>, _: &mut String) {}

/// Every command that was called since the last reset, by redis's name, and what is known of it.
pub(crate) fn called(engine: &Engine) -> impl Iterator<Item = (String, Stats)> + '_ {
    let row = |spec: &'static Spec| (spec.name.to_ascii_lowercase(), engine.stats_since_reset(spec.bit()));
    commands::table().iter().map(row).filter(|(_, stats)| stats.calls + stats.rejected > 0)
}

/// Time is that of the calls that came alone, as if all had taken as long. Redis counts a call when it ends, so this one is
/// not told of.
fn command_stats(cx: &Cx<'_>, text: &mut String) {
    for (name, mut stats) in called(cx.engine) {
        if name == "info" {
            stats.calls = stats.calls.saturating_sub(1);
        }
        if stats.calls + stats.rejected == 0 {
            continue;
        }
        let each = ratio(stats.us, stats.timed());
        let us = (each * stats.calls as f64) as u64;
        let Stats { calls, failed, rejected, .. } = stats;
        let counts = format_args!(
            "calls={calls},usec={us},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
        );
        put(text, &format!("cmdstat_{name}"), counts);
    }
}

fn error_stats(cx: &Cx<'_>, text: &mut String) {
    for (word, count) in &*cx.engine.errors.lock() {
        put(text, &format!("errorstat_{word}"), format_args!("count={count}"));
    }
}

fn latency_stats(cx: &Cx<'_>, text: &mut String) {
    if !cx.engine.percentiles.are_told() {
        return;
    }
    let percents = cx.engine.percentiles.all();
    for (name, stats) in called(cx.engine).filter(|(_, stats)| stats.timed() > 0) {
        let at = |share: f64| {
            let wanted = (stats.timed() as f64 * share).ceil() as u64;
            let mut seen = 0;
            let place = stats.within.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            (1_u64 << place.unwrap_or(0)) as f64
        };
        let each = percents.iter().map(|percent| format!("{}={:.3}", percentiles::name(*percent), at(percent / 100.0)));
        put(text, &format!("latency_percentiles_usec_{name}"), each.collect::<Vec<_>>().join(","));
    }
}

fn cluster(_: &Cx<'_>, text: &mut String) {
    put(text, "cluster_enabled", 0);
}

fn keyspace(cx: &Cx<'_>, text: &mut String) {
    let gauge = |gauge| cx.engine.metrics.gauge(gauge) as i64;
    let others: Vec<_> = (1..cx.engine.db.databases())
        .filter_map(|database| cx.engine.db.tally(database as u8))
        .map(|tally| (tally.keys.load(Ordering::Relaxed), tally.volatile.load(Ordering::Relaxed)))
        .collect();
    // The gauges are of all databases: what the others do not hold, the first does.
    let of_others = others.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let first = (gauge(Gauge::Keys) - of_others.0, (gauge(Gauge::Volatile) - of_others.1).max(0));
    for (database, (keys, expires)) in std::iter::once(first).chain(others).enumerate() {
        if keys > 0 {
            put(text, &format!("db{database}"), format_args!("keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}

/// 0 of nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// As redis' `bytesToHuman`.
fn human(bytes: u64) -> String {
    let units = [(1_u64 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
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
