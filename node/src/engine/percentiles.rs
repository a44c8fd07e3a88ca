//! `latency-tracking` and its percentiles: what INFO latencystats tells of the times that are kept in any case.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::script::percent_g;

/// Most percentiles that INFO may be asked to tell.
const PERCENTILES_MAX: usize = 100;

#[derive(Debug)]
pub(crate) struct Percentiles {
    told: AtomicBool,
    of: Mutex<Vec<f64>>,
}

impl Default for Percentiles {
    fn default() -> Self {
        Self { told: AtomicBool::new(true), of: Mutex::new(vec![50.0, 99.0, 99.9]) }
    }
}

impl Percentiles {
    /// Whether INFO tells them.
    pub(crate) fn are_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    pub(crate) fn tell(&self, told: bool) {
        self.told.store(told, Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> Vec<f64> {
        self.of.lock().clone()
    }

    pub(crate) fn set(&self, of: Vec<f64>) {
        *self.of.lock() = of;
    }

    /// As CONFIG GET shows them.
    pub(crate) fn shown(&self) -> String {
        self.all().iter().map(|percent| percent_g(*percent, 6)).collect::<Vec<_>>().join(" ")
    }

    /// Reads them as CONFIG SET is given them: redis's errors.
    pub(crate) fn read(text: &str) -> Result<Vec<f64>, &'static str> {
        const INVALID: &str = "Invalid latency-tracking-info-percentiles parameters";
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let words: Vec<_> = text.split(' ').collect();
        if words.len() > PERCENTILES_MAX {
            return Err("too many percentiles");
        }
        let numbers: Option<Vec<f64>> = words.iter().map(|word| word.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| !numbers.iter().any(|number| number.is_nan())).ok_or(INVALID)?;
        match numbers.iter().all(|number| (0.0..=100.0).contains(number)) {
            true => Ok(numbers),
            false => Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"),
        }
    }
}

/// What INFO calls one.
pub(super) fn name(percent: f64) -> String {
    let digits = format!("{percent:.6}");
    format!("p{}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_read_and_shown_as_redis_does() {
        for (text, shown) in [("", ""), ("50 99.95", "50 99.95"), ("1e1 50 50", "10 50 50"), ("99.9999999", "100")] {
            let percentiles = Percentiles::default();
            percentiles.set(Percentiles::read(text).unwrap_or_default());
            assert_eq!(percentiles.shown(), shown);
        }
        for wrong in ["abc", "101", "-1", "50  60", " 50", "nan", "inf", &"1 ".repeat(101)] {
            assert!(Percentiles::read(wrong).is_err(), "{wrong}");
        }
        assert_eq!([name(50.0), name(0.0), name(99.95)], ["p50", "p0", "p99.95"]);
    }
}
