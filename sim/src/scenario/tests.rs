#![allow(clippy::unwrap_used)]
use super::*;

fn mistakes(text: &str) -> Vec<String> {
    Scenario::parse(text).err().unwrap_or_default()
}

#[test]
fn the_defaults_are_a_scenario() {
    let defaults = Scenario::parse("").unwrap();
    assert_eq!(Scenario::parse(DEFAULTS).unwrap().effective, defaults.effective);
    assert_eq!(defaults.function.keep_alive, KeepAlive::Fixed { idle_ns: 600 * NS_PER_S });
    assert_eq!(defaults.function.invokes_per_s, 10_000);
    assert_eq!(defaults.effective["runtimes"].as_table().unwrap().len(), 1);
}

#[test]
fn every_runtime_of_the_defaults_works() {
    let defaults: Table = DEFAULTS.parse().unwrap();
    let runtimes = defaults["runtimes"].as_table().unwrap();
    assert_eq!(runtimes.len(), 17);
    for name in runtimes.keys() {
        assert_eq!(mistakes(&format!("function.runtime = \"{name}\"")), [""; 0]);
    }
}

#[test]
fn all_mistakes_are_listed_at_once() {
    let found = mistakes(
        r#"
        durations = 5
        duration_s = -1
        [arrivals]
        rate_per_s = "fast"
        [function]
        keep_alive = 5
        [function.service]
        meen_ms = 3
        [cache]
        ttl_s = nan
        entries_max = 1.5
        [runtimes.mine]
        init_p50_ms = 1
        "#,
    );
    let paths: Vec<_> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
    let missing = ["runtimes.mine"; 6];
    let others = [
        "arrivals.rate_per_s",
        "cache.entries_max",
        "cache.ttl_s",
        "duration_s",
        "durations",
        "function.keep_alive",
        "function.service.meen_ms",
    ];
    let mut expected: Vec<_> = others.into_iter().chain(missing).collect();
    let mut paths = paths.clone();
    paths.sort_unstable();
    expected.sort_unstable();
    assert_eq!(paths, expected, "{found:#?}");
}

#[test]
fn values_are_checked_all_at_once() {
    let found = mistakes(
        r#"
        warm_up_s = 3600
        arrivals.kind = "bursty"
        arrivals.period_s = 9
        function.runtime = "cobol"
        function.memory_mb = 64
        function.service = { law = "constant", sigma = 0.3 }
        function.keep_alive = { policy = "never", idle_ms = 3 }
        sessions.zipf_alpha = 2.0
        cache.eviction = "lfu"
        "#,
    );
    let text = found.join("\n");
    for path in [
        "warm_up_s",
        "arrivals.kind",
        "arrivals.period_s",
        "function.runtime",
        "function.memory_mb",
        "function.service.sigma",
        "function.keep_alive.idle_ms",
        "sessions.zipf_alpha",
        "cache.eviction",
    ] {
        assert!(text.contains(&format!("{path}: ")), "{path} in {text}");
    }
    assert_eq!(found.len(), 9, "{text}");
}

#[test]
fn what_is_not_built_says_so() {
    assert!(mistakes("function.keep_alive.policy = \"histogram\"")[0].contains("not built yet"));
    let slow = mistakes("function = { runtime = \"java-21\", init_multiplier = 14.0 }");
    assert!(slow[0].contains("not built yet"), "{slow:?}");
}

#[test]
fn a_runtime_of_ones_own() {
    let text = r#"
        function.runtime = "mine"
        function.memory_mb = 320
        [runtimes.mine]
        init_p50_ms = 1
        init_p90_ms = 2
        init_p99_ms = 3
        init_max_ms = 4
        first_invocation_128mb_ms = 30
        first_invocation_512mb_ms = 10
        first_invocation_1024mb_ms = 5
        "#;
    let scenario = Scenario::parse(text).unwrap();
    assert_eq!(scenario.function.first_invocation_ns, 20 * NS_PER_MS);
    let falling = text.replace("init_max_ms = 4", "init_max_ms = 1");
    assert!(mistakes(&falling)[0].contains("must not fall"));
}

#[test]
fn limits_on_both_sides() {
    for (text, allowed) in [
        ("duration_s = 316224000\narrivals.rate_per_s = 1", true),
        ("duration_s = 316224001\narrivals.rate_per_s = 1", false),
        ("duration_s = 1000000\narrivals.rate_per_s = 2000", true),
        ("duration_s = 1000000\narrivals.rate_per_s = 2001", false),
        ("sessions.users = 10000000", true),
        ("sessions.users = 10000001", false),
        ("sessions.users = 0", false),
        ("function.concurrency_max = 1000000", true),
        ("function.concurrency_max = 1000001", false),
        ("function.concurrency_max = 0", false),
        ("function.memory_mb = 10240", true),
        ("function.memory_mb = 10241", false),
        ("function.service.mean_ms = 31622400000", true),
        ("function.service.mean_ms = 31622400001", false),
        ("function.service.sigma = 5", true),
        ("function.service.sigma = 5.1", false),
        ("function.timeout_ms = 900000", true),
        ("function.timeout_ms = 900001", false),
        ("sessions.value_bytes_max = 536870912", true),
        ("sessions.value_bytes_max = 536870913", false),
        ("api_gateway.burst = 1000000000", true),
        ("api_gateway.burst = 1000000001", false),
        ("api_gateway.burst = 0", false),
        ("sessions.logout_share = 1.0", true),
        ("sessions.logout_share = 1.01", false),
    ] {
        assert_eq!(Scenario::parse(text).is_ok(), allowed, "{text}: {:?}", mistakes(text));
    }
}

#[test]
fn broken_text_says_where() {
    assert!(mistakes("a = = 1")[0].contains("line 1"));
}
