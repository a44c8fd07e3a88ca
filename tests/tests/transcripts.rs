//! Every transcript gives the same replies on redis-server and on the node, in RESP2 and in RESP3. With `TRANSCRIPT=acl` in
//! the environment only those whose names begin so are played.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use larder_node::commands;
use larder_node::resp::OwnedArgs;
use larder_tests::transcript::compare::came_later;
use larder_tests::transcript::script::Script;
use larder_tests::transcript::{Tally, run};

/// Name and content of every transcript.
fn transcripts() -> Vec<(String, Script)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let script = Script::read(&fs::read_to_string(path).unwrap()).unwrap_or_else(|why| panic!("{name}: {why}"));
        (name, script)
    };
    files.iter().map(read).collect()
}

#[test]
fn redis_and_the_node_give_the_same_bytes() {
    let mut total = Tally::default();
    let mut failed = Vec::new();
    let wanted = std::env::var("TRANSCRIPT").unwrap_or_default();
    for (name, script) in transcripts().into_iter().filter(|(name, _)| name.starts_with(&wanted)) {
        for protocol in [2, 3] {
            match run(&script, protocol) {
                Ok(tally) => {
                    println!("{name}, RESP{protocol}: {tally}");
                    total.add(&tally);
                }
                Err(differences) => failed.push(format!("{name}, RESP{protocol}:\n{differences}")),
            }
        }
    }
    println!("all transcripts: {total}");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(!wanted.is_empty() || total.exact > 10 * total.loosely(), "{total}");
}

#[test]
fn every_command_is_in_a_transcript() {
    let mut used = BTreeSet::new();
    for (_, script) in transcripts() {
        for request in script.requests() {
            let args = OwnedArgs::from_slices(&request);
            // A container itself runs nothing, so what it answers without a subcommand is all there is of it.
            let alone = args.as_args().try_get(0).and_then(commands::find).filter(|_| args.as_args().len() == 1);
            used.extend(commands::resolve(args.as_args()).ok().or(alone).map(|spec| spec.name));
        }
    }
    // What came after redis 7.0 has no oracle, and is tested beside its code.
    let known = commands::table().iter().filter(|spec| !came_later(spec)).map(|spec| spec.name);
    let missing: Vec<_> = known.filter(|name| !used.contains(name)).collect();
    assert!(missing.is_empty(), "in no transcript: {missing:?}");
}
