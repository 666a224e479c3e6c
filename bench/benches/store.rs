//! The ordered store: applying durable records, and the queries that catch-up and history ask.

mod support;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{deliver, measure};
use tidegate_storage::embedded::lsm::{LsmOptions, LsmStore};
use tidegate_storage::query::Order;
use tidegate_storage::row::Idempotency;
use tidegate_storage::{Answer, Lsn, Query, Row, Store};
use tidegate_wire::server::Delivery;

const CONVERSATIONS: u64 = 1_000;
const MESSAGES_PER_CONVERSATION: u64 = 100;
const PAGE: u32 = 50;

fn store(criterion: &mut Criterion) {
    let directory =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written");
    let mut filled =
        Filled::new(LsmStore::open(directory.path(), &LsmOptions::default()).expect("a fresh directory"));
    for _ in 0..CONVERSATIONS * MESSAGES_PER_CONVERSATION {
        filled.apply_one();
    }
    filled.store.flush().expect("the disk takes it");

    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(u64::from(PAGE)));
    let mut conversation = 0;
    measure(&mut group, "newest 50 of a conversation", || {
        conversation = (conversation + 7_919) % CONVERSATIONS;
        page(&mut filled.store, conversation, u64::MAX)
    });
    measure(&mut group, "50 in the middle of a conversation", || {
        conversation = (conversation + 7_919) % CONVERSATIONS;
        page(&mut filled.store, conversation, 70)
    });

    group.sample_size(20).throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
    group.bench_function("apply a message", |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                filled.apply_one();
            }
            let elapsed = start.elapsed();
            filled.store.maintain().expect("the disk takes it");
            elapsed
        });
    });
    group.finish();
    println!("store: checksum {:016x}, records applied", filled.applied);
    assert_eq!(filled.store.applied_lsn().0, filled.applied);
}

/// Sum of the sequences of a page, relative to its last.
fn page(store: &mut LsmStore, conversation: u64, up_to: u64) -> u64 {
    let query = Query::Messages {
        conversation: u128::from(conversation),
        after: 0,
        up_to,
        limit: PAGE,
        bytes_max: u32::MAX,
        order: Order::NewestFirst,
    };
    let Answer::Messages { messages, has_more } = store.query(&query) else {
        panic!("no page of {conversation}")
    };
    assert!(
        has_more && messages.len() == PAGE as usize,
        "conversation {conversation}: {} messages",
        messages.len()
    );
    let last = messages.last().map_or(0, |(seq, _)| *seq);
    messages.iter().map(|(seq, frame)| (last - seq) * 1_000 + frame.len() as u64).sum()
}

/// A store with messages dealt to the conversations in turn.
struct Filled {
    store: LsmStore,
    frame: bytes::Bytes,
    applied: u64,
}

impl Filled {
    fn new(store: LsmStore) -> Self {
        Self { store, frame: Delivery::encode(&deliver(100)).frame(), applied: 0 }
    }

    fn apply_one(&mut self) {
        let (conversation, seq) = (self.applied % CONVERSATIONS, self.applied / CONVERSATIONS + 1);
        self.applied += 1;
        let idempotency = Idempotency {
            sender: 1,
            client_id: u128::from(self.applied),
            message_id: self.applied,
            created_ms: 1,
        };
        let row = Row::Message {
            conversation: u128::from(conversation),
            seq,
            frame: self.frame.clone(),
            idempotency,
        };
        self.store.apply(Lsn(self.applied), &[row]).expect("the disk takes it");
    }
}

criterion_group!(benches, store);
criterion_main!(benches);
