//! Random requests get the same replies from redis-server and from the node. `cargo xtask differential` sends millions.
#![allow(clippy::unwrap_used)]

use larder_node::commands::{self, Family};
use larder_tests::differential;
use larder_tests::transcript::compare;

/// Those that a random request on a key cannot be about, or that say something else each time.
const LEFT_OUT: &[&str] = &["FLUSHALL", "FLUSHDB", "RANDOMKEY", "SWAPDB", "WAIT", "WAITAOF", "DUMP", "RESTORE"];

#[test]
fn random_requests_get_the_same_replies() {
    for protocol in [2, 3] {
        let report = differential::run(1, 40_000, protocol).unwrap_or_else(|differences| panic!("{differences}"));
        println!("RESP{protocol}\n{report}");
        // Of a sample as small as this; of millions it is half at least.
        let rare = report.rarely_on_existing(0.4);
        assert!(rare.is_empty(), "mostly on keys that are not there: {rare:?}");
        let sent: Vec<&str> = report.names().collect();
        let has_keys = |family| {
            !matches!(
                family,
                Family::Connection | Family::Pubsub | Family::Scripting | Family::Server | Family::Transactions
            )
        };
        let missing: Vec<_> = commands::table()
            .iter()
            .filter(|spec| {
                has_keys(spec.family) && !spec.name.contains('|') && !spec.flags.has(commands::Flags::CONTAINER)
            })
            .filter(|spec| !compare::came_later(spec))
            .map(|spec| spec.name)
            .filter(|name| !LEFT_OUT.contains(name) && !sent.contains(name))
            .collect();
        assert!(missing.is_empty(), "never sent: {missing:?}");
    }
}
