//! Scenarios: a file in, a checked description out, or every mistake in it at once.
//!
//! `scenarios/defaults.toml` holds every key with its default; it is also the schema. A scenario is laid over it
//! ([`overlay`]), read into plain structs ([`raw`]) and checked here.

pub mod overlay;
pub mod raw;

use crate::law::{Law, Quantiles};
use crate::{NS_PER_MS, NS_PER_S};
use overlay::Mistakes;
use raw::Raw;
use std::collections::BTreeMap;
use toml::Table;

/// Every key with its default and its meaning.
pub const DEFAULTS: &str = include_str!("../scenarios/defaults.toml");

/// What a scenario may ask for at most.
pub struct Limits;

impl Limits {
    /// Bytes of a scenario file.
    pub const FILE_BYTES_MAX: u64 = 1 << 20;
    /// Virtual time.
    pub const DURATION_S_MAX: u64 = 10 * 366 * 86_400;
    /// Expected requests of one run: mean rate times duration.
    pub const REQUESTS_MAX: f64 = 2e9;
    /// Users; a popularity table holds 8 bytes and a cache slot 40 for each.
    pub const USERS_MAX: u64 = 10_000_000;
    /// Environments busy at once.
    pub const CONCURRENCY_MAX: u64 = 1_000_000;
    /// Any time in milliseconds other than the duration: one year.
    pub const TIME_MS_MAX: f64 = 366.0 * 86_400_000.0;
    /// INIT on demand; a longer one is tried again inside the first invocation, which is not modelled.
    pub const INIT_MS_MAX: f64 = 10_000.0;
    /// Deviation of a logarithm.
    pub const SIGMA_MAX: f64 = 5.0;
    /// Bytes of one key or value, and the overhead of an entry.
    pub const ITEM_BYTES_MAX: u64 = 512 << 20;
}

/// A checked scenario. Times are nanoseconds.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What reports call it.
    pub name: String,
    /// Seed of all streams.
    pub seed: u64,
    /// End of the run.
    pub duration_ns: u64,
    /// Start of counting.
    pub warm_up_ns: u64,
    /// When requests come.
    pub arrivals: Arrivals,
    /// The front.
    pub api_gateway: ApiGateway,
    /// The function behind it.
    pub function: Function,
    /// Who the requests act for.
    pub sessions: Sessions,
    /// The session cache.
    pub cache: Cache,
    /// Time to load a session that the cache has not.
    pub origin_load: Law,
    /// Prices in US dollars.
    pub prices: raw::Prices,
    /// Whether the cache is priced by nodes and not by use.
    pub priced_by_nodes: bool,
    /// The whole scenario, defaults included (other runtimes left out), as reports print it.
    pub effective: Table,
}

/// When requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Independent exponential gaps.
    Poisson {
        /// Mean gap.
        gap_ns: f64,
    },
    /// Equal gaps; the first request comes after one gap.
    Deterministic {
        /// The gap.
        gap_ns: f64,
    },
    /// Poisson with a rate that follows a sine.
    Diurnal {
        /// Gap at the mean rate.
        gap_ns: f64,
        /// Relative swing, 0 to 1.
        amplitude: f64,
        /// Length of a cycle.
        period_ns: f64,
    },
}

/// The API Gateway.
#[derive(Clone, Debug)]
pub struct ApiGateway {
    /// Throttle, tokens a second; 0 for none.
    pub rate_per_s: u64,
    /// Throttle, capacity.
    pub burst: u64,
    /// When the client is told 503.
    pub integration_timeout_ns: u64,
    /// Added to the client's wait.
    pub overhead: Law,
}

/// The Lambda function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Finding a place and fetching code.
    pub placement: Law,
    /// INIT.
    pub init: Law,
    /// How much longer the first invocation takes.
    pub first_invocation_ns: u64,
    /// The handler without cache and origin.
    pub service: Law,
    /// Memory.
    pub memory_mb: u64,
    /// Function timeout.
    pub timeout_ns: u64,
    /// Environments busy at once.
    pub concurrency_max: u64,
    /// New environments a second; 0 for no limit.
    pub environments_per_s: u64,
    /// Capacity of that bucket.
    pub environments_burst: u64,
    /// Invocations a second; 0 for no limit.
    pub invokes_per_s: u64,
    /// Which idle environment serves.
    pub pick: Pick,
    /// How long an idle environment stays.
    pub keep_alive: KeepAlive,
    /// Oldest an idle environment may be; 0 for no limit.
    pub age_ns_max: u64,
}

