//! README's tour, line by line, against the running binary.
#![allow(clippy::unwrap_used)]

use larder_tests::larder::{Larder, binary};
use std::process::Command;

/// The shell blocks of a section, in order.
fn blocks<'t>(page: &'t str, section: &str) -> Vec<&'t str> {
    let (_, rest) = page.split_once(section).unwrap();
    let rest = rest.split("\n## ").next().unwrap();
    rest.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn every_line_of_the_tour_does_what_it_says() {
    let page = include_str!("../../README.md");
    let larder = Larder::up();
    let resp = larder.resp("default");
    let blocks = blocks(page, "## A five-minute tour");
    assert!(blocks.len() >= 6, "the tour has {} blocks", blocks.len());
    let path = format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
    for block in blocks {
        let script = block
            .replace("127.0.0.1:8079", &larder.http().to_string())
            .replace("-p 6379", &format!("-p {}", resp.port()));
        let out =
            Command::new("sh").args(["-e", "-c", &script]).current_dir(larder.folder()).env("PATH", &path).output();
        let out = out.unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{script}\nended with {}\n{said}\n{complaint}", out.status);
        let mut rest = &*said;
        let expected: Vec<_> = block.lines().filter_map(|line| line.strip_prefix("#> ")).collect();
        assert!(!expected.is_empty(), "a block that promises nothing: {block}");
        for promise in expected {
            let Some((_, after)) = rest.split_once(promise) else {
                panic!("{script}\npromises {promise:?}, and printed\n{said}\n{complaint}");
            };
            rest = after;
        }
    }
}
