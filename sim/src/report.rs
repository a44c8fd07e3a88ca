//! What a run found, as JSON and as a table.

use crate::scenario::Scenario;
use crate::world::{Waits, World};
use crate::{NS_PER_S, scenario};
use serde::Serialize;
use std::fmt::Write as _;

/// The result of one run. The JSON form holds the whole scenario, so a report can be run again.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the scenario.
    pub scenario_name: String,
    /// Seed of the run.
    pub seed: u64,
    /// Version of the simulator.
    pub larder_version: &'static str,
    /// Virtual seconds that were counted, after the warm-up.
    pub measured_s: u64,
    /// Events of the whole run.
    pub events: u64,
    /// What became of the requests.
    pub requests: Requests,
    /// Cold starts.
    pub cold: Cold,
    /// What clients waited for answered requests.
    pub wait_ms: Waited,
    /// Environments of the function.
    pub environments: Environments,
    /// The session cache.
    pub cache: CacheUse,
    /// Cost by component; the last line is the sum.
    pub cost: Vec<CostLine>,
    /// The scenario with every default.
    pub scenario: toml::Table,
}

/// What became of the requests. All but `arrived` sum to `arrived`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Requests {
    /// All.
    pub arrived: u64,
    /// 200.
    pub answered: u64,
    /// 429 of the API Gateway.
    pub throttled_by_api_gateway: u64,
    /// 503: no environment free and the limit reached.
    pub refused_concurrency: u64,
    /// 503: more invokes a second than the concurrency allows.
    pub refused_invoke_rate: u64,
    /// 503: no environment free and no more to be added just then.
    pub refused_scaling: u64,
    /// Stopped at the function's timeout.
    pub timed_out: u64,
    /// 503 at the integration timeout; the function ran on.
    pub integration_timed_out: u64,
    /// Inside the function when the run ended.
    pub unfinished: u64,
}

/// Cold starts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cold {
    /// Invokes that created their environment.
    pub starts: u64,
    /// Their share of all invokes.
    pub share: f64,
}

/// Waits of all, of cold and of warm requests.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Waited {
    /// All.
    pub all: Percentiles,
    /// Those that created their environment.
    pub cold: Percentiles,
    /// The others.
    pub warm: Percentiles,
}

/// Percentiles in milliseconds, to three digits.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p99_9: f64,
    /// Largest.
    pub max: f64,
}

/// Environments over time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Environments {
    /// Mean busy.
    pub busy_mean: f64,
    /// Most busy at once.
    pub busy_peak: u64,
    /// Mean alive, busy or idle.
    pub alive_mean: f64,
    /// Most alive at once; with a client that connects per environment, also the most connections to the cache.
    pub alive_peak: u64,
}

/// The session cache.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CacheUse {
    /// Sessions found.
    pub hits: u64,
    /// Sessions not found, and loaded from the origin.
    pub misses: u64,
    /// Share found.
    pub hit_ratio: f64,
    /// Calls of the function.
    pub calls: u64,
    /// ElastiCache processing units.
    pub ecpu: f64,
    /// Entries that left because their TTL ended.
    pub expired: u64,
    /// Entries that left to make room.
    pub evicted: u64,
    /// Writes that did not fit.
    pub writes_refused: u64,
    /// Mean live sessions.
    pub entries_mean: f64,
    /// Most live sessions.
    pub entries_peak: u64,
    /// Mean bytes, overhead included.
    pub memory_bytes_mean: f64,
    /// Most bytes.
    pub memory_bytes_peak: u64,
}

/// One component's cost. US dollars, unrounded.
#[derive(Clone, Debug, Serialize)]
pub struct CostLine {
    /// What is paid for.
    pub component: &'static str,
    /// In the measured time.
    pub usd: f64,
    /// Per million requests that arrived.
    pub usd_per_million_requests: f64,
    /// Per month at this pace.
    pub usd_per_month: f64,
}