/// Which idle environment serves the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The one that went idle last.
    MostRecentlyUsed,
    /// The one that has been idle longest.
    LeastRecentlyUsed,
    /// The one created last.
    Newest,
    /// The one created first.
    Oldest,
}

/// How long an environment stays idle before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// This long.
    Fixed {
        /// Nanoseconds.
        idle_ns: u64,
    },
    /// Uniformly distributed, drawn per idle period.
    Uniform {
        /// Nanoseconds.
        least_ns: u64,
        /// Nanoseconds.
        most_ns: u64,
    },
    /// For ever.
    Never,
}

/// Who the requests act for, and what they do to the session.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// How many.
    pub users: u64,
    /// Zipf exponent; `None` for uniform.
    pub zipf_alpha: Option<f64>,
    /// What a request does to the session it found.
    pub on_hit: OnHit,
    /// Share of requests that delete the session.
    pub logout_share: f64,
    /// Bytes of a key.
    pub key_bytes: u64,
    /// Median bytes of a value.
    pub value_bytes_median: f64,
    /// Deviation of the logarithm.
    pub value_bytes_sigma: f64,
    /// Most bytes of a value.
    pub value_bytes_max: u64,
}

/// What a request does to the session it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHit {
    /// A small write that starts the TTL again.
    Touch,
    /// The record is written again, and its TTL starts again.
    Save,
    /// Nothing: the TTL runs from the first write.
    Nothing,
}

/// The session cache.
#[derive(Clone, Debug)]
pub struct Cache {
    /// TTL of every entry.
    pub ttl_ns: u64,
    /// Server's own bytes per entry.
    pub entry_overhead_bytes: u64,
    /// Capacity in entries; `u64::MAX` for none.
    pub entries_max: u64,
    /// Capacity in bytes; `u64::MAX` for none.
    pub memory_bytes_max: u64,
    /// Whether least recently used entries make room; otherwise writes are refused.
    pub evicts: bool,
    /// One call from the function.
    pub round_trip: Law,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The text's syntax error, or else every mistake in it, one line each.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let user: Table =
            text.parse().map_err(|error: toml::de::Error| vec![error.to_string().trim_end().to_owned()])?;
        let defaults: Table = DEFAULTS.parse().expect("defaults.toml is compiled in and tested");
        let mut effective = defaults.clone();
        let mut mistakes = Mistakes::default();
        overlay::lay(&mut effective, &user, &mut mistakes);
        if let Some(found) = mistakes.any() {
            return Err(found);
        }
        let raw: Raw = effective.clone().try_into().map_err(|error: toml::de::Error| vec![error.to_string()])?;
        Checker { defaults, effective, mistakes }.scenario(raw)
    }
}

/// Turns raw values into checked ones and collects what is wrong with them.
struct Checker {
    defaults: Table,
    effective: Table,
    mistakes: Mistakes,
}

impl Checker {
    fn scenario(mut self, raw: Raw) -> Result<Scenario, Vec<String>> {
        self.most("duration_s", raw.duration_s as f64, Limits::DURATION_S_MAX as f64);
        self.at_least("duration_s", raw.duration_s as f64, 1.0);
        if raw.warm_up_s >= raw.duration_s {
            self.mistakes.add("warm_up_s", format!("must be under duration_s, which is {}", raw.duration_s));
        }
        let arrivals = self.arrivals(&raw.arrivals, raw.duration_s);
        let api_gateway = self.api_gateway(&raw.api_gateway);
        let function = self.function(&raw.function, &raw.runtimes);
        let sessions = self.sessions(&raw.sessions);
        let cache = self.cache(&raw.cache);
        let origin_load = self.law("origin.load", &raw.origin.load);
        let priced_by_nodes =
            self.choice("prices.cache_kind", &raw.prices.cache_kind, &[("serverless", false), ("nodes", true)]);
        self.at_least("prices.month_hours", raw.prices.month_hours, 1.0);
        if let Some(found) = self.mistakes.any() {
            return Err(found);
        }
        if let Some(runtimes) = self.effective.get_mut("runtimes").and_then(toml::Value::as_table_mut) {
            runtimes.retain(|name, _| *name == raw.function.runtime);
        }
        Ok(Scenario {
            name: raw.name,
            seed: raw.seed,
            duration_ns: raw.duration_s * NS_PER_S,
            warm_up_ns: raw.warm_up_s * NS_PER_S,
            arrivals,
            api_gateway,
            function,
            sessions,
            cache,
            origin_load,
            prices: raw.prices,
            priced_by_nodes,
            effective: self.effective,
        })
    }

