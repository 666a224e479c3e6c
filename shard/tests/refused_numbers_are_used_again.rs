//! Proves: what the log refuses is answered with 503, its number goes to the next message, and what was appended behind
//! it falls with it; what was in the log before stays.
//! Guards: a gap in the sequences after a full disk, and heads that disagree with the log.

mod common;

use common::{World, code_of};
use tidegate_wire::frames::ConversationKind;
use tidegate_wire::server::ServerFrame;

#[test]
fn in_the_middle_of_a_group() {
    for shards in [1, 2, 4] {
        let mut world = World::new(shards);
        let (alice, bob) = (world.join(1, 1), world.join(2, 1));
        let one = world.group(alice, &[2]);
        let two = world.group(alice, &[2]);
        let sends: Vec<_> =
            (0..6).map(|n| world.send(alice, if n % 2 == 0 { one } else { two }, 100 + n)).collect();
        world.settle_without_log();
        assert_eq!(world.log.forming(), 6);
        world.commit(2);
        world.log.refuse(0);
        // Before the shards hear of it they append more, in the old epoch: the log drops these without a word.
        let stale = world.send(bob, one, 1);
        while world.carry(0) {}
        world.settle();
        let acked = sends
            .iter()
            .filter(|request| matches!(world.answer_to(alice, **request), ServerFrame::Ack(_)))
            .count();
        assert_eq!(acked, 2);
        let stale = match world.answer_to(bob, stale) {
            ServerFrame::Ack(ack) => ack.seq,
            other => {
                assert_eq!(code_of(&other), 503);
                0
            }
        };
        let stored = world.store.head(one).0 + world.store.head(two).0;
        assert_eq!(stored, 2 + u64::from(stale > 0));
        for group in [one, two] {
            let head = world.store.head(group).0;
            assert_eq!(world.post(bob, group, 999), head + 1);
        }
        assert!(world.count(|counters| counters.appends_refused) >= 4);
    }
}

#[test]
fn a_refused_create_takes_the_sends_behind_it_along() {
    let mut world = World::new(1);
    let (alice, bob) = (world.join(1, 1), world.join(2, 1));
    let id = tidegate_shard::placement::direct_conversation(alice.user, bob.user);
    let create = world.create(alice, ConversationKind::Direct, &[2]);
    world.settle_without_log();
    let again = world.create(bob, ConversationKind::Direct, &[1]);
    let sends = [world.send(alice, id, 1), world.send(bob, id, 2)];
    let page = world.history(bob, id, tidegate_wire::request::HistoryRange::Newest, 10);
    world.settle_without_log();
    assert!(matches!(world.answer_to(bob, page), ServerFrame::Page(page) if page.frames.is_empty()));
    world.log.refuse(0);
    world.settle();
    for (peer, request) in [(alice, create), (bob, again), (alice, sends[0]), (bob, sends[1])] {
        assert_eq!(code_of(&world.answer_to(peer, request)), 503, "request {request}");
    }
    // As if it had never been: a stranger now, a conversation after the next try.
    let refused = world.send(alice, id, 3);
    world.settle();
    assert_eq!(code_of(&world.answer_to(alice, refused)), 403);
    let create = world.create(bob, ConversationKind::Direct, &[1]);
    world.settle();
    assert!(matches!(world.answer_to(bob, create), ServerFrame::Created(_)));
    assert_eq!(world.post(alice, id, 1), 1);
}

#[test]
fn refusals_follow_one_another() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    for round in 0..5 {
        let refused = world.send(alice, group, 10 + round);
        world.settle_without_log();
        world.log.refuse(0);
        world.settle();
        assert_eq!(code_of(&world.answer_to(alice, refused)), 503);
        assert_eq!(world.post(alice, group, 100 + round), u64::try_from(round).expect("small") + 1);
    }
}

#[test]
fn pointers_that_were_refused_are_written_later() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    let bob = world.join(2, 1);
    for n in 0..3 {
        world.post(alice, group, n);
    }
    world.received(bob, group, 2);
    world.settle();
    world.tick(world.limits.delivered_flush);
    world.received(bob, group, 3);
    world.settle_without_log();
    world.log.refuse(0);
    world.settle();
    world.tick(world.limits.delivered_flush);
    world.settle();
    assert_eq!(world.store.delivered[&(bob.user, bob.device, group)].0, 3);
}
