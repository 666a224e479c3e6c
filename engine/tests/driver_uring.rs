//! The io_uring driver keeps every promise of a driver, and those about its own resources.

// Helpers of tests.
#![allow(clippy::unwrap_used)]

mod driver_suite;

use driver_suite::rigs::{CrampedUring, Uring};
use driver_suite::world::*;
use tidegate::driver::{Driver, Wait};
use tidegate::uring::probe;

every_promise!(Uring);

mod cramped {
    use super::driver_suite;

    crate::every_promise!(driver_suite::rigs::CrampedUring);
}

#[test]
fn shortages_are_counted_and_survived() {
    let mut world = World::<CrampedUring>::new();
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
