//! What one session has to see of one conversation, and what it did see.
//!
//! The promise: sequences are 1, 2, 3, … without a gap; a session is delivered every acknowledged message once, in
//! that order, except its own, for which it gets the acknowledgement. So delivered and own sequences together are
//! exactly 1 … head. Kept in constant memory as long as that holds: a mark, and what is missing below or known
//! above it.

use std::collections::VecDeque;

/// A sequence further than this past the last one is damage, not a gap worth listing.
const JUMP_MAX: u64 = 1 << 20;

/// One (session, conversation).
#[derive(Debug, Default)]
pub struct Ledger {
    /// Everything up to here is delivered, own, or listed in `missing`.
    mark: u64,
    /// Below the mark and not seen (yet): own messages whose acknowledgement is under way, or lost ones. Ascending.
    missing: VecDeque<u64>,
    /// Own sequences above the mark, ascending.
    own_ahead: VecDeque<u64>,
    digest: Digest,
    faults: Faults,
}

/// Deviations from the promise. All zero in a correct run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub lost: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
    /// Right sequences carrying the wrong messages, wrong bodies, or sequences far out of range.
    pub wrong: u64,
}

/// Order-free sum over (sequence, client id): equal at two places if the same messages stand at the same places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

/// Whether a delivery was seen for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    First,
    Again,
}

impl Ledger {
    /// A message of somebody else was delivered.
    pub fn delivered(&mut self, seq: u64, client_id: u128) -> Seen {
        if seq > self.mark {
            if seq - self.mark > JUMP_MAX {
                self.faults.wrong += 1;
                return Seen::Again;
            }
            self.advance_to(seq);
            // Own acknowledgements can have arrived first: what follows directly is accounted for.
            if self.own_ahead.front() == Some(&seq) {
                self.own_ahead.pop_front();
                self.faults.duplicates += 1;
            }
            self.absorb_own();
        } else if let Ok(place) = self.missing.binary_search(&seq) {
            self.missing.remove(place);
            self.faults.out_of_order += 1;
        } else {
            self.faults.duplicates += 1;
            return Seen::Again;
        }
        self.digest.add(seq, client_id);
        Seen::First
    }

    /// A message that this session sent was acknowledged.
    pub fn acknowledged(&mut self, seq: u64, client_id: u128) {
        self.digest.add(seq, client_id);
        if seq > self.mark {
            match self.own_ahead.binary_search(&seq) {
                Ok(_) => self.faults.duplicates += 1,
                Err(place) => self.own_ahead.insert(place, seq),
            }
            self.absorb_own();
        } else if let Ok(place) = self.missing.binary_search(&seq) {
            self.missing.remove(place);
        } else {
            self.faults.duplicates += 1;
        }
    }

    /// A message of this session came back to it, or a body was not what was sent.
    pub fn wrong(&mut self) {
        self.faults.wrong += 1;
    }

    /// Everything up to here has arrived: what a client reports as received.
    #[must_use]
    pub fn complete_up_to(&self) -> u64 {
        self.missing.front().map_or(self.mark, |&seq| seq - 1)
    }

    /// The end of the run: what of `acknowledged` (ascending sequences of the whole conversation, with their digest)
    /// did not arrive here. `everything_acknowledged` says that no send of this conversation is left unanswered; only
    /// then must the contents agree as well.
    #[must_use]
    pub fn close(&self, acknowledged: &Acknowledged, everything_acknowledged: bool) -> Faults {
        let mut faults = self.faults;
        let is_acknowledged = |seq: &&u64| acknowledged.sequences.binary_search(seq).is_ok();
        let below = self.missing.iter().filter(is_acknowledged).count();
        let above_mark = acknowledged.sequences.partition_point(|&seq| seq <= self.mark);
        let above = acknowledged.sequences[above_mark..]
            .iter()
            .filter(|seq| self.own_ahead.binary_search(seq).is_err());
        faults.lost = (below + above.count()) as u64;
        let counts_agree = faults.lost == 0 && faults.duplicates == 0;
        if counts_agree && everything_acknowledged && self.digest != acknowledged.digest {
            faults.wrong += 1;
        }
        faults
    }

    fn advance_to(&mut self, seq: u64) {
        for skipped in self.mark + 1..seq {
            if self.own_ahead.front() == Some(&skipped) {
                self.own_ahead.pop_front();
            } else {
                self.missing.push_back(skipped);
            }
        }
        self.mark = seq;
    }

    fn absorb_own(&mut self) {
        while self.own_ahead.front() == Some(&(self.mark + 1)) {
            self.own_ahead.pop_front();
            self.mark += 1;
        }
    }
}

impl Digest {
    fn add(&mut self, seq: u64, client_id: u128) {
        // SplitMix64's finalizer over both; any good mixing does, there is no adversary.
        #[expect(clippy::cast_possible_truncation)]
        let mut mixed = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ client_id as u64 ^ (client_id >> 64) as u64;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = self.0.wrapping_add(mixed ^ (mixed >> 31));
    }
}

/// All acknowledgements of one conversation, gathered from its senders.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    sequences: Vec<u64>,
    digest: Digest,
}

impl Acknowledged {
    pub fn add(&mut self, seq: u64, client_id: u128) {
        self.sequences.push(seq);
        self.digest.add(seq, client_id);
    }

