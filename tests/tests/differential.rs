//! Random requests get the same replies from redis-server and from the node. `cargo xtask differential` sends millions.
#![allow(clippy::unwrap_used)]

use larder_node::commands::{self, Family, Flags};
use larder_tests::differential::accepted::{self, ACCEPTED};
use larder_tests::differential::judge::{Verdict, judge};
use larder_tests::differential::plan::{FAKEREDIS, MODEL, REDIS};
use larder_tests::differential::wire::{Wire, encoded, request};
use larder_tests::differential::{self, Outcome, forms, steps};
use larder_tests::transcript::compare;
use larder_tests::transcript::server::Server;

/// Commands that no form is of, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("FLUSHALL", "the run begins with it, and would lose all its keys"),
    ("RANDOMKEY", "each chooses another key"),
    ("WAITAOF", "came later"),
    ("RESTORE", "needs a payload: the walk that dumps and restores sends it"),
    ("OBJECT REFCOUNT", "redis shares small integers: transcript objects.txt"),
    ("OBJECT IDLETIME", "time passes: transcript objects.txt"),
    ("OBJECT FREQ", "needs another eviction policy: transcript objects.txt"),
];
/// Commands that redis 7.0 lacks and no form is of, and why.
const NEWER_LEFT_OUT: &[(&str, &str)] = &[
    ("WAITAOF", "there is no append-only file to wait for: transcript replicas.txt and fidelity"),
    ("JSON.DEBUG MEMORY", "bytes are our own"),
    ("JSON.DEBUG HELP", "lines of text"),
    ("SCRIPT SHOW", "about scripts, not keys"),
];
/// Families whose commands are about connections and the server and not about keys: transcripts play them.
const ABOUT_NO_KEYS: &[Family] = &[Family::Connection, Family::Pubsub, Family::Server];
/// Commands that are sent without a form.
const WITHOUT_FORM: &[&str] =
    &["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"];

#[test]
fn random_requests_get_the_same_replies() {
    for protocol in [2, 3] {
        let Outcome { report, differences } = differential::run(&REDIS, 1, 40_000, protocol);
        assert!(differences.is_empty(), "{}", differences.join("\n\n"));
        println!("RESP{protocol}\n{report}");
        // Of a sample as small as this; of millions it is half at least.
        let rare = report.rarely_on_existing(0.4);
        assert!(rare.is_empty(), "mostly on keys that are not there: {rare:?}");
    }
}

#[test]
fn what_redis_lacks_gets_the_same_replies_from_a_model() {
    for protocol in [2, 3] {
        let Outcome { report, differences } = differential::run(&MODEL, 1, 6_000, protocol);
        assert!(differences.is_empty(), "{}", differences.join("\n\n"));
        println!("RESP{protocol}\n{report}");
        let rare = report.rarely_on_existing(0.4);
        assert!(rare.is_empty(), "mostly on keys that are not there: {rare:?}");
        assert!(report.rare_options(1).is_empty(), "never used: {:?}", report.rare_options(1));
    }
}

#[test]
fn what_redis_lacks_gets_the_same_replies_from_fakeredis() {
    for protocol in [2, 3] {
        let Outcome { report, differences } = differential::run(&FAKEREDIS, 1, 3_000, protocol);
        assert!(differences.is_empty(), "{}", differences.join("\n\n"));
        println!("RESP{protocol}\n{report}");
    }
}

#[test]
fn random_users_may_do_the_same() {
    for protocol in [2, 3] {
        let tally = differential::acl::run(1, 150, protocol).unwrap_or_else(|differences| panic!("{differences}"));
        println!("RESP{protocol}: {tally}");
        for what in ["rules taken", "rules refused", "dry runs allowed", "requests done", "requests refused"] {
            assert!(tally.of(what) > 0, "no {what}: {tally}");
        }
    }
}

