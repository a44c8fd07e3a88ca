//! Larder: node.

pub mod glob;
pub mod resp;
pub mod slot;
