//! Proves: a session whose socket takes no more gets nothing live past its bound, is told so once per conversation, and
//! gets every message once and in order when it reads again.
//! Guards: a slow reader that costs memory per message, or misses some.

mod common;

use common::World;
use tidegate_shard::Limits;
use tidegate_shard::contract::Input;
use tidegate_wire::server::ServerFrame;

#[test]
fn nothing_past_the_bound_and_everything_after_it() {
    for page_messages_max in [3, 100] {
        let limits = Limits { unsent_bytes_max: 1000, page_messages_max, ..Limits::default() };
        let mut world = World::with(2, limits);
        let (alice, bob) = (world.join(1, 1), world.join(2, 1));
        let (one, two) = (world.group(alice, &[2]), world.group(alice, &[2]));
        world.settle();
        let connection = bob.connection;
        world.feed(bob.shard, Input::Blocked { connection, unsent: 500 });
        for client_id in 0..40 {
            world.post(alice, one, client_id);
        }
        world.post(alice, two, 1);
        let heard = world.hear(bob);
        let live = heard.iter().filter(|(_, frame)| matches!(frame, ServerFrame::Deliver(_))).count();
        let lagging = heard.iter().filter(|(_, frame)| matches!(frame, ServerFrame::Lagging(_))).count();
        assert!((1..10).contains(&live), "{live} messages for a socket that takes none");
        assert_eq!(lagging, 2, "one for each conversation");
        assert_eq!(world.count(|counters| counters.lagging), 2);

        // The socket drains; while it is caught up more arrives, and it blocks once more in between.
        world.feed(bob.shard, Input::Drained { connection });
        world.send(alice, one, 100);
        world.look_up(bob.shard);
        world.answer(bob.shard);
        world.feed(bob.shard, Input::Blocked { connection, unsent: 500 });
        world.send(alice, one, 101);
        world.settle();
        world.feed(bob.shard, Input::Drained { connection });
        world.settle();
        let heard = world.hear(bob);
        let of = |id: tidegate_wire::ConversationId| -> Vec<u64> {
            heard
                .iter()
                .filter_map(|(_, frame)| match frame {
                    ServerFrame::Deliver(deliver) if deliver.conversation == id.0 => Some(deliver.seq),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(of(one), (live as u64 + 1..=42).collect::<Vec<_>>());
        assert_eq!(of(two), [1]);
        assert!(
            heard
                .iter()
                .any(|(_, frame)| matches!(frame, ServerFrame::Synced(synced) if synced.head_seq == 42))
        );
        assert_eq!(world.post(alice, one, 102), 43);
        assert_eq!(world.delivered(bob, one), [43], "live again");
    }
}

#[test]
fn a_bound_that_is_not_met_changes_nothing() {
    let mut world = World::new(1);
    let (alice, bob) = (world.join(1, 1), world.join(2, 1));
    let group = world.group(alice, &[2]);
    world.feed(0, Input::Blocked { connection: bob.connection, unsent: 100 });
    for client_id in 0..5 {
        world.post(alice, group, client_id);
    }
    assert_eq!(world.delivered(bob, group), [1, 2, 3, 4, 5]);
    assert_eq!(world.count(|counters| counters.lagging), 0);
}