    fn arrivals(&mut self, raw: &raw::Arrivals, duration_s: u64) -> Arrivals {
        self.at_least("arrivals.rate_per_s", raw.rate_per_s, 1e-9);
        if raw.rate_per_s * duration_s as f64 > Limits::REQUESTS_MAX {
            let most = Limits::REQUESTS_MAX;
            self.mistakes.add("arrivals.rate_per_s", format!("times duration_s is more than {most} requests"));
        }
        self.most("arrivals.amplitude", raw.amplitude, 1.0);
        self.at_least("arrivals.period_s", raw.period_s as f64, 1.0);
        self.most("arrivals.period_s", raw.period_s as f64, Limits::DURATION_S_MAX as f64);
        let gap_ns = NS_PER_S as f64 / raw.rate_per_s;
        let diurnal =
            Arrivals::Diurnal { gap_ns, amplitude: raw.amplitude, period_ns: raw.period_s as f64 * NS_PER_S as f64 };
        let kinds = [
            ("poisson", Arrivals::Poisson { gap_ns }),
            ("deterministic", Arrivals::Deterministic { gap_ns }),
            ("diurnal", diurnal),
        ];
        let kind = self.choice("arrivals.kind", &raw.kind, &kinds);
        self.only_with(kind == diurnal, "arrivals", &["amplitude", "period_s"], "kind = \"diurnal\"");
        kind
    }

    fn api_gateway(&mut self, raw: &raw::ApiGateway) -> ApiGateway {
        let integration_timeout_ns = self.ms("api_gateway.integration_timeout_ms", raw.integration_timeout_ms, 50.0);
        self.bucket("api_gateway.rate_per_s", raw.rate_per_s, "api_gateway.burst", raw.burst);
        ApiGateway {
            rate_per_s: raw.rate_per_s,
            burst: raw.burst,
            integration_timeout_ns,
            overhead: self.law("api_gateway.overhead", &raw.overhead),
        }
    }

    fn function(&mut self, raw: &raw::Function, runtimes: &BTreeMap<String, raw::Runtime>) -> Function {
        let (init, first_invocation_ns) = self.runtime(raw, runtimes);
        self.at_least("function.memory_mb", raw.memory_mb as f64, 128.0);
        self.most("function.memory_mb", raw.memory_mb as f64, 10_240.0);
        self.most("function.timeout_ms", raw.timeout_ms, 900_000.0);
        self.at_least("function.concurrency_max", raw.concurrency_max as f64, 1.0);
        self.most("function.concurrency_max", raw.concurrency_max as f64, Limits::CONCURRENCY_MAX as f64);
        let invokes_per_s = raw.invokes_per_s_per_concurrency.saturating_mul(raw.concurrency_max);
        self.bucket("function.invokes_per_s_per_concurrency", invokes_per_s, "", 1);
        let environments = (raw.environments_per_s, raw.environments_burst);
        self.bucket("function.environments_per_s", environments.0, "function.environments_burst", environments.1);
        let picks = [
            ("most_recently_used", Pick::MostRecentlyUsed),
            ("least_recently_used", Pick::LeastRecentlyUsed),
            ("newest", Pick::Newest),
            ("oldest", Pick::Oldest),
        ];
        Function {
            placement: self.law("function.placement", &raw.placement),
            init,
            first_invocation_ns,
            service: self.law("function.service", &raw.service),
            memory_mb: raw.memory_mb,
            timeout_ns: self.ms("function.timeout_ms", raw.timeout_ms, 1.0),
            concurrency_max: raw.concurrency_max,
            environments_per_s: environments.0,
            environments_burst: environments.1,
            invokes_per_s,
            pick: self.choice("function.pick", &raw.pick, &picks),
            keep_alive: self.keep_alive(&raw.keep_alive),
            age_ns_max: self.ms("function.keep_alive.age_ms_max", raw.keep_alive.age_ms_max, 0.0),
        }
    }

