//! JSON of the command dialect: reading argument lists, writing string values.
//!
//! The reader is ours because it must keep number tokens as the client wrote them (`1e400`, `0.10`,
//! twenty digits), refuse what has no meaning as an argument (null, object, nested array), and stay flat:
//! at most two brackets deep, so no input makes it recurse. What is left out: every other use of JSON.

use larder_node::resp::Args;

/// Bounds of one command body. Bytes are bounded by `item_bytes_max` before the reader starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonLimits {
    /// Most commands in one `/pipeline` or `/multi-exec` body.
    pub commands_max: usize,
    /// Most arguments of one command, its name included.
    pub args_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        JsonLimits { commands_max: 1_000, args_max: 1_048_576 }
    }
}

/// Why a body is not a list of commands. The text goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadJson {
    /// What is wrong.
    pub what: &'static str,
    /// Byte offset in the body.
    pub at: usize,
}

/// Argument lists read from one request, in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    buf: Vec<u8>,
    ranges: Vec<(u32, u32)>,
    /// For each finished command, the number of ranges up to its end.
    ends: Vec<usize>,
}

impl Commands {
    /// An empty list with room for `bytes` of arguments.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Commands { buf: Vec::with_capacity(bytes), ranges: Vec::with_capacity(8), ends: Vec::with_capacity(1) }
    }

    /// Number of finished commands.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The arguments of command `index`; empty when there is no such command.
    pub(crate) fn get(&self, index: usize) -> Args<'_> {
        let end = self.ends.get(index).copied().unwrap_or(0);
        let start = if index == 0 { 0 } else { self.ends.get(index - 1).copied().unwrap_or(0) };
        Args::new(&self.buf, self.ranges.get(start..end).unwrap_or(&[]))
    }

    /// All commands in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Args<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Adds one argument to the command being read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let start = self.buf.len();
        self.buf.extend_from_slice(bytes);
        self.close(start);
    }

    /// Adds one percent-encoded argument.
    ///
    /// # Errors
    /// [`BadEscape`] when a `%` is not followed by two hex digits.
    pub(crate) fn push_decoded(&mut self, raw: &[u8]) -> Result<(), BadEscape> {
        let start = self.buf.len();
        percent_decode(raw, &mut self.buf)?;
        self.close(start);
        Ok(())
    }

    /// Ends the command being read.
    pub(crate) fn finish(&mut self) {
        self.ends.push(self.ranges.len());
    }

    /// Number of arguments of the command being read.
    fn open_args(&self) -> usize {
        self.ranges.len() - self.ends.last().copied().unwrap_or(0)
    }

    fn close(&mut self, start: usize) {
        // A request is far below 4 GiB (`item_bytes_max`), and decoding never makes it longer.
        let as_u32 = |n: usize| u32::try_from(n).expect("item_bytes_max is below 4 GiB");
        self.ranges.push((as_u32(start), as_u32(self.buf.len())));
    }
}

/// A `%` without two hex digits behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadEscape;

