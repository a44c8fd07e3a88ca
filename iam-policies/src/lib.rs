//! Who may do what, from where, until when.
//!
//! Pure: bytes, a time and a configuration go in, a decision comes out. This crate knows no socket, no file, no clock, no
//! command table and no engine; what it needs of them is told as values ([`access::Asks`], [`access::Commands`]).
//!
//! Read [`access`] first: it holds the chain `Caller -> Admitted -> Permit` that every protocol walks.

pub mod access;
pub mod acl;
pub mod config;
mod fuzz;
pub mod glob;
pub mod json;
pub mod jwt;
pub mod network;
pub mod pattern;
pub mod policy;
pub mod sigv4;

pub use fuzz::{fuzz_policy, fuzz_sigv4};
