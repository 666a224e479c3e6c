//! Proves: a device that connects again closes its old session with 4409 and takes over where it stood, also in the
//! middle of a catch-up; other devices of the user stay.
//! Guards: two sessions of one device, messages lost or counted for the one that is gone.

mod common;

use common::World;

#[test]
fn the_old_one_is_closed_and_the_other_device_stays() {
    let mut world = World::new(2);
    let (old, phone) = (world.join(1, 1), world.join(1, 2));
    let new = world.join(1, 1);
    world.settle();
    assert_eq!(world.closed(old), Some(4409));
    assert_eq!((world.closed(new), world.closed(phone)), (None, None));
    assert_eq!(world.count(|counters| counters.sessions), 2);
    assert_eq!(world.count(|counters| counters.sessions_replaced), 1);
    // The driver's word about the old one comes late and means nothing.
    world.disconnect(old);
    assert_eq!(world.count(|counters| counters.sessions), 2);
}

#[test]
fn at_any_moment_of_a_catch_up() {
    for moment in 0..12 {
        let mut world = World::new(2);
        let alice = world.join(1, 1);
        let group = world.group(alice, &[2]);
        for n in 0..5 {
            world.post(alice, group, n);
        }
        let old = world.connect(2, 1);
        world.hello(old, &[(group, 1)]);
        for _ in 0..moment {
            world.carry(0);
            for shard in 0..2 {
                world.look_up(shard);
                world.answer(shard);
                world.work(shard);
            }
        }
        world.send(old, group, 50);
        let new = world.connect(2, 1);
        world.hello(new, &[(group, 2)]);
        world.settle();
        assert_eq!(world.closed(old), Some(4409));
        // What the old one sent is a message of the user's: the new session did not send it.
        assert_eq!(world.delivered(new, group), [3, 4, 5, 6], "moment {moment}");
        assert_eq!(world.post(alice, group, 9), 7);
        assert_eq!(world.delivered(new, group), [7]);
        assert_eq!(world.count(|counters| counters.sends_unclaimed), 1);
    }
}
