//! Proves: whoever is no member gets, for a conversation of others, word for word the answer for one that does not exist.
//! Guards: probing for conversations (and who talks to whom: direct ids follow from the users).

mod common;

use common::World;
use tidegate_wire::ConversationId;
use tidegate_wire::request::HistoryRange;
use tidegate_wire::server::ServerFrame;

#[test]
fn foreign_and_absent_are_one() {
    for shards in [1, 3] {
        let mut world = World::new(shards);
        let (alice, eve) = (world.join(1, 1), world.join(66, 1));
        let group = world.group(alice, &[2]);
        world.post(alice, group, 1);
        let mut seen = Vec::new();
        for id in [group, ConversationId(group.0 ^ 1)] {
            let send = world.send(eve, id, 1);
            let reply = world.say(eve, &common::message(id, 2, 99));
            let page = world.history(eve, id, HistoryRange::Newest, 10);
            world.received(eve, id, 1);
            world.settle();
            let answers = [send, reply, page].map(|request| world.answer_to(eve, request));
            assert!(answers.iter().all(|answer| common::code_of(answer) == 403));
            world.sync(eve, &[(id, 0)]);
            world.settle();
            let rest: Vec<_> = world.hear(eve).into_iter().map(|(_, frame)| frame).collect();
            seen.push((answers, rest));
        }
        assert_eq!(seen[0], seen[1]);
        world.tick(world.limits.delivered_flush);
        world.settle();
        assert!(world.store.delivered.is_empty(), "a stranger's pointer was kept");
        assert_eq!(world.store.head(group).0, 1);
    }
}

#[test]
fn a_group_of_others_is_not_joined_by_creating_it() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let create = world.create(alice, tidegate_wire::frames::ConversationKind::Direct, &[2]);
    world.settle();
    assert!(matches!(world.answer_to(alice, create), ServerFrame::Created(_)));
    let eve = world.join(66, 1);
    let create = world.create(eve, tidegate_wire::frames::ConversationKind::Direct, &[1, 2]);
    world.settle();
    assert_eq!(common::code_of(&world.answer_to(eve, create)), 400);
}

#[test]
fn strangers_do_not_cost_a_question_per_send() {
    let mut world = World::new(1);
    let (alice, eve) = (world.join(1, 1), world.join(66, 1));
    let group = world.group(alice, &[2]);
    world.post(alice, group, 1);
    world.crash();
    let (alice, eve) = (world.join(alice.user.0, 1), world.join(eve.user.0, 1));
    world.post(alice, group, 2);
    let before = world.count(|counters| counters.repeat_queries);
    for client_id in 0..10 {
        world.send(eve, group, client_id);
        world.settle();
    }
    assert_eq!(world.count(|counters| counters.repeat_queries), before);
}
