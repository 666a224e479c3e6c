//! When each message is meant to be sent, and how that travels with it.
//!
//! Open loop: the times are fixed before the run and do not wait for answers, and latency counts from them. A
//! gateway that stalls for a second therefore shows that second in every message that was due in it
//! (no coordinated omission).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the run's origin, the same for every thread of the run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_wall_ns: u128,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("the machine's clock is past 1970");
        Self { origin: Instant::now(), origin_wall_ns: wall.as_nanos() }
    }

    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("a run is shorter than 584 years")
    }

    /// How long it is from now until a moment of the run; zero if it has passed.
    #[must_use]
    pub fn until(&self, at_ns: u64) -> Duration {
        Duration::from_nanos(at_ns.saturating_sub(self.now_ns()))
    }

    /// The wall-clock milliseconds of a moment of the run.
    #[must_use]
    pub fn wall_ms(&self, at_ns: u64) -> u64 {
        u64::try_from((self.origin_wall_ns + u128::from(at_ns)) / 1_000_000)
            .expect("fits until the year 584 million")
    }
}

/// Messages at a steady rate, dealt to the senders in turn: message `n` of sender `s` is due at
/// `start + (n * senders + s) / rate`.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub start_ns: u64,
    pub senders: u32,
    /// Messages per second of all senders together.
    pub rate: f64,
}

impl Schedule {
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn due_ns(&self, sender: u32, count: u64) -> u64 {
        let index = count * u64::from(self.senders) + u64::from(sender);
        // Exact to a nanosecond for runs below 2^53 ns, which is 104 days.
        self.start_ns + (index as f64 * 1e9 / self.rate) as u64
    }
}

/// The senders of one thread with their next due times, in order.
///
/// A thread's senders come due in the same order in every round, so a cursor is enough and nothing is sorted.
#[derive(Debug)]
pub struct Pacer {
    schedule: Schedule,
    senders: Vec<u32>,
    turn: usize,
    round: u64,
}

impl Pacer {
    /// `senders` ascending. An empty list is never due.
    #[must_use]
    pub fn new(schedule: Schedule, senders: Vec<u32>) -> Self {
        Self { schedule, senders, turn: 0, round: 0 }
    }

    /// When the next message is due; `None` if there are no senders.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        let &sender = self.senders.get(self.turn)?;
        Some(self.schedule.due_ns(sender, self.round))
    }

    /// The next message, if it is due: sender and intended time.
    pub fn take_due(&mut self, now_ns: u64) -> Option<(u32, u64)> {
        let due_ns = self.next_due_ns().filter(|&due_ns| due_ns <= now_ns)?;
        let sender = self.senders[self.turn];
        self.turn += 1;
        if self.turn == self.senders.len() {
            self.turn = 0;
            self.round += 1;
        }
        Some((sender, due_ns))
    }
}

/// What a client message id of a run says: a well-formed ULID whose random part is not random.
///
/// ```text
///  48 bits          16 bits              24 bits   40 bits
///  | wall-clock ms | 1/65536 of that ms | sender  | count |
/// ```
/// The receiver reads the intended send time off the message itself: nothing is looked up, whichever thread it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageTag {
    pub intended_ns: u64,
    pub sender: u32,
    pub count: u64,
}

impl MessageTag {
    #[must_use]
    pub fn to_client_id(self, clock: &Clock) -> u128 {
        let wall_ns = clock.origin_wall_ns + u128::from(self.intended_ns);
        let (ms, ns) = (wall_ns / 1_000_000, wall_ns % 1_000_000);
        // Rounded up, so that reading it back (rounded down) gives the same nanosecond or one of the next 15.
        let fraction = (ns * 65_536).div_ceil(1_000_000).min(65_535);
        (ms << 80) | (fraction << 64) | (u128::from(self.sender) << 40) | u128::from(self.count)
    }

    #[must_use]
    pub fn from_client_id(client_id: u128, clock: &Clock) -> Self {
        let fraction = (client_id >> 64) & 0xffff;
        let wall_ns = (client_id >> 80) * 1_000_000 + fraction * 1_000_000 / 65_536;
        Self {
            intended_ns: u64::try_from(wall_ns.saturating_sub(clock.origin_wall_ns)).unwrap_or(u64::MAX),
            sender: u32::try_from((client_id >> 40) & 0xff_ffff).expect("24 bits"),
            count: u64::try_from(client_id & 0xff_ffff_ffff).expect("40 bits"),
        }
    }
}

/// The part of a run that is measured: messages meant to be sent, and work done, between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub start_ns: u64,
    pub end_ns: u64,
}

impl Window {
    #[must_use]
    pub fn after(start_ns: u64, warmup: Duration, length: Duration) -> Self {
        let start_ns = start_ns + nanoseconds(warmup);
        Self { start_ns, end_ns: start_ns + nanoseconds(length) }
    }

    #[must_use]
    pub fn contains(&self, at_ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&at_ns)
    }

    #[must_use]
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.end_ns - self.start_ns).as_secs_f64()
    }
}

/// A duration as whole nanoseconds.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tag_comes_back_within_the_resolution(intended_ns in 0_u64..1 << 50, sender in 0_u32..1 << 24,
                                                   count in 0_u64..1 << 40) {
            let clock = Clock::start();
            let tag = MessageTag { intended_ns, sender, count };
            let back = MessageTag::from_client_id(tag.to_client_id(&clock), &clock);
            prop_assert_eq!((back.sender, back.count), (sender, count));
            prop_assert!(back.intended_ns.abs_diff(intended_ns) <= 16, "{} {}", back.intended_ns, intended_ns);
        }

        #[test]
        fn threads_together_send_the_whole_schedule(senders in 1_u32..20, threads in 1_u32..4) {
            let schedule = Schedule { start_ns: 1_000, senders, rate: 1e6 };
            let mut due: Vec<u64> = Vec::new();
            for thread in 0..threads {
                let own = (0..senders).filter(|sender| sender % threads == thread).collect();
                let mut pacer = Pacer::new(schedule, own);
                while let Some((_, due_ns)) = pacer.take_due(100_999) {
                    due.push(due_ns);
                }
            }
            due.sort_unstable();
            // One message per microsecond from 1 us to below 101 us.
            prop_assert_eq!(due, (0..100).map(|index| 1_000 + index * 1_000).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn nothing_is_due_before_its_time_or_without_senders() {
        let schedule = Schedule { start_ns: 50, senders: 1, rate: 1e9 };
        assert_eq!(Pacer::new(schedule, vec![0]).take_due(49), None);
        assert_eq!(Pacer::new(schedule, vec![0]).take_due(50), Some((0, 50)));
        assert_eq!(Pacer::new(schedule, Vec::new()).take_due(u64::MAX), None);
    }
}
