//! The bell of a thread that has nothing else to wait for.

use std::time::{Duration, Instant};

use crate::doorbell::Doorbell;
use crate::sync::{AtomicBool, OnceLock, Ordering, fence, thread};

/// The bell of a thread that only waits for rings (log, store): parks it.
///
/// One thread waits, always the same one.
#[derive(Debug, Default)]
pub struct ThreadBell {
    rung: AtomicBool,
    waiter: OnceLock<thread::Thread>,
}

impl ThreadBell {
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until the bell is rung, or `timeout` has passed; a ring from before the call counts. Returns whether
    /// it was rung.
    ///
    /// # Panics
    /// If a second thread waits: rings would go to the first.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let waiter = self.waiter.get_or_init(thread::current);
        assert_eq!(waiter.id(), thread::current().id(), "one thread waits on a ThreadBell");
        // Pairs with the fence of `ring`: either it sees our handle, or we see its `rung`.
        fence(Ordering::SeqCst);
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if self.rung.swap(false, Ordering::Acquire) {
                return true;
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return false,
                Some(left) => thread::park_timeout(left),
            }
        }
    }
}

impl Doorbell for ThreadBell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if let Some(waiter) = self.waiter.get() {
            waiter.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_ring_before_the_first_wait_is_kept() {
        let bell = ThreadBell::new();
        bell.ring();
        bell.ring();
        assert!(bell.wait(None));
        assert!(!bell.wait(Some(Duration::ZERO)), "two rings before one wait are one");
    }

    #[test]
    fn a_ring_from_another_thread_wakes() {
        let bell = Arc::new(ThreadBell::new());
        let ringer = Arc::clone(&bell);
        let thread = std::thread::spawn(move || ringer.ring());
        assert!(bell.wait(None));
        thread.join().unwrap();
    }
}
