//! When to try again: exponential backoff with full jitter, so that the clients of a gateway that went away do not
//! come back at the same moment.

use std::time::Duration;

use crate::limits::{RECONNECT_DELAY_FIRST, RECONNECT_DELAY_MAX};

/// Attempts since the last session that worked.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The delay before the next attempt; `random` is uniform over all values.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let ceiling =
            RECONNECT_DELAY_FIRST.saturating_mul(1 << self.attempts.min(16)).min(RECONNECT_DELAY_MAX);
        self.attempts = self.attempts.saturating_add(1);
        uniform_below(ceiling, random)
    }

    /// A session worked: the next failure starts from the first delay again.
    pub fn succeeded(&mut self) {
        self.attempts = 0;
    }
}

/// A moment in a drain window: `after` plus a uniform part of `window`.
#[must_use]
pub fn drain_delay(after: Duration, window: Duration, random: u64) -> Duration {
    after + uniform_below(window, random)
}

fn uniform_below(ceiling: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    let drawn = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(drawn).expect("a product of two u64 shifted by 64 fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_ceiling_and_starts_over() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next_delay(0), Duration::ZERO, "full jitter reaches down to zero");
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay(u64::MAX)).collect();
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(
            delays[0] > Duration::from_millis(399) && delays[0] <= Duration::from_millis(400),
            "{delays:?}"
        );
        assert!(
            delays[19] <= RECONNECT_DELAY_MAX && delays[19] > RECONNECT_DELAY_MAX - Duration::from_millis(1)
        );
        backoff.succeeded();
        assert!(backoff.next_delay(u64::MAX) <= RECONNECT_DELAY_FIRST);
    }

    #[test]
    fn drain_spreads_over_the_window() {
        let (after, window) = (Duration::from_millis(100), Duration::from_secs(10));
        assert_eq!(drain_delay(after, window, 0), after);
        assert_eq!(drain_delay(after, window, 1 << 63), after + window / 2);
        assert!(drain_delay(after, window, u64::MAX) < after + window);
    }
}