impl Report {
    /// The report of a finished run.
    pub fn of(spec: &Scenario, seed: u64, world: &World<'_>) -> Self {
        let mut scenario = spec.effective.clone();
        // A TOML number is signed; larger seeds are printed by `seed` alone.
        scenario.insert("seed".to_owned(), toml::Value::Integer(seed as i64));
        Self {
            scenario_name: spec.name.clone(),
            seed,
            larder_version: env!("CARGO_PKG_VERSION"),
            measured_s: (spec.duration_ns - spec.warm_up_ns) / NS_PER_S,
            events: world.events(),
            requests: requests(world),
            cold: Cold { starts: world.tally().cold, share: ratio(world.tally().cold, world.tally().invokes) },
            wait_ms: Waited {
                all: percentiles(&world.tally().waits),
                cold: percentiles(&world.tally().waits_cold),
                warm: percentiles(&world.tally().waits_warm),
            },
            environments: Environments {
                busy_mean: world.pool().busy().mean(),
                busy_peak: world.pool().busy().peak(),
                alive_mean: world.pool().total().mean(),
                alive_peak: world.pool().total().peak(),
            },
            cache: cache_use(world),
            cost: cost(spec, world),
            scenario,
        }
    }

    /// The report as JSON, with a newline at the end.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("keys are strings and numbers are finite");
        text.push('\n');
        text
    }

    /// The report as a table for people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let _ =
            writeln!(out, "{}, seed {}, {} s of virtual time counted", self.scenario_name, self.seed, self.measured_s);
        self.request_rows(&mut out);
        self.wait_rows(&mut out);
        self.state_rows(&mut out);
        self.cost_rows(&mut out);
        out
    }

    fn request_rows(&self, out: &mut String) {
        let requests = &self.requests;
        let rows = [
            ("arrived", requests.arrived),
            ("answered", requests.answered),
            ("throttled by API Gateway (429)", requests.throttled_by_api_gateway),
            ("refused, concurrency (503)", requests.refused_concurrency),
            ("refused, invoke rate (503)", requests.refused_invoke_rate),
            ("refused, scaling (503)", requests.refused_scaling),
            ("function timeout", requests.timed_out),
            ("integration timeout (503)", requests.integration_timed_out),
            ("unfinished at the end", requests.unfinished),
            ("cold starts", self.cold.starts),
        ];
        let _ = writeln!(out, "\nrequests {:>38} {:>10}", "count", "share");
        for (name, count) in rows {
            let share = if name == "cold starts" { self.cold.share } else { ratio(count, requests.arrived) };
            let _ = writeln!(out, "  {name:<32} {count:>12} {:>9.4} %", share * 100.0);
        }
    }

    fn wait_rows(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\nwait in ms {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"
        );
        for (name, p) in [("all", &self.wait_ms.all), ("cold", &self.wait_ms.cold), ("warm", &self.wait_ms.warm)] {
            let _ = write!(out, "  {name:<8} {:>12}", p.count);
            for value in [p.mean, p.p50, p.p90, p.p95, p.p99, p.p99_9, p.max] {
                let _ = write!(out, " {value:>9.1}");
            }
            out.push('\n');
        }
    }

    fn state_rows(&self, out: &mut String) {
        let (environments, cache) = (&self.environments, &self.cache);
        let _ = writeln!(out, "\nlevels {:>40} {:>14}", "mean", "peak");
        let rows = [
            ("environments busy", environments.busy_mean, environments.busy_peak),
            ("environments alive (connections)", environments.alive_mean, environments.alive_peak),
            ("sessions cached", cache.entries_mean, cache.entries_peak),
            ("cache memory, bytes", cache.memory_bytes_mean, cache.memory_bytes_peak),
        ];
        for (name, mean, peak) in rows {
            let _ = writeln!(out, "  {name:<32} {mean:>12.1} {peak:>14}");
        }
        let _ = writeln!(
            out,
            "\ncache: hit ratio {:.4} ({} of {}), {} calls, {:.0} ECPU, {} expired, {} evicted, {} writes refused",
            cache.hit_ratio,
            cache.hits,
            cache.hits + cache.misses,
            cache.calls,
            cache.ecpu,
            cache.expired,
            cache.evicted,
            cache.writes_refused
        );
    }

    fn cost_rows(&self, out: &mut String) {
        let _ = writeln!(out, "\ncost in US dollars {:>19} {:>16} {:>14}", "this run", "per 1e6 requests", "per month");
        for line in &self.cost {
            let _ = writeln!(
                out,
                "  {:<24} {:>11.4} {:>16.4} {:>14.2}",
                line.component, line.usd, line.usd_per_million_requests, line.usd_per_month
            );
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn requests(world: &World<'_>) -> Requests {
    let tally = world.tally();
    Requests {
        arrived: tally.requests,
        answered: tally.answered,
        throttled_by_api_gateway: tally.throttled,
        refused_concurrency: tally.refused_concurrency,
        refused_invoke_rate: tally.refused_rate,
        refused_scaling: tally.refused_scaling,
        timed_out: tally.timed_out,
        integration_timed_out: tally.integration_timed_out,
        unfinished: tally.unfinished,
    }
}

fn percentiles(waits: &Waits) -> Percentiles {
    let at = |quantile| waits.value_at_quantile(quantile) as f64 / 1000.0;
    Percentiles {
        count: waits.len(),
        mean: waits.mean() / 1000.0,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p99_9: at(0.999),
        max: waits.max() as f64 / 1000.0,
    }
}

fn cache_use(world: &World<'_>) -> CacheUse {
    let (tally, store) = (world.tally(), world.store());
    CacheUse {
        hits: tally.hits,
        misses: tally.misses,
        hit_ratio: ratio(tally.hits, tally.hits + tally.misses),
        calls: tally.cache_calls,
        ecpu: tally.ecpu_milli as f64 / 1000.0,
        expired: store.counts().expired,
        evicted: store.counts().evicted,
        writes_refused: store.counts().refused,
        entries_mean: store.entries().mean(),
        entries_peak: store.entries().peak(),
        memory_bytes_mean: store.memory().mean(),
        memory_bytes_peak: store.memory().peak(),
    }
}

fn cost(spec: &Scenario, world: &World<'_>) -> Vec<CostLine> {
    let (tally, prices) = (world.tally(), &spec.prices);
    let hours = (spec.duration_ns - spec.warm_up_ns) as f64 / (3600 * NS_PER_S) as f64;
    let gb_s = tally.billed_ms as f64 / 1000.0 * spec.function.memory_mb as f64 / 1024.0;
    let mut lines = vec![
        ("API Gateway requests", tally.requests as f64 / 1e6 * prices.api_gateway_usd_per_million_requests),
        ("Lambda requests", tally.invokes as f64 / 1e6 * prices.lambda_usd_per_million_requests),
        ("Lambda duration", gb_s * prices.lambda_usd_per_gb_s),
    ];
    lines.extend(cache_cost(spec, world, hours));
    let sum = lines.iter().map(|(_, usd)| usd).sum();
    lines.push(("sum", sum));
    let line = |(component, usd): (&'static str, f64)| CostLine {
        component,
        usd,
        usd_per_million_requests: if tally.requests == 0 { 0.0 } else { usd / tally.requests as f64 * 1e6 },
        usd_per_month: usd / hours * prices.month_hours,
    };
    lines.into_iter().map(line).collect()
}

fn cache_cost(spec: &scenario::Scenario, world: &World<'_>, hours: f64) -> Vec<(&'static str, f64)> {
    let prices = &spec.prices;
    if spec.priced_by_nodes {
        return vec![("cache nodes", hours * prices.cache_nodes as f64 * prices.cache_usd_per_node_hour)];
    }
    let gb = (world.store().memory().mean() / f64::from(1 << 30)).max(prices.cache_gb_min);
    let ecpu_millions = world.tally().ecpu_milli as f64 / 1e9;
    vec![
        ("cache storage", hours * gb * prices.cache_usd_per_gb_hour),
        ("cache ECPU", ecpu_millions * prices.cache_usd_per_million_ecpu),
    ]
}
