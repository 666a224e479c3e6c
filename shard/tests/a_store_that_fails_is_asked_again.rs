//! Proves: a store that cannot answer costs the waiting an error or a delay, nothing else: late answers of questions
//! that nobody waits for are ignored, catch-up is tried again, and the next request finds everything in order.
//! Guards: a failed read that leaves a conversation stuck, or takes the process down.

mod common;

use common::{World, code_of};
use tidegate_shard::limits::STORE_RETRY;
use tidegate_wire::request::HistoryRange;
use tidegate_wire::server::ServerFrame;

/// A conversation of the past, closed in memory: the next touch asks the store.
fn world_with_past() -> (World, tidegate_wire::ConversationId) {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.post(alice, group, 1);
    world.crash();
    (world, group)
}

#[test]
fn opening_fails_and_the_next_touch_opens() {
    let (mut world, group) = world_with_past();
    let alice = world.join(1, 1);
    world.settle();
    let asked = [world.send(alice, group, 2), world.history(alice, group, HistoryRange::Newest, 5)];
    world.received(alice, group, 1);
    world.settle_nothing_but_a_failure();
    world.settle();
    for request in asked {
        assert_eq!(code_of(&world.answer_to(alice, request)), 503);
    }
    assert_eq!(world.post(alice, group, 2), 2);
}

#[test]
fn one_of_several_questions_fails_and_the_others_come_late() {
    let (mut world, group) = world_with_past();
    let alice = world.join(1, 1);
    let warm = world.history(alice, group, HistoryRange::Newest, 5);
    world.settle();
    world.answer_to(alice, warm);
    let asked: Vec<_> = (0..4).map(|client_id| world.send(alice, group, client_id)).collect();
    assert_eq!(world.asked[0].len(), 4, "each of them asks whether it is a repeat");
    world.fail_look_up(0);
    world.answer(0);
    for request in &asked {
        assert_eq!(code_of(&world.answer_to(alice, *request)), 503);
    }
    // They try again before the old answers come: these must not count for the new questions, failures included.
    let again: Vec<_> = (0..4).map(|client_id| world.send(alice, group, client_id)).collect();
    world.look_up(0);
    world.fail_look_up(0);
    world.look_up(0);
    world.settle();
    let seqs: Vec<_> = again
        .iter()
        .map(|request| match world.answer_to(alice, *request) {
            ServerFrame::Ack(ack) => ack.seq,
            other => panic!("{other:?} instead of an ack"),
        })
        .collect();
    assert_eq!(seqs, [2, 1, 3, 4], "client id 1 is the message of the past");
}

#[test]
fn catch_up_is_tried_again() {
    let (mut world, group) = world_with_past();
    let bob = world.join(2, 1);
    for failure in 0..3 {
        // The list, then the owner's question, then the page.
        assert!(world.fail_look_up(0), "failure {failure}");
        world.answer(0);
        world.work(0);
        assert!(world.hear(bob).is_empty());
        assert!(world.asked[0].is_empty(), "asked again at once");
        world.tick(STORE_RETRY / 2);
        assert!(world.asked[0].is_empty(), "asked again too early");
        world.tick(STORE_RETRY);
        if failure < 2 {
            world.look_up(0);
            world.answer(0);
            world.work(0);
        }
    }
    world.settle();
    assert_eq!(world.delivered(bob, group), [1]);
}

#[test]
fn a_page_of_history_fails_and_is_answered() {
    let (mut world, group) = world_with_past();
    let alice = world.join(1, 1);
    world.settle();
    let page = world.history(alice, group, HistoryRange::Newest, 5);
    world.look_up(0);
    world.answer(0);
    world.work(0);
    world.fail_look_up(0);
    world.settle();
    assert_eq!(code_of(&world.answer_to(alice, page)), 503);
}

#[test]
fn answers_for_sessions_that_are_gone_change_nothing() {
    let (mut world, group) = world_with_past();
    for fails in [false, true] {
        let bob = world.join(2, 1);
        world.history(bob, group, HistoryRange::Newest, 5);
        world.send(bob, group, 70);
        world.disconnect(bob);
        let next = world.connect(2, 2);
        assert_eq!(next.connection.slot, bob.connection.slot);
        while !world.asked[0].is_empty() {
            if fails {
                world.fail_look_up(0)
            } else {
                world.look_up(0)
            };
            world.answer(0);
            world.work(0);
        }
        world.settle();
        assert!(world.hear(next).is_empty(), "another session's answers");
        world.disconnect(next);
    }
}

impl World {
    fn settle_nothing_but_a_failure(&mut self) {
        assert!(self.fail_look_up(0), "a question was asked");
        self.answer(0);
        self.work(0);
    }
}
