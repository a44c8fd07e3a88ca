//! The two clocks, read by drivers only.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Now;

/// Wall time and monotonic time since one start. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks. A wall clock before 1970 reads as 1970.
    #[inline]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { wall_ms: wall.as_millis() as u64, mono_us: self.mono_us() }
    }

    /// Microseconds since the start.
    #[inline]
    pub fn mono_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// The moment `mono_us` means, for timers.
    pub fn instant(&self, mono_us: u64) -> Instant {
        self.start + Duration::from_micros(mono_us)
    }
}
