//! ETags of the resource dialect, and the conditions clients build with them (RFC 9110 sections 8.8 and 13).
//!
//! The tag is a hash of what is stored and nothing else, so every gateway, replica and backend computes the same one,
//! and a write by any protocol changes it.

use http::HeaderValue;
use sha2::{Digest, Sha256};

/// The media type of an entry that has none.
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// A strong validator: 128 bits of SHA-256 over the Content-Type, a zero byte and the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ETag([u8; 16]);

impl ETag {
    /// The tag of a value stored with this Content-Type.
    pub(crate) fn of(value: &[u8], content_type: &str) -> ETag {
        let digest =
            Sha256::new().chain_update(content_type.as_bytes()).chain_update([0]).chain_update(value).finalize();
        let mut tag = [0; 16];
        tag.copy_from_slice(&digest[..16]);
        ETag(tag)
    }

    /// As it stands in the header, quotes included.
    pub(crate) fn text(self) -> [u8; 34] {
        let mut text = [b'"'; 34];
        hex(&self.0, &mut text[1..33]);
        text
    }

    /// As a header's value.
    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text()).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Lower-case hex. For what is made for every request, where the formatter took longer than all it formats.
pub(crate) fn hex(bytes: &[u8], text: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    }
}

/// A list of tags from `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: any stored value.
    Any,
    /// These. Weak ones are kept apart: they never match strongly.
    These(Vec<(bool, String)>),
}

impl Tags {
    /// Most tags in one header.
    pub(crate) const COUNT_MAX: usize = 64;

    /// Reads a header value; `None` when it is malformed or too long.
    pub(crate) fn read(text: &str) -> Option<Tags> {
        let text = text.trim();
        if text == "*" {
            return Some(Tags::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text;
        loop {
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
            tags.push((weak, tag.to_owned()));
            let after = after.trim_start();
            if after.is_empty() {
                return Some(Tags::These(tags));
            }
            rest = after.strip_prefix(',')?.trim_start();
            if tags.len() == Tags::COUNT_MAX {
                return None;
            }
        }
    }

    fn holds(&self, tag: ETag, weakly: bool) -> bool {
        match self {
            Tags::Any => true,
            Tags::These(tags) => {
                let text = tag.text();
                tags.iter().any(|(weak, given)| (weakly || !weak) && given.as_bytes() == &text[1..33])
            }
        }
    }
}

/// The conditions of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// `If-Match`: strong comparison.
    pub if_match: Option<Tags>,
    /// `If-None-Match`: weak comparison.
    pub if_none_match: Option<Tags>,
}

/// Which condition failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// `If-Match`.
    Match,
    /// `If-None-Match`.
    NoneMatch,
}

impl Conditions {
    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether deciding needs no value, only whether there is one.
    pub(crate) fn is_absence(&self) -> bool {
        self.if_match.is_none() && self.if_none_match == Some(Tags::Any)
    }

    /// Judges them against the stored value's tag; `None` is no value.
    ///
    /// # Errors
    /// The condition that failed; `If-Match` is asked first (RFC 9110 section 13.2.2).
    pub(crate) fn judge(&self, tag: Option<ETag>) -> Result<(), Failed> {
        if let Some(tags) = &self.if_match
            && !tag.is_some_and(|tag| tags.holds(tag, false))
        {
            return Err(Failed::Match);
        }
        if let Some(tags) = &self.if_none_match
            && tag.is_some_and(|tag| tags.holds(tag, true))
        {
            return Err(Failed::NoneMatch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_tag_is_of_bytes_and_type() {
        let tag = ETag::of(b"a", OCTET_STREAM);
        assert_eq!(tag, ETag::of(b"a", OCTET_STREAM));
        assert_ne!(tag, ETag::of(b"b", OCTET_STREAM));
        assert_ne!(tag, ETag::of(b"a", "text/plain"));
        assert_eq!(tag.text().len(), 34);
        // The zero byte keeps type and value apart.
        assert_ne!(ETag::of(b"b", "a"), ETag::of(b"", "ab"));
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(Tags::read(" * "), Some(Tags::Any));
        assert_eq!(
            Tags::read(r#""a", W/"b","""#),
            Some(Tags::These(vec![(false, "a".into()), (true, "b".into()), (false, String::new())]))
        );
        for text in ["", "a", "\"a", "\"a\" \"b\"", "\"a\",", "W/a", "*,\"a\""] {
            assert_eq!(Tags::read(text), None, "{text}");
        }
        let list = |n: usize| vec!["\"a\""; n].join(",");
        assert!(Tags::read(&list(Tags::COUNT_MAX)).is_some());
        assert!(Tags::read(&list(Tags::COUNT_MAX + 1)).is_none());
    }

    #[test]
    fn conditions_are_judged() {
        let tag = ETag::of(b"a", OCTET_STREAM);
        let other = ETag::of(b"b", OCTET_STREAM);
        let when = |if_match: Option<&str>, if_none_match: Option<&str>| Conditions {
            if_match: if_match.map(|t| Tags::read(t).unwrap()),
            if_none_match: if_none_match.map(|t| Tags::read(t).unwrap()),
        };
        let text = String::from_utf8(tag.text().to_vec()).unwrap();
        let weak = format!("W/{text}");
        assert_eq!(when(Some(&text), None).judge(Some(tag)), Ok(()));
        assert_eq!(when(Some(&weak), None).judge(Some(tag)), Err(Failed::Match));
        assert_eq!(when(Some(&text), None).judge(Some(other)), Err(Failed::Match));
        assert_eq!(when(Some("*"), None).judge(None), Err(Failed::Match));
        assert_eq!(when(Some("*"), None).judge(Some(tag)), Ok(()));
        assert_eq!(when(None, Some(&weak)).judge(Some(tag)), Err(Failed::NoneMatch));
        assert_eq!(when(None, Some(&text)).judge(Some(other)), Ok(()));
        assert_eq!(when(None, Some("*")).judge(None), Ok(()));
        assert_eq!(when(None, Some("*")).judge(Some(tag)), Err(Failed::NoneMatch));
        assert!(when(None, Some("*")).is_absence() && !when(None, Some(&text)).is_absence());
    }
}
