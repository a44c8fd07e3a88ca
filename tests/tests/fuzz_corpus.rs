//! The kept corpus of every fuzz target, replayed.

use larder_tests::fuzz::{TARGETS, corpus};

#[test]
fn no_input_of_the_corpus_is_a_finding() {
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(inputs.len() >= 10, "{} has {} inputs: too few to mean anything", target.name, inputs.len());
        for (path, bytes) in inputs {
            println!("{}", path.display());
            (target.body)(&bytes);
        }
    }
}

#[test]
fn every_target_has_its_file_and_every_file_its_target() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/fuzz_targets");
    let files = std::fs::read_dir(folder).map(|entries| {
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    });
    let names: Vec<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(files.ok(), Some(names));
}
