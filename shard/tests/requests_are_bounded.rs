//! Proves: a session with too many unanswered requests, or too many unread bytes, is not read from until that is
//! better; a shard with too many says that it is congested; what no answer is owed for is bounded, too.
//! Guards: memory that grows with what a client asks and never reads.

mod common;

use common::{World, code_of};
use tidegate_shard::Limits;
use tidegate_shard::contract::Input;
use tidegate_wire::frames::{self, Cursor};
use tidegate_wire::{ClientFrame, ConversationId};

fn limits() -> Limits {
    Limits { session_requests_max: 4, requests_max: 6, unsent_bytes_max: 1000, ..Limits::default() }
}

#[test]
fn a_session_is_paused_and_goes_on() {
    let mut world = World::with(1, limits());
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    for client_id in 0..4 {
        assert!(world.ears[&alice].reading, "{client_id} unanswered");
        world.send(alice, group, client_id);
    }
    assert!(!world.ears[&alice].reading);
    world.settle();
    assert!(world.ears[&alice].reading);
}

#[test]
fn a_shard_is_congested_also_by_those_who_have_gone() {
    let mut world = World::with(1, limits());
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    for client_id in 0..6 {
        let peer = world.join(1, 1 + client_id as u64);
        assert!(!world.shards[0].is_congested());
        world.send(peer, group, client_id);
        world.disconnect(peer);
    }
    assert!(world.shards[0].is_congested(), "six sends wait for the log");
    world.settle();
    assert!(!world.shards[0].is_congested());
    assert_eq!(world.count(|counters| counters.sends_unclaimed), 6);
}

#[test]
fn a_peer_that_asks_and_does_not_read_is_not_read_from() {
    let mut world = World::with(1, limits());
    let alice = world.join(1, 1);
    world.settle();
    world.feed(0, Input::Blocked { connection: alice.connection, unsent: 1 });
    let mut pings = 0;
    while world.ears[&alice].reading {
        world.say(alice, &ClientFrame::Ping);
        pings += 1;
        assert!(pings < 1000, "pongs without end for a socket that takes none");
    }
    world.feed(0, Input::Drained { connection: alice.connection });
    assert!(world.ears[&alice].reading);
}

#[test]
fn both_reasons_must_go_before_reading_goes_on() {
    let mut world = World::with(1, limits());
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.feed(0, Input::Blocked { connection: alice.connection, unsent: 5000 });
    assert!(!world.ears[&alice].reading);
    for client_id in 0..4 {
        world.send(alice, group, client_id);
    }
    world.feed(0, Input::Drained { connection: alice.connection });
    assert!(!world.ears[&alice].reading, "four requests are unanswered");
    world.settle();
    assert!(world.ears[&alice].reading);
}

#[test]
fn cursors_of_conversations_without_end_are_refused() {
    let mut world = World::new(1);
    let eve = world.join(66, 1);
    world.settle();
    let mut refused = 0;
    for round in 0..20_u128 {
        let cursors = (0..2000).map(|n| Cursor { conversation: round << 64 | n, last_seq: 0 }).collect();
        let request = world.say(eve, &ClientFrame::Sync(frames::Sync { cursors }));
        if let Some(answer) = world.try_answer_to(eve, request) {
            assert_eq!(code_of(&answer), 429);
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused} of 20 syncs refused");
}

#[test]
fn acknowledgements_of_conversations_without_end_are_shed() {
    let mut world = World::with(1, limits());
    let eve = world.join(66, 1);
    world.settle();
    for n in 0..1000 {
        world.received(eve, ConversationId(n), 1);
    }
    assert!(world.asked[0].len() <= 16, "{} questions for one client", world.asked[0].len());
    let one = ConversationId(7);
    for _ in 0..1000 {
        world.received(eve, one, 1);
    }
    world.settle();
    assert!(world.count(|counters| counters.received_shed) > 900);
}

#[test]
fn conversations_in_memory_are_bounded() {
    let mut world = World::with(1, Limits { conversations_max: 8, ..Limits::default() });
    let alice = world.join(1, 1);
    let groups: Vec<_> = (0..40).map(|_| world.group(alice, &[2])).collect();
    for round in 0..3 {
        for group in &groups {
            assert_eq!(world.post(alice, *group, round), u64::try_from(round).expect("small") + 1);
        }
    }
    world.tick(std::time::Duration::from_millis(250));
    let kept = world.count(|counters| counters.conversations);
    assert!(kept <= 9, "{kept} conversations in memory");
    // Repeats of what has left memory are still known.
    assert_eq!(world.post(alice, groups[0], 1), 2);
}
