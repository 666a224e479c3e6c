//! Proves: segments are made ahead, made by the group that needs one, refused cleanly, and given back, without ever
//! writing a file twice or leaving a gap.
//! Guards against: two makers of one segment, a refusal that lets through what was built on it, a log that stays stuck.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod support;

use support::{SMALL, append, commit_all, fresh, message, numbered, open, prepare};
use tidegate_storage::Lsn;
use tidegate_storage::embedded::disk::{Disk, Fault, SegmentNumber};
use tidegate_storage::embedded::log::{CommitError, Finished, RejectReason};

#[test]
fn a_group_that_makes_its_segment_keeps_the_preparation_waiting() {
    let (disk, mut log) = fresh(&SMALL);
    let mut expected = Vec::new();
    for ticket in 1..=4 {
        expected.extend(commit_all(&mut log, &[numbered(ticket, 14_000)]));
    }
    log.push(numbered(5, 14_000)).unwrap();
    let commit = log.begin().unwrap();
    assert_eq!(commit.place().segment, SegmentNumber(2));
    assert!(log.preparation().is_none(), "segment 2 has a maker");
    let result = commit.perform(&*disk);
    let Finished::Durable(group) = log.finish(commit, result) else { panic!("not durable") };
    expected.push((group.first_lsn, numbered(5, 14_000)));
    prepare(&mut log);
    for ticket in 6..=12 {
        expected.extend(commit_all(&mut log, &[numbered(ticket, 14_000)]));
    }
    let (_, _, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, expected);
}

#[test]
fn a_group_waits_for_the_segment_that_is_being_prepared() {
    let (disk, mut log) = fresh(&SMALL);
    let preparation = log.preparation().unwrap();
    assert!(log.preparation().is_none(), "one preparation at a time");
    for ticket in 1..=4 {
        commit_all(&mut log, &[numbered(ticket, 14_000)]);
    }
    log.push(numbered(5, 14_000)).unwrap();
    assert!(log.begin().is_none(), "the segment is on its way");
    let result = preparation.perform(&*disk);
    log.finish_preparation(preparation, result);
    assert_eq!(log.begin().unwrap().place().segment, SegmentNumber(2));
}

#[test]
fn no_space_refuses_the_group_and_what_was_built_on_it_and_later_records_work() {
    let (disk, mut log) = fresh(&SMALL);
    let mut durable = Vec::new();
    for ticket in 1..=4 {
        durable.extend(commit_all(&mut log, &[numbered(ticket, if ticket < 4 { 14_000 } else { 11_000 })]));
    }
    disk.set_capacity(Some(64 * 1024));
    prepare(&mut log);
    let doomed = [numbered(5, 9000), append(1, 1, vec![message(2, 1, b"doomed as well")])];
    for record in &doomed {
        log.push(record.clone()).unwrap();
    }
    let commit = log.begin().unwrap();
    // Meanwhile: more of stream 0, and a stream that the refusal does not concern.
    log.push(numbered(6, 100)).unwrap();
    log.push(append(2, 1, vec![message(3, 1, b"unconcerned")])).unwrap();
    let result = commit.perform(&*disk);
    assert!(matches!(&result, Err(CommitError::NotWritten(error)) if error.to_string().contains("space")));
    let Finished::Refused { appends, streams, .. } = log.finish(commit, result) else {
        panic!("not refused")
    };
    assert_eq!(appends, [doomed[0].clone(), doomed[1].clone(), numbered(6, 100)]);
    let streams: Vec<_> =
        streams.iter().map(|refused| (refused.stream, refused.from_ticket, refused.epoch)).collect();
    assert_eq!(streams, [(0, 5, 1), (1, 1, 1)]);
    assert!(!log.is_poisoned());

    // What its owner sent before it heard of the refusal stays out.
    assert_eq!(log.push(numbered(7, 10)).unwrap_err().reason, RejectReason::Stale);
    // A smaller group still fits into the segment, then space comes back.
    durable.push((Lsn(5), append(2, 1, vec![message(3, 1, b"unconcerned")])));
    let again = tidegate_storage::Append { epoch: 1, ..numbered(5, 9000) };
    let Finished::Durable(group) = support::commit(&mut log) else {
        panic!("there is room for a small group")
    };
    assert_eq!(group.first_lsn, Lsn(5));
    disk.set_capacity(None);
    durable.extend(commit_all(&mut log, &[again]));
    prepare(&mut log);
    let (_, _, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, durable);
}

#[test]
fn a_failed_recycling_leaves_no_gap() {
    let (disk, mut log) = fresh(&SMALL);
    let mut last = Vec::new();
    for ticket in 1..=80 {
        if ticket % 9 == 0 {
            disk.inject(Fault::Rename);
        }
        last = commit_all(&mut log, &[numbered(ticket, 14_000)]);
        log.persisted(Lsn(ticket - 1));
        prepare(&mut log);
        let segments = disk.segments().unwrap();
        assert!(segments.windows(2).all(|pair| pair[1].0 == pair[0].0.next()), "{segments:?}");
        assert!(segments.len() <= 5, "{segments:?}");
    }
    let (_, _, replayed) = open(&disk, &SMALL, Lsn(79)).unwrap();
    assert_eq!(replayed, last);
}

#[test]
fn a_record_that_can_never_fit_is_refused_alone() {
    let (_, mut log) = fresh(&SMALL);
    let Err(rejected) = log.push(numbered(1, 16 * 1024)) else { panic!("it does not fit") };
    assert!(
        matches!(rejected.reason, RejectReason::TooLarge { bytes_max: 16_312, .. }),
        "{:?}",
        rejected.reason
    );
    assert!(log.begin().is_none());
    // A record that fills the group to the last byte does fit.
    let overhead = 24 + 1 + 16 + 8 + 8 + 16 + 8 + 8 + 4;
    commit_all(&mut log, &[numbered(1, 16_312 - overhead)]);
}

#[test]
fn a_full_group_gives_the_record_back_until_the_next() {
    let (_, mut log) = fresh(&SMALL);
    log.push(numbered(1, 10_000)).unwrap();
    let rejected = log.push(numbered(2, 10_000)).unwrap_err();
    assert_eq!((rejected.reason, rejected.append), (RejectReason::Full, numbered(2, 10_000)));
    let commit = log.begin().unwrap();
    log.push(numbered(2, 10_000)).unwrap();
    let result = commit.perform(&**log.disk());
    let Finished::Durable(group) = log.finish(commit, result) else { panic!("not durable") };
    assert_eq!(group.durable_tickets(), [(0, 1)]);
}

#[test]
fn options_that_cannot_work_are_named() {
    let disk = std::sync::Arc::new(tidegate_storage::embedded::disk::SimulatedDisk::new());
    for options in [
        tidegate_storage::embedded::log::LogOptions { segment_bytes: 5000, ..SMALL },
        tidegate_storage::embedded::log::LogOptions { segment_bytes: 4096, ..SMALL },
        tidegate_storage::embedded::log::LogOptions { group_bytes_max: 1000, ..SMALL },
        tidegate_storage::embedded::log::LogOptions { group_bytes_max: 1 << 30, ..SMALL },
    ] {
        let text = open(&disk, &options, Lsn::ZERO).unwrap_err().to_string();
        assert!(text.contains("use a multiple of 4096"), "{text}");
    }
    assert!(disk.segments().unwrap().is_empty());
}
