//! A transcript as it is written: text to steps.

use std::time::{SystemTime, UNIX_EPOCH};

/// A transcript that has been read.
#[derive(Debug, Clone)]
pub struct Script {
    /// Nobody is anonymous.
    pub guarded: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number in the file, from 1.
    pub line: usize,
    /// The one protocol it is for.
    pub only: Option<u8>,
    /// What it says.
    pub act: Act,
}

/// What one line says.
#[derive(Debug, Clone)]
pub enum Act {
    /// A connection does something.
    On(String, Do),
    /// Wait until so many clients wait in a blocking command.
    Blocked(usize),
}

/// What a connection does.
#[derive(Debug, Clone)]
pub enum Do {
    /// Sends a request; waits for its reply or not.
    Send {
        /// The request.
        words: Vec<Word>,
        /// Whether to wait.
        wait: bool,
    },
    /// Sends bytes.
    Raw(Vec<Word>),
    /// Waits for so many replies.
    Read(usize),
    /// Waits for the server to close it.
    Closed,
    /// Opens it without HELLO.
    OpenBare,
    /// Closes it.
    Close,
    /// Closes its sending half.
    Shut,
    /// Asks until the reply is this one.
    Until(Vec<u8>, Vec<Word>),
    /// SCAN from beginning to end with these options; among other keys that come and go or not.
    Scan {
        /// What follows the cursor.
        options: Vec<Word>,
        /// Whether other keys come and go.
        amid: bool,
    },
    /// A request whose reply by the node is stated, as redis 7.0.15 does not have the command.
    Stated(Vec<u8>, Vec<Word>),
}

/// A word of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The wall clock, in milliseconds or whole seconds, plus this.
    Now {
        /// In milliseconds, else in seconds.
        ms: bool,
        /// Added to it.
        offset: i64,
    },
    /// The protocol's number.
    Protocol,
}

impl Word {
    /// The bytes to send.
    #[must_use]
    pub fn bytes(&self, protocol: u8) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Protocol => protocol.to_string().into_bytes(),
            Self::Now { ms, offset } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let now = i64::try_from(since).unwrap_or(i64::MAX) / if *ms { 1 } else { 1000 };
                (now + offset).to_string().into_bytes()
            }
        }
    }
}

impl Script {
    /// Reads a transcript.
    ///
    /// # Errors
    /// The line that cannot be read, and why.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut script = Self { guarded: false, steps: Vec::new() };
        for (at, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let line = at + 1;
            if text == "access guarded" && script.steps.is_empty() {
                script.guarded = true;
                continue;
            }
            let (only, said) = match text.split_once('|') {
                Some(("2", said)) => (Some(2), said.trim()),
                Some(("3", said)) => (Some(3), said.trim()),
                _ => (None, text),
            };
            let act = act(said).map_err(|why| format!("line {line}: {why}: {text}"))?;
            script.steps.push(Step { line, only, act });
        }
        Ok(script)
    }

    /// Every request of the transcript, raw ones left out.
    pub fn requests(&self) -> impl Iterator<Item = Vec<Vec<u8>>> {
        let words = |step: &Step| match &step.act {
            Act::On(_, Do::Send { words, .. } | Do::Until(_, words) | Do::Stated(_, words)) => Some(words.clone()),
            Act::On(_, Do::Scan { options, .. }) => {
                let scan = [Word::Bytes(b"SCAN".to_vec()), Word::Bytes(b"0".to_vec())];
                Some(scan.into_iter().chain(options.iter().cloned()).collect())
            }
            _ => None,
        };
        self.steps.iter().filter_map(words).map(|words| words.iter().map(|word| word.bytes(2)).collect())
    }
}

fn act(text: &str) -> Result<Act, String> {
    if let Some(count) = text.strip_prefix("blocked ") {
        return count.parse().map(Act::Blocked).map_err(|_| "blocked by how many".into());
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).ok_or("no step")?;
    let (name, rest) = text.split_at(end);
    let does = if let Some(rest) = rest.strip_prefix(">>") {
        Do::Send { words: words(rest)?, wait: false }
    } else if let Some(rest) = rest.strip_prefix('>') {
        Do::Send { words: words(rest)?, wait: true }
    } else if let Some(rest) = rest.strip_prefix('!') {
        Do::Raw(words(rest)?)
    } else if let Some(rest) = rest.strip_prefix('<') {
        let count = if rest.is_empty() { Ok(1) } else { rest.trim().parse() };
        Do::Read(count.map_err(|_| "how many replies")?)
    } else if let Some(rest) = rest.strip_prefix(':') {
        other(rest.trim())?
    } else {
        return Err("no step".into());
    };
    Ok(Act::On(name.to_owned(), does))
}

