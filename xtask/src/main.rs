//! `cargo xtask <verb>`: every command that developers run here, the same ones CI runs.
//!
//! Knows the tools (cargo, apt, pip, npm) and the shape of the tree. Knows nothing of what Larder does: it
//! depends on no crate of ours but `sim`, which `bench` uses to make load.

mod bench;
mod ci;
mod crates;
mod differential;
mod docs;
mod fuzz;
mod peers;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

/// One verb: its name, its arguments, what it does, and the function that does it.
struct Verb {
    name: &'static str,
    arguments: &'static str,
    what: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "ci",
        arguments: "",
        what: "format, lints, tidy, generated docs, licences and bans, then `test`: what .ci/run calls",
        run: ci::run,
    },
    Verb {
        name: "test",
        arguments: "[FILTER]",
        what: "install the peers and clients tests need, then run unit, property, whole-system and doc tests",
        run: test::run,
    },
    Verb {
        name: "tidy",
        arguments: "",
        what: "check the dependency line, licences, unsafe code and the shape of the tree; report file sizes",
        run: tidy::run,
    },
    Verb {
        name: "docs",
        arguments: "[--check]",
        what: "write the generated pages of docs/, or check that they are what the code says",
        run: docs::run_generator,
    },
    Verb {
        name: "bench",
        arguments: "[ARGUMENTS]",
        what: "measure against redis-server and the echo modes; print the tables and write their JSON",
        run: bench::run,
    },
    Verb {
        name: "fuzz",
        arguments: "[TARGET] [--seconds N] [--built-in]",
        what: "fuzz one target, or each in turn, for N seconds (60); replay of what it finds: tests/fuzz/corpus",
        run: fuzz::run_verb,
    },
    Verb {
        name: "differential",
        arguments: "[[WHAT] COUNT [SEED]]",
        what: "send 5,000,000 random requests to redis-server and to the node; compare replies and state; WHAT: `acl` makes \
               random users, `newer` and `fakeredis` send what redis 7.0 lacks to a model and to fakeredis instead",
        run: differential::run_verb,
    },
    Verb { name: "up", arguments: "[FLAGS]", what: "build the release binary and run `larder up`", run: test::up },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        print!("{}", usage());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        eprint!("xtask: no verb `{name}`\n\n{}", usage());
        return ExitCode::from(2);
    };
    let rest: Vec<String> = arguments.collect();
    if rest.first().is_some_and(|flag| flag == "--help" || flag == "-h") && verb.name != "up" {
        println!("cargo xtask {} {}\n    {}", verb.name, verb.arguments, verb.what);
        return ExitCode::SUCCESS;
    }
    match (verb.run)(&rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from("cargo xtask <verb>\n\n");
    for verb in VERBS {
        let call = format!("{} {}", verb.name, verb.arguments);
        text.push_str(&format!("  {call:<42}{}\n", verb.what));
    }
    text
}
