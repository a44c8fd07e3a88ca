//! Larder: node.

pub mod db;
pub mod glob;
pub mod resp;
pub mod slot;
