//! How warm a key is: the 12 bits of its slot that eviction chooses by.
//!
//! Under an LFU policy they are redis's 8-bit logarithmic counter and 4 bits of the period in which it was brought up to
//! date; under any other the time of the last use. Both wrap, so the sweepers bring every slot up to date each
//! [`SETTLE_S`] seconds: what was not used for long keeps being old.

use std::cell::Cell;

/// Every slot is brought up to date at least this often, if the sweepers keep up: seconds. Half of what times may be
/// apart before they are mistaken for each other.
pub(crate) const SETTLE_S: u64 = 512;

/// The counter of a key that was used once: it gets time to be used again. Redis's.
const LFU_FRESH: u16 = 5;

/// Set: the other bits count units of 64 s, not seconds.
const COARSE: u16 = 1 << 11;
const CLOCK: u64 = COARSE as u64 - 1;
const COARSE_S: u64 = 64;
/// From here on an age is kept in coarse units.
const FINE_S_MAX: u64 = 1024;
/// The oldest age that is told from older ones, in coarse units: 27 hours.
const COARSE_MAX: u64 = 1536;

/// What keys are touched with during one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warmth {
    /// Unix seconds.
    Lru { now_s: u64 },
    /// `lfu-decay-time` in minutes, its present period, and `lfu-log-factor`.
    Lfu { decay_minutes: u32, period: u64, factor: u32 },
    /// As the first, by who touches nothing: CLIENT NO-TOUCH.
    StillLru { now_s: u64 },
    /// As the second.
    StillLfu { decay_minutes: u32, period: u64, factor: u32 },
}

/// What a heat means: a time, or a counter with the period of so many minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kind(Option<u32>);

impl Warmth {
    pub(crate) fn lru(now_ms: u64) -> Self {
        Self::Lru { now_s: now_ms / 1000 }
    }

    /// A `decay_minutes` of 0 never decays.
    pub(crate) fn lfu(now_ms: u64, decay_minutes: u32, factor: u32) -> Self {
        let period = (now_ms / 60_000).checked_div(decay_minutes.into()).unwrap_or(0);
        Self::Lfu { decay_minutes, period, factor }
    }

    /// The same for who touches nothing.
    pub(crate) fn still(self) -> Self {
        match self {
            Self::Lru { now_s } => Self::StillLru { now_s },
            Self::Lfu { decay_minutes, period, factor } => Self::StillLfu { decay_minutes, period, factor },
            still => still,
        }
    }

    /// The same for who touches what it uses.
    pub(crate) fn awake(self) -> Self {
        match self {
            Self::StillLru { now_s } => Self::Lru { now_s },
            Self::StillLfu { decay_minutes, period, factor } => Self::Lfu { decay_minutes, period, factor },
            awake => awake,
        }
    }

    pub(crate) fn is_lfu(self) -> bool {
        matches!(self, Self::Lfu { .. } | Self::StillLfu { .. })
    }

    /// What heats mean: those of another kind have to be translated by [`Warmth::adopted`] once.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Lru { .. } | Self::StillLru { .. } => Kind(None),
            Self::Lfu { decay_minutes, .. } | Self::StillLfu { decay_minutes, .. } => Kind(Some(decay_minutes)),
        }
    }

    /// The heat of a key whose heat is of another kind: a counter stays, a time and a counter say nothing of each other.
    pub(crate) fn adopted(self, heat: u16, from: Kind) -> u16 {
        match self {
            Self::Lfu { period, .. } | Self::StillLfu { period, .. } if from.0.is_some() => counted(heat >> 4, period),
            _ => self.fresh(),
        }
    }

    /// Of a key that was just made.
    #[inline]
    pub(crate) fn fresh(self) -> u16 {
        match self {
            Self::Lru { now_s } | Self::StillLru { now_s } => (now_s & CLOCK) as u16,
            Self::Lfu { period, .. } | Self::StillLfu { period, .. } => counted(LFU_FRESH, period),
        }
    }

    /// Of a key that is used now and had this heat.
    #[inline]
    pub(crate) fn touched(self, heat: u16) -> u16 {
        match self {
            Self::Lru { .. } => self.fresh(),
            Self::Lfu { period, factor, .. } => counted(risen(self.counter(heat), factor), period),
            Self::StillLru { .. } | Self::StillLfu { .. } => heat,
        }
    }

    /// The same warmth, told so that it can be read for a while longer.
    pub(crate) fn settled(self, heat: u16) -> u16 {
        match self {
            Self::Lfu { period, .. } | Self::StillLfu { period, .. } => counted(self.counter(heat), period),
            Self::Lru { now_s } | Self::StillLru { now_s } => {
                let idle_s = self.idle_s(heat);
                if idle_s < FINE_S_MAX {
                    return heat;
                }
                coarse(now_s, idle_s)
            }
        }
    }

    /// Of a key that was used last so many seconds ago, or has this counter; nothing where the policy asks for the other.
    pub(crate) fn told(self, idle_s: Option<u64>, counter: Option<u8>) -> Option<u16> {
        match self {
            Self::Lfu { period, .. } | Self::StillLfu { period, .. } => {
                counter.map(|counter| counted(counter.into(), period))
            }
            Self::Lru { now_s } | Self::StillLru { now_s } => idle_s.map(|idle_s| {
                if idle_s < FINE_S_MAX { (now_s.wrapping_sub(idle_s) & CLOCK) as u16 } else { coarse(now_s, idle_s) }
            }),
        }
    }

    /// Seconds since the last use: exact below [`FINE_S_MAX`], then in steps of [`COARSE_S`] up to 27 hours.
    pub(crate) fn idle_s(self, heat: u16) -> u64 {
        let (Self::Lru { now_s } | Self::StillLru { now_s }) = self else { return 0 };
        if heat & COARSE == 0 {
            now_s.wrapping_sub(heat.into()) & CLOCK
        } else {
            ((now_s / COARSE_S).wrapping_sub(heat.into()) & CLOCK) * COARSE_S
        }
    }

    /// How often it was used lately, on redis's logarithmic scale.
    pub(crate) fn counter(self, heat: u16) -> u16 {
        let (Self::Lfu { period, .. } | Self::StillLfu { period, .. }) = self else { return 0 };
        let passed = (period as u16).wrapping_sub(heat) & 15;
        (heat >> 4).saturating_sub(passed)
    }

    /// How good a victim a key of this heat is: the most is the best.
    pub(crate) fn coldness(self, heat: u16) -> u64 {
        if self.is_lfu() { u64::from(255 - self.counter(heat).min(255)) } else { self.idle_s(heat) }
    }
}

