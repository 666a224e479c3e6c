//! Proves: on real files, what was durable is there after a restart, in order, and the log goes on behind it.
//! Guards against: a restart that loses, repeats or reorders acknowledged records.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod support;

use std::sync::Arc;

use bytes::Bytes;
use support::{append, message};
use tidegate_storage::embedded::disk::{AlignedBuffer, Disk, FileDisk, SegmentNumber};
use tidegate_storage::embedded::log::{Finished, LogOptions};
use tidegate_storage::embedded::{self, Options};
use tidegate_storage::query::Order;
use tidegate_storage::{Answer, Lsn, Query, Row, Store};

fn options() -> Options {
    let log = LogOptions { segment_bytes: 1024 * 1024, group_bytes_max: 256 * 1024, ..LogOptions::default() };
    Options { log, ..Options::default() }
}

#[test]
fn records_survive_a_restart_with_and_without_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let mut seq = 0;
    for round in 0..4_u64 {
        let (mut log, mut store, recovered) = embedded::open(directory.path(), &options()).unwrap();
        assert_eq!(recovered.next_lsn, Lsn(round * 300 + 1));
        assert_eq!(recovered.torn, None);
        for ticket in 1..=300 {
            seq += 1;
            let mut rows = vec![message(1, seq, &vec![seq as u8; 5000])];
            if seq == 1 {
                rows.insert(0, Row::Conversation { conversation: 1, meta: Bytes::from_static(b"meta") });
            }
            log.push(append(0, ticket, rows)).unwrap();
            if ticket % 7 == 0 || ticket == 300 {
                let Finished::Durable(group) = support::commit(&mut log) else { panic!("not durable") };
                for (lsn, append) in group.records() {
                    store.apply(lsn, &append.rows).unwrap();
                }
                support::prepare(&mut log);
            }
        }
        if round % 2 == 1 {
            store.flush().unwrap();
            log.persisted(store.persisted_lsn());
            support::prepare(&mut log);
        }
        assert_eq!(store.applied_lsn(), log.durable_lsn());
    }
    let (_, mut store, recovered) = embedded::open(directory.path(), &options()).unwrap();
    assert_eq!(recovered.next_lsn, Lsn(1201));
    assert_eq!(recovered.created_ms_max, 6200);
    let query = Query::Messages {
        conversation: 1,
        after: 0,
        up_to: u64::MAX,
        limit: 5000,
        bytes_max: u32::MAX,
        order: Order::OldestFirst,
    };
    let Answer::Messages { messages, has_more } = store.query(&query) else { panic!("no messages") };
    assert!(!has_more);
    assert_eq!(messages.len(), 1200);
    for (index, (seq, frame)) in messages.iter().enumerate() {
        assert_eq!(*seq, index as u64 + 1);
        assert_eq!(frame[..], vec![*seq as u8; 5000]);
    }
}

#[test]
fn segments_are_written_and_recycled_and_never_grow() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, mut store, _) = embedded::open(directory.path(), &options()).unwrap();
    for ticket in 1..=2000 {
        log.push(append(0, ticket, vec![message(1, ticket, &[1; 9000])])).unwrap();
        let Finished::Durable(group) = support::commit(&mut log) else { panic!("not durable") };
        store.apply(group.first_lsn, &group.appends[0].rows).unwrap();
        if ticket % 100 == 0 {
            store.flush().unwrap();
            log.persisted(store.persisted_lsn());
        }
        support::prepare(&mut log);
    }
    let segments = log.disk().segments().unwrap();
    assert!(segments.iter().all(|(_, bytes)| *bytes == 1024 * 1024), "{segments:?}");
    assert!(segments.len() <= 5, "24 MB went through a log of {} MiB", segments.len());
    assert!(segments[0].0 > SegmentNumber(15), "{segments:?}");
    assert!(segments.windows(2).all(|pair| pair[1].0 == pair[0].0.next()), "{segments:?}");
}

#[test]
fn a_new_segment_is_whole_and_zero_and_blocks_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(&directory.path().join("log")).unwrap();
    let (segment, later) = (SegmentNumber(1), SegmentNumber(7));
    disk.create(segment, 64 * 1024).unwrap();
    assert_eq!(disk.read(segment).unwrap().bytes(), vec![0; 64 * 1024]);
    assert_eq!(std::fs::metadata(disk.path(segment)).unwrap().len(), 64 * 1024);
    let mut blocks = AlignedBuffer::zeroed(8192);
    blocks.bytes_mut().fill(9);
    disk.write(segment, 4096, &blocks).unwrap();
    disk.sync(segment).unwrap();
    disk.rename(segment, later).unwrap();
    assert_eq!(disk.segments().unwrap(), [(later, 64 * 1024)]);
    let bytes = disk.read(later).unwrap();
    assert_eq!(
        (bytes.bytes()[4095], bytes.bytes()[4096], bytes.bytes()[12_287], bytes.bytes()[12_288]),
        (0, 9, 9, 0)
    );
    disk.remove(later).unwrap();
    disk.remove(later).expect("what is not there is as good as removed");
    assert!(disk.write(later, 0, &blocks).is_err());
}

#[test]
fn an_interrupted_segment_is_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("0000000000000002.new"), b"half").unwrap();
    std::fs::write(directory.path().join("notes.txt"), b"somebody's").unwrap();
    let disk = FileDisk::open(directory.path()).unwrap();
    assert!(disk.segments().unwrap().is_empty());
    assert!(!directory.path().join("0000000000000002.new").exists());
    assert!(directory.path().join("notes.txt").exists());
}

#[test]
fn the_page_cache_serves_where_direct_writes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::open_buffered(directory.path()).unwrap());
    assert!(!disk.is_direct());
    let (mut log, _, _) = support::open(&disk, &support::SMALL, Lsn::ZERO).unwrap();
    let mut durable = Vec::new();
    for ticket in 1..=20 {
        durable.extend(support::commit_all(&mut log, &[support::numbered(ticket, 9000)]));
        support::prepare(&mut log);
    }
    drop(log);
    let disk = Arc::new(FileDisk::open(directory.path()).unwrap());
    let (_, _, replayed) = support::open(&disk, &support::SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, durable);
}
