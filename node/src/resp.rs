//! The RESP2/RESP3 codec: bytes to requests and replies, and back. No I/O, no clock, no command names.
//!
//! Requests are found in place: [`parse`] answers ranges into the caller's buffer and copies nothing, except for
//! inline commands with quotes, whose arguments need unescaping ([`Parsed::Quoted`]). Every length, count and depth
//! has a bound in [`Limits`]. Error texts are Redis's own, as clients and their tests compare them.
//!
//! Left out: streamed RESP3 types (`$?`, `*?`), which no server of the Redis family sends, and which are refused.

mod args;
mod fuzz;
mod inline;
mod number;
mod out;
mod reply;
mod request;

pub use args::{Args, OwnedArgs, encode_request};
pub use fuzz::fuzz_resp;
pub(crate) use inline::unquote;
pub use number::{parse_i64, write_double};
pub use out::{Mark, Out, REPLY_BYTES_MAX, SHARED_BYTES_MIN};
pub use reply::{Reply, read_reply};
pub use request::{Parsed, ProtocolError, Resume, parse};

/// The bounds of one connection's requests and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest bulk string, in bytes. Redis: `proto-max-bulk-len`, 512 MB.
    pub bulk_bytes_max: usize,
    /// Most arguments in one request, the command's name included; most elements in one aggregate of a reply.
    pub args_max: usize,
    /// Longest inline request, and longest line that holds a count or a length. Redis: 64 KiB.
    pub inline_bytes_max: usize,
    /// Longest whole request or reply, in bytes. Ranges are `u32`, so at most 4 GiB - 1. Redis's query buffer: 1 GiB.
    pub frame_bytes_max: usize,
    /// Deepest nesting of aggregates in a reply.
    pub depth_max: usize,
    /// The peer has not logged in: a refusal says so ("unauthenticated multibulk length").
    pub unauthenticated: bool,
}

impl Limits {
    /// What a logged-in client may send.
    pub const DEFAULT: Limits = Limits {
        bulk_bytes_max: 512 * 1024 * 1024,
        args_max: 1_048_576,
        inline_bytes_max: 64 * 1024,
        frame_bytes_max: 1024 * 1024 * 1024,
        depth_max: 32,
        unauthenticated: false,
    };

    /// What a client may send before it has logged in: 10 arguments of 16 KiB, as Redis.
    pub const UNAUTHENTICATED: Limits = Limits {
        bulk_bytes_max: 16 * 1024,
        args_max: 10,
        frame_bytes_max: 256 * 1024,
        unauthenticated: true,
        ..Limits::DEFAULT
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
