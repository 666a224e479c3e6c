//! Proves: a direct conversation is one, however often and from whichever side it is created, also at the same moment;
//! groups are new each time; what is wrong with a create is said.
//! Guards: two conversations for one pair, or one conversation written twice.

mod common;

use common::{World, code_of};
use tidegate_shard::placement::direct_conversation;
use tidegate_wire::frames::ConversationKind::{Channel, Direct, Group};
use tidegate_wire::server::ServerFrame;
use tidegate_wire::{ConversationId, UserId};

fn created(frame: &ServerFrame) -> ConversationId {
    match frame {
        ServerFrame::Created(created) => ConversationId(created.conversation),
        other => panic!("{other:?} instead of created"),
    }
}

#[test]
fn at_the_same_moment_and_later() {
    for shards in [1, 4] {
        let mut world = World::new(shards);
        let (alice, bob) = (world.join(1, 1), world.join(2, 1));
        let mut asked = vec![
            (alice, world.create(alice, Direct, &[2])),
            (bob, world.create(bob, Direct, &[1])),
            (bob, world.create(bob, Direct, &[1, 2, 1])),
        ];
        world.settle_without_log();
        asked.push((alice, world.create(alice, Direct, &[2])));
        world.settle_without_log();
        for (peer, request) in &asked {
            assert!(world.try_answer_to(*peer, *request).is_none(), "created before it is durable");
        }
        world.settle();
        asked.push((alice, world.create(alice, Direct, &[2])));
        world.settle();
        world.crash();
        let alice = world.join(1, 1);
        let late = world.create(alice, Direct, &[2]);
        world.settle();
        let id = direct_conversation(UserId(1), UserId(2));
        assert_eq!(created(&world.answer_to(alice, late)), id);
        assert_eq!(world.store.conversations.len(), 1);
    }
}

#[test]
fn every_creator_hears_of_it() {
    let mut world = World::new(2);
    let (alice, bob) = (world.join(1, 1), world.join(2, 1));
    let asked = [(alice, world.create(alice, Direct, &[2])), (bob, world.create(bob, Direct, &[1]))];
    world.settle();
    for (peer, request) in asked {
        assert_eq!(created(&world.answer_to(peer, request)), direct_conversation(UserId(1), UserId(2)));
    }
}

#[test]
fn groups_are_new_each_time() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let (one, two) = (world.group(alice, &[2]), world.group(alice, &[2]));
    assert_ne!(one, two);
}

#[test]
fn what_cannot_be_created_is_refused_with_its_reason() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let many: Vec<u64> = (2..=257).collect();
    let cases = [
        (Direct, &[2, 3][..], 400, "a direct conversation has two members"),
        (Direct, &[0][..], 400, "member 0"),
        (Group, &many[..], 413, "256 members and the creator"),
        (Channel, &[2][..], 400, "channels"),
    ];
    for (kind, members, code, words) in cases {
        let request = world.create(alice, kind, members);
        world.settle();
        let answer = world.answer_to(alice, request);
        assert_eq!(code_of(&answer), code, "{answer:?}");
        let ServerFrame::Error(error) = answer else { unreachable!("code_of looked") };
        assert!(error.message.contains(words), "{}", error.message);
    }
    assert_eq!(world.questions, 1, "only the hello asked the store");
    let most = world.create(alice, Group, &many[..255]);
    world.settle();
    created(&world.answer_to(alice, most));
}
