//! Proves: the store on disk forgets what expired, works while another thread flushes and compacts, and never claims to
//! have persisted what a crash would lose.
//! Guards against: a log that is recycled too early, and tables that grow for ever.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::message;
use tidegate_storage::embedded::lsm::{LsmOptions, LsmStore};
use tidegate_storage::query::Order;
use tidegate_storage::row::Idempotency;
use tidegate_storage::{Answer, Lsn, Query, Row, Store};

fn tiny() -> LsmOptions {
    LsmOptions { memtable_bytes: 20_000, idempotency_window_ms: 1000, ..LsmOptions::default() }
}

fn page(store: &mut LsmStore) -> Vec<u64> {
    let query = Query::Messages {
        conversation: 1,
        after: 0,
        up_to: u64::MAX,
        limit: u32::MAX,
        bytes_max: u32::MAX,
        order: Order::OldestFirst,
    };
    match store.query(&query) {
        Answer::Messages { messages, .. } => messages.into_iter().map(|(seq, _)| seq).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_flush_exactly_the_persisted_records_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut applied = 0;
    for round in 1..=5 {
        let mut store = LsmStore::open(directory.path(), &tiny()).unwrap();
        assert_eq!(store.applied_lsn(), store.persisted_lsn());
        let there = store.persisted_lsn().0;
        assert!(there <= applied);
        // Also nothing more: a record that is there in part would be counted twice by somebody.
        assert_eq!(page(&mut store), (1..=there).collect::<Vec<_>>());
        applied = there;
        for _ in 0..100 + round {
            applied += 1;
            store.apply(Lsn(applied), &[message(1, applied, &[7; 300])]).unwrap();
            if applied % 40 == 0 {
                store.maintain().unwrap();
            }
        }
        assert!(store.persisted_lsn() > Lsn(there), "maintenance moved the checkpoint");
        // Dropped without a flush: what was not persisted is gone, as after a crash.
    }
}

#[test]
fn expired_keys_go_in_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LsmStore::open(directory.path(), &tiny()).unwrap();
    for seq in 1..=4000 {
        let idempotency =
            Idempotency { sender: 1, client_id: seq.into(), message_id: seq, created_ms: seq * 10 };
        let row = Row::Message { conversation: 1, seq, frame: vec![1; 100].into(), idempotency };
        store.apply(Lsn(seq), &[row]).unwrap();
        if seq % 50 == 0 {
            store.maintain().unwrap();
        }
    }
    store.flush().unwrap();
    let mut known = |client_id: u64| {
        let query = Query::Idempotency { conversation: 1, sender: 1, client_id: client_id.into() };
        matches!(store.query(&query), Answer::Idempotency(Some(_)))
    };
    let forgotten = (1..=4000).filter(|seq| !known(*seq)).count();
    assert!(forgotten > 2000, "only {forgotten} of 3900 expired keys were forgotten");
    assert!((3900..=4000).all(&mut known), "the last second is known");
    assert_eq!(page(&mut store).len(), 4000, "messages stay");
}

#[test]
fn questions_are_answered_while_another_thread_maintains() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LsmStore::open(directory.path(), &tiny()).unwrap();
    let maintenance = store.maintenance();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let helper = std::thread::spawn(move || {
        let mut rounds = 0;
        while !stopped.load(Ordering::Relaxed) {
            maintenance.run().unwrap();
            rounds += 1;
            std::thread::yield_now();
        }
        rounds
    });
    for lsn in 1..=3000 {
        let rows =
            [message(1, lsn, &[3; 200]), Row::Delivered { user: 1, device: 1, conversation: 1, seq: lsn }];
        store.apply(Lsn(lsn), &rows).unwrap();
        if lsn % 100 == 0 {
            assert_eq!(page(&mut store), (1..=lsn).collect::<Vec<_>>());
            assert!(store.persisted_lsn() <= Lsn(lsn));
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(helper.join().unwrap() > 0);
    store.flush().unwrap();
    assert_eq!(store.persisted_lsn(), Lsn(3000));
    drop(store);
    let mut store = LsmStore::open(directory.path(), &tiny()).unwrap();
    assert_eq!(store.persisted_lsn(), Lsn(3000));
    assert_eq!(page(&mut store).len(), 3000);
}

#[test]
fn a_failed_flush_loses_nothing_and_may_be_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LsmStore::open(directory.path(), &tiny()).unwrap();
    store.apply(Lsn(1), &[message(1, 1, &[1; 300])]).unwrap();
    store.flush().unwrap();
    // No table can be written.
    let (tables, away) = (directory.path().join("tables"), directory.path().join("away"));
    std::fs::rename(&tables, &away).unwrap();
    for lsn in 2..=400 {
        store.apply(Lsn(lsn), &[message(1, lsn, &[1; 300])]).unwrap();
        if lsn % 100 == 0 {
            let text = store.flush().unwrap_err().to_string();
            assert!(text.contains("flushing tables"), "{text}");
        }
    }
    assert_eq!(store.persisted_lsn(), Lsn(1));
    std::fs::rename(&away, &tables).unwrap();
    assert_eq!(page(&mut store), (1..=400).collect::<Vec<_>>());
    store.flush().unwrap();
    assert_eq!(store.persisted_lsn(), Lsn(400));
    drop(store);
    assert_eq!(page(&mut LsmStore::open(directory.path(), &tiny()).unwrap()), (1..=400).collect::<Vec<_>>());
}

#[test]
fn flushing_that_fails_for_ever_ends_in_an_error_and_not_in_all_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = LsmStore::open(directory.path(), &tiny()).unwrap();
    std::fs::rename(directory.path().join("tables"), directory.path().join("away")).unwrap();
    let failed = (1..=10_000).find(|lsn| store.apply(Lsn(*lsn), &[message(1, *lsn, &[1; 300])]).is_err());
    // 13 memtables of 20 kB with about 50 messages each.
    assert!(failed.is_some_and(|lsn| (300..2000).contains(&lsn)), "{failed:?}");
    assert_eq!(store.persisted_lsn(), Lsn::ZERO);
}