    pub fn merge(&mut self, other: Self) {
        self.sequences.extend(other.sequences);
        self.digest.0 = self.digest.0.wrapping_add(other.digest.0);
    }

    /// Sorts, and returns how many messages were acknowledged under a sequence that another one had.
    pub fn seal(&mut self) -> u64 {
        self.sequences.sort_unstable();
        let before = self.sequences.len();
        self.sequences.dedup();
        (before - self.sequences.len()) as u64
    }

    /// Sequences without an acknowledged message below the highest one, when every send was acknowledged: each is a
    /// message that stands in the conversation twice, or a gap. Call after [`Self::seal`].
    #[must_use]
    pub fn unexplained(&self) -> u64 {
        self.sequences.last().map_or(0, |&head| head - self.sequences.len() as u64)
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.sequences.len() as u64
    }
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.wrong += other.wrong;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn acknowledged(sequences: impl IntoIterator<Item = u64>) -> Acknowledged {
        let mut all = Acknowledged::default();
        sequences.into_iter().for_each(|seq| all.add(seq, u128::from(seq) + 7));
        assert_eq!(all.seal(), 0);
        all
    }

    fn run(events: &[(bool, u64)], head: u64) -> Faults {
        let mut ledger = Ledger::default();
        for &(own, seq) in events {
            if own {
                ledger.acknowledged(seq, u128::from(seq) + 7);
            } else {
                ledger.delivered(seq, u128::from(seq) + 7);
            }
        }
        ledger.close(&acknowledged(1..=head), true)
    }

    #[test]
    fn acks_before_or_after_later_deliveries_are_both_fine() {
        assert_eq!(run(&[(true, 1), (false, 2), (false, 4), (true, 3)], 4), Faults::default());
        assert_eq!(run(&[(true, 2), (true, 3), (false, 1), (false, 4)], 4), Faults::default());
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(run(&[(false, 1), (false, 3)], 3).lost, 1);
        assert_eq!(run(&[(false, 1)], 3).lost, 2);
        assert_eq!(run(&[(false, 1), (false, 1)], 1).duplicates, 1);
        assert_eq!(run(&[(true, 1), (false, 1)], 1).duplicates, 1);
        assert_eq!(
            run(&[(true, 2), (false, 2), (false, 1)], 2),
            Faults { duplicates: 1, out_of_order: 1, ..Faults::default() }
        );
        assert_eq!(run(&[(false, 2), (false, 1)], 2), Faults { out_of_order: 1, ..Faults::default() });
        assert_eq!(run(&[(false, u64::MAX)], 0).wrong, 1);
    }

    #[test]
    fn a_message_in_the_place_of_another_is_wrong() {
        let mut ledger = Ledger::default();
        ledger.delivered(1, 99);
        assert_eq!(ledger.close(&acknowledged([1]), true).wrong, 1);
    }

    #[test]
    fn what_nobody_was_told_is_stored_need_not_arrive() {
        let mut ledger = Ledger::default();
        ledger.delivered(1, 8);
        ledger.delivered(3, 10);
        assert_eq!(ledger.close(&acknowledged([1, 3]), false), Faults::default());
        assert_eq!(acknowledged([1, 3]).unexplained(), 1);
    }

    #[test]
    fn one_sequence_for_two_messages_is_found() {
        let mut all = Acknowledged::default();
        all.add(1, 1);
        all.add(1, 2);
        assert_eq!(all.seal(), 1);
    }

    #[test]
    fn a_lone_sender_costs_no_memory() {
        let mut ledger = Ledger::default();
        (1..=10_000).for_each(|seq| ledger.acknowledged(seq, 0));
        assert!(ledger.own_ahead.is_empty() && ledger.missing.is_empty());
    }

    proptest! {
        /// Against the plain thing: a set of everything seen.
        #[test]
        fn agrees_with_a_set(order in Just((1_u64..=30).collect::<Vec<_>>()).prop_shuffle(),
                             own in proptest::collection::vec(any::<bool>(), 31),
                             repeats in proptest::collection::vec(0_usize..30, 0..5), keep in 1_usize..=30) {
            let mut events: Vec<u64> = order[..keep].to_vec();
            events.extend(repeats.iter().map(|&place| order[place % keep]));
            let mut ledger = Ledger::default();
            let mut seen = BTreeSet::new();
            let (mut duplicates, mut late, mut delivered_max) = (0, 0, 0);
            for &seq in &events {
                let is_own = own[usize::try_from(seq).unwrap()];
                let fresh = seen.insert(seq);
                duplicates += u64::from(!fresh);
                if is_own {
                    ledger.acknowledged(seq, 0);
                } else {
                    let first = ledger.delivered(seq, 0);
                    prop_assert_eq!(first == Seen::First, fresh);
                    late += u64::from(fresh && seq < delivered_max);
                    delivered_max = delivered_max.max(seq);
                }
            }
            let faults = ledger.close(&acknowledged(1..=30), false);
            prop_assert_eq!(faults.lost, 30 - seen.len() as u64);
            prop_assert_eq!(faults.duplicates, duplicates);
            prop_assert_eq!(faults.out_of_order, late);
        }
    }
}
