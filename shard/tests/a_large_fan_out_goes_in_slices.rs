//! Proves: a message to many members reaches each once, over several turns, in order, with sessions coming and going in
//! between; and that `work` says so when something is left.
//! Guards: a member skipped or served twice at the edge of a slice; a worker that sleeps with work left.

mod common;

use common::World;
use tidegate_shard::Limits;

#[test]
fn with_sessions_that_close_and_open_in_between() {
    for budget in [1, 3, 7] {
        let mut world = World::with(1, Limits { deliveries_per_turn: budget, ..Limits::default() });
        let alice = world.join(1, 1);
        let members: Vec<u64> = (2..=20).collect();
        let group = world.group(alice, &members);
        let mut peers: Vec<_> = members.iter().map(|user| world.join(*user, 1)).collect();
        world.settle();
        for client_id in 0..3 {
            world.send(alice, group, client_id);
        }
        world.commit(3);
        while world.news(0) {}
        let mut turns = 1;
        while world.work(0) {
            turns += 1;
            if turns == 3 {
                for peer in peers.drain(..5) {
                    world.disconnect(peer);
                }
                // A second device of one that is gone, and one of each kind that has and has not been served.
                peers.extend([world.join(2, 2), world.join(3, 1), world.join(20, 2)]);
            }
        }
        assert!(turns > 57 / budget as usize, "{turns} turns for 57 deliveries, {budget} at a time");
        world.settle();
        for peer in peers {
            assert_eq!(world.delivered(peer, group), [1, 2, 3], "{peer:?} at {budget} a turn");
        }
    }
}

#[test]
fn work_that_makes_work_is_not_left_lying() {
    let mut world = World::with(1, Limits { catch_up_window: 2, ..Limits::default() });
    let alice = world.join(1, 1);
    let groups: Vec<_> = (0..12).map(|_| world.group(alice, &[2])).collect();
    for group in &groups {
        world.post(alice, *group, 1);
    }
    let bob = world.connect(2, 1);
    let cursors: Vec<_> = groups.iter().map(|group| (*group, 1)).collect();
    world.hello(bob, &cursors);
    // Nothing but `work` is called: as long as it says so, there is more.
    while world.work(0) {}
    assert_eq!(world.asked[0].len(), 1, "the list, asked for when the last conversation had been granted");
    world.settle();
    assert_eq!(world.post(alice, groups[11], 2), 2);
    assert_eq!(world.delivered(bob, groups[11]), [2]);
    assert_eq!(world.count(|counters| counters.deliveries_held), 0, "every conversation had been granted");
}
