//! The fuzz targets by name. Bodies are plain functions of the crates they are about; libFuzzer (`tests/fuzz`), the
//! built-in mutator (`cargo xtask fuzz --built-in`) and the replay of the corpus all call them.

use std::path::{Path, PathBuf};

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its file under `tests/fuzz/fuzz_targets` and of its corpus folder.
    pub name: &'static str,
    /// Its body; panics on a finding.
    pub body: fn(&[u8]),
    /// Words of its language, for the mutator.
    pub dictionary: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "commands",
        body: larder_node::engine::fuzz_commands,
        dictionary: &[
            "SET ",
            "GET ",
            "APPEND ",
            "SETRANGE ",
            "INCRBY ",
            "INCRBYFLOAT ",
            "EXPIRE ",
            "PERSIST ",
            "RENAME ",
            "COPY ",
            "SORT ",
            "LPUSH ",
            "RPUSH ",
            "LINSERT ",
            "LREM ",
            "LPOS ",
            "LMOVE ",
            "LMPOP ",
            "BLPOP ",
            "HSET ",
            "HINCRBY ",
            "HRANDFIELD ",
            "SADD ",
            "SPOP ",
            "SINTERCARD ",
            "SINTERSTORE ",
            "ZADD ",
            "ZRANGE ",
            "ZRANGESTORE ",
            "ZUNIONSTORE ",
            "ZMPOP ",
            "BITOP ",
            "BITCOUNT ",
            "RESTORE ",
            "EVAL ",
            "MULTI ",
            "EXEC ",
            "WATCH ",
            "\n",
            " WITHSCORES",
            " LIMIT 0 1",
            " COUNT 2",
            " EX 5",
            " PX 5",
            " NX",
            " XX",
            " GT",
            " CH",
            " INCR",
            " BY x",
            " GET #",
            " STORE d",
            " ALPHA",
            " DESC",
            " MATCH *",
            " LEFT RIGHT",
            " MIN",
            " MAX",
            " BYSCORE",
            " BYLEX",
            " REV",
            " WEIGHTS 1 2",
            " AGGREGATE SUM",
            " KEEPTTL",
            " REPLACE",
            " ABSTTL",
            " (1",
            " [a",
            " +inf",
            " -inf",
            " -1",
            " 9223372036854775807",
            " 0x10",
            " 1e308",
        ],
    },
    Target {
        name: "glob",
        body: larder_node::glob::fuzz_glob,
        dictionary: &["*", "?", "[", "]", "^", "-", "\\", "\n", "[^a]", "[a-z]", "**", "*a", "aaaaaaaa"],
    },
    Target {
        name: "http_command",
        body: larder_gateway::fuzz_http_command,
        dictionary: &["[", "]", "[[", "\"", ",", "\\u0000", "\"SET\"", "\"GET\"", "1e3", "null", "%2F", "/", "?", "\n"],
    },
    Target {
        name: "lua_replies",
        body: larder_node::engine::fuzz_lua_replies,
        dictionary: &[
            "\x03\x7f",
            "\x05\x04",
            "\x06\x01\x01",
            "\x0e\x02\x04",
            "\x0e\x02\x05",
            "\x06\x03\x00",
            "\x04",
            "\x0c",
        ],
    },
    Target {
        name: "policy",
        body: larder_iam_policies::fuzz_policy,
        dictionary: &[
            "\"Statement\":",
            "\"Effect\":\"Allow\"",
            "\"Effect\":\"Deny\"",
            "\"Action\":\"cache:*\"",
            "\"Resource\":\"*\"",
            "\"NotAction\":",
            "\"NotResource\":",
            "\"Condition\":",
            "\"StringLike\":",
            "\"cache:Key\":",
            "\"cache:TtlMs\":",
            "arn:aws:cache:us-east-1:000000000000:key/default/",
            "arn:aws:cache:*:*:channel/*/*",
            "${aws:username}",
            "*",
            "?",
            "\"Version\":\"2012-10-17\"",
            "{",
            "}",
            "[",
            "]",
            ",",
            "\n",
            "%25",
        ],
    },
    Target {
        name: "resp",
        body: larder_node::resp::fuzz_resp,
        dictionary: &[
            "*1\r\n", "$3\r\n", "GET", "\r\n", "*-1\r\n", "$-1\r\n", "%1\r\n", ">2\r\n", "\"a b\"", "'", "\\x00",
            "_\r\n",
        ],
    },
    Target {
        name: "restore",
        body: larder_node::rdb::fuzz_restore,
        dictionary: &[
            "\x00",
            "\x01",
            "\x02",
            "\x04",
            "\x0b",
            "\x10",
            "\x11",
            "\x12",
            "\x14",
            "\x01\x02",
            "\x7f",
            "\x07\0\0\0\0\0",
        ],
    },
    Target {
        name: "sigv4",
        body: larder_iam_policies::fuzz_sigv4,
        dictionary: &[
            "GET\n",
            "POST\n",
            "/",
            "/../",
            "//",
            "%2F",
            "%",
            "?",
            "&",
            "=",
            "X-Amz-Signature=",
            "X-Amz-Credential=",
            "host:",
            "x-amz-date:",
            "authorization:AWS4-HMAC-SHA256 Credential=",
            "SignedHeaders=",
            "Signature=",
            "\n\n",
            "  ",
            "+",
        ],
    },
];

/// The committed inputs of a target.
///
/// # Panics
/// The folder cannot be read.
#[must_use]
pub fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}
