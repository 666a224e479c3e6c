//! A hop between shards: through the mesh on one thread (the queue alone), and from thread to thread in batches (the
//! queue, cache lines that change cores, and the sleep handshake).

mod support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::measure;
use tidegate::doorbell::{Doorbell, ThreadBell};
use tidegate::mesh::{Port, mesh};

/// Size of an envelope that carries shared bytes and ids.
type Envelope = [u64; 8];

const CAPACITY: usize = 1024;
/// Envelopes per iteration of the measurement across threads.
const ROUND: u64 = 4096;

fn same_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring, one thread");
    let mut ports = ports();
    let mut receiver = ports.0.pop().expect("two ports");
    let mut sender = ports.0.pop().expect("two ports");
    for batch in [1_u64, 64] {
        group.throughput(Throughput::Elements(batch));
        measure(&mut group, &format!("send and take {batch}"), || {
            for number in 0..batch {
                sender.try_send(1, [number; 8]).expect("the ring has room");
            }
            let mut sum = 0;
            let taken = receiver.take(CAPACITY, |_, envelope| sum += envelope[7] + 1);
            assert_eq!(taken as u64, batch);
            sum
        });
    }
    group.finish();
}

fn across_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring, across threads");
    group.sample_size(20).throughput(Throughput::Elements(ROUND));
    for batch in [1_u64, 64] {
        group.bench_function(format!("batches of {batch}"), |bencher| {
            bencher.iter_custom(|iterations| hand_over(iterations * ROUND, batch));
        });
    }
    group.finish();
}

/// Time from the first send until the last envelope is taken by a thread that sleeps when it has nothing to do.
fn hand_over(envelopes: u64, batch: u64) -> Duration {
    let (mut ports, bells) = ports();
    let mut receiver = ports.pop().expect("two ports");
    let mut sender = ports.pop().expect("two ports");
    let consumer = thread::spawn(move || {
        let (mut sum, mut taken) = (0_u64, 0_u64);
        while taken < envelopes {
            taken += receiver.take(CAPACITY, |_, envelope| sum = sum.wrapping_add(envelope[0])) as u64;
            if taken < envelopes && receiver.prepare_sleep() {
                bells[1].wait(None);
                receiver.woke();
            }
        }
        sum
    });
    let start = Instant::now();
    for first in (0..envelopes).step_by(usize::try_from(batch).expect("a small batch")) {
        for number in first..(first + batch).min(envelopes) {
            let mut envelope = [number; 8];
            while let Err(back) = sender.try_send(1, envelope) {
                envelope = back;
                sender.ring_bells();
                thread::yield_now();
            }
        }
        sender.ring_bells();
    }
    let sum = consumer.join().expect("the consumer does not panic");
    let elapsed = start.elapsed();
    assert_eq!(sum, envelopes * (envelopes - 1) / 2, "every envelope arrives once");
    elapsed
}

fn ports() -> (Vec<Port<Envelope>>, Vec<Arc<ThreadBell>>) {
    let bells: Vec<Arc<ThreadBell>> = (0..2).map(|_| Arc::new(ThreadBell::new())).collect();
    let doorbells = bells.iter().map(|bell| Arc::clone(bell) as Arc<dyn Doorbell>).collect();
    (mesh(2, CAPACITY, doorbells), bells)
}

criterion_group!(benches, same_thread, across_threads);
criterion_main!(benches);
