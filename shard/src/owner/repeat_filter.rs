//! "Certainly new" or "maybe seen": spares the store a question per send.
//!
//! A split block Bloom filter (Putze, Sanders, Singler 2009; the layout of Apache Parquet) per generation: one cache
//! line of 256 bits per key, eight bits set in it. At 16 bits per key few new keys are asked for in vain (a test below bounds how many). A generation that
//! is full is followed by one of twice the size; one whose newest key is older than the window is dropped. When the
//! bound on memory is met the filter says "maybe" to everything until the oldest generation may go.

use std::collections::VecDeque;
use std::time::Duration;

const LANES: usize = 8;
const BITS_PER_KEY: usize = 16;
const FIRST_KEYS: usize = 4096;
/// Odd constants of the Parquet specification, one per lane.
const SALT: [u32; LANES] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

#[derive(Debug)]
pub struct RepeatFilter {
    generations: VecDeque<Generation>,
    window: Duration,
    bytes_max: usize,
    /// Keys were left out until then.
    blind_until: Option<Duration>,
}

#[derive(Debug)]
struct Generation {
    blocks: Box<[[u32; LANES]]>,
    keys: usize,
    newest: Duration,
}

impl RepeatFilter {
    #[must_use]
    pub fn new(window: Duration, bytes_max: usize) -> Self {
        Self { generations: VecDeque::new(), window, bytes_max, blind_until: None }
    }

    pub fn insert(&mut self, hash: u64, now: Duration) {
        self.forget(now);
        if self.generations.back().is_none_or(Generation::is_full) && !self.grow() {
            self.blind_until = Some(now + self.window);
            return;
        }
        self.generations.back_mut().expect("grow made one").insert(hash, now);
    }

    /// False means: not inserted within the window.
    #[must_use]
    pub fn maybe_seen(&self, hash: u64, now: Duration) -> bool {
        self.blind_until.is_some_and(|until| now < until)
            || self.generations.iter().rev().any(|generation| generation.contains(hash))
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.generations.iter().map(|generation| generation.blocks.len() * LANES * 4).sum()
    }

    fn forget(&mut self, now: Duration) {
        while self.generations.front().is_some_and(|oldest| oldest.newest + self.window < now) {
            self.generations.pop_front();
        }
    }

    fn grow(&mut self) -> bool {
        let keys = self.generations.back().map_or(FIRST_KEYS, |last| last.capacity() * 2);
        let room = self.bytes_max.saturating_sub(self.bytes()) * 8 / BITS_PER_KEY;
        let keys = if room >= keys { keys } else { prev_power_of_two(room) };
        if keys < FIRST_KEYS {
            return false;
        }
        self.generations.push_back(Generation {
            blocks: vec![[0; LANES]; keys * BITS_PER_KEY / (LANES * 32)].into_boxed_slice(),
            keys: 0,
            newest: Duration::ZERO,
        });
        true
    }
}

impl Generation {
    fn capacity(&self) -> usize {
        self.blocks.len() * LANES * 32 / BITS_PER_KEY
    }

    fn is_full(&self) -> bool {
        self.keys >= self.capacity()
    }

    fn insert(&mut self, hash: u64, now: Duration) {
        let block = self.block(hash);
        for (lane, bit) in bits(hash).enumerate() {
            self.blocks[block][lane] |= bit;
        }
        self.keys += 1;
        self.newest = self.newest.max(now);
    }

    fn contains(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block(hash)];
        bits(hash).zip(block).all(|(bit, lane)| lane & bit != 0)
    }

    fn block(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }
}

fn bits(hash: u64) -> impl Iterator<Item = u32> {
    SALT.into_iter().map(move |salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

fn prev_power_of_two(n: usize) -> usize {
    if n == 0 { 0 } else { 1 << n.ilog2() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::mix;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_was_inserted_is_always_maybe_and_what_was_not_is_rarely() {
        let mut filter = RepeatFilter::new(24 * HOUR, 64 << 20);
        for n in 0..100_000 {
            filter.insert(mix(n), HOUR);
        }
        assert!((0..100_000).all(|n| filter.maybe_seen(mix(n), 2 * HOUR)));
        let wrong = (100_000..200_000).filter(|n| filter.maybe_seen(mix(*n), 2 * HOUR)).count();
        assert!(wrong < 1500, "{wrong} of 100000 new keys look seen");
    }

    #[test]
    fn past_its_memory_it_says_maybe_to_everything_for_one_window() {
        let mut filter = RepeatFilter::new(24 * HOUR, 16 << 10);
        for n in 0..20_000 {
            filter.insert(mix(n), HOUR);
        }
        assert!(filter.bytes() <= 16 << 10);
        assert!(filter.maybe_seen(mix(1 << 40), 2 * HOUR));
        filter.insert(mix(7), 30 * HOUR);
        assert!(!filter.maybe_seen(mix(1 << 40), 30 * HOUR));
        assert!(filter.maybe_seen(mix(7), 30 * HOUR));
    }

    #[test]
    fn keys_older_than_the_window_are_forgotten() {
        let mut filter = RepeatFilter::new(24 * HOUR, 1 << 20);
        filter.insert(mix(1), HOUR);
        filter.insert(mix(2), 26 * HOUR);
        assert!(!filter.maybe_seen(mix(1), 26 * HOUR));
    }
}
