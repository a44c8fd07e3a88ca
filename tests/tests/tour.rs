//! README's tour, line by line, in one shell, against the running binary.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::process::Command;

use larder_tests::larder::{Larder, binary, run};

/// Ends the output of what stands above a promise.
const MARK: &str = "--- the tour ---";

/// The lines of the shell blocks of a section, in order.
fn lines<'t>(page: &'t str, section: &str) -> Vec<&'t str> {
    let (_, rest) = page.split_once(section).unwrap();
    let rest = rest.split("\n## ").next().unwrap();
    let blocks = rest.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).collect()
}

/// Commands and what they promise to print: all lines that begin with `#>` right below them.
fn steps(lines: &[&str]) -> Vec<(String, String)> {
    let mut steps = vec![(String::new(), String::new())];
    for line in lines {
        let (command, promise) = steps.last_mut().unwrap();
        match line.strip_prefix("#>") {
            Some(text) => *promise += &format!("{}\n", text.strip_prefix(' ').unwrap_or(text)),
            None if promise.is_empty() => *command += &format!("{line}\n"),
            None => steps.push((format!("{line}\n"), String::new())),
        }
    }
    steps
}

#[test]
fn every_line_of_the_tour_does_what_it_says() {
    let larder = Larder::up();
    let steps = steps(&lines(include_str!("../../README.md"), "## A five-minute tour"));
    assert!(steps.len() >= 12 && steps.iter().all(|(_, promise)| !promise.is_empty()), "{steps:?}");
    let mut script = String::from("set -e\n");
    steps.iter().for_each(|(commands, _)| writeln!(script, "{commands}echo '{MARK}'").unwrap());
    // Readers start Larder on its usual ports, and the test on free ones.
    let script = script
        .replace("127.0.0.1:8079", &larder.http().to_string())
        .replace("-p 6379", &format!("-p {}", larder.resp("default").port()));
    let path = format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(larder.folder()).env("PATH", path).env("TMPDIR", larder.folder());
    let ended = run(&mut shell);
    let said: Vec<_> = ended.out.split_inclusive(&format!("{MARK}\n")).collect();
    for (at, (commands, promise)) in steps.iter().enumerate() {
        let said = said.get(at).and_then(|said| said.strip_suffix(&format!("{MARK}\n")));
        let said = said.unwrap_or_else(|| panic!("{commands}\ndid not end well: {ended:?}"));
        assert_eq!(said.trim_end_matches('\n'), promise.trim_end_matches('\n'), "{commands}\n{}", ended.err);
    }
    assert_eq!((ended.code, &*ended.err), (Some(0), ""));
}