    fn runtime(&mut self, raw: &raw::Function, runtimes: &BTreeMap<String, raw::Runtime>) -> (Law, u64) {
        let Some(runtime) = runtimes.get(&raw.runtime) else {
            let known: Vec<_> = runtimes.keys().map(String::as_str).collect();
            let text = format!("`{}` is not under [runtimes]; there are {}", raw.runtime, known.join(", "));
            self.mistakes.add("function.runtime", text);
            return (Law::Constant { mean_ns: 0.0 }, 0);
        };
        let path = format!("runtimes.{}", raw.runtime);
        let rising = [runtime.init_p50_ms, runtime.init_p90_ms, runtime.init_p99_ms, runtime.init_max_ms];
        if !rising.is_sorted() {
            self.mistakes.add(&path, "init_p50_ms, init_p90_ms, init_p99_ms, init_max_ms must not fall".to_owned());
        }
        self.most("function.init_multiplier", raw.init_multiplier, 1000.0);
        let longest = runtime.init_max_ms * raw.init_multiplier;
        if longest > Limits::INIT_MS_MAX {
            let text = format!(
                "INIT of {longest} ms is over 10000 ms; such an INIT is tried again inside the first invocation, which \
                 is not built yet: lower function.init_multiplier or choose another runtime"
            );
            self.mistakes.add(&path, text);
        }
        let ms = NS_PER_MS as f64;
        let quantiles = Quantiles {
            p50_ns: runtime.init_p50_ms * ms,
            p90_ns: runtime.init_p90_ms * ms,
            p99_ns: runtime.init_p99_ms * ms,
            max_ns: runtime.init_max_ms * ms,
        };
        let first_ms = runtime.first_invocation_ms(raw.memory_mb);
        self.most(&path, first_ms, Limits::TIME_MS_MAX);
        (Law::Quantiles(quantiles.times(raw.init_multiplier)), (first_ms * ms) as u64)
    }

    fn keep_alive(&mut self, raw: &raw::KeepAlive) -> KeepAlive {
        let at = "function.keep_alive";
        let fixed = KeepAlive::Fixed { idle_ns: self.ms("function.keep_alive.idle_ms", raw.idle_ms, 0.0) };
        let uniform = KeepAlive::Uniform {
            least_ns: self.ms("function.keep_alive.least_ms", raw.least_ms, 0.0),
            most_ns: self.ms("function.keep_alive.most_ms", raw.most_ms, 0.0),
        };
        if raw.least_ms > raw.most_ms {
            self.mistakes.add("function.keep_alive.least_ms", "must not be over most_ms".to_owned());
        }
        if raw.policy == "histogram" {
            self.mistakes.add("function.keep_alive.policy", "`histogram` is not built yet; use fixed".to_owned());
            return fixed;
        }
        let policies = [("fixed", fixed), ("uniform", uniform), ("never", KeepAlive::Never)];
        let policy = self.choice("function.keep_alive.policy", &raw.policy, &policies);
        self.only_with(raw.policy == "fixed", at, &["idle_ms"], "policy = \"fixed\"");
        self.only_with(raw.policy == "uniform", at, &["least_ms", "most_ms"], "policy = \"uniform\"");
        policy
    }

    fn sessions(&mut self, raw: &raw::Sessions) -> Sessions {
        self.at_least("sessions.users", raw.users as f64, 1.0);
        self.most("sessions.users", raw.users as f64, Limits::USERS_MAX as f64);
        self.most("sessions.zipf_alpha", raw.zipf_alpha, 10.0);
        self.most("sessions.logout_share", raw.logout_share, 1.0);
        self.most("sessions.key_bytes", raw.key_bytes as f64, Limits::ITEM_BYTES_MAX as f64);
        self.most("sessions.value_bytes_max", raw.value_bytes_max as f64, Limits::ITEM_BYTES_MAX as f64);
        self.most("sessions.value_bytes_median", raw.value_bytes_median, Limits::ITEM_BYTES_MAX as f64);
        self.most("sessions.value_bytes_sigma", raw.value_bytes_sigma, Limits::SIGMA_MAX);
        let zipf = [("uniform", None), ("zipf", Some(raw.zipf_alpha))];
        let zipf_alpha = self.choice("sessions.popularity", &raw.popularity, &zipf);
        self.only_with(zipf_alpha.is_some(), "sessions", &["zipf_alpha"], "popularity = \"zipf\"");
        let on_hit = [("touch", OnHit::Touch), ("save", OnHit::Save), ("none", OnHit::Nothing)];
        Sessions {
            users: raw.users,
            zipf_alpha,
            on_hit: self.choice("sessions.on_hit", &raw.on_hit, &on_hit),
            logout_share: raw.logout_share,
            key_bytes: raw.key_bytes,
            value_bytes_median: raw.value_bytes_median,
            value_bytes_sigma: raw.value_bytes_sigma,
            value_bytes_max: raw.value_bytes_max,
        }
    }

