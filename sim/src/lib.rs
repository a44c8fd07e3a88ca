//! Lambda and API Gateway workloads over a session cache: a seeded simulator in virtual time, and the load generators
//! that drive a real Larder.
//!
//! The simulator answers what-if questions: how often a cold start, how many sessions live, what it costs. One seed gives
//! one report, byte for byte, on every machine: time is whole nanoseconds, events have a total order, every random
//! purpose has a stream of its own, and logarithms come from a fixed implementation.
//!
//! This crate knows nothing about nodes, gateways or the control plane. It reaches Larder as any client does, by its
//! public ports; from `iam-policies` it takes signing alone.

pub mod agenda;
pub mod bucket;
mod cli;
pub mod function;
pub mod gauge;
pub mod law;
pub mod load;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sessions;
pub mod store;
pub mod stream;
pub mod world;

pub use cli::{HELP, cli};
pub use report::Report;
pub use run::{RunError, RunOptions, run_file, run_text};

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const NS_PER_MS: u64 = 1_000_000;
