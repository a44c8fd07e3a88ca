//! The HTTP front of caches: two dialects, one road.
//!
//! Read [`serve`] first: it is the road. [`http`] is its first and last arrow, [`route`] says where a cache lives, `run`
//! and `store` run what was allowed there, `upstream` talks to caches elsewhere, `listen` lets connections in.
//!
//! This crate knows no configuration file, no environment and no signal: settings come checked ([`config`]), access and
//! routes as snapshots. It knows nothing of the cloud around it, and no command but what node's table tells.

pub mod config;
mod failure;
mod fuzz;
mod http;
mod listen;
pub mod metrics;
pub mod route;
mod run;
mod serve;
mod source;
mod store;
pub mod tls;
mod upstream;

pub use fuzz::fuzz_http_command;
pub use http::browser::{Addressed, Foreign, Names};
pub use listen::{Listening, listen_echo};
pub use metrics::Metrics;
pub use route::{Route, Routes, Target};
pub use serve::Gateway;
pub use tls::Tls;
