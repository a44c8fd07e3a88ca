//! JSON documents: the values behind keys of this type, and the paths that find what is in them.
//!
//! It knows no keys, no replies and no locks. The value is a type of our own because memory is what a cache sells: 24
//! bytes a value against 32 of `serde_json::Value`, members in the order they came, and heap bytes that are counted as
//! they change. The paths are ours too: they are RedisJSON's, which RFC 9535 does not describe (`.a`, names with dashes,
//! `=~`), and each stage of finding has to stop at a limit, which no crate's evaluator does.

mod document;
mod members;
mod node;
mod path;
mod read;
mod write;

pub use document::{Document, outermost};
pub use members::Members;
pub use node::Node;
pub use path::{Budget, Found, Limit, PATTERNS_MAX, Path, Place, Tail, fuzz_json_path};
pub use read::{read, read_number};
pub use write::{Layout, Text, TooLong};

/// How deep arrays and objects nest at most, as RedisJSON: what walks a value may recurse.
pub const DEPTH_MAX: usize = 128;
