//! How long things take: the laws a scenario can name.

use crate::stream::Stream;

/// A law of durations; draws are whole nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Law {
    /// Always the same.
    Constant {
        /// Nanoseconds.
        mean_ns: f64,
    },
    /// Exponential.
    Exponential {
        /// Nanoseconds.
        mean_ns: f64,
    },
    /// Lognormal.
    Lognormal {
        /// Mean of the logarithm of nanoseconds.
        mu: f64,
        /// Deviation of the logarithm.
        sigma: f64,
    },
    /// Linear between known quantiles.
    Quantiles(Quantiles),
}

impl Law {
    /// The lognormal law with this mean (not median) and this deviation of the logarithm.
    pub fn lognormal(mean_ns: f64, sigma: f64) -> Self {
        if mean_ns <= 0.0 {
            return Self::Constant { mean_ns: 0.0 };
        }
        Self::Lognormal { mu: libm::log(mean_ns) - sigma * sigma / 2.0, sigma }
    }

    /// One draw in nanoseconds. A constant takes nothing from the stream.
    pub fn draw(&self, stream: &mut Stream) -> u64 {
        let ns = match self {
            Self::Constant { mean_ns } => *mean_ns,
            Self::Exponential { mean_ns } => mean_ns * stream.exponential(),
            Self::Lognormal { mu, sigma } => libm::exp(mu + sigma * stream.normal()),
            Self::Quantiles(quantiles) => quantiles.at(stream.unit()),
        };
        // A float to integer cast saturates, so an absurd draw is a very long time and never a wrong one.
        libm::round(ns) as u64
    }
}

/// Known quantiles of a law, in nanoseconds.
///
/// Tails of cold starts are heavier than a lognormal's through the middle, so the measured points are kept and joined by
/// straight lines. Below the median nothing was published: the law starts at the mirror image of p90 on a log scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// Median.
    pub p50_ns: f64,
    /// 0.9 quantile.
    pub p90_ns: f64,
    /// 0.99 quantile.
    pub p99_ns: f64,
    /// Largest.
    pub max_ns: f64,
}

impl Quantiles {
    /// The quantile at `u` in (0, 1).
    pub fn at(&self, u: f64) -> f64 {
        let least = if self.p90_ns > 0.0 { self.p50_ns * self.p50_ns / self.p90_ns } else { 0.0 };
        let points = [(0.0, least), (0.5, self.p50_ns), (0.9, self.p90_ns), (0.99, self.p99_ns), (1.0, self.max_ns)];
        for pair in points.windows(2) {
            let [(u0, y0), (u1, y1)] = [pair[0], pair[1]];
            if u < u1 {
                return y0 + (y1 - y0) * (u - u0) / (u1 - u0);
            }
        }
        self.max_ns
    }

    /// The same law with every duration times `factor`.
    pub fn times(&self, factor: f64) -> Self {
        Self {
            p50_ns: self.p50_ns * factor,
            p90_ns: self.p90_ns * factor,
            p99_ns: self.p99_ns * factor,
            max_ns: self.max_ns * factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(law: &Law) -> f64 {
        let mut stream = Stream::named(3, "law");
        (0..400_000).map(|_| law.draw(&mut stream) as f64).sum::<f64>() / 400_000.0
    }

    #[test]
    fn means_are_as_named() {
        assert_eq!(Law::Constant { mean_ns: 12.4 }.draw(&mut Stream::named(0, "")), 12);
        assert!((mean(&Law::Exponential { mean_ns: 5e6 }) / 5e6 - 1.0).abs() < 0.01);
        assert!((mean(&Law::lognormal(5e6, 0.6)) / 5e6 - 1.0).abs() < 0.01);
        assert_eq!(Law::lognormal(0.0, 0.6).draw(&mut Stream::named(0, "")), 0);
    }

    #[test]
    fn quantiles_pass_through_their_points() {
        let law = Quantiles { p50_ns: 100.0, p90_ns: 200.0, p99_ns: 400.0, max_ns: 500.0 };
        let seen = [0.0, 0.5, 0.7, 0.9, 0.99, 0.995, 1.0].map(|u| law.at(u));
        let expected = [50.0, 100.0, 150.0, 200.0, 400.0, 450.0, 500.0];
        assert!(seen.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{seen:?}");
        assert_eq!(law.times(2.0).at(0.9), 400.0);
        let none = Quantiles { p50_ns: 0.0, p90_ns: 0.0, p99_ns: 0.0, max_ns: 0.0 };
        assert_eq!(none.at(0.3), 0.0);
    }
}