/// Decodes percent escapes once; `+` stays `+`.
///
/// # Errors
/// [`BadEscape`]; `out` then holds a part of the text.
pub(crate) fn percent_decode(raw: &[u8], out: &mut Vec<u8>) -> Result<(), BadEscape> {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        out.extend_from_slice(&rest[..at]);
        let (Some(high), Some(low)) = (rest.get(at + 1).and_then(hex), rest.get(at + 2).and_then(hex)) else {
            return Err(BadEscape);
        };
        out.push(high << 4 | low);
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

fn hex(byte: &u8) -> Option<u8> {
    (*byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Reads `["SET","k",1]` as one command.
///
/// # Errors
/// [`BadJson`] for anything but one array of strings, numbers and booleans.
pub(crate) fn read_command(body: &[u8], limits: &JsonLimits) -> Result<Commands, BadJson> {
    let mut reader = Reader::new(body, limits)?;
    reader.command()?;
    reader.end()
}

/// Reads `[["SET","k","v"],["GET","k"]]`.
///
/// # Errors
/// [`BadJson`] for anything but an array of commands, or more than `commands_max` of them.
pub(crate) fn read_commands(body: &[u8], limits: &JsonLimits) -> Result<Commands, BadJson> {
    let mut reader = Reader::new(body, limits)?;
    reader.expect(b'[', "the body must be an array of commands")?;
    let mut more = !reader.take(b']');
    while more {
        if reader.out.len() == limits.commands_max {
            return Err(reader.bad("too many commands in one request"));
        }
        reader.command()?;
        more = reader.separator()?;
    }
    reader.end()
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    limits: &'a JsonLimits,
    out: Commands,
}

impl<'a> Reader<'a> {
    fn new(body: &'a [u8], limits: &'a JsonLimits) -> Result<Self, BadJson> {
        if let Err(error) = std::str::from_utf8(body) {
            return Err(BadJson { what: "the body is not UTF-8", at: error.valid_up_to() });
        }
        Ok(Reader { body, at: 0, limits, out: Commands::with_capacity(body.len()) })
    }

    fn bad(&self, what: &'static str) -> BadJson {
        BadJson { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips space, then takes `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), BadJson> {
        if self.take(byte) { Ok(()) } else { Err(self.bad(what)) }
    }

    /// After an element: true for `,`, false for `]`.
    fn separator(&mut self) -> Result<bool, BadJson> {
        if self.take(b',') {
            return Ok(true);
        }
        self.expect(b']', "expected ',' or ']'")?;
        Ok(false)
    }

    fn end(mut self) -> Result<Commands, BadJson> {
        self.skip_space();
        if self.at == self.body.len() { Ok(self.out) } else { Err(self.bad("text after the end of the array")) }
    }

    fn command(&mut self) -> Result<(), BadJson> {
        self.expect(b'[', "a command must be an array of strings, numbers and booleans")?;
        let mut more = !self.take(b']');
        while more {
            if self.out.open_args() == self.limits.args_max {
                return Err(self.bad("too many arguments in one command"));
            }
            self.argument()?;
            more = self.separator()?;
        }
        self.out.finish();
        Ok(())
    }

    fn argument(&mut self) -> Result<(), BadJson> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => Err(self.bad("null is not an argument")),
            Some(b'{') => Err(self.bad("an object is not an argument; send it as a string")),
            Some(b'[') => Err(self.bad("a nested array is not an argument")),
            _ => Err(self.bad("expected a string, a number or a boolean")),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), BadJson> {
        if !self.body[self.at..].starts_with(word) {
            return Err(self.bad("expected a string, a number or a boolean"));
        }
        self.at += word.len();
        self.out.push(word);
        Ok(())
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?` (RFC 8259 section 6), kept as text.
    fn number(&mut self) -> Result<(), BadJson> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        self.out.push(&self.body[start..self.at]);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), BadJson> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == from { Err(self.bad("malformed number")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), BadJson> {
        self.at += 1;
        let start = self.out.buf.len();
        loop {
            let run = self.body[self.at..].iter().take_while(|b| !ENDS_RUN[usize::from(**b)]).count();
            self.out.buf.extend_from_slice(&self.body[self.at..self.at + run]);
            self.at += run;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.bad("a control character in a string must be escaped")),
                None => return Err(self.bad("unfinished string")),
            }
        }
        self.at += 1;
        self.out.close(start);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), BadJson> {
        let byte = match self.body.get(self.at + 1) {
            Some(b'u') => return self.unicode(),
            Some(&(b'"' | b'\\' | b'/')) => self.body[self.at + 1],
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            _ => return Err(self.bad("unknown escape in a string")),
        };
        self.out.buf.push(byte);
        self.at += 2;
        Ok(())
    }

    /// `\uXXXX`, or two of them for one character beyond the basic plane. A lone surrogate has no bytes: refused.
    fn unicode(&mut self) -> Result<(), BadJson> {
        let first = self.unit(self.at)?;
        let (code, length) = match first {
            0xD800..=0xDBFF => {
                let second = self.unit(self.at + 6)?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(self.bad("lone surrogate in a string"));
                }
                (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), 12)
            }
            _ => (first, 6),
        };
        let Some(character) = char::from_u32(code) else {
            return Err(self.bad("lone surrogate in a string"));
        };
        self.out.buf.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += length;
        Ok(())
    }

    fn unit(&self, at: usize) -> Result<u32, BadJson> {
        let Some([b'\\', b'u', digits @ ..]) = self.body.get(at..at + 6) else {
            return Err(self.bad("malformed \\u escape in a string"));
        };
        digits
            .iter()
            .try_fold(0, |code, digit| hex(digit).map(|value| code << 4 | u32::from(value)))
            .ok_or(self.bad("malformed \\u escape in a string"))
    }
}

