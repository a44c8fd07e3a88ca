//! The differences from redis 7.0 that random requests meet and that are meant: at most 20, each with a test of its
//! own in `tests/tests/differential.rs`, and each a row of `docs/fidelity.md`.

use crate::transcript::compare::elements;
use crate::transcript::play::Request;

/// One of them.
pub struct Accepted {
    /// What it is called in reports, and by its test.
    pub name: &'static str,
    /// How its row in `docs/fidelity.md` begins.
    pub row: &'static str,
    /// Whether these two replies to a request, redis's and the node's, differ in this way.
    pub is: fn(&Request, &[u8], &[u8]) -> bool,
    /// Requests, sent in one pipeline to empty servers; the last one's replies differ in this way.
    pub shown_by: &'static [&'static str],
}

/// All of them.
pub const ACCEPTED: &[Accepted] = &[
    Accepted {
        name: "a changed string is encoded as if it had been set",
        row: "`OBJECT ENCODING` after APPEND",
        is: |request, redis, node| match redis {
            _ if !named(request, "OBJECT") => false,
            b"$3\r\nraw\r\n" => [&b"$6\r\nembstr\r\n"[..], b"$3\r\nint\r\n"].contains(&node),
            b"$6\r\nembstr\r\n" => node == b"$3\r\nint\r\n",
            _ => false,
        },
        shown_by: &["APPEND s 1", "APPEND s a", "OBJECT ENCODING s"],
    },
    Accepted {
        name: "small sets are packed",
        row: "`OBJECT ENCODING` of a small set",
        is: |request, redis, node| {
            named(request, "OBJECT") && redis == b"$9\r\nhashtable\r\n" && node == b"$8\r\nlistpack\r\n"
        },
        shown_by: &["SADD t word", "OBJECT ENCODING t"],
    },
    Accepted {
        name: "the least rank has no opposite",
        row: "`LPOS … RANK -9223372036854775808`",
        is: |request, _, node| named(request, "LPOS") && node.starts_with(b"-ERR value is out of range, v"),
        shown_by: &["RPUSH l a", "LPOS l a RANK -9223372036854775808"],
    },
    Accepted {
        name: "redis's SORT finds an old error",
        row: "`SORT` of what looks like numbers",
        is: |request, redis, node| {
            (named(request, "SORT") || named(request, "SORT_RO"))
                && redis.starts_with(b"-ERR One or more scores")
                && !node.starts_with(b"-")
        },
        shown_by: &["RPUSH l 1.5 2.5", "ZADD z 1e400 m", "SORT l"],
    },
    Accepted {
        name: "words end at a NUL for redis's SORT",
        row: "`SORT … ALPHA` of words that are the same up to a NUL",
        is: |request, redis, node| {
            let is_alpha = request.iter().any(|word| word.eq_ignore_ascii_case(b"ALPHA"));
            (named(request, "SORT") || named(request, "SORT_RO"))
                && is_alpha
                && redis.contains(&0)
                && up_to_nuls(redis).is_some_and(|words| up_to_nuls(node) == Some(words))
        },
        shown_by: &["RPUSH l \0a \0b \0", "SORT l ALPHA DESC"],
    },
    Accepted {
        name: "ZRANK may have an option",
        row: "`ZRANK … WITHSCORE`",
        is: |request, redis, node| {
            // The command that ACL DRYRUN asks about is its fourth word.
            let tried = if named(request, "ACL") { request.get(3..).unwrap_or(&[]).to_vec() } else { request.clone() };
            (named(&tried, "ZRANK") || named(&tried, "ZREVRANK"))
                && redis.starts_with(b"-ERR wrong number of arguments")
                && !node.starts_with(b"-ERR wrong number of arguments")
        },
        shown_by: &["ZRANK z m x"],
    },
];

/// The one that two replies differ by.
#[must_use]
pub fn find(request: &Request, redis: &[u8], node: &[u8]) -> Option<&'static Accepted> {
    ACCEPTED.iter().find(|accepted| (accepted.is)(request, redis, node))
}

/// The elements of an array of bulk strings, each up to its first NUL.
fn up_to_nuls(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let word = |bulk: &'_ [u8]| {
        let start = bulk.strip_prefix(b"$")?.windows(2).position(|two| two == b"\r\n")? + 3;
        let end = bulk.len().checked_sub(2)?;
        Some(start..bulk.get(start..end)?.iter().position(|byte| *byte == 0).map_or(end, |at| start + at))
    };
    elements(reply)?.into_iter().map(|bulk| bulk.get(word(bulk)?)).collect()
}

fn named(request: &Request, name: &str) -> bool {
    request.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}
