//! No wake-up is lost, whatever the order of steps and whatever a weak memory model makes of it; and each fence, and the
//! second look before the sleep, is needed for that.
//! Guards: a worker, log or store thread that sleeps while work waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tidegate_loom::doorbell::{Doorbell, ThreadBell};
use tidegate_loom::sleeper::Sleeper;
use tidegate_loom::sync::{fences, without};

/// As much of a ring as matters: how many items were put in. Weaker than the real one, whose counters are sequentially
/// consistent, so that the handshake has to do it alone.
struct Ring(AtomicUsize);

impl Ring {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(0)))
    }

    fn put(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn items(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// The end of a turn of a worker, log or store thread, until `goal` items have come.
fn receive(goal: usize, rings: &[Arc<Ring>], sleeper: &Sleeper, bell: &ThreadBell, looks_again: bool) {
    let items = || rings.iter().map(|ring| ring.items()).sum::<usize>();
    let mut taken = items();
    while taken < goal {
        if sleeper.prepare_sleep(|| !looks_again || items() == taken) {
            bell.wait(None);
            sleeper.woke();
        }
        taken = items();
    }
}

/// Senders with a ring each, one item at a time, wake after each.
fn senders(count: usize, each: usize, looks_again: bool) {
    let bell = Arc::new(ThreadBell::default());
    let sleeper = Arc::new(Sleeper::new(Arc::clone(&bell) as Arc<dyn Doorbell>));
    let rings: Vec<_> = (0..count).map(|_| Ring::new()).collect();
    for ring in &rings {
        let (ring, sleeper) = (Arc::clone(ring), Arc::clone(&sleeper));
        thread::spawn(move || {
            for _ in 0..each {
                ring.put();
                sleeper.wake();
            }
        });
    }
    receive(count * each, &rings, &sleeper, &bell, looks_again);
}

/// The bell alone: rung by another thread while its owner comes to wait for the first time.
fn first_wait() {
    let bell = Arc::new(ThreadBell::default());
    let ringer = Arc::clone(&bell);
    thread::spawn(move || ringer.ring());
    assert!(bell.wait(None));
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Two senders have more orders than anybody waits for; three forced switches find what is known to be findable.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// One test, because fences are taken out for the whole process.
#[test]
fn no_wake_up_is_lost_and_nothing_in_the_handshake_is_superfluous() {
    let models: [(&str, fn()); 3] = [
        ("first wait", first_wait),
        ("one sender, two items", || senders(1, 2, true)),
        ("two senders", || senders(2, 1, true)),
    ];
    for (name, model) in models {
        println!("{name}");
        check(model);
    }

    let fences = fences();
    assert_eq!(fences.len(), 4, "both sides of the sleeper, and of the bell: {fences:?}");
    for site in fences {
        without(Some(site));
        assert!(
            models.into_iter().any(|(_, model)| is_found(model)),
            "nothing is lost without the fence at {site:?}"
        );
    }
    without(None);
    assert!(is_found(|| senders(1, 1, false)), "nothing is lost without the second look");
}

/// loom finds a thread that sleeps for ever.
fn is_found(model: fn()) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(model))) else { return false };
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    assert!(text.is_some_and(|text| text.contains("deadlock")), "something else went wrong: {text:?}");
    true
}
