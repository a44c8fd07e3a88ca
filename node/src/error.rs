//! What can be wrong with a command, and the exact text each mistake has on the wire.
//!
//! One enum, one mapping. The texts are redis 7.0's, byte for byte, because client libraries match on
//! them. Every variant is the client's mistake except [`CommandError::fault`] says otherwise; none of
//! them ends a connection.

use std::borrow::Cow;

/// Why a command was not run, or stopped before it changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// The key holds another type than the command works on.
    WrongType,
    /// The options do not parse or exclude each other.
    Syntax,
    /// An argument had to be a 64-bit signed integer.
    NotInteger,
    /// A count had to be zero or more.
    NotPositive,
    /// The result would leave the 64-bit signed range.
    Overflow,
    /// A string would grow over `bulk_bytes_max`.
    StringTooLong,
    /// An expiry time of zero, below zero or out of range; holds the lower-case command name.
    InvalidExpire(&'static str),
    /// The number of arguments does not fit the command; holds its lower-case name.
    Arity(Cow<'static, str>),
    /// A source key does not exist (RENAME).
    NoSuchKey,
    /// No command has this name; holds the finished text, the client's bytes in it as they came.
    Unknown(Vec<u8>),
    /// The cache is over `maxmemory_bytes` and evicts nothing.
    OutOfMemory,
    /// The connection has not said who it is.
    NoAuth,
    /// The password is wrong, or the user is unknown or disabled.
    WrongPass,
    /// The caller may not do this; holds the text after `NOPERM `.
    NoPermission(Cow<'static, str>),
    /// The request rate of the cache is used up; holds the wait in milliseconds.
    Throttled(u64),
    /// A transaction was thrown away because one of its commands was refused.
    ExecAbort(Cow<'static, str>),
    /// Any other fixed text, with its code in front (`ERR …`).
    Text(&'static str),
    /// Any other text that is put together, with its code in front.
    Said(String),
    /// Any other text that repeats what the client sent, with its code in front.
    Quoted(Vec<u8>),
}

/// Whose doing an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client asked wrongly.
    Client,
    /// The client is not allowed to.
    Access,
    /// The cache has no room, or too many requests.
    Capacity,
}

impl CommandError {
    /// Whose doing it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoAuth | Self::WrongPass | Self::NoPermission(_) => Fault::Access,
            Self::OutOfMemory | Self::Throttled(_) => Fault::Capacity,
            _ => Fault::Client,
        }
    }

    /// The bytes of the RESP error reply, without the leading `-` and the trailing CRLF. A client's bytes may be in it.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Unknown(bytes) | Self::Quoted(bytes) => Cow::Borrowed(bytes),
            _ => match self.text() {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
        }
    }

    /// As [`CommandError::bytes`], for whoever needs text: what is no UTF-8 in it is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        let fixed = match self {
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::Syntax => "ERR syntax error",
            Self::NotInteger => "ERR value is not an integer or out of range",
            Self::NotPositive => "ERR value is out of range, must be positive",
            Self::Overflow => "ERR increment or decrement would overflow",
            Self::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            Self::NoSuchKey => "ERR no such key",
            Self::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Self::NoAuth => "NOAUTH Authentication required.",
            Self::WrongPass => "WRONGPASS invalid username-password pair or user is disabled.",
            Self::Text(text) => text,
            Self::Said(text) => text,
            Self::Unknown(bytes) | Self::Quoted(bytes) => return String::from_utf8_lossy(bytes),
            Self::InvalidExpire(name) => return format!("ERR invalid expire time in '{name}' command").into(),
            Self::Arity(name) => return format!("ERR wrong number of arguments for '{name}' command").into(),
            Self::NoPermission(why) => return format!("NOPERM {why}").into(),
            Self::Throttled(wait_ms) => {
                return format!("THROTTLED request rate of this cache is used up, retry in {wait_ms} ms").into();
            }
            Self::ExecAbort(why) => return format!("EXECABORT Transaction discarded because of{why}").into(),
        };
        Cow::Borrowed(fixed)
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl std::error::Error for CommandError {}

impl From<crate::meter::Throttled> for CommandError {
    fn from(throttled: crate::meter::Throttled) -> Self {
        Self::Throttled(throttled.retry_after_ms)
    }
}