    fn cache(&mut self, raw: &raw::Cache) -> Cache {
        let unlimited = |max: u64| if max == 0 { u64::MAX } else { max };
        self.most("cache.entry_overhead_bytes", raw.entry_overhead_bytes as f64, Limits::ITEM_BYTES_MAX as f64);
        Cache {
            ttl_ns: self.ms("cache.ttl_s", raw.ttl_s * 1000.0, 1.0),
            entry_overhead_bytes: raw.entry_overhead_bytes,
            entries_max: unlimited(raw.entries_max),
            memory_bytes_max: unlimited(raw.memory_bytes_max),
            evicts: self.choice("cache.eviction", &raw.eviction, &[("lru", true), ("none", false)]),
            round_trip: self.law("cache.round_trip", &raw.round_trip),
        }
    }

    fn law(&mut self, path: &str, raw: &raw::Law) -> Law {
        self.most(&format!("{path}.mean_ms"), raw.mean_ms, Limits::TIME_MS_MAX);
        self.most(&format!("{path}.sigma"), raw.sigma, Limits::SIGMA_MAX);
        let mean_ns = raw.mean_ms * NS_PER_MS as f64;
        let laws = [
            ("constant", Law::Constant { mean_ns }),
            ("exponential", Law::Exponential { mean_ns }),
            ("lognormal", Law::lognormal(mean_ns, raw.sigma)),
        ];
        self.only_with(raw.law == "lognormal", path, &["sigma"], "law = \"lognormal\"");
        self.choice(&format!("{path}.law"), &raw.law, &laws)
    }

    /// Milliseconds to nanoseconds, bounded.
    fn ms(&mut self, path: &str, ms: f64, least: f64) -> u64 {
        self.at_least(path, ms, least);
        self.most(path, ms, Limits::TIME_MS_MAX);
        libm::round(ms * NS_PER_MS as f64) as u64
    }

    fn bucket(&mut self, rate_path: &str, rate: u64, burst_path: &str, burst: u64) {
        self.most(rate_path, rate as f64, crate::bucket::Bucket::TOKENS_MAX as f64);
        self.most(burst_path, burst as f64, crate::bucket::Bucket::TOKENS_MAX as f64);
        if rate > 0 {
            self.at_least(burst_path, burst as f64, 1.0);
        }
    }

    fn at_least(&mut self, path: &str, value: f64, least: f64) {
        if value < least {
            self.mistakes.add(path, format!("is {value} and must be at least {least}"));
        }
    }

    fn most(&mut self, path: &str, value: f64, most: f64) {
        if value > most {
            self.mistakes.add(path, format!("is {value} and must be at most {most}"));
        }
    }

    fn choice<T: Clone>(&mut self, path: &str, text: &str, choices: &[(&str, T)]) -> T {
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return value.clone();
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        self.mistakes.add(path, format!("is `{text}`; it can be {}", names.join(", ")));
        choices[0].1.clone()
    }

    /// Refuses keys that the scenario changes though they mean nothing there.
    fn only_with(&mut self, holds: bool, table: &str, keys: &[&str], condition: &str) {
        if holds {
            return;
        }
        let within = |whole| table.split('.').try_fold(whole, |at: &Table, part| at.get(part)?.as_table());
        let (now, before) = (within(&self.effective), within(&self.defaults));
        let value = |table: Option<&Table>, key: &str| table.and_then(|table| table.get(key).cloned());
        for key in keys.iter().filter(|key| value(now, key) != value(before, key)) {
            self.mistakes.add(&format!("{table}.{key}"), format!("means something only with {condition}"));
        }
    }
}

#[cfg(test)]
mod tests;
