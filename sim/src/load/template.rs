//! Commands as text with holes, made once into frames of which only the holes are written again.
//!
//! Words are parted by spaces. In a word, `{key}` is a number drawn afresh below the run's keys and `{n}` the number of
//! the operation, both as 12 digits; `{key%100}` and `{n%100}` are below 100 instead. `{x64}` is a value of 64 bytes.

use crate::stream::Stream;

/// Digits of a number in a hole: as many as [`super::Limits::KEYS_MAX`] needs.
const DIGITS: usize = 12;

/// A command with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// One command as RESP, zeros in its holes.
    frame: Vec<u8>,
    holes: Vec<Hole>,
}

/// Where a number goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hole {
    at: usize,
    number: Number,
    below: Option<u64>,
}

/// Which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// Drawn afresh, hole by hole.
    Key,
    /// Of the operation, from 0.
    Operation,
}

/// What a hole makes of its name.
enum Part {
    Number(Number, Option<u64>),
    Value(usize),
}

/// Most bytes of one command.
const FRAME_BYTES_MAX: usize = 1 << 20;

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err("an empty command".to_owned());
        }
        let mut template = Self { frame: format!("*{}\r\n", words.len()).into_bytes(), holes: Vec::new() };
        for word in words {
            template.push(word)?;
        }
        Ok(template)
    }
}

impl Template {
    /// Bytes of one command.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    fn push(&mut self, word: &str) -> Result<(), String> {
        let mut bytes = Vec::new();
        let mut holes = Vec::new();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("`{word}`: a hole without its end"))?;
            bytes.extend_from_slice(before.as_bytes());
            match part(name)
                .ok_or_else(|| format!("`{{{name}}}`: can be {{key}}, {{n}}, {{key%M}}, {{n%M}}, {{xN}}"))?
            {
                Part::Number(number, below) => {
                    holes.push(Hole { at: bytes.len(), number, below });
                    bytes.extend_from_slice(&[b'0'; DIGITS]);
                }
                Part::Value(length) => bytes.resize(bytes.len() + length, b'x'),
            }
            rest = after;
        }
        bytes.extend_from_slice(rest.as_bytes());
        self.frame.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
        let start = self.frame.len();
        self.holes.extend(holes.into_iter().map(|hole| Hole { at: start + hole.at, ..hole }));
        self.frame.extend_from_slice(&bytes);
        self.frame.extend_from_slice(b"\r\n");
        if self.frame.len() > FRAME_BYTES_MAX {
            return Err(format!("a command of more than {FRAME_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

fn part(name: &str) -> Option<Part> {
    if let Some(length) = name.strip_prefix('x') {
        return length.parse().ok().filter(|&length| length <= FRAME_BYTES_MAX).map(Part::Value);
    }
    let (name, below) = match name.split_once('%') {
        Some((name, below)) => (name, Some(below.parse::<u64>().ok().filter(|&below| below > 0)?)),
        None => (name, None),
    };
    match name {
        "key" => Some(Part::Number(Number::Key, below)),
        "n" => Some(Part::Number(Number::Operation, below)),
        _ => None,
    }
}

/// A batch of the same command in one buffer.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    frame: usize,
    holes: Vec<Hole>,
    keys: u64,
    drawn: Stream,
}

impl Frames {
    /// `count` commands whose keys are drawn below `keys`.
    pub(super) fn new(template: &Template, count: usize, keys: u64, drawn: Stream) -> Self {
        let bytes = template.frame.repeat(count);
        Self { bytes, frame: template.frame.len(), holes: template.holes.clone(), keys, drawn }
    }

    /// The commands of the operations `first` to `first + count`.
    pub(super) fn batch(&mut self, first: u64, count: u64) -> &[u8] {
        let count = count as usize;
        let all = self.bytes.chunks_exact_mut(self.frame).take(count);
        for (n, frame) in all.enumerate() {
            for hole in &self.holes {
                let number = match hole.number {
                    Number::Key => self.drawn.below(hole.below.unwrap_or(self.keys)),
                    Number::Operation => (first + n as u64) % hole.below.unwrap_or(u64::MAX),
                };
                write(&mut frame[hole.at..hole.at + DIGITS], number);
            }
        }
        &self.bytes[..count * self.frame]
    }
}

fn write(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str, count: usize) -> Frames {
        Frames::new(&text.parse().expect("a command"), count, 1000, Stream::named(1, "keys"))
    }

    #[test]
    fn frames_are_what_redis_reads() {
        assert_eq!(
            frames("SET key:{n} {x3}", 2).batch(7, 2),
            b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$3\r\nxxx\r\n\
              *3\r\n$3\r\nSET\r\n$16\r\nkey:000000000008\r\n$3\r\nxxx\r\n"
        );
        assert_eq!(frames("GET k{n%5}z", 9).batch(12, 1), b"*2\r\n$3\r\nGET\r\n$14\r\nk000000000002z\r\n");
        assert_eq!(frames("PING", 1).batch(0, 1), b"*1\r\n$4\r\nPING\r\n");
    }

    #[test]
    fn keys_are_drawn_hole_by_hole() {
        let mut frames = frames("MGET {key} {key} {key%1}", 1);
        let text = String::from_utf8(frames.batch(0, 1).to_vec()).expect("ASCII");
        let words: Vec<&str> = text.split("\r\n").filter(|word| word.len() == DIGITS).collect();
        assert!(words[0] != words[1] && words[0] < "000000001000", "{text}");
        assert_eq!(words[2], "000000000000");
    }

    #[test]
    fn wrong_holes_are_refused() {
        for wrong in ["", "GET {kex}", "GET {key", "GET {key%0}", "GET {n%x}", "SET k {x99999999}"] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }
}
