//! Proves: neither the ack nor any delivery of a message leaves before the log says that it is durable, and then both do.
//! Guards: acknowledging what a crash can take back.

mod common;

use common::World;
use tidegate_wire::Encoding;
use tidegate_wire::server::ServerFrame;

#[test]
fn nobody_hears_of_it_before_and_everybody_after() {
    for shards in [1, 3] {
        let mut world = World::new(shards);
        let (alice, phone, bob) = (world.join(1, 1), world.join(1, 2), world.join(2, 1));
        let json = world.connect_with(3, 1, Encoding::Json, common::NOON_MS);
        world.hello(json, &[]);
        let group = world.group(alice, &[2, 3]);

        let request = world.send(alice, group, 7);
        world.settle_without_log();
        for peer in [alice, phone, bob, json] {
            assert!(world.hear(peer).is_empty(), "{peer:?} heard of a message in the air");
        }
        // In the log and in the store, but the shard has not heard: a page must not show it either.
        world.commit(1);
        let early = world.history(bob, group, tidegate_wire::request::HistoryRange::Newest, 10);
        for _ in 0..20 {
            world.carry(0);
            for shard in 0..world.shards.len() {
                world.look_up(shard);
                world.answer(shard);
                world.work(shard);
            }
        }
        let ServerFrame::Page(page) = world.answer_to(bob, early) else { panic!("no page") };
        assert!(page.frames.is_empty(), "a page shows what has not been released");
        assert!(world.hear(alice).is_empty());

        world.settle();
        let ServerFrame::Ack(ack) = world.answer_to(alice, request) else { panic!("no ack") };
        assert_eq!(ack.seq, 1);
        assert!(world.hear(alice).is_empty(), "no echo to the session that sent it");
        for peer in [phone, bob, json] {
            assert_eq!(world.delivered(peer, group), [1], "{peer:?}");
        }
    }
}

#[test]
fn notes_to_self_reach_the_other_devices() {
    let mut world = World::new(2);
    let (desk, phone) = (world.join(5, 1), world.join(5, 2));
    let request = world.create(desk, tidegate_wire::frames::ConversationKind::Direct, &[]);
    world.settle();
    let ServerFrame::Created(created) = world.answer_to(desk, request) else { panic!("not created") };
    let notes = tidegate_wire::ConversationId(created.conversation);
    assert_eq!(world.post(desk, notes, 1), 1);
    assert_eq!(world.delivered(phone, notes), [1]);
    assert!(world.hear(desk).is_empty());
}
