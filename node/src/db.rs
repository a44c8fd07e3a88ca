//! The key space.

pub mod entry;
pub mod table;