fn coarse(now_s: u64, idle_s: u64) -> u16 {
    let units = (idle_s / COARSE_S).min(COARSE_MAX);
    COARSE | ((now_s / COARSE_S).wrapping_sub(units) & CLOCK) as u16
}

fn counted(counter: u16, period: u64) -> u16 {
    counter.min(255) << 4 | (period & 15) as u16
}

/// One use more of a counter: the higher it is, the less likely it rises.
fn risen(counter: u16, factor: u32) -> u16 {
    let above = u64::from(counter.saturating_sub(LFU_FRESH));
    let odds = above * u64::from(factor) + 1;
    // Chosen with a chance of one in `odds`.
    counter + u16::from(draw().is_multiple_of(odds) && counter < 255)
}

/// A random number: any will do, and quickly.
fn draw() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0x2545_f491_4f6c_dd1d) };
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ages_are_told_as_long_as_they_are_settled_in_time(used_s in 1_600_000_000u64..1_800_000_000, steps in proptest::collection::vec(1u64..1000, 1..200)) {
            let mut now_s = used_s;
            let mut heat = Warmth::Lru { now_s }.fresh();
            for step in steps {
                now_s += step;
                let warmth = Warmth::Lru { now_s };
                let (idle, truth) = (warmth.idle_s(heat), now_s - used_s);
                let at_most = COARSE_MAX * COARSE_S;
                if truth < FINE_S_MAX {
                    prop_assert_eq!(idle, truth);
                } else if truth < at_most {
                    prop_assert!(idle.abs_diff(truth) < 2 * COARSE_S, "{} for {}", idle, truth);
                } else {
                    prop_assert!(idle + COARSE_S >= at_most, "{} for {}", idle, truth);
                }
                heat = warmth.settled(heat);
                prop_assert!(heat < 1 << 12);
            }
        }
    }

    #[test]
    fn what_is_told_is_kept() {
        let lru = Warmth::lru(1_700_000_000_000);
        for (told, kept) in
            [(0, 0), (1, 1), (1023, 1023), (1024, 1024), (6400, 6400), (u64::MAX, COARSE_MAX * COARSE_S)]
        {
            assert_eq!(lru.told(Some(told), None).map(|heat| lru.idle_s(heat)), Some(kept), "{told}");
        }
        let lfu = Warmth::lfu(1_700_000_000_000, 1, 10);
        assert_eq!(lfu.told(None, Some(255)).map(|heat| lfu.counter(heat)), Some(255));
        assert_eq!((lru.told(None, Some(1)), lfu.told(Some(1), None)), (None, None));
    }

    #[test]
    fn counters_rise_by_redis_table_and_decay_by_the_minute() {
        // From redis.conf: hits and the counter they give with a factor of 10 (about).
        for (hits, least, most) in [(100, 7, 14), (1000, 14, 24), (100_000, 120, 165), (1_000_000, 240, 255)] {
            let warmth = Warmth::lfu(0, 1, 10);
            let heat = (0..hits).fold(warmth.fresh(), |heat, _| warmth.touched(heat));
            assert!((least..=most).contains(&warmth.counter(heat)), "{hits}: {}", warmth.counter(heat));
        }
        let heat = Warmth::lfu(0, 1, 0).fresh();
        let heat = (0..20).fold(heat, |heat, _| Warmth::lfu(0, 1, 0).touched(heat));
        assert_eq!(Warmth::lfu(0, 1, 0).counter(heat), 25);
        assert_eq!(Warmth::lfu(10 * 60_000, 1, 0).counter(heat), 15);
        assert_eq!(Warmth::lfu(10 * 60_000, 5, 0).counter(heat), 23);
        assert_eq!(Warmth::lfu(10 * 60_000, 0, 0).counter(heat), 25);
        let later = Warmth::lfu(8 * 60_000, 1, 0);
        assert_eq!(Warmth::lfu(20 * 60_000, 1, 0).counter(later.settled(heat)), 5);
    }
}
