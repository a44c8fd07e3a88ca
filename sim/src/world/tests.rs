//! The model against closed forms (facts/simulation.md 4.2 and 5.3). Seeds are fixed, so a pass stays a pass.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::report::Report;

/// Nothing but arrivals and the handler: no start-up time, no limits, no cache calls, no overhead.
const BARE: &str = r#"
    api_gateway.rate_per_s = 0
    api_gateway.overhead = { law = "constant", mean_ms = 0 }
    cache.round_trip = { law = "constant", mean_ms = 0 }
    origin.load = { law = "constant", mean_ms = 0 }
    sessions.users = 1
"#;

fn run<T>(text: &str, look: impl FnOnce(&World<'_>) -> T) -> T {
    let spec = Scenario::parse(text).unwrap();
    look(&World::run(&spec, spec.seed))
}

fn bare(duration_s: u64, rate_per_s: f64, service: &str, function: &str) -> String {
    format!(
        "duration_s = {duration_s}\narrivals.rate_per_s = {rate_per_s:?}\n{BARE}\n[function]\nservice = {service}\n\
         timeout_ms = 900000\ninvokes_per_s_per_concurrency = 0\nenvironments_per_s = 0\n\
         placement = {{ law = \"constant\", mean_ms = 0 }}\n{function}"
    )
}

/// With one environment and no queue, the idle time before an accepted request is exponential whatever the service law,
/// since arrivals forget: P(cold) = exp(-rate x keep-alive), counted from the end of the last request.
fn cold_share_of_one_environment(service: &str) {
    let (rate, keep_alive_s) = (0.5, 2.0);
    let limits = "runtime = \"python-3.13\"\nconcurrency_max = 1\nkeep_alive.idle_ms = 2000";
    run(&bare(4_000_000, rate, service, limits), |world| {
        let tally = world.tally();
        let expected = libm::exp(-rate * keep_alive_s);
        let share = tally.cold as f64 / tally.invokes as f64;
        assert!((share / expected - 1.0).abs() < 0.01, "cold {share}, expected {expected}");
        // The share refused follows from the mean busy time, which mixes cold and warm by that probability.
        let busy_s = world.pool().busy().area() as f64 / 1e9 / tally.invokes as f64;
        let expected = rate * busy_s / (1.0 + rate * busy_s);
        let refused = tally.refused_concurrency as f64 / tally.requests as f64;
        assert!((refused - expected).abs() < 0.001, "refused {refused}, expected {expected}");
    });
}

#[test]
fn cold_share_of_one_environment_exponential() {
    cold_share_of_one_environment("{ law = \"exponential\", mean_ms = 700 }");
}

#[test]
fn cold_share_of_one_environment_constant() {
    cold_share_of_one_environment("{ law = \"constant\", mean_ms = 700 }");
}

/// M/G/infinity: the number busy is Poisson, whatever the service law.
fn busy_is_poisson(service: &str) {
    run(&bare(200_000, 8.0, service, "runtime = \"none\""), |world| {
        let shares = world.pool().busy_shares();
        let mut poisson = libm::exp(-4.0);
        for k in 0..20 {
            let share = shares.get(k).copied().unwrap_or(0.0);
            assert!((share - poisson).abs() < 0.002, "{k} busy: {share}, expected {poisson}");
            poisson *= 4.0 / (k + 1) as f64;
        }
        assert_eq!(world.tally().refused_concurrency, 0);
    });
}

#[test]
fn busy_is_poisson_for_exponential_service() {
    busy_is_poisson("{ law = \"exponential\", mean_ms = 500 }");
}

#[test]
fn busy_is_poisson_for_constant_service() {
    busy_is_poisson("{ law = \"constant\", mean_ms = 500 }");
}

#[test]
fn busy_is_poisson_for_lognormal_service() {
    busy_is_poisson("{ law = \"lognormal\", mean_ms = 500, sigma = 1.0 }");
}

/// A limit of 10 and no queue: the share refused is Erlang's B.
fn refused_is_erlang_b(service: &str) {
    run(&bare(200_000, 8.0, service, "runtime = \"none\"\nconcurrency_max = 10"), |world| {
        let load = 8.0;
        let expected = (1..=10).fold(1.0, |b, k| load * b / (f64::from(k) + load * b));
        let refused = world.tally().refused_concurrency as f64 / world.tally().requests as f64;
        assert!((refused / expected - 1.0).abs() < 0.01, "refused {refused}, expected {expected}");
        assert_eq!(world.pool().busy().peak(), 10);
    });
}

#[test]
fn refused_is_erlang_b_for_exponential_service() {
    refused_is_erlang_b("{ law = \"exponential\", mean_ms = 1000 }");
}

#[test]
fn refused_is_erlang_b_for_constant_service() {
    refused_is_erlang_b("{ law = \"constant\", mean_ms = 1000 }");
}

#[test]
fn keep_alive_at_its_ends() {
    let service = "{ law = \"exponential\", mean_ms = 500 }";
    run(&bare(10_000, 8.0, service, "keep_alive.idle_ms = 0"), |world| {
        assert_eq!(world.tally().cold, world.tally().invokes);
    });
    // Kept for ever, environments are created only when all are busy: as many as were ever busy at once.
    run(&bare(10_000, 8.0, service, "runtime = \"none\"\nkeep_alive.policy = \"never\""), |world| {
        assert_eq!(world.tally().cold, world.pool().busy().peak());
    });
}

#[test]
fn a_keep_alive_as_long_as_the_gap_has_ended_when_the_next_request_comes() {
    for (idle_ms, cold) in [("900", 999), ("900.000001", 1)] {
        let function = format!("runtime = \"none\"\nkeep_alive.idle_ms = {idle_ms}");
        let text = bare(1000, 1.0, "{ law = \"constant\", mean_ms = 100 }", &function);
        run(&format!("arrivals.kind = \"deterministic\"\n{text}"), |world| {
            assert_eq!((world.tally().requests, world.tally().cold), (999, cold));
        });
    }
}

#[test]
fn little_and_cost_agree_with_the_counts() {
    let text = bare(10_000, 20.0, "{ law = \"constant\", mean_ms = 100.5 }", "runtime = \"none\"\nmemory_mb = 1024");
    run(&text, |world| {
        let tally = world.tally();
        let spec = Scenario::parse(&text).unwrap();
        let report = Report::of(&spec, 1, world);
        assert_eq!(tally.billed_ms, (tally.invokes - tally.unfinished) * 101);
        assert!((report.environments.busy_mean / (tally.invokes as f64 / 1e4 * 0.1005) - 1.0).abs() < 1e-4);
        let usd = |component| report.cost.iter().find(|line| line.component == component).unwrap().usd;
        assert_eq!(usd("Lambda duration"), tally.billed_ms as f64 / 1000.0 * 0.000_016_666_7);
        assert_eq!(usd("Lambda requests"), tally.invokes as f64 / 1e6 * 0.2);
        assert_eq!(usd("API Gateway requests"), tally.requests as f64 / 1e6);
        assert!((usd("cache storage") - 10_000.0 / 3600.0 * 0.1 * 0.084).abs() < 1e-12);
    });
}

#[test]
fn every_request_ends_one_way() {
    let text = r#"
        duration_s = 600
        arrivals.rate_per_s = 300
        api_gateway = { rate_per_s = 250, burst = 50, integration_timeout_ms = 400 }
        [function]
        concurrency_max = 60
        environments_per_s = 1
        environments_burst = 20
        timeout_ms = 500
        service = { law = "exponential", mean_ms = 150 }
    "#;
    let report = crate::run_text(text, &crate::RunOptions::default()).unwrap();
    let r = report.requests;
    let ends = [
        r.answered,
        r.throttled_by_api_gateway,
        r.refused_concurrency,
        r.refused_invoke_rate,
        r.refused_scaling,
        r.timed_out,
        r.integration_timed_out,
        r.unfinished,
    ];
    assert_eq!(ends.iter().sum::<u64>(), r.arrived);
    assert!(r.throttled_by_api_gateway > 0 && r.refused_scaling > 0 && r.integration_timed_out > 0, "{r:?}");
    assert!(report.wait_ms.all.max <= 500.0, "the gateway waits 400 ms and adds its overhead");
}

/// Hit ratio of a cache with nothing around it.
fn hit_ratio(duration_s: u64, rate: f64, sessions: &str, cache: &str) -> f64 {
    let text = format!(
        "duration_s = {duration_s}\nwarm_up_s = {}\n{}\n[sessions]\n{sessions}\n[cache]\n\
         round_trip = {{ law = \"constant\", mean_ms = 0 }}\n{cache}",
        duration_s / 10,
        bare(duration_s, rate, "{ law = \"constant\", mean_ms = 0 }", "runtime = \"none\"")
            .replace(&format!("duration_s = {duration_s}"), "")
            .replace("sessions.users = 1", "")
            .replace("cache.round_trip = { law = \"constant\", mean_ms = 0 }", "")
    );
    crate::run_text(&text, &crate::RunOptions::default()).unwrap_or_else(|error| panic!("{error}")).cache.hit_ratio
}

#[test]
fn sliding_and_fixed_ttl() {
    // 100 users at 0.01 per second each, TTL 100 s: rate x TTL = 1.
    let sliding = hit_ratio(1_000_000, 1.0, "users = 100", "ttl_s = 100");
    assert!((sliding - (1.0 - libm::exp(-1.0))).abs() < 0.002, "{sliding}");
    let fixed = hit_ratio(1_000_000, 1.0, "users = 100\non_hit = \"none\"", "ttl_s = 100");
    assert!((fixed - 0.5).abs() < 0.002, "{fixed}");
}

#[test]
fn lru_follows_che() {
    // N = 1000, alpha 1: exact to 0.001 for 100 and 500 entries; no TTL in effect.
    let users = "users = 1000\npopularity = \"zipf\"\non_hit = \"save\"";
    for (entries, expected) in [(100, 0.5765), (500, 0.8675)] {
        let hits = hit_ratio(20_000, 100.0, users, &format!("entries_max = {entries}\nttl_s = 31622400"));
        assert!((hits - expected).abs() < 0.0015, "{entries}: {hits}, expected {expected}");
    }
}

#[test]
fn diurnal_arrivals_keep_their_mean_and_swing() {
    let text = "duration_s = 86400\narrivals = { kind = \"diurnal\", rate_per_s = 10, amplitude = 0.5 }";
    let day = crate::run_text(text, &crate::RunOptions::default()).unwrap().requests.arrived;
    assert!((day as f64 / 864_000.0 - 1.0).abs() < 0.005, "{day}");
    let text = text.replace("86400", "43200");
    let half = crate::run_text(&text, &crate::RunOptions::default()).unwrap().requests.arrived;
    // The first half of the sine adds amplitude x 2 / pi.
    let expected = 432_000.0 * (1.0 + 0.5 * 2.0 / std::f64::consts::PI);
    assert!((half as f64 / expected - 1.0).abs() < 0.005, "{half}");
}

#[test]
fn one_seed_gives_one_report_and_parts_do_not_disturb_each_other() {
    let text = include_str!("../../scenarios/session-store.toml").replace("86400", "7200");
    let with = |text: &str, seed| crate::run_text(text, &crate::RunOptions { seed }).unwrap();
    let first = with(&text, None);
    let again = with(&text, None);
    assert_eq!(first.json(), again.json());
    assert_eq!(first.table(), again.table());
    assert_ne!(first.json(), with(&text, Some(1)).json());
    // Another runtime: the same requests come.
    let other = with(&text.replace("python-3.13", "java-21"), None);
    assert_eq!(first.requests.arrived, other.requests.arrived);
    assert_ne!(first.wait_ms.cold.p50, other.wait_ms.cold.p50);
    // A report's own scenario gives the report again.
    let from_json: serde_json::Value = serde_json::from_str(&first.json()).unwrap();
    let scenario: toml::Table = serde_json::from_value(from_json["scenario"].clone()).unwrap();
    assert_eq!(with(&scenario.to_string(), None).json(), first.json());
}
