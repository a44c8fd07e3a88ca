//! Texts with `${variables}`, and the one-to-one mapping of keys into ARNs.

use std::borrow::Cow;

use crate::pattern::{Pattern, PatternBuilder};

/// A text whose variables are filled in when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Text in which `*` and `?` may be wild.
    Text(String),
    /// `${*}`, `${?}` or `${$}`.
    Literal(String),
    Variable {
        /// In lower case.
        key: String,
        default: Option<String>,
    },
}

impl Template {
    /// Parses; without `variables` (Version 2008-10-17) `${` is literal text.
    pub(super) fn parse(text: &str, variables: bool) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${").filter(|_| variables) {
            let end = rest[at..].find('}').ok_or_else(|| format!("{text:?} has a `${{` without its `}}`"))? + at;
            if at > 0 {
                parts.push(Part::Text(rest[..at].to_owned()));
            }
            parts.push(variable(&rest[at + 2..end])?);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The names of the variables, in lower case.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable { key, .. } => Some(key.as_str()),
            _ => None,
        })
    }

    /// The pattern with `value` asked for each variable; `None` when one has neither a value nor a default. What is put in
    /// is literal; `escape` maps it as its surroundings need.
    pub(super) fn pattern(
        &self,
        value: &dyn Fn(&str) -> Option<String>,
        escape: fn(&[u8]) -> Cow<'_, [u8]>,
        wild: bool,
    ) -> Option<Pattern> {
        let mut built = PatternBuilder::default();
        for part in &self.parts {
            match part {
                Part::Text(text) if wild => built.wild(text.as_bytes()),
                Part::Text(text) | Part::Literal(text) => built.literal(text.as_bytes()),
                Part::Variable { key, default } => {
                    let filled = value(key).or_else(|| default.clone())?;
                    built.literal(&escape(filled.as_bytes()));
                }
            }
        }
        Some(built.build())
    }
}

fn variable(inside: &str) -> Result<Part, String> {
    if matches!(inside, "*" | "?" | "$") {
        return Ok(Part::Literal(inside.to_owned()));
    }
    let (key, default) = match inside.split_once(',') {
        None => (inside.trim(), None),
        Some((key, default)) => {
            let default = default.trim();
            let text = default.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            let text = text.ok_or_else(|| format!("the default in ${{{inside}}} must stand in single quotes"))?;
            (key.trim(), Some(text.to_owned()))
        }
    };
    let key = key.to_ascii_lowercase();
    match super::context::find_key(&key) {
        Some(found) if !found.many => Ok(Part::Variable { key, default }),
        Some(_) => Err(format!("${{{inside}}}: a key with several values cannot be a variable")),
        None => Err(format!("${{{inside}}} is no known condition key")),
    }
}

/// The segments of an ARN: split at the first five colons that stand outside `${…}`.
pub(super) fn arn_segments(text: &str) -> Vec<&str> {
    let mut segments = Vec::with_capacity(6);
    let (mut from, mut inside) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if at > 0 && text.as_bytes()[at - 1] == b'$' => inside = true,
            b'}' => inside = false,
            b':' if !inside && segments.len() < 5 => {
                segments.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    segments.push(&text[from..]);
    segments
}

/// What is put in as it is.
pub(super) fn plain(bytes: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(bytes)
}

/// A key or channel as it stands in an ARN: `%` and every byte outside 0x21–0x7E as upper-case `%XX`, nothing else.
pub fn escape_key(key: &[u8]) -> Cow<'_, [u8]> {
    let stays = |byte: &u8| (0x21..=0x7e).contains(byte) && *byte != b'%';
    if key.iter().all(stays) {
        return Cow::Borrowed(key);
    }
    let mut escaped = Vec::with_capacity(key.len() + 16);
    for byte in key {
        if stays(byte) {
            escaped.push(*byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            escaped.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a pattern of keys could ever match an escaped key: refuses bytes and escapes that never occur in one.
pub(super) fn check_key_pattern(text: &str) -> Result<(), String> {
    if let Some(wrong) = text.bytes().find(|byte| !(0x21..=0x7e).contains(byte)) {
        return Err(format!(
            "the byte 0x{wrong:02X} never occurs in an ARN: write it percent-encoded, as %{wrong:02X}"
        ));
    }
    for (at, _) in text.match_indices('%') {
        let hex = text.as_bytes().get(at + 1..at + 3).unwrap_or_default();
        let upper = hex.len() == 2 && hex.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
        let value = upper.then(|| u8::from_str_radix(&text[at + 1..at + 3], 16).ok()).flatten();
        if !value.is_some_and(|byte| byte == b'%' || !(0x21..=0x7e).contains(&byte)) {
            return Err(format!(
                "{:?} never occurs in an ARN: only `%` and bytes outside 0x21-0x7E are encoded, with upper-case hex",
                String::from_utf8_lossy(&text.as_bytes()[at..(at + 3).min(text.len())])
            ));
        }
    }
    Ok(())
}
