//! The effect log says all that commands of every family change.

#[test]
fn the_log_of_random_requests_of_every_family_replays_to_the_same_state() {
    let (seed, requests) = (number("LARDER_REPLAY_SEED", 1), number("LARDER_REPLAY_REQUESTS", 10_000));
    match larder_tests::replay::run(seed, requests) {
        Ok(good) => assert!(good > requests / 2, "{good} of {requests} were no errors"),
        Err(why) => panic!("seed {seed}: {why}"),
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