fn other(text: &str) -> Result<Do, String> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let expected = |rest: &str| {
        let mut words = words(rest)?;
        match words.first() {
            Some(Word::Bytes(reply)) => Ok::<_, String>((reply.clone(), words.split_off(1))),
            _ => Err("which reply".into()),
        }
    };
    Ok(match (verb, rest) {
        ("closed", "") => Do::Closed,
        ("open", "bare") => Do::OpenBare,
        ("close", "") => Do::Close,
        ("shut", "") => Do::Shut,
        ("scan", options) => Do::Scan { options: words(options)?, amid: false },
        ("scan-amid", options) => Do::Scan { options: words(options)?, amid: true },
        ("until", rest) => expected(rest).map(|(reply, words)| Do::Until(reply, words))?,
        ("larder", rest) => expected(rest).map(|(reply, words)| Do::Stated(reply, words))?,
        _ => return Err("no such step".into()),
    })
}

/// The words of a line.
fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut rest = text.as_bytes().trim_ascii();
    let mut words = Vec::new();
    while !rest.is_empty() {
        let (word, tail) = if rest[0] == b'"' { quoted(&rest[1..])? } else { bare(rest)? };
        let (times, tail) = repeated(tail)?;
        words.push(match word {
            Word::Bytes(bytes) => Word::Bytes(bytes.repeat(times)),
            word => word,
        });
        rest = tail.trim_ascii_start();
    }
    Ok(words)
}

fn bare(text: &[u8]) -> Result<(Word, &[u8]), String> {
    let space = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    // A star after a bare word repeats it; a star that begins one, or is within a pattern, is just a star.
    let star = text[..space].iter().rposition(|byte| *byte == b'*').filter(|star| {
        let count = &text[star + 1..space];
        *star > 0 && count.len() > 1 && count.iter().all(u8::is_ascii_digit)
    });
    let (word, tail) = text.split_at(star.unwrap_or(space));
    Ok((filled(word)?, tail))
}

/// `{proto}`, `{ms+5}`, `{s-5}`, or the word itself.
fn filled(word: &[u8]) -> Result<Word, String> {
    let Some(inner) = word.strip_prefix(b"{").and_then(|word| word.strip_suffix(b"}")) else {
        return Ok(Word::Bytes(word.to_vec()));
    };
    let inner = String::from_utf8_lossy(inner);
    let now = |ms, offset: &str| match offset {
        "" => Ok(Word::Now { ms, offset: 0 }),
        offset => offset.parse().map(|offset| Word::Now { ms, offset }).map_err(|_| format!("no offset: {offset}")),
    };
    match &*inner {
        "proto" => Ok(Word::Protocol),
        inner if inner.starts_with("ms") => now(true, &inner[2..]),
        inner if inner.starts_with('s') => now(false, &inner[1..]),
        _ => Err(format!("what is {{{inner}}}")),
    }
}

fn quoted(mut text: &[u8]) -> Result<(Word, &[u8]), String> {
    let mut bytes = Vec::new();
    loop {
        match text {
            [b'"', tail @ ..] => return Ok((Word::Bytes(bytes), tail)),
            [b'\\', b'x', high, low, tail @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).map_err(|_| "no hex digits")?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| "no hex digits")?);
                text = tail;
            }
            [b'\\', escape, tail @ ..] => {
                bytes.push(match escape {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'\\' | b'"' => *escape,
                    _ => return Err("no such escape".into()),
                });
                text = tail;
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                text = tail;
            }
            [] => return Err("a quote is not closed".into()),
        }
    }
}

/// `*1000` right behind a word.
fn repeated(text: &[u8]) -> Result<(usize, &[u8]), String> {
    let Some(count) = text.strip_prefix(b"*") else { return Ok((1, text)) };
    let end = count.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(count.len());
    let number = std::str::from_utf8(&count[..end]).unwrap_or_default();
    Ok((number.parse().map_err(|_| "repeated how often")?, &count[end..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bytes(text: &str) -> Vec<Vec<u8>> {
        words(text).unwrap().iter().map(|word| word.bytes(3)).collect()
    }

    #[test]
    fn words_are_bare_quoted_repeated_or_filled_in() {
        assert_eq!(bytes(r#"SET "a b\x00\r\"" x*10 """#), [&b"SET"[..], b"a b\0\r\"", b"xxxxxxxxxx", b""]);
        assert_eq!(bytes(r#""ab"*2 k*5 * *2 a*b {proto}"#), [&b"abab"[..], b"k*5", b"*", b"*2", b"a*b", b"3"]);
        let now: i64 = String::from_utf8(bytes("{s+0}")[0].clone()).unwrap().parse().unwrap();
        assert!(now > 1_500_000_000 && words("{ms-5}").unwrap() == [Word::Now { ms: true, offset: -5 }]);
    }

    #[test]
    fn lines_that_say_nothing_are_refused() {
        for text in ["A", "A% x", r#"A> "x"#, "A: fly", "blocked many", "A> {x}", r#"A> "\q""#, "A< x"] {
            assert!(Script::read(text).is_err(), "{text}");
        }
        let script = Script::read("# remark\naccess guarded\n\nA> PING\nB: closed\nblocked 2\n").unwrap();
        assert!(script.guarded);
        assert_eq!(script.steps.iter().map(|step| step.line).collect::<Vec<_>>(), [4, 5, 6]);
        assert_eq!(script.requests().collect::<Vec<_>>(), [vec![b"PING".to_vec()]]);
    }
}
