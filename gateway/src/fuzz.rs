//! The body of the HTTP command decoder's fuzz target.

use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use crate::http::command::path_command;
use crate::http::json::{Commands, JsonLimits, read_command, read_commands};

type Words = Vec<Vec<u8>>;

/// Reads `data` as a command body, as a batch body, and as a path form (path, query and body on three lines), and compares
/// each with a plain second opinion: serde_json, and the percent-encoding crate.
///
/// # Panics
/// The two disagree.
pub fn fuzz_http_command(data: &[u8]) {
    let limits = JsonLimits { commands_max: 64, args_max: 64 };
    let one = read_command(data, &limits).ok().map(|commands| words(&commands));
    let plain = command(data).map(|words| vec![words]).filter(|commands| is_within(commands, &limits));
    assert_eq!(one, plain, "one command");
    let many = read_commands(data, &limits).ok().map(|commands| words(&commands));
    assert_eq!(many, batch(data).filter(|commands| is_within(commands, &limits)), "a batch");
    path_form(data);
}

fn words(commands: &Commands) -> Vec<Words> {
    commands.iter().map(|args| args.iter().map(<[u8]>::to_vec).collect()).collect()
}

fn is_within(commands: &[Words], limits: &JsonLimits) -> bool {
    commands.len() <= limits.commands_max && commands.iter().all(|command| command.len() <= limits.args_max)
}

fn batch(data: &[u8]) -> Option<Vec<Words>> {
    let list: Vec<Box<RawValue>> = serde_json::from_slice(data).ok()?;
    list.iter().map(|raw| command(raw.get().as_bytes())).collect()
}

fn command(data: &[u8]) -> Option<Words> {
    let list: Vec<Box<RawValue>> = serde_json::from_slice(data).ok()?;
    list.iter().map(|raw| argument(raw.get())).collect()
}

fn argument(raw: &str) -> Option<Vec<u8>> {
    match raw.bytes().next()? {
        b'"' => serde_json::from_str::<String>(raw).ok().map(String::into_bytes),
        b'n' | b'{' | b'[' => None,
        _ => Some(raw.as_bytes().to_vec()),
    }
}

fn path_form(data: &[u8]) {
    let mut lines = data.splitn(3, |&b| b == b'\n');
    let (path, query, body) = (lines.next(), lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (Some(Ok(path)), Ok(query)) = (path.map(std::str::from_utf8), std::str::from_utf8(query)) else { return };
    let ours = path_command(path, body, query, false).ok().map(|commands| words(&commands).concat());
    let _ = path_command(path, body, query, true);
    let Some(ours) = ours else { return };
    let mut plain: Words = path.strip_prefix('/').unwrap_or(path).split('/').map(decode).collect();
    plain.extend((!body.is_empty()).then(|| body.to_vec()));
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        if name == "_token" || name.to_ascii_lowercase().starts_with("x-amz-") {
            continue;
        }
        plain.push(decode(name));
        plain.extend((!value.is_empty()).then(|| decode(value)));
    }
    assert_eq!(ours, plain, "the path form");
}

fn decode(raw: &str) -> Vec<u8> {
    percent_decode_str(raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seeds_agree() {
        let seeds: [&[u8]; 9] = [
            b"[\"SET\",\"k\",1e400,true]",
            b"[[\"GET\",\"k\"],[\"SET\",\"\\ud83d\\ude00\",\"\\u0000\"]]",
            b"[[],[]]",
            b" [ ] ",
            b"[null]",
            b"[\"\\ud800\"]",
            b"/set/a%2Fb\nEX=1&NX\nbody",
            b"/get/%\n\n",
            b"\xff",
        ];
        seeds.iter().for_each(|seed| fuzz_http_command(seed));
    }

    proptest! {
        #[test]
        fn near_json_agrees(text in r#"[\[\]{}",:0-9eE.+tfn\\u\-a-d /%=&\n]{0,24}"#) {
            fuzz_http_command(text.as_bytes());
        }

        #[test]
        fn any_bytes_agree(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            fuzz_http_command(&data);
        }
    }
}
