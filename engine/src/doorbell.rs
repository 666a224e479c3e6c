//! Wakes a sleeping thread; costs a system call, so it is rung only when the peer has said that it sleeps
//! (see [`crate::mesh::Sleeper`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;

mod thread_bell;

pub use thread_bell::ThreadBell;

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

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

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
