//! Who the requests act for, and how large their sessions are.

use crate::scenario::Sessions;
use crate::stream::Stream;

/// Draws users and sizes.
#[derive(Debug)]
pub struct Population {
    users: u64,
    /// Zipf: running sums of weights, so that a draw is exact: one look-up in the inverse distribution. User `k` has the
    /// k-th largest weight; numbers are not scrambled, since nothing here depends on neighbourhood.
    sums: Vec<f64>,
    median: f64,
    sigma: f64,
    most: f64,
    who: Stream,
    size: Stream,
}

impl Population {
    /// The population of a scenario.
    pub fn new(spec: &Sessions, seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = spec.zipf_alpha.map_or_else(Vec::new, |alpha| {
            let weigh = |k: u64| {
                sum += libm::pow(k as f64, -alpha);
                sum
            };
            (1..=spec.users).map(weigh).collect()
        });
        Self {
            users: spec.users,
            sums,
            median: spec.value_bytes_median,
            sigma: spec.value_bytes_sigma,
            most: spec.value_bytes_max as f64,
            who: Stream::named(seed, "users"),
            size: Stream::named(seed, "value sizes"),
        }
    }

    /// The user of the next request.
    pub fn user(&mut self) -> u32 {
        match self.sums.last() {
            None => self.who.below(self.users) as u32,
            Some(&total) => {
                let u = self.who.unit() * total;
                self.sums.partition_point(|&sum| sum <= u).min(self.sums.len() - 1) as u32
            }
        }
    }

    /// Bytes of a newly written value.
    pub fn value_bytes(&mut self) -> u32 {
        let bytes = self.median * libm::exp(self.sigma * self.size.normal());
        libm::round(bytes.min(self.most)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::OnHit;

    fn spec(zipf_alpha: Option<f64>) -> Sessions {
        Sessions {
            users: 1000,
            zipf_alpha,
            on_hit: OnHit::Touch,
            logout_share: 0.0,
            key_bytes: 40,
            value_bytes_median: 700.0,
            value_bytes_sigma: 1.0,
            value_bytes_max: 2000,
        }
    }

    #[test]
    fn zipf_weights_are_exact() {
        let mut population = Population::new(&spec(Some(1.0)), 1);
        let mut seen = vec![0_u32; 1000];
        for _ in 0..1_000_000 {
            seen[population.user() as usize] += 1;
        }
        let harmonic: f64 = (1..=1000).map(|k| 1.0 / f64::from(k)).sum();
        for k in [1_u32, 2, 10, 100] {
            let expected = 1e6 / f64::from(k) / harmonic;
            assert!((f64::from(seen[k as usize - 1]) / expected - 1.0).abs() < 0.1, "{k}");
        }
    }

    #[test]
    fn uniform_reaches_all_and_sizes_are_cut() {
        let mut population = Population::new(&spec(None), 1);
        let mut seen = vec![false; 1000];
        (0..20_000).for_each(|_| seen[population.user() as usize] = true);
        assert!(seen.iter().all(|&seen| seen));
        let mut sizes: Vec<_> = (0..10_001).map(|_| population.value_bytes()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes[10_000], 2000);
        assert!((sizes[5000].abs_diff(700)) < 30, "{}", sizes[5000]);
    }
}
