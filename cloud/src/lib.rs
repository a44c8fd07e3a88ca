//! The world around the caches: what is configured, started, reloaded, watched and stopped.
//!
//! Read [`world`] first: it carries a [`config::Config`] out. This crate knows no flag and no terminal; it decides nothing
//! about access, and runs no command.

mod admin;
pub mod config;
mod metrics;
pub mod world;

pub use world::{Addresses, Run, StartError, World};
