//! Proves: whatever part of the last, unacknowledged group reached the disk, the log opens with exactly the groups
//! before it (and the last one only when it is whole), and goes on writing.
//! Guards against: a power loss that makes the gateway refuse to start, or that brings back half a group.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod support;

use std::sync::Arc;

use support::{SMALL, commit_all, fresh, numbered, open};
use tidegate_storage::embedded::disk::{SectorFate, SimulatedDisk, UnsyncedSector};
use tidegate_storage::embedded::log::{CommitError, Finished};
use tidegate_storage::{Append, Lsn};

const SECTOR_BYTES: usize = 512;

/// A disk with two durable groups of two records and a third that was written and not synced. The third spans blocks.
fn with_unsynced_group() -> (Arc<SimulatedDisk>, Vec<(Lsn, Append)>, usize) {
    let (disk, mut log) = fresh(&SMALL);
    let mut durable = commit_all(&mut log, &[numbered(1, 100), numbered(2, 3000)]);
    durable.extend(commit_all(&mut log, &[numbered(3, 5000), numbered(4, 10)]));
    for ticket in 5..8 {
        log.push(numbered(ticket, 3500)).unwrap();
    }
    let commit = log.begin().unwrap();
    commit.write(&*disk).unwrap();
    (disk, durable, commit.bytes() / SECTOR_BYTES)
}

