//! The keyspace: partitions, their locks, and what a command may do with the keys it holds.

pub mod entry;
mod freer;
mod keyspace;
mod partition;
pub mod table;

pub use keyspace::Touch;
pub(crate) use keyspace::{Change, How, Key, Keyspace};
pub(crate) use partition::{Busy, Db, Held};
