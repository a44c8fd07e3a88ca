//! What one cache's engine needs to be told, with its bounds.

use crate::db::Policy;
use crate::resp;

/// One engine's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// The cache's name, as policies and metrics know it.
    pub name: String,
    /// Partitions of the keyspace: a power of two, 64 to 4096.
    pub partitions: usize,
    /// Databases that clients may SELECT, 1 to 256. HTTP knows only the first.
    pub databases: usize,
    /// Worker threads that will call the engine, 1 to 1024; each has statistics cells of its own.
    pub workers: usize,
    /// Most bytes the engine holds; 0 for no limit. Over it keys are evicted, and where none may be, commands that may
    /// grow data answer `OOM`.
    pub maxmemory_bytes: u64,
    /// Which keys are evicted.
    pub maxmemory_policy: Policy,
    /// Requests a second, 0 for no limit.
    pub requests_per_second: u32,
    /// Requests that may come at once above the rate; 0 means one second's worth.
    pub burst: u32,
    /// Every bound on what clients may make the engine hold.
    pub limits: Limits,
}

impl EngineConfig {
    /// The defaults for a cache called `name`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            partitions: 1024,
            databases: 16,
            workers: 1,
            maxmemory_bytes: 0,
            maxmemory_policy: Policy::Noeviction,
            requests_per_second: 0,
            burst: 0,
            limits: Limits::DEFAULT,
        }
    }

    /// Every setting out of its bounds, each as one sentence that names it.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !self.partitions.is_power_of_two() || !(64..=4096).contains(&self.partitions) {
            mistakes.push(format!("partitions = {}: must be a power of two from 64 to 4096", self.partitions));
        }
        if !(1..=256).contains(&self.databases) {
            mistakes.push(format!("databases = {}: must be from 1 to 256", self.databases));
        }
        if !(1..=1024).contains(&self.workers) {
            mistakes.push(format!("workers = {}: must be from 1 to 1024", self.workers));
        }
        if self.burst > 0 && self.requests_per_second == 0 {
            mistakes.push(format!("burst = {}: has no meaning without requests_per_second", self.burst));
        }
        mistakes
    }

    pub(crate) fn burst_or_default(&self) -> u32 {
        if self.burst == 0 { self.requests_per_second } else { self.burst }
    }
}

/// Bounds on what one client may make the engine hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Frames of a client that has said who it is.
    pub resp: resp::Limits,
    /// Frames of one that has not.
    pub resp_unauthenticated: resp::Limits,
    /// Commands one MULTI may queue.
    pub queued_commands_max: usize,
    /// Bytes one MULTI may queue.
    pub queued_bytes_max: usize,
    /// Keys one connection may watch.
    pub watched_keys_max: usize,
    /// Channels one connection may subscribe to.
    pub channels_max: usize,
    /// Bytes of their names together.
    pub channel_bytes_max: usize,
    /// Bytes of messages (invalidations, what MONITOR shows) that may wait for a client whose class has no output limit; over
    /// it the connection is closed.
    pub inbox_bytes_max: usize,
    /// Bytes of the effect log waiting for one reader; over it the reader is told it lagged.
    pub log_bytes_max: usize,
    /// Bytes of a client's name, library name or library version.
    pub name_bytes_max: usize,
}

impl Limits {
    /// The bounds of a cache with nothing configured.
    pub const DEFAULT: Self = Self {
        resp: resp::Limits::DEFAULT,
        resp_unauthenticated: resp::Limits::UNAUTHENTICATED,
        queued_commands_max: 100_000,
        queued_bytes_max: 64 << 20,
        watched_keys_max: 100_000,
        channels_max: 100_000,
        channel_bytes_max: 64 << 20,
        inbox_bytes_max: 32 << 20,
        log_bytes_max: 256 << 20,
        name_bytes_max: 4096,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_bounds() {
        assert!(EngineConfig::new("c").mistakes().is_empty());
    }

    #[test]
    fn every_mistake_is_listed() {
        let config = EngineConfig { partitions: 100, databases: 0, workers: 0, burst: 5, ..EngineConfig::new("c") };
        assert_eq!(config.mistakes().len(), 4);
        for partitions in [32, 8192] {
            assert_eq!(EngineConfig { partitions, ..EngineConfig::new("c") }.mistakes().len(), 1);
        }
        for partitions in [64, 4096] {
            assert!(EngineConfig { partitions, ..EngineConfig::new("c") }.mistakes().is_empty());
        }
    }
}
