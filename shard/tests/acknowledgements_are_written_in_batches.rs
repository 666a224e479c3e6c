//! Proves: what devices acknowledge is gathered, written in batches as fast as the log takes them, in the order in
//! which it came, and only the highest of each counts.
//! Guards: pointers that pile up behind a timer, and users whose pointers are never written.

mod common;

use common::World;
use tidegate_shard::contract::Row;
use tidegate_shard::limits::DELIVERED_ROWS_MAX;

#[test]
fn a_full_batch_does_not_wait_for_its_time() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.post(alice, group, 1);
    world.post(alice, group, 2);
    world.tick(world.limits.delivered_flush);
    // As many devices of one user as fill three batches, the last ones first.
    let devices = 3 * DELIVERED_ROWS_MAX as u64;
    for device in (1..=devices).rev() {
        let bob = world.connect(2, device);
        world.received(bob, group, 1);
        world.received(bob, group, 2);
        world.received(bob, group, 1);
        world.disconnect(bob);
    }
    world.settle();
    let written = world.store.delivered.len() as u64;
    assert!(written + DELIVERED_ROWS_MAX as u64 > devices, "{written} of {devices} pointers are written");
    assert!(world.store.delivered.values().filter(|seq| seq.0 == 2).count() > DELIVERED_ROWS_MAX);
    world.tick(world.limits.delivered_flush);
    world.settle();
    assert_eq!(world.store.delivered.len() as u64, devices);
    assert!(world.store.delivered.values().all(|seq| seq.0 == 2));
}

#[test]
fn one_batch_is_bounded_and_first_come_first_written() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.post(alice, group, 1);
    for device in [900, 7, 450] {
        let bob = world.connect(2, device);
        world.received(bob, group, 1);
    }
    world.tick(world.limits.delivered_flush);
    let rows = world.log.forming_rows();
    let devices: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Delivered { device, .. } => Some(device.0),
            _ => None,
        })
        .collect();
    assert_eq!(devices, [900, 7, 450]);
    world.settle();
}
