//! What whole-system tests share: starting `larder`, speaking to it, and the bodies of the fuzz targets.
//!
//! May use every crate; nothing may use it.

pub mod differential;
pub mod docs;
pub mod fuzz;
pub mod larder;
pub mod node;
pub mod replay;
pub mod transcript;
pub mod wire;
