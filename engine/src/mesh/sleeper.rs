//! The handshake between a thread that wants to sleep and those who give it work.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::doorbell::Doorbell;
use crate::sync::{AtomicBool, Ordering, fence};

/// "I sleep" and the bell to ring then, shared by one sleeping thread and everybody who puts into its rings.
///
/// Why no wake-up is lost: the sleeper stores `asleep`, then looks at its rings; a sender puts into a ring, then
/// looks at `asleep`. With a sequentially consistent fence between the two steps on both sides, at least one of
/// them sees the other.
///
/// The price of a sender that finds the peer awake is one fence and one load, so it is paid once per batch.
#[derive(Debug)]
pub struct Sleeper {
    asleep: CachePadded<AtomicBool>,
    bell: Arc<dyn Doorbell>,
}

impl Sleeper {
    pub fn new(bell: Arc<dyn Doorbell>) -> Self {
        Self { asleep: CachePadded::new(AtomicBool::new(false)), bell }
    }

    /// Senders: after the last `try_send` of a batch. Rings at most once per sleep; returns whether it rang.
    pub fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        let rings = self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed);
        if rings {
            self.bell.ring();
        }
        rings
    }

    /// The sleeper, before it waits: publishes that it sleeps, then asks `is_idle` once more. `false`: there is
    /// work, do not wait.
    pub fn prepare_sleep(&self, is_idle: impl FnOnce() -> bool) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let sleeps = is_idle();
        if !sleeps {
            self.woke();
        }
        sleeps
    }

    /// The sleeper, after its wait, whatever ended it.
    pub fn woke(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
