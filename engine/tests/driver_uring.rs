//! The io_uring driver keeps every promise of a driver, and those about its own resources.

mod driver_suite;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use driver_suite::world::*;
use tidegate::doorbell::EventBell;
use tidegate::driver::{Driver, DriverCounters, Wait};
use tidegate::uring::{Options, UringDriver, probe};

struct Uring;

impl Rig for Uring {
    type Driver = UringDriver;

    fn make(connections_max: u32, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> UringDriver {
        let options = Options { connections_max, ..Options::default() };
        UringDriver::new(options, listener, bell).unwrap()
    }

    fn counters(driver: &UringDriver) -> DriverCounters {
        driver.counters()
    }
}

every_promise!(Uring);

/// So few of everything that every shortage happens all the time.
struct Cramped;

impl Rig for Cramped {
    type Driver = UringDriver;

    fn make(connections_max: u32, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> UringDriver {
        let options = Options {
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
        driver.counters()
    }
}

mod cramped {
    use super::{Cramped, driver_suite};

    crate::every_promise!(Cramped);
}

#[test]
fn shortages_are_counted_and_survived() {
    let mut world = World::<Cramped>::new();
    let mut pairs: Vec<_> = (0..100).map(|_| world.connect_attached()).collect();
    world.turn(Wait::No);
    for (client, _) in &mut pairs {
        write(client, &pattern(1, 3000));
    }
    world.until("received", |world| pairs.iter().all(|(_, id)| world.bytes(*id).len() == 3000));
    for (_, connection) in &pairs {
        assert_same(world.bytes(*connection), &pattern(1, 3000));
        world.driver.send(*connection, pattern(2, 100).into());
    }
    world.turn(Wait::No);
    for (client, _) in &mut pairs {
        assert_same(&read_exactly(client, 100), &pattern(2, 100));
    }
    let counters = world.counters();
    assert!(counters.starved > 0, "{counters:?}");
    assert!(counters.submission_fulls > 0, "{counters:?}");
    assert!(counters.completion_overflows > 0, "{counters:?}");
}

#[test]
fn io_uring_works_here() {
    assert_eq!(probe(), Ok(()));
}
