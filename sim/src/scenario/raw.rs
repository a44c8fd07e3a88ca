//! A scenario as written, defaults laid under it. `scenarios/defaults.toml` says what each key means.
#![allow(missing_docs, reason = "each key is documented once, in scenarios/defaults.toml")]

use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub name: String,
    pub seed: u64,
    pub duration_s: u64,
    pub warm_up_s: u64,
    pub arrivals: Arrivals,
    pub api_gateway: ApiGateway,
    pub function: Function,
    pub sessions: Sessions,
    pub cache: Cache,
    pub origin: Origin,
    pub prices: Prices,
    pub runtimes: BTreeMap<String, Runtime>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Law {
    pub law: String,
    pub mean_ms: f64,
    pub sigma: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrivals {
    pub kind: String,
    pub rate_per_s: f64,
    pub amplitude: f64,
    pub period_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiGateway {
    pub rate_per_s: u64,
    pub burst: u64,
    pub integration_timeout_ms: f64,
    pub overhead: Law,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    pub runtime: String,
    pub init_multiplier: f64,
    pub memory_mb: u64,
    pub timeout_ms: f64,
    pub concurrency_max: u64,
    pub environments_per_s: u64,
    pub environments_burst: u64,
    pub invokes_per_s_per_concurrency: u64,
    pub pick: String,
    pub placement: Law,
    pub service: Law,
    pub keep_alive: KeepAlive,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepAlive {
    pub policy: String,
    pub idle_ms: f64,
    pub least_ms: f64,
    pub most_ms: f64,
    pub age_ms_max: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    pub users: u64,
    pub popularity: String,
    pub zipf_alpha: f64,
    pub on_hit: String,
    pub logout_share: f64,
    pub key_bytes: u64,
    pub value_bytes_median: f64,
    pub value_bytes_sigma: f64,
    pub value_bytes_max: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    pub ttl_s: f64,
    pub entry_overhead_bytes: u64,
    pub entries_max: u64,
    pub memory_bytes_max: u64,
    pub eviction: String,
    pub round_trip: Law,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    pub load: Law,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub lambda_usd_per_million_requests: f64,
    pub lambda_usd_per_gb_s: f64,
    pub api_gateway_usd_per_million_requests: f64,
    pub cache_kind: String,
    pub cache_usd_per_gb_hour: f64,
    pub cache_gb_min: f64,
    pub cache_usd_per_million_ecpu: f64,
    pub cache_nodes: u64,
    pub cache_usd_per_node_hour: f64,
    pub month_hours: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    pub init_p50_ms: f64,
    pub init_p90_ms: f64,
    pub init_p99_ms: f64,
    pub init_max_ms: f64,
    pub first_invocation_128mb_ms: f64,
    pub first_invocation_512mb_ms: f64,
    pub first_invocation_1024mb_ms: f64,
}

impl Runtime {
    /// How much longer the first invocation takes with this much memory: linear between the measured sizes, flat outside.
    pub fn first_invocation_ms(&self, memory_mb: u64) -> f64 {
        let points = [
            (128.0, self.first_invocation_128mb_ms),
            (512.0, self.first_invocation_512mb_ms),
            (1024.0, self.first_invocation_1024mb_ms),
        ];
        let mb = memory_mb as f64;
        for pair in points.windows(2) {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
            if mb < x1 {
                return y0 + (y1 - y0) * ((mb - x0) / (x1 - x0)).max(0.0);
            }
        }
        self.first_invocation_1024mb_ms
    }
}
