//! Wakes a sleeping thread; costs a system call, so it is rung only when the peer has said that it sleeps
//! (see [`crate::mesh::Sleeper`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;

/// Rings a sleeping peer. May be called from any thread, any number of times; a bell that nobody waits for is kept.
pub trait Doorbell: Send + Sync + std::fmt::Debug {
    fn ring(&self);
}

/// The bell of a worker: an eventfd that its driver watches beside the sockets.
///
/// Nobody reads the counter. Every write wakes whoever polls, and the counter holds 2^64 rings; a read per wake-up
/// would buy nothing. A driver that starts to watch a bell that has been rung before hears it at once.
#[derive(Debug)]
pub struct EventBell {
    eventfd: OwnedFd,
}

impl EventBell {
    /// Made before the thread that waits on it, so that peers can hold it from their first turn.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { eventfd: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }
}

impl Doorbell for EventBell {
    fn ring(&self) {
        match rustix::io::write(&self.eventfd, &1u64.to_ne_bytes()) {
            // A full counter (EAGAIN) has been rung already.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => panic!("write to our own eventfd failed: {error}"),
        }
    }
}

impl AsFd for EventBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

/// The bell of a thread that only waits for rings (log, store): parks it.
///
/// One thread waits, always the same one.
#[derive(Debug, Default)]
pub struct ThreadBell {
    rung: AtomicBool,
    waiter: OnceLock<Thread>,
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
        let waiter = self.waiter.get_or_init(std::thread::current);
        assert_eq!(waiter.id(), std::thread::current().id(), "one thread waits on a ThreadBell");
        // Pairs with the fence of `ring`: either it sees our handle, or we see its `rung`.
        fence(Ordering::SeqCst);
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if self.rung.swap(false, Ordering::Acquire) {
                return true;
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(Duration::ZERO) => return false,
                Some(left) => std::thread::park_timeout(left),
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

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

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

    #[test]
    fn an_event_bell_becomes_readable() {
        let bell = EventBell::new().unwrap();
        let readable = |bell: &EventBell| {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&now)).unwrap()
        };
        assert_eq!(readable(&bell), 0);
        bell.ring();
        bell.ring();
        assert_eq!(readable(&bell), 1);
    }
}