#[test]
fn every_command_on_keys_has_a_form_or_a_reason_to_have_none() {
    let forms = forms(&REDIS);
    let named: Vec<&str> = forms.names().collect();
    let rows = commands::table().iter().filter(|spec| !spec.flags.has(Flags::CONTAINER));
    for spec in rows.filter(|spec| !compare::came_later(spec) && !ABOUT_NO_KEYS.contains(&spec.family)) {
        let name = spec.name.replace('|', " ");
        let is_help_or_script = name.ends_with(" HELP") || ["SCRIPT ", "FUNCTION "].iter().any(|s| name.starts_with(s));
        let has_reason = LEFT_OUT.iter().any(|(left_out, _)| *left_out == name);
        let is_sent = named.contains(&name.as_str()) || WITHOUT_FORM.contains(&name.as_str());
        assert!(is_sent != (has_reason || is_help_or_script), "{name}: sent {is_sent}, a reason {has_reason}");
    }
}

#[test]
fn every_newer_command_on_keys_has_a_form_or_a_reason_to_have_none() {
    let forms = forms(&MODEL);
    let named: Vec<&str> = forms.names().collect();
    let rows = commands::table().iter().filter(|spec| !spec.flags.has(Flags::CONTAINER));
    for spec in rows.filter(|spec| compare::came_later(spec) && !ABOUT_NO_KEYS.contains(&spec.family)) {
        let name = spec.name.replace('|', " ");
        let has_reason = NEWER_LEFT_OUT.iter().any(|(left_out, _)| *left_out == name);
        assert!(named.contains(&name.as_str()) != has_reason, "{name}: a reason {has_reason}");
    }
}

/// Makes a test of each accepted difference, and a list of them.
macro_rules! accepted {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            is_one_and_is_written_down($name);
        })*
        /// Those that have a test.
        const TESTED: &[&str] = &[$($name),*];
    };
}

accepted! {
    accepted_encoding_of_a_changed_string: "a changed string is encoded as if it had been set",
    accepted_encoding_of_a_small_set: "small sets are packed",
    accepted_lpos_of_the_least_rank: "the least rank has no opposite",
    accepted_sort_of_what_looks_like_numbers: "redis's SORT finds an old error",
    accepted_sort_of_words_with_nuls: "words end at a NUL for redis's SORT",
    accepted_zrank_with_an_option: "ZRANK may have an option",
}

#[test]
fn every_accepted_difference_has_its_test() {
    assert!(ACCEPTED.len() <= 20);
    let names: Vec<&str> = ACCEPTED.iter().map(|accepted| accepted.name).collect();
    assert_eq!(names, TESTED);
}

/// Two servers differ by what shows it, and fidelity has the row.
fn is_one_and_is_written_down(name: &str) {
    let accepted = ACCEPTED.iter().find(|accepted| accepted.name == name).unwrap();
    let fidelity = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fidelity.md")).unwrap();
    let row = format!("| {}", accepted.row);
    assert!(fidelity.lines().any(|line| line.starts_with(&row)), "{name}: no row {row}");
    let (last, all) = accepted.shown_by.split_last().unwrap();
    let servers = [Server::redis(false), Server::node(false)];
    let replies = servers.each_ref().map(|server| {
        let mut wire = Wire::open(server.address(), 2);
        wire.send(&accepted.shown_by.iter().flat_map(|line| encoded(&request(line))).collect::<Vec<_>>());
        all.iter().for_each(|_| drop(wire.reply()));
        wire.reply()
    });
    let verdict = judge(&request(last), &[], &replies[0], &replies[1]);
    let shown = replies.map(|reply| reply.escape_ascii().to_string());
    assert_eq!(verdict, Verdict::Accepted(accepted.name), "{shown:?}");
}

#[test]
fn the_script_has_the_hash_that_is_sent() {
    let node = Server::node(false);
    let mut wire = Wire::open(node.address(), 2);
    let loaded = wire.ask(&vec![b"SCRIPT".to_vec(), b"LOAD".to_vec(), steps::SCRIPT.as_bytes().to_vec()]);
    assert_eq!(loaded, format!("$40\r\n{}\r\n", steps::SCRIPT_SHA).into_bytes());
}

#[test]
fn names_of_accepted_differences_are_their_own() {
    let mut names: Vec<_> = ACCEPTED.iter().map(|accepted| accepted.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ACCEPTED.len());
    assert!(accepted::find(&request("GET a"), b"$1\r\na\r\n", b"$1\r\nb\r\n").is_none());
}