/// Bytes that end a plain run of a JSON string: quote, backslash, control characters.
static ENDS_RUN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Writes `bytes` as a JSON string; invalid UTF-8 becomes U+FFFD.
pub(crate) fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    match std::str::from_utf8(bytes) {
        Ok(text) => write_escaped(text.as_bytes(), out),
        Err(_) => bytes.utf8_chunks().for_each(|chunk| {
            write_escaped(chunk.valid().as_bytes(), out);
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{FFFD}".as_bytes());
            }
        }),
    }
    out.push(b'"');
}

fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| ENDS_RUN[usize::from(b)]) {
        out.extend_from_slice(&rest[..at]);
        write_escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn lists(commands: &Commands) -> Vec<Vec<Vec<u8>>> {
        commands.iter().map(|args| args.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    fn one(body: &str) -> Result<Vec<String>, BadJson> {
        read_command(body.as_bytes(), &JsonLimits::default())
            .map(|c| c.get(0).iter().map(|a| String::from_utf8(a.to_vec()).unwrap()).collect())
    }

    #[test]
    fn scalars_become_arguments_as_written() {
        let args = one(r#" [ "SET" , "k\n\u00e9\ud83d\ude00" , 1e400, -0.10, 12345678901234567890123, true, false ] "#);
        assert_eq!(args.unwrap(), ["SET", "k\né😀", "1e400", "-0.10", "12345678901234567890123", "true", "false"]);
        assert_eq!(one("[]").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn everything_else_is_refused() {
        let bad = [
            "",
            "null",
            "{}",
            "\"a\"",
            "[null]",
            "[[]]",
            "[{}]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[\"a",
            "[\"\\x\"]",
            "[\"\\u12\"]",
            "[\"\\ud800\"]",
            "[\"\\ud800\\u0041\"]",
            "[\"\\udc00\"]",
            "[01]",
            "[1.]",
            "[.5]",
            "[+1]",
            "[-]",
            "[1e]",
            "[NaN]",
            "[tru]",
            "[\"\u{1}\"]",
            "[] x",
            "\u{feff}[]",
            "[",
        ];
        for body in bad {
            assert!(one(body).is_err(), "{body:?} was accepted");
        }
        assert_eq!(read_command(b"[\"\xff\"]", &JsonLimits::default()).unwrap_err().at, 2);
    }

    #[test]
    fn limits_hold_on_each_side() {
        let limits = JsonLimits { commands_max: 2, args_max: 3 };
        assert!(read_command(b"[1,2,3]", &limits).is_ok());
        assert!(read_command(b"[1,2,3,4]", &limits).is_err());
        assert_eq!(read_commands(b"[[1,2,3],[4]]", &limits).unwrap().len(), 2);
        assert!(read_commands(b"[[1],[2],[3]]", &limits).is_err());
        assert!(read_commands("[".repeat(1_000_000).as_bytes(), &limits).is_err());
    }

    #[test]
    fn percent_escapes_are_decoded_once() {
        let decode = |raw: &str| {
            let mut out = Vec::new();
            percent_decode(raw.as_bytes(), &mut out).map(|()| out)
        };
        assert_eq!(decode("a%2Fb%2fc+%2500%ff").unwrap(), b"a/b/c+%00\xff");
        for raw in ["%", "%2", "%zz", "%u0041", "a%2"] {
            assert_eq!(decode(raw), Err(BadEscape));
        }
    }

    proptest! {
        #[test]
        fn what_we_write_serde_reads(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(text.as_bytes(), &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn broken_utf8_becomes_replacement_characters(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            write_string(&bytes, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn what_serde_writes_we_read(list in proptest::collection::vec(proptest::collection::vec(any::<String>(), 0..5), 0..5)) {
            let body = serde_json::to_vec(&list).unwrap();
            let read = lists(&read_commands(&body, &JsonLimits::default()).unwrap());
            let plain: Vec<Vec<Vec<u8>>> = list.into_iter().map(|c| c.into_iter().map(String::into_bytes).collect()).collect();
            prop_assert_eq!(read, plain);
        }
    }
}