/// Crashes as told, opens, and checks that nothing durable is gone, nothing is made up, and the log goes on.
fn check(fate: impl Fn(usize) -> SectorFate) -> bool {
    let (disk, mut expected, sectors) = with_unsynced_group();
    let mut asked = 0;
    disk.crash(|_: UnsyncedSector| {
        asked += 1;
        fate(asked - 1)
    });
    assert_eq!(asked, sectors, "every sector of the group is at risk");

    let (mut log, recovered, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    let whole = replayed.len() == 7;
    if whole {
        expected.extend((5..8).map(|ticket| (Lsn(ticket), numbered(ticket, 3500))));
        assert_eq!(recovered.torn, None);
    }
    assert_eq!(replayed, expected);
    assert_eq!(recovered.next_lsn, Lsn(expected.len() as u64 + 1));

    // Shorter than the torn group, so that its remains would lie behind.
    expected.extend(commit_all(&mut log, &[numbered(90, 20)]));
    let (_, again, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, expected);
    assert_eq!(again.torn, None);
    whole
}

#[test]
fn torn_at_each_sector_boundary() {
    let (_, _, sectors) = with_unsynced_group();
    for kept in 0..=sectors {
        let whole = check(|index| if index < kept { SectorFate::Kept } else { SectorFate::Lost });
        // The last sectors are padding: without them the group is whole all the same.
        assert!(!whole || (sectors - kept) * SECTOR_BYTES < 4096, "whole with {kept} of {sectors} sectors");
    }
}

#[test]
fn only_the_end_arrived() {
    let (_, _, sectors) = with_unsynced_group();
    for lost in 1..=sectors {
        let whole = check(|index| if index < lost { SectorFate::Lost } else { SectorFate::Kept });
        assert!(!whole, "the first {lost} sectors are missing");
    }
}

#[test]
fn each_sector_lost_alone() {
    let (_, _, sectors) = with_unsynced_group();
    let mut survived = 0;
    for lost in 0..sectors {
        survived +=
            usize::from(check(|index| if index == lost { SectorFate::Lost } else { SectorFate::Kept }));
    }
    assert!(
        survived < 8,
        "only sectors of padding may be missing from a group that is accepted, not {survived}"
    );
}

#[test]
fn each_sector_torn_inside() {
    let (_, _, sectors) = with_unsynced_group();
    for torn in 0..sectors {
        for bytes in [1, 64, 70, 255, 511] {
            check(|index| if index == torn { SectorFate::Torn(bytes) } else { SectorFate::Kept });
        }
    }
}

#[test]
fn sectors_arrived_in_any_order() {
    let (_, _, sectors) = with_unsynced_group();
    for pattern in 0..200_u64 {
        let kept = |index: usize| {
            let mixed = (pattern * 1000 + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if (mixed >> 40) & 1 == 0 { SectorFate::Kept } else { SectorFate::Lost }
        };
        check(kept);
    }
    assert!(sectors > 16, "the group has enough sectors for this to mean something");
}

#[test]
fn a_group_that_was_the_first_of_the_next_segment() {
    for kept in [0, 1, 5, 20] {
        let (disk, mut log) = fresh(&SMALL);
        support::prepare(&mut log);
        let mut durable = Vec::new();
        let mut ticket = 0;
        // Fill the first segment so far that the next group does not fit.
        for _ in 0..4 {
            ticket += 1;
            durable.extend(commit_all(&mut log, &[numbered(ticket, 14_000)]));
        }
        log.push(numbered(5, 9000)).unwrap();
        let commit = log.begin().unwrap();
        assert_eq!(commit.place().segment.0, 2);
        commit.write(&*disk).unwrap();
        drop(log);
        disk.crash(|sector| if sector.index < kept { SectorFate::Kept } else { SectorFate::Lost });
        let (mut log, recovered, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
        if kept < 20 {
            assert_eq!(replayed, durable);
            assert_eq!(recovered.torn.is_some(), kept > 0, "{kept} sectors: {recovered:?}");
        } else {
            durable.push((Lsn(5), numbered(5, 9000)));
            assert_eq!(replayed, durable);
        }
        // Into the rest of the first segment, then on to the second.
        for ticket in [10, 11, 12] {
            durable.extend(commit_all(&mut log, &[numbered(ticket, 12_000)]));
        }
        let (_, _, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
        assert_eq!(replayed, durable);
    }
}

#[test]
fn readable_but_unsynced_bytes_are_synced_before_anybody_sees_them() {
    // The process died between write and sync; the machine lives, so the bytes can be read.
    let (disk, _, _) = with_unsynced_group();
    let (log, _, expected) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(expected.len(), 7, "the group is readable");
    drop(log);
    // Now the power fails. What was handed out must be there.
    disk.crash(|sector| panic!("{sector:?} was handed out unsynced"));
    let (_, _, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, expected);
}

#[test]
fn a_failed_sync_poisons_and_reopening_tells_the_truth() {
    use tidegate_storage::embedded::disk::Fault;
    use tidegate_storage::embedded::log::RejectReason;
    for (fault, fate) in [
        (Fault::Sync, SectorFate::Lost),
        (Fault::Sync, SectorFate::Kept),
        (Fault::Write { sectors: 3 }, SectorFate::Kept),
        (Fault::Write { sectors: 0 }, SectorFate::Kept),
    ] {
        let (disk, mut log) = fresh(&SMALL);
        let durable = commit_all(&mut log, &[numbered(1, 1000)]);
        disk.inject(fault);
        log.push(numbered(2, 6000)).unwrap();
        let commit = log.begin().unwrap();
        log.push(numbered(3, 10)).unwrap();
        let result = commit.perform(&*disk);
        assert!(matches!(result, Err(CommitError::Failed(_))), "{fault:?}: {result:?}");
        assert!(matches!(log.finish(commit, result), Finished::Poisoned { .. }));
        assert!(log.is_poisoned());
        assert!(log.begin().is_none(), "a poisoned log writes nothing");
        assert_eq!(log.push(numbered(4, 10)).unwrap_err().reason, RejectReason::Poisoned);
        assert_eq!(disk.operations().1 - 1, u64::from(fault == Fault::Sync), "no sync is tried twice");
        drop(log);
        disk.crash(|_| fate);
        let (_, _, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
        assert_eq!(replayed[..1], durable[..]);
        assert_eq!(replayed.len() == 2, fault == Fault::Sync && fate == SectorFate::Kept);
    }
}
