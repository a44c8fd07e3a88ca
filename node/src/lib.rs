//! One cache node: its engine, its protocol, its commands.
//!
//! The engine is synchronous and knows no socket, no runtime, no clock and no configuration file: bytes or calls go in
//! with a time, replies come out. It knows nothing about HTTP, about the cloud around it, or about who may do what: that
//! it asks [`larder_iam_policies::access`], for every command.
//!
//! The road inside a node: [`resp`] finds a request, [`commands`] its row, a grant makes the permit, [`meter`] takes the
//! payment, [`Engine`] runs it under the locks of its keys ([`db`]) and writes the reply and the effect ([`log`]).

pub mod allocator;
mod buffers;
pub mod commands;
pub mod config;
pub mod db;
mod echo;
pub mod engine;
pub mod error;
mod geo;
mod hyper_log_log;
pub mod json;
pub mod log;
mod long_double;
pub mod meter;
pub mod metrics;
pub mod proxy;
pub mod pubsub;
pub mod rdb;
pub mod resp;
pub mod server;
pub mod session;
pub mod slot;
#[cfg(test)]
mod testing;
pub mod time;
mod tracking;
mod waiters;
pub mod workers;

pub(crate) use larder_iam_policies::glob;

pub use buffers::{BufferLimits, Class, OutputLimit, OutputLimits, read_clients, read_output};
pub use commands::Call;
pub use config::{EngineConfig, Limits};
pub use db::Policy;
pub use engine::{
    Change, Current, Engine, Flow, Next, Progress, ReplayError, Swept, TransactionError, TtlChange, UpdateError,
    Updated,
};
pub use error::CommandError;
pub use meter::{Meters, Paid, Throttled};
pub use session::{Address, Peer, Session};
pub use time::Now;
