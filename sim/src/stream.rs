//! Random numbers, one stream per purpose.
//!
//! Each purpose draws from a generator of its own, made from the seed and the purpose's name. Changing how one part of a
//! scenario draws leaves the others' numbers alone, so two scenarios differ by what was changed and not by luck.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// A deterministic stream of random numbers: xoshiro256++.
#[derive(Clone, Debug)]
pub struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream of `seed` for the purpose `name`.
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a of the name; `seed_from_u64` spreads the sum over the whole state with SplitMix64.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(Xoshiro256PlusPlus::seed_from_u64(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Uniform in the open interval (0, 1), in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in `0..bound`; `bound` of 0 gives 0. Biased by at most bound / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -libm::log(self.unit())
    }

    /// Normal with mean 0 and deviation 1, by Box and Muller; always two draws.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_never_change() {
        let mut stream = Stream::named(1, "arrivals");
        let drawn: Vec<u64> = (0..3).map(|_| stream.below(1_000_000)).collect();
        assert_eq!(drawn, FIRST);
        assert_ne!(Stream::named(1, "service").below(u64::MAX), Stream::named(1, "arrivals").below(u64::MAX));
        assert_ne!(Stream::named(2, "arrivals").below(u64::MAX), Stream::named(1, "arrivals").below(u64::MAX));
    }

    /// Reports of old seeds stay comparable only as long as these stay.
    const FIRST: [u64; 3] = [974_881, 862_426, 972_112];

    #[test]
    fn moments_are_right() {
        let mut stream = Stream::named(7, "moments");
        let n = 1_000_000;
        let (mut exponential, mut normal, mut square) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            exponential += stream.exponential();
            let z = stream.normal();
            normal += z;
            square += z * z;
        }
        let n = f64::from(n);
        assert!((exponential / n - 1.0).abs() < 0.005);
        assert!((normal / n).abs() < 0.005);
        assert!((square / n - 1.0).abs() < 0.005);
    }
}
