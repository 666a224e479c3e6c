//! Proves: sessions end with 4401 when their token does, those that have time left stay; drain closes all with 1012
//! after telling them; a session that says nothing is caught up all the same.
//! Guards: sessions that outlive their token.

mod common;

use std::time::Duration;

use common::World;
use tidegate_shard::contract::Input;
use tidegate_shard::limits::TICK;
use tidegate_wire::server::ServerFrame;
use tidegate_wire::{ClientFrame, Encoding, frames};

#[test]
fn within_two_seconds_and_no_other() {
    let mut world = World::new(1);
    let now = common::NOON_MS / 1000;
    let peers: Vec<_> = (0..50)
        .map(|n| world.connect_with(n + 1, 1, Encoding::Binary, now + if n % 2 == 0 { 5 } else { 500 }))
        .collect();
    for _ in 0..16 {
        world.tick(TICK);
    }
    assert!(peers.iter().all(|peer| world.closed(*peer).is_none()), "a second too early");
    for _ in 0..12 {
        world.tick(TICK);
    }
    for (n, peer) in peers.iter().enumerate() {
        assert_eq!(world.closed(*peer), (n % 2 == 0).then_some(4401), "{peer:?}");
    }
    assert_eq!(world.count(|counters| counters.sessions_expired), 25);
    assert_eq!(world.count(|counters| counters.sessions), 25);
}

#[test]
fn a_fresh_token_of_the_same_device_moves_the_end() {
    let mut world = World::new(1);
    let now = common::NOON_MS / 1000;
    let peer = world.connect_with(1, 1, Encoding::Json, now + 5);
    world.hear(peer);
    let renew = |token: String| ClientFrame::Renew(frames::Renew { token });
    let fresh = world.say(peer, &renew(format!("1:1:{}", now + 300)));
    world.say(peer, &renew(format!("1:1:{}", now + 500)));
    let foreign = world.say(peer, &renew(format!("2:1:{}", now + 900)));
    let broken = world.say(peer, &renew("nonsense".into()));
    let heard = world.hear(peer);
    let [(a, welcome), (_, again), (b, ServerFrame::Error(first)), (c, ServerFrame::Error(second))] =
        &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!((*a, *b, *c), (fresh, foreign, broken));
    assert!(matches!(welcome, ServerFrame::Welcome(welcome) if welcome.user == 1), "{welcome:?}");
    assert_eq!(again, welcome, "the same session");
    assert_eq!((first.code, second.code), (401, 401));
    for _ in 0..400 {
        world.tick(TICK);
    }
    assert_eq!(world.closed(peer), None, "the old token's end has passed");
    for _ in 0..1700 {
        world.tick(TICK);
    }
    assert_eq!(world.closed(peer), Some(4401));
}

#[test]
fn drain_tells_then_closes() {
    let mut world = World::new(1);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.send(alice, group, 1);
    world.hear(alice);
    world.feed(0, Input::Drain { reconnect_after_ms: 500, window_ms: 30_000 });
    let heard = world.hear(alice);
    assert!(matches!(&heard[..], [(0, ServerFrame::Drain(drain))] if drain.window_ms == 30_000), "{heard:?}");
    assert_eq!(world.closed(alice), Some(1012));
    world.settle();
    assert_eq!(world.store.head(group).0, 1, "what was taken is still stored");
    assert_eq!(world.count(|counters| counters.sends_unclaimed), 1);
}

#[test]
fn a_session_that_says_nothing_is_caught_up_after_a_moment() {
    let mut world = World::new(2);
    let alice = world.join(1, 1);
    let group = world.group(alice, &[2]);
    world.post(alice, group, 1);
    let silent = world.connect(2, 1);
    world.post(alice, group, 2);
    world.tick(world.limits.hello_wait - Duration::from_millis(1));
    world.settle();
    assert!(world.hear(silent).is_empty(), "it may still say hello");
    world.tick(Duration::from_millis(1));
    world.settle();
    assert_eq!(world.delivered(silent, group), [1, 2]);
}
