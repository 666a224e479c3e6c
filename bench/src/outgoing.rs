//! Which messages a worker sends next: those that are due (open loop), or one for each that was answered (closed loop).

use crate::schedule::{MessageTag, Pacer, Schedule};

/// Messages taken between two looks at the sockets, so that a late schedule does not starve reading.
const BATCH_MAX: usize = 512;

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    Open(Schedule),
    /// Each sender keeps `window` messages unanswered, from `start_ns` on.
    Closed {
        start_ns: u64,
        window: u32,
    },
}

#[derive(Debug)]
pub struct Outgoing {
    kind: Kind,
    /// Nothing is intended at or after this time.
    end_ns: u64,
    /// By sender: messages so far. Only the worker's own senders count up.
    counts: Vec<u64>,
    batch: Vec<MessageTag>,
}

#[derive(Debug)]
enum Kind {
    Open(Pacer),
    /// Each sender as often as it may send one more; not before `start_ns`.
    Closed {
        start_ns: u64,
        free: Vec<u32>,
    },
}

impl Outgoing {
    /// `senders`: the worker's own, ascending.
    #[must_use]
    pub fn new(pace: Pace, end_ns: u64, senders: Vec<u32>) -> Self {
        let counts = vec![0; senders.last().map_or(0, |&last| last as usize + 1)];
        let kind = match pace {
            Pace::Open(schedule) => Kind::Open(Pacer::new(schedule, senders)),
            Pace::Closed { start_ns, window } => {
                let free = (0..window).flat_map(|_| senders.iter().copied()).collect();
                Kind::Closed { start_ns, free }
            }
        };
        Self { kind, end_ns, counts, batch: Vec::new() }
    }

    /// A message of this sender was acknowledged or refused.
    pub fn answered(&mut self, sender: u32) {
        match &mut self.kind {
            Kind::Open(_) => {}
            Kind::Closed { free, .. } => free.push(sender),
        }
    }

    /// What is to be sent now, at most a batch of it.
    pub fn take(&mut self, now_ns: u64) -> std::vec::Drain<'_, MessageTag> {
        debug_assert!(self.batch.is_empty(), "a batch is drained before the next");
        while self.batch.len() < BATCH_MAX {
            let due = match &mut self.kind {
                Kind::Open(pacer) => pacer.take_due(now_ns.min(self.end_ns.saturating_sub(1))),
                Kind::Closed { start_ns, free } if (*start_ns..self.end_ns).contains(&now_ns) => {
                    free.pop().map(|sender| (sender, now_ns))
                }
                Kind::Closed { .. } => None,
            };
            let Some((sender, intended_ns)) = due else { break };
            let count = &mut self.counts[sender as usize];
            self.batch.push(MessageTag { intended_ns, sender, count: *count });
            *count += 1;
        }
        self.batch.drain(..)
    }

    /// When [`Self::take`] has something next, as far as it is known; `u64::MAX` otherwise.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        let next_ns = match &self.kind {
            Kind::Open(pacer) => pacer.next_due_ns(),
            Kind::Closed { start_ns, free } => (!free.is_empty()).then_some(*start_ns),
        };
        next_ns.filter(|&next_ns| next_ns < self.end_ns).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(outgoing: &mut Outgoing, now_ns: u64) -> Vec<(u32, u64)> {
        outgoing.take(now_ns).map(|tag| (tag.sender, tag.count)).collect()
    }

    #[test]
    fn a_closed_loop_sends_one_for_each_answer() {
        let mut outgoing = Outgoing::new(Pace::Closed { start_ns: 10, window: 2 }, 100, vec![0, 4]);
        assert_eq!((outgoing.next_ns(), tags(&mut outgoing, 9)), (10, vec![]));
        assert_eq!(tags(&mut outgoing, 10), [(4, 0), (0, 0), (4, 1), (0, 1)]);
        assert_eq!((outgoing.next_ns(), tags(&mut outgoing, 20)), (u64::MAX, vec![]));
        outgoing.answered(4);
        assert_eq!(tags(&mut outgoing, 30), [(4, 2)]);
        outgoing.answered(0);
        assert_eq!(tags(&mut outgoing, 100), [], "the run is over");
    }

    #[test]
    fn an_open_loop_does_not_wait_for_answers_and_ends_on_time() {
        let schedule = Schedule { start_ns: 0, senders: 1, rate: 1e9 };
        let mut outgoing = Outgoing::new(Pace::Open(schedule), 3, vec![0]);
        assert_eq!(tags(&mut outgoing, 50), [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(outgoing.next_ns(), u64::MAX);
    }
}
