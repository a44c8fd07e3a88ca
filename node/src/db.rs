//! The keyspace: partitions, their locks, and what a command may do with the keys it holds.

mod due_fields;
pub mod entry;
mod eviction;
mod freer;
mod holds;
mod keyspace;
mod partition;
pub mod table;
mod warmth;

pub use eviction::Policy;
pub(crate) use eviction::Pool;
pub(crate) use holds::processor_ns;
pub use keyspace::Touch;
pub(crate) use keyspace::{Change, How, Key, Keyspace};
pub(crate) use partition::{Busy, Db, Held, Slice};
pub(crate) use warmth::Warmth;
