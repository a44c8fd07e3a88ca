//! The time a command runs at, as a value: the engine reads no clock.

/// Both clocks, read once per batch by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix time in milliseconds: what expiry and policies mean by now.
    pub wall_ms: u64,
    /// Monotonic microseconds since any fixed start: rates and waits.
    pub mono_us: u64,
}
