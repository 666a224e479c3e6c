//! The mesh loses nothing, repeats nothing, keeps the order of each pair, serves peers in turn and loses no wake-up.
//! Guards against a sleeper that misses the item which arrived while it was falling asleep.

// Helpers of tests.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tidegate::doorbell::{Doorbell, ThreadBell};
use tidegate::mesh::{Port, Sleeper, channel, mesh};

fn thread_bells(n: usize) -> (Vec<Arc<ThreadBell>>, Vec<Arc<dyn Doorbell>>) {
    let bells: Vec<Arc<ThreadBell>> = (0..n).map(|_| Arc::new(ThreadBell::new())).collect();
    let shared = bells.iter().map(|bell| Arc::clone(bell) as Arc<dyn Doorbell>).collect();
    (bells, shared)
}

/// Counts rings; nobody waits.
#[derive(Debug, Default)]
struct CountingBell(AtomicU64);

impl Doorbell for CountingBell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_ping_pong_through_one_slot_rings_loses_no_wake_up() {
    const ROUNDS: u64 = 100_000;
    let (bells, shared) = thread_bells(2);
    let ports = mesh::<u64>(2, 1, shared);
    let play = |mut port: Port<u64>, bell: Arc<ThreadBell>, me: usize| {
        let mut expected = if me == 0 { 1 } else { 0 };
        if me == 0 {
            port.try_send(1, 0).unwrap();
        }
        while expected < ROUNDS {
            let mut reply = None;
            port.take(8, |from, item| {
                assert_eq!(from, 1 - me);
                assert_eq!(item, expected);
                reply = Some(item + 1);
                expected += 2;
            });
            match reply {
                Some(item) => port.try_send(1 - me, item).expect("the peer has taken what was there"),
                None => {
                    port.ring_bells();
                    if port.prepare_sleep() {
                        bell.wait(None);
                        port.woke();
                    }
                    continue;
                }
            }
            port.ring_bells();
        }
        expected
    };
    let ends: Vec<u64> = std::thread::scope(|scope| {
        let players: Vec<_> = ports
            .into_iter()
            .zip(bells)
            .enumerate()
            .map(|(me, (port, bell))| scope.spawn(move || play(port, bell, me)))
            .collect();
        players.into_iter().map(|player| player.join().unwrap()).collect()
    });
    assert_eq!(ends, [ROUNDS + 1, ROUNDS]);
}

#[test]
fn several_senders_wake_one_sleeper_and_nothing_is_lost() {
    const SENDERS: usize = 3;
    const ITEMS: u64 = 40_000;
    let bell = Arc::new(ThreadBell::new());
    let sleeper = Arc::new(Sleeper::new(Arc::clone(&bell) as Arc<dyn Doorbell>));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..SENDERS).map(|_| channel::<u64>(2)).unzip();
    std::thread::scope(|scope| {
        for sender in senders {
            let sleeper = Arc::clone(&sleeper);
            scope.spawn(move || {
                for item in 0..ITEMS {
                    let mut item = item;
                    while let Err(back) = sender.try_send(item) {
                        item = back;
                        std::thread::yield_now();
                    }
                    sleeper.wake();
                }
            });
        }
        let mut next = [0; SENDERS];
        while next != [ITEMS; SENDERS] {
            let mut taken = 0;
            for (receiver, next) in receivers.iter().zip(&mut next) {
                while let Some(item) = receiver.try_take() {
                    assert_eq!(item, *next);
                    *next += 1;
                    taken += 1;
                }
            }
            if taken == 0 && sleeper.prepare_sleep(|| receivers.iter().all(|receiver| receiver.is_empty())) {
                bell.wait(None);
                sleeper.woke();
            }
        }
    });
}

#[test]
fn a_bell_is_rung_once_per_sleep_and_only_for_a_sleeper() {
    let bell = Arc::new(CountingBell::default());
    let bells: Vec<Arc<dyn Doorbell>> = vec![Arc::new(CountingBell::default()), Arc::clone(&bell) as _];
    let mut ports = mesh::<u8>(2, 8, bells);
    let sleepy = ports.pop().unwrap();
    let mut busy = ports.pop().unwrap();

    busy.try_send(1, 1).unwrap();
    assert_eq!(busy.ring_bells(), 0, "the peer is awake");
    assert!(!sleepy.prepare_sleep(), "there is work");
    let mut sleepy = sleepy;
    assert_eq!(sleepy.take(8, |from, item| assert_eq!((from, item), (0, 1))), 1);

    assert!(sleepy.prepare_sleep());
    assert_eq!(busy.ring_bells(), 0, "the peer sleeps, but got nothing since");
    busy.try_send(1, 2).unwrap();
    busy.try_send(1, 3).unwrap();
    assert_eq!(busy.ring_bells(), 1);
    busy.try_send(1, 4).unwrap();
    assert_eq!(busy.ring_bells(), 0, "it has been rung for this sleep");
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_talkative_peer_does_not_starve_a_quiet_one() {
    let (_, shared) = thread_bells(3);
    let mut ports = mesh::<u8>(3, 100, shared);
    for _ in 0..100 {
        ports[1].try_send(0, 1).unwrap();
    }
    ports[2].try_send(0, 2).unwrap();
    let mut order = Vec::new();
    assert_eq!(ports[0].take(3, |from, _| order.push(from)), 3);
    assert_eq!(order, [1, 2, 1]);
    assert_eq!(ports[0].depth(), 98);
}

#[derive(Clone, Debug)]
enum Step {
    Send { from: usize, to: usize },
    Take { port: usize, budget: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3usize, 0..3usize).prop_map(|(from, to)| Step::Send { from, to }),
        (0..3usize, 0..5usize).prop_map(|(port, budget)| Step::Take { port, budget }),
    ]
}

proptest! {
    #[test]
    fn it_behaves_like_a_queue_per_pair(steps in prop::collection::vec(step(), 1..300), capacity in 1..5usize) {
        let (_, shared) = thread_bells(3);
        let mut ports = mesh::<u32>(3, capacity, shared);
        let mut model: Vec<VecDeque<u32>> = vec![VecDeque::new(); 9];
        let mut refused = [0u64; 9];
        for (item, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send { from, to } => {
                    let (item, pair) = (item as u32, from * 3 + to);
                    let sent = ports[from].try_send(to, item);
                    if model[pair].len() < capacity {
                        prop_assert_eq!(sent, Ok(()));
                        model[pair].push_back(item);
                    } else {
                        prop_assert_eq!(sent, Err(item));
                        refused[pair] += 1;
                    }
                    prop_assert_eq!(ports[from].refusals(to), refused[pair]);
                }
                Step::Take { port, budget } => {
                    let waiting: usize = (0..3).map(|from| model[from * 3 + port].len()).sum();
                    prop_assert_eq!(ports[port].depth(), waiting);
                    let mut got = Vec::new();
                    let taken = ports[port].take(budget, |from, item| got.push((from, item)));
                    prop_assert_eq!(taken, waiting.min(budget));
                    prop_assert_eq!(taken, got.len());
                    for (from, item) in got {
                        prop_assert_eq!(model[from * 3 + port].pop_front(), Some(item));
                    }
                    let idle = (0..3).all(|from| model[from * 3 + port].is_empty());
                    prop_assert_eq!(ports[port].prepare_sleep(), idle);
                    ports[port].woke();
                }
            }
        }
    }
}
