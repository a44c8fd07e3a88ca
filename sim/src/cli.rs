//! The words after `larder sim`.

use crate::run::{RunOptions, run_file};
use std::io::Write;
use std::path::PathBuf;

/// What `larder sim --help` prints.
pub const HELP: &str = "\
Simulate Lambda and API Gateway over a session cache, in virtual time.

Usage: larder sim run FILE [--seed N] [--json [PATH]]
       larder sim defaults

  run FILE       run the scenario in FILE and print its report as a table
  --seed N       use this seed and not the scenario's; one seed gives one report, byte for byte
  --json         print the report as JSON and no table
  --json PATH    print the table and write the report as JSON to PATH
  defaults       print every key a scenario may set, with its default and meaning
";

/// Done.
const DONE: u8 = 0;
/// A user's mistake.
const MISTAKE: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;
/// Something broke.
const BROKE: u8 = 3;

/// Where the JSON goes.
#[derive(Debug, PartialEq, Eq)]
enum Json {
    No,
    Instead,
    To(PathBuf),
}

#[derive(Debug, PartialEq, Eq)]
struct Run {
    file: PathBuf,
    seed: Option<u64>,
    json: Json,
}

/// Does what `args`, the words after `larder sim`, ask; gives the process's exit code: 0 done, 1 a mistake in the
/// scenario, 2 wrong usage, 3 something broke.
pub fn cli(args: &[String], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (text, complaint, code) = match answer(args) {
        Ok(text) => (text, String::new(), DONE),
        Err((complaint, code)) => (String::new(), complaint, code),
    };
    // Nobody is left to tell when the error stream is gone.
    let _ = err.write_all(complaint.as_bytes());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(_) => BROKE,
    }
}

fn answer(args: &[String]) -> Result<String, (String, u8)> {
    match args.first().map(String::as_str) {
        Some("-h" | "--help" | "help") => Ok(HELP.to_owned()),
        Some("defaults") if args.len() == 1 => Ok(crate::scenario::DEFAULTS.to_owned()),
        Some("run") => run(&parse(&args[1..]).map_err(|text| usage(&text))?),
        Some(word @ ("compare" | "live" | "convert")) => {
            Err((format!("larder sim {word} is not built yet; there is `larder sim run`\n"), USAGE))
        }
        Some(word) => Err(usage(&format!("`{word}` is no word of `larder sim`"))),
        None => Err(usage("which one?")),
    }
}

fn usage(text: &str) -> (String, u8) {
    (format!("larder sim: {text}\n\n{HELP}"), USAGE)
}

fn run(run: &Run) -> Result<String, (String, u8)> {
    let report =
        run_file(&run.file, &RunOptions { seed: run.seed }).map_err(|error| (format!("{error}\n"), MISTAKE))?;
    match &run.json {
        Json::No => Ok(report.table()),
        Json::Instead => Ok(report.json()),
        Json::To(path) => match std::fs::write(path, report.json()) {
            Ok(()) => Ok(report.table()),
            Err(error) => Err((format!("{}: {error}\n", path.display()), MISTAKE)),
        },
    }
}

fn parse(args: &[String]) -> Result<Run, String> {
    let (mut file, mut seed, mut json) = (None, None, Json::No);
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => {
                let text = args.next().ok_or("--seed needs a number")?;
                seed = Some(text.parse().map_err(|_| format!("--seed {text}: not a whole number under 2^64"))?);
            }
            // A path may follow only once the scenario is named; before that, the next word is the scenario.
            "--json" => {
                json = match args.next_if(|next| file.is_some() && !next.starts_with("--")) {
                    Some(path) => Json::To(path.into()),
                    None => Json::Instead,
                };
            }
            flag if flag.starts_with('-') => return Err(format!("there is no flag {flag}")),
            path if file.is_none() => file = Some(PathBuf::from(path)),
            extra => return Err(format!("one scenario at a time; what is `{extra}`?")),
        }
    }
    Ok(Run { file: file.ok_or("run needs a scenario file")?, seed, json })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn said(text: &str) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = cli(&words(text), &mut out, &mut err);
        (code, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
    }

    #[test]
    fn flags() {
        let run = |seed, json| Ok(Run { file: "a.toml".into(), seed, json });
        assert_eq!(parse(&words("a.toml")), run(None, Json::No));
        assert_eq!(parse(&words("--json a.toml --seed 7")), run(Some(7), Json::Instead));
        assert_eq!(parse(&words("a.toml --json")), run(None, Json::Instead));
        assert_eq!(parse(&words("a.toml --json b.json")), run(None, Json::To("b.json".into())));
        for wrong in ["", "a b", "a --seed", "a --seed -1", "a --sed 1"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exit_codes() {
        assert_eq!(said("--help").0, 0);
        assert_eq!(said("defaults").1, crate::scenario::DEFAULTS);
        assert_eq!(said("").0, 2);
        assert_eq!(said("live").0, 2);
        assert_eq!(said("frob").0, 2);
        let (code, out, err) = said("run /nowhere/at-all.toml");
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("/nowhere/at-all.toml"), "{err}");
    }
}
