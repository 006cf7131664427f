//! Random moments that can be had again: the seed is printed, and `KUBESTRAP_TEST_SEED` repeats it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The environment variable that repeats a run.
const SEED: &str = "KUBESTRAP_TEST_SEED";

/// A source of moments.
#[derive(Debug)]
pub struct Moments(u64);

impl Moments {
    /// With the seed of the environment, or else with the time as its seed; prints which.
    ///
    /// # Panics
    /// When the environment's seed is no number.
    pub fn of(test: &str) -> Self {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED} is no number: {text}")),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        };
        eprintln!("{test}: {SEED}={seed}");
        Self(seed)
    }

    /// A time below `limit`.
    pub fn below(&mut self, limit: Duration) -> Duration {
        let most = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(self.next() % most)
    }

    /// One of these.
    ///
    /// # Panics
    /// When there are none.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = usize::try_from(self.next() % choices.len() as u64).expect("an index");
        &choices[index]
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_moments_again() {
        let limit = Duration::from_secs(10);
        let run = || {
            let mut moments = Moments(7);
            (0..20).map(|_| moments.below(limit)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        assert!(run().iter().all(|m| *m < limit));
        let (first, all) = (run()[0], run());
        assert!(all.iter().any(|m| *m != first));
    }
}
