//! Proves: a send with a client id that was used before gets the first one's ack and adds nothing to the log, whenever
//! it comes: before the first is durable, after, across a restart, behind a question to the store, from another device.
//! Guards: a client that resends after a broken connection appears twice.

mod common;

use common::{Peer, World};
use tidegate_wire::ConversationId;
use tidegate_wire::server::ServerFrame;

/// Both requests are acked alike; the message is stored once (the store of these tests refuses it twice).
fn check(world: &mut World, group: ConversationId, asked: &[(Peer, u64)], seq: u64) {
    let mut acks: Vec<_> = asked
        .iter()
        .map(|(peer, request)| match world.answer_to(*peer, *request) {
            ServerFrame::Ack(ack) => (ack.seq, ack.message_id, ack.created, ack.client_id),
            other => panic!("{other:?} instead of an ack"),
        })
        .collect();
    acks.dedup();
    assert_eq!(acks.len(), 1, "{acks:?}");
    assert_eq!(acks[0].0, seq);
    assert_eq!(world.store.head(group).0, seq);
}

#[test]
fn in_every_order_of_durable_and_question() {
    // When the second send comes, and in which order its question is asked and answered against the first's news.
    for shards in [1, 2] {
        for step in 0..6 {
            for late_answer in [false, true] {
                let mut world = World::new(shards);
                let (alice, phone) = (world.join(1, 1), world.join(1, 2));
                let group = world.group(alice, &[2]);
                world.post(alice, group, 1);
                let owner = usize::from(tidegate_shard::placement::owner_of(group, shards).0);
                let first = world.send(alice, group, 2);
                while world.carry(0) {}
                let advance = |world: &mut World, step| match step {
                    1 => world.commit(1),
                    2 => drop(world.news(owner)),
                    3 => drop(world.carry(0)),
                    4 => drop(world.work(owner)),
                    _ => {}
                };
                for done in 0..=step {
                    advance(&mut world, done);
                }
                let second = world.send(phone, group, 2);
                while world.carry(0) {}
                world.look_up(owner);
                if !late_answer {
                    world.answer(owner);
                }
                for left in step + 1..6 {
                    advance(&mut world, left);
                }
                world.settle();
                check(&mut world, group, &[(alice, first), (phone, second)], 2);
            }
        }
    }
}

#[test]
fn after_a_restart() {
    let mut world = World::new(2);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.post(alice, group, 1);
    let before = world.store.keys.values().next().copied().expect("one send");
    world.crash();
    let alice = world.join(1, 1);
    // The first one and its repeat both wait for the store; a new one goes behind them.
    let asked = [world.send(alice, group, 1), world.send(alice, group, 2), world.send(alice, group, 2)];
    let again = world.send(alice, group, 1);
    world.settle();
    check(&mut world, group, &[(alice, asked[1]), (alice, asked[2])], 2);
    for request in [asked[0], again] {
        let ServerFrame::Ack(ack) = world.answer_to(alice, request) else { panic!("no ack") };
        assert_eq!((ack.seq, ack.message_id, ack.created), (1, before.message_id.0, before.created));
    }
    assert_eq!(world.count(|counters| counters.sends_repeated), 3);
}

#[test]
fn the_same_id_of_another_sender_or_conversation_is_another_message() {
    let mut world = World::new(1);
    let (alice, bob) = (world.join(1, 1), world.join(2, 1));
    let (one, other) = (world.group(alice, &[2]), world.group(alice, &[2]));
    assert_eq!(world.post(alice, one, 9), 1);
    assert_eq!(world.post(bob, one, 9), 2);
    assert_eq!(world.post(alice, other, 9), 1);
}

#[test]
fn a_repeat_of_a_refused_send_is_the_first() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    let (first, repeat) = (world.send(alice, group, 5), world.send(alice, group, 5));
    world.settle_without_log();
    world.log.refuse(0);
    world.settle();
    for request in [first, repeat] {
        assert_eq!(common::code_of(&world.answer_to(alice, request)), 503);
    }
    assert_eq!(world.post(alice, group, 5), 1);
}

#[test]
fn what_was_sent_while_others_wait_for_the_store_is_forgotten_when_nobody_needs_it() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.post(alice, group, 1);
    world.crash();
    let alice = world.join(1, 1);
    world.settle();
    // After a restart every send asks the store, and here one is always waiting: no moment at which nobody waits.
    let mut last = world.send(alice, group, 2);
    for client_id in 3..2000 {
        let next = world.send(alice, group, client_id);
        world.look_up(0);
        world.answer(0);
        world.commit(usize::MAX);
        world.news(0);
        world.work(0);
        assert!(matches!(world.answer_to(alice, last), ServerFrame::Ack(_)));
        last = next;
    }
    let most = format!("{:?}", world.shards[0]).matches("SendKey").count();
    assert!(most < 200, "{most} sends are remembered");
    world.settle();
}

#[test]
fn a_number_that_was_refused_and_given_away_is_not_the_repeats() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.post(alice, group, 1);
    world.crash();
    let alice = world.join(1, 1);
    world.settle();
    // All three wait for the store, after a restart; only the first is answered, numbered 2, and refused.
    let (first, other, repeat) =
        (world.send(alice, group, 8), world.send(alice, group, 9), world.send(alice, group, 8));
    let answer_next = |world: &mut World| {
        world.look_up(0);
        world.answer(0);
    };
    answer_next(&mut world);
    world.log.refuse(0);
    world.news(0);
    assert_eq!(common::code_of(&world.answer_to(alice, first)), 503);
    answer_next(&mut world);
    world.commit(1);
    world.news(0);
    world.settle();
    let ServerFrame::Ack(ack) = world.answer_to(alice, other) else { panic!("no ack") };
    assert_eq!((ack.seq, ack.client_id), (2, 9));
    check(&mut world, group, &[(alice, repeat)], 3);
}
