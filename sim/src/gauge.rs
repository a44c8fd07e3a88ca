//! Levels over time.

/// A level that changes at instants, with its mean and peak over the measured time.
#[derive(Clone, Debug)]
pub struct Gauge {
    from_ns: u64,
    since_ns: u64,
    level: u64,
    peak: u64,
    area: u128,
}

impl Gauge {
    /// A gauge at 0 that measures from `from_ns` on.
    pub fn from(from_ns: u64) -> Self {
        Self { from_ns, since_ns: from_ns, level: 0, peak: 0, area: 0 }
    }

    /// The level is `level` from `now_ns` on. Time never goes back.
    pub fn set(&mut self, now_ns: u64, level: u64) {
        self.settle(now_ns);
        self.level = level;
    }

    /// Counts the present level up to `now_ns`. A level that lasts no time is no peak.
    pub fn settle(&mut self, now_ns: u64) {
        if now_ns > self.since_ns {
            self.area += u128::from(now_ns - self.since_ns) * u128::from(self.level);
            self.peak = self.peak.max(self.level);
            self.since_ns = now_ns;
        }
    }

    /// The present level.
    pub fn level(&self) -> u64 {
        self.level
    }

    /// Highest level that lasted, since measuring began.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Level times nanoseconds since measuring began.
    pub fn area(&self) -> u128 {
        self.area
    }

    /// Mean over the time settled so far; 0 if there was none.
    pub fn mean(&self) -> f64 {
        if self.since_ns == self.from_ns { 0.0 } else { self.area as f64 / (self.since_ns - self.from_ns) as f64 }
    }
}

/// A small level with the time spent at each of its values.
#[derive(Clone, Debug)]
pub struct StateTimes {
    since_ns: u64,
    level: usize,
    ns: Vec<u64>,
}

impl StateTimes {
    /// At level 0, measuring from `from_ns` on.
    pub fn from(from_ns: u64) -> Self {
        Self { since_ns: from_ns, level: 0, ns: Vec::new() }
    }

    /// The level is `level` from `now_ns` on.
    pub fn set(&mut self, now_ns: u64, level: usize) {
        self.settle(now_ns);
        self.level = level;
    }

    /// Counts the present level up to `now_ns`.
    pub fn settle(&mut self, now_ns: u64) {
        if now_ns > self.since_ns {
            if self.ns.len() <= self.level {
                self.ns.resize(self.level + 1, 0);
            }
            self.ns[self.level] += now_ns - self.since_ns;
            self.since_ns = now_ns;
        }
    }

    /// Share of time at each level from 0 up; they sum to 1 unless no time was measured.
    pub fn shares(&self) -> Vec<f64> {
        let total: u64 = self.ns.iter().sum();
        self.ns.iter().map(|&ns| ns as f64 / (total.max(1)) as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_measured_time_counts() {
        let mut gauge = Gauge::from(100);
        let mut states = StateTimes::from(100);
        for (at, level) in [(0, 9), (50, 2), (150, 4), (150, 7), (150, 1)] {
            gauge.set(at, level);
            states.set(at, level as usize);
        }
        gauge.settle(200);
        states.settle(200);
        assert_eq!((gauge.peak(), gauge.area(), gauge.level()), (2, 150, 1));
        assert_eq!(gauge.mean(), 1.5);
        assert_eq!(states.shares(), [0.0, 0.5, 0.5]);
        assert_eq!(Gauge::from(5).mean(), 0.0);
    }
}
