//! What the workers and the rest of the process say to each other beside the rings: go on, drain, stop; and what the
//! workers report four times a second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_shard::Counters;

use crate::driver::DriverCounters;

/// How a drain goes.
#[derive(Clone, Copy, Debug)]
pub struct DrainPlan {
    /// Clients are told to come back after this.
    pub reconnect_after: Duration,
    /// And to spread over this.
    pub window: Duration,
    /// Requests under way get this long for their answers.
    pub answers: Duration,
    /// Sockets get this long to take what was sent to them.
    pub closing: Duration,
}

impl Default for DrainPlan {
    fn default() -> Self {
        Self {
            reconnect_after: Duration::from_millis(500),
            window: Duration::from_secs(10),
            answers: Duration::from_secs(2),
            closing: Duration::from_secs(3),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Running,
    /// Accept nothing, answer what is under way, tell the clients, close.
    Draining,
    /// Every worker has drained: end the threads.
    Stopped,
}

/// What a worker says about itself.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub shard: Counters,
    pub driver: DriverCounters,
    pub worker: WorkerCounters,
}

/// What a worker counts beside its shard and its driver.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerCounters {
    pub connections: u64,
    pub turns: u64,
    pub sleeps: u64,
    /// Upgrades that ended in a session.
    pub upgrades: u64,
    /// Request heads that were answered with an HTTP error, tokens included.
    pub upgrades_refused: u64,
    /// Sessions whose home shard had no slot left.
    pub upgrades_without_slot: u64,
    /// Sessions that were accepted on another shard than their home.
    pub moved_in: u64,
    /// Envelopes that found a ring full and waited.
    pub envelopes_delayed: u64,
    /// Depth of this shard's rings when the report was made.
    pub ring_depth: u64,
}

#[derive(Debug)]
pub struct Supervision {
    phase: AtomicU8,
    drained: AtomicUsize,
    reports: Vec<Mutex<Report>>,
    pub drain: DrainPlan,
}

impl Supervision {
    #[must_use]
    pub fn new(shards: u16, drain: DrainPlan) -> Self {
        Self {
            phase: AtomicU8::new(0),
            drained: AtomicUsize::new(0),
            reports: (0..shards).map(|_| Mutex::default()).collect(),
            drain,
        }
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopped,
        }
    }

    /// Phases only go forward. The caller rings the workers' bells.
    pub fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    pub fn report_drained(&self) {
        self.drained.fetch_add(1, Ordering::AcqRel);
    }

    #[must_use]
    pub fn all_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire) == self.reports.len()
    }

    /// Never waits: a report that is being read is replaced the next time.
    pub fn report(&self, shard: usize, report: impl FnOnce(&mut Report)) {
        if let Ok(mut place) = self.reports[shard].try_lock() {
            report(&mut place);
        }
    }

    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.reports
            .iter()
            .map(|report| report.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
            .collect()
    }
}
