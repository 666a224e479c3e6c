//! Proves: from its cursors on a session gets every message once and in order, whatever happens while it is caught up;
//! more than a page behind it gets the newest page and is told so; a sync is answered like a hello.
//! Guards: the race between the store and live messages.

mod common;

use common::World;
use tidegate_shard::Limits;
use tidegate_wire::ClientFrame;
use tidegate_wire::request::HistoryRange;
use tidegate_wire::server::ServerFrame;

/// One small step somewhere, chosen by a number.
fn step(world: &mut World, random: u64) {
    let shard = (random >> 8) as usize % world.shards.len();
    match random % 6 {
        0 => drop(world.carry((random >> 16) as usize)),
        1 => drop(world.news(shard)),
        2 => drop(world.look_up(shard)),
        3 => drop(world.answer(shard)),
        4 => drop(world.work(shard)),
        _ => world.commit(1),
    }
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 20
}

#[test]
fn while_others_send_in_every_order() {
    for seed in 0..300 {
        let mut random = seed;
        let shards = 1 + (seed % 3) as u16;
        let mut world = World::with(shards, Limits { page_bytes_max: 500, ..Limits::default() });
        let alice = world.join(1, 1);
        let groups = [world.group(alice, &[2]), world.group(alice, &[2]), world.group(alice, &[2])];
        let mut client_id = 0;
        for n in 0..9 {
            client_id += 1;
            world.post(alice, groups[n % 3], client_id);
        }
        let bob = world.connect(2, 1);
        let cursor = seed % 4;
        world.hello(bob, &[(groups[0], cursor)]);
        for _ in 0..60 {
            if next(&mut random).is_multiple_of(6) {
                client_id += 1;
                world.send(alice, groups[next(&mut random) as usize % 3], client_id);
            }
            let random = next(&mut random);
            step(&mut world, random);
        }
        world.settle();
        let heard = world.hear(bob);
        for (index, group) in groups.iter().enumerate() {
            let got: Vec<_> = heard
                .iter()
                .filter_map(|(_, frame)| match frame {
                    ServerFrame::Deliver(deliver) if deliver.conversation == group.0 => Some(deliver.seq),
                    _ => None,
                })
                .collect();
            let from = if index == 0 { cursor } else { 0 };
            assert_eq!(
                got,
                (from + 1..=world.store.head(*group).0).collect::<Vec<_>>(),
                "seed {seed}, group {index}"
            );
        }
    }
}

#[test]
fn more_than_a_page_behind_is_the_newest_page_and_the_rest_by_history() {
    let mut world = World::new(2);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    for client_id in 0..130 {
        world.post(alice, group, client_id);
    }
    let bob = world.connect(2, 1);
    world.hello(bob, &[(group, 10)]);
    world.settle();
    let heard = world.hear(bob);
    let synced = heard.iter().find_map(|(_, frame)| match frame {
        ServerFrame::Synced(synced) => Some((synced.head_seq, synced.has_more)),
        _ => None,
    });
    assert_eq!(synced, Some((130, true)));
    assert_eq!(heard.len(), 101);
    let mut pages = Vec::new();
    let mut after = 10;
    while after < 30 {
        let request = world.history(bob, group, HistoryRange::After(tidegate_wire::Sequence(after)), 7);
        world.settle();
        let ServerFrame::Page(page) = world.answer_to(bob, request) else { panic!("no page") };
        assert!(page.has_more);
        let seqs = common::client::page_seqs(&page);
        after = *seqs.last().expect("a page that has more is not empty");
        pages.extend(seqs);
    }
    assert_eq!(pages, (11..=31).collect::<Vec<_>>());
}

#[test]
fn pages_of_history_at_the_edges() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    for client_id in 0..5 {
        world.post(alice, group, client_id);
    }
    let seq = tidegate_wire::Sequence;
    let cases = [
        (HistoryRange::Newest, 2, vec![4, 5], true),
        (HistoryRange::Newest, 0, vec![1, 2, 3, 4, 5], false),
        (HistoryRange::Before(seq(1)), 9, vec![], false),
        (HistoryRange::Before(seq(3)), 1, vec![2], true),
        (HistoryRange::Before(seq(u64::MAX - 1)), 9, vec![1, 2, 3, 4, 5], false),
        (HistoryRange::After(seq(0)), 2, vec![1, 2], true),
        (HistoryRange::After(seq(5)), 9, vec![], false),
        (HistoryRange::After(seq(u64::MAX - 1)), 9, vec![], false),
    ];
    for (range, limit, expected, more) in cases {
        let request = world.history(alice, group, range, limit);
        world.settle();
        let ServerFrame::Page(page) = world.answer_to(alice, request) else { panic!("no page") };
        assert_eq!((common::client::page_seqs(&page), page.has_more), (expected, more), "{range:?}");
    }
    let refused = world.history(alice, group, HistoryRange::Newest, 101);
    assert_eq!(common::code_of(&world.answer_to(alice, refused)), 400);
}

#[test]
fn a_sync_goes_back_as_far_as_it_says_at_any_moment() {
    for moment in 0..14 {
        let mut world = World::new(1);
        let alice = world.join(1, 1);
        let group = world.group(alice, &[2]);
        for client_id in 0..8 {
            world.post(alice, group, client_id);
        }
        let bob = world.connect(2, 1);
        world.received(bob, group, 6);
        for _ in 0..moment {
            world.look_up(0);
            world.answer(0);
            if moment % 2 == 0 {
                world.work(0);
            }
        }
        world.sync(bob, &[(group, 2)]);
        world.settle();
        let got = world.delivered(bob, group);
        assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1 || pair[1] == 3), "{got:?}");
        assert!(got.ends_with(&[3, 4, 5, 6, 7, 8]), "moment {moment}: {got:?}");
    }
}

#[test]
fn a_ping_before_hello_does_not_take_its_place() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    for client_id in 0..4 {
        world.post(alice, group, client_id);
    }
    let bob = world.connect(2, 1);
    let ping = world.say(bob, &ClientFrame::Ping);
    world.settle();
    assert_eq!(world.hear(bob), [(ping, ServerFrame::Pong)]);
    world.hello(bob, &[(group, 3)]);
    world.settle();
    assert_eq!(world.delivered(bob, group), [4]);
}

#[test]
fn what_a_device_acknowledged_does_not_come_again() {
    let mut world = World::new(2);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    let bob = world.join(2, 1);
    for client_id in 0..4 {
        world.post(alice, group, client_id);
    }
    // Acknowledged, but not even handed to the log: the owner knows better than the store.
    world.received(bob, group, 3);
    world.settle();
    world.disconnect(bob);
    let (bob, other) = (world.join(2, 1), world.join(2, 2));
    world.settle();
    assert_eq!(world.delivered(bob, group), [4]);
    assert_eq!(world.delivered(other, group), [1, 2, 3, 4], "each device for itself");
    world.tick(world.limits.delivered_flush);
    world.settle();
    world.crash();
    let bob = world.join(2, 1);
    world.settle();
    assert_eq!(world.delivered(bob, group), [4], "the pointer was stored");
}
