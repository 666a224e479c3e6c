//! The drivers under test.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tidegate::doorbell::EventBell;
use tidegate::driver::{Driver, DriverCounters};
use tidegate::epoll::{self, EpollDriver};
use tidegate::uring::{self, UringDriver};

use super::world::Rig;

pub struct Uring;

impl Rig for Uring {
    type Driver = UringDriver;

    fn make(connections_max: u32, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> UringDriver {
        let options = uring::Options { connections_max, ..uring::Options::default() };
        UringDriver::new(options, listener, bell).unwrap()
    }

    fn counters(driver: &UringDriver) -> DriverCounters {
        Driver::counters(driver)
    }
}

/// io_uring with so few of everything that every shortage happens all the time.
pub struct CrampedUring;

impl Rig for CrampedUring {
    type Driver = UringDriver;

    fn make(connections_max: u32, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> UringDriver {
        let options = uring::Options {
            connections_max,
            submission_entries: 8,
            completion_entries: 16,
            receive_buffers: 4,
            receive_buffer_bytes: 512,
            events_per_turn_max: 40,
        };
        UringDriver::new(options, listener, bell).unwrap()
    }

    fn counters(driver: &UringDriver) -> DriverCounters {
        Driver::counters(driver)
    }
}

pub struct Epoll;

impl Rig for Epoll {
    type Driver = EpollDriver;

    fn make(connections_max: u32, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> EpollDriver {
        let options = epoll::Options { connections_max, ..epoll::Options::default() };
        EpollDriver::new(options, listener, bell).unwrap()
    }

    fn counters(driver: &EpollDriver) -> DriverCounters {
        Driver::counters(driver)
    }
}

/// epoll with a buffer and a budget that are used up all the time.
pub struct CrampedEpoll;

impl Rig for CrampedEpoll {
    type Driver = EpollDriver;

    fn make(connections_max: u32, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> EpollDriver {
        let options = epoll::Options { connections_max, receive_buffer_bytes: 512, events_per_turn_max: 3 };
        EpollDriver::new(options, listener, bell).unwrap()
    }

    fn counters(driver: &EpollDriver) -> DriverCounters {
        Driver::counters(driver)
    }
}
