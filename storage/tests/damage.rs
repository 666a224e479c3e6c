//! Proves: damage to bytes that were durable makes the log refuse to open, names the place and the cost, and the
//! operator's choice goes on with the records before it.
//! Guards against: an open that silently drops acknowledged records.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod support;

use std::sync::Arc;

use support::{SMALL, append, commit_all, fresh, message, numbered, open, prepare};
use tidegate_storage::embedded::disk::{Disk, SegmentNumber, SimulatedDisk};
use tidegate_storage::embedded::log::{
    Damage, DamageReason, GroupError, LogOptions, Place, RecoveryError, walk,
};
use tidegate_storage::{Append, Lsn};

const CUT: LogOptions = LogOptions { truncate_damaged: true, ..SMALL };

type LongLog = (Arc<SimulatedDisk>, Vec<(Lsn, Append)>, Vec<(Place, Lsn)>);

/// Twelve groups of two records over three segments; the place of each group.
fn long_log() -> LongLog {
    let (disk, mut log) = fresh(&SMALL);
    let mut durable = Vec::new();
    for group in 0..12 {
        let first = group * 2 + 1;
        durable.extend(commit_all(&mut log, &[numbered(first, 5000), numbered(first + 1, 5000)]));
        prepare(&mut log);
    }
    let mut places = Vec::new();
    walk(&*disk, support::LOG_ID, None, &mut |group| {
        places.push((group.place, group.header.first_lsn));
        Ok::<_, std::convert::Infallible>(())
    })
    .unwrap();
    assert_eq!(places.len(), 12);
    assert_eq!(places.last().unwrap().0.segment, SegmentNumber(3));
    (disk, durable, places)
}

fn refusal(disk: &Arc<SimulatedDisk>, checkpoint: Lsn) -> Damage {
    match open(disk, &SMALL, checkpoint) {
        Err(RecoveryError::Damaged(damage)) => *damage,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn flip(disk: &SimulatedDisk, place: Place, byte: usize) {
    disk.corrupt(place.segment, |bytes| bytes[usize::try_from(place.offset).unwrap() + byte] ^= 0x10);
}

#[test]
fn a_flipped_bit_in_any_group_but_the_last_is_refused_and_can_be_cut() {
    let (disk, durable, places) = long_log();
    for (index, (place, lsn)) in places[..11].iter().enumerate() {
        for byte in [0, 9, 24, 33, 40, 57, 61, 65, 69, 72, 80, 200, 6000] {
            let disk = Arc::new(disk.copy());
            flip(&disk, *place, byte);
            let damage = refusal(&disk, Lsn::ZERO);
            assert_eq!((damage.place, damage.lsn), (*place, *lsn), "byte {byte}");
            assert_eq!(damage.groups_behind, 11 - index as u64, "byte {byte}");
            assert_eq!(damage.records_behind, 2 * damage.groups_behind);
            let text =
                RecoveryError::<std::convert::Infallible>::Damaged(Box::new(damage.clone())).to_string();
            assert!(text.contains("--truncate-damaged-log"), "{text}");
            assert!(text.contains(&format!("byte {} of segment {}", place.offset, place.segment)), "{text}");

            let (mut log, recovered, replayed) = open(&disk, &CUT, Lsn::ZERO).unwrap();
            assert_eq!(replayed, durable[..2 * index]);
            assert_eq!(recovered.truncated, Some(damage));
            assert_eq!(recovered.next_lsn, *lsn);
            commit_all(&mut log, &[numbered(99, 40)]);
            let (_, again, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
            assert_eq!(again.truncated, None);
            assert_eq!(replayed.len(), 2 * index + 1);
        }
    }
}

#[test]
fn damage_to_padding_costs_nothing() {
    let (disk, durable, places) = long_log();
    for (place, _) in places {
        flip(&disk, place, 3 * 4096 - 1);
    }
    let (_, _, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, durable);
}

#[test]
fn a_zeroed_block_in_the_middle_is_refused() {
    let (disk, _, places) = long_log();
    disk.corrupt(places[4].0.segment, |bytes| {
        let from = usize::try_from(places[4].0.offset).unwrap() + 512;
        bytes[from..from + 512].fill(0);
    });
    assert_eq!(refusal(&disk, Lsn::ZERO).place, places[4].0);
}

#[test]
fn a_missing_segment_is_refused_wherever_it_was() {
    let (disk, durable, _) = long_log();
    for missing in [1, 2] {
        let disk = Arc::new(disk.copy());
        disk.remove(SegmentNumber(missing)).unwrap();
        let damage = refusal(&disk, Lsn::ZERO);
        if missing == 1 {
            assert_eq!(damage.reason, DamageReason::RecordsBefore { checkpoint: Lsn::ZERO });
        } else {
            assert_eq!(damage.reason, DamageReason::SegmentMissing);
            assert_eq!(damage.place, Place { segment: SegmentNumber(2), offset: 0 });
        }
        let (log, _, replayed) = open(&disk, &CUT, Lsn::ZERO).unwrap();
        assert_eq!(replayed, durable[..replayed.len()]);
        drop(log);
        open(&disk, &SMALL, Lsn::ZERO).expect("a cut log is whole");
    }
    // The first one is not missed when the store has what was in it.
    disk.remove(SegmentNumber(1)).unwrap();
    let first_kept = durable.iter().position(|(lsn, _)| *lsn > Lsn(10)).unwrap();
    let (_, _, replayed) = open(&disk, &SMALL, Lsn(10)).unwrap();
    assert_eq!(replayed, durable[first_kept..]);
}

#[test]
fn a_truncated_file_is_refused_when_others_follow() {
    let (disk, _, places) = long_log();
    for length in [0, 4096, 5000, 20_000] {
        let disk = Arc::new(disk.copy());
        disk.corrupt(SegmentNumber(2), |bytes| bytes.truncate(length));
        let damage = refusal(&disk, Lsn::ZERO);
        let lost = places
            .iter()
            .find(|(place, _)| place.segment == SegmentNumber(2) && place.offset + 3 * 4096 > length as u64);
        assert_eq!(damage.lsn, lost.unwrap().1);
        assert!(damage.groups_behind > 0);
    }
}

#[test]
fn a_truncated_last_file_is_a_torn_tail_and_can_be_written_again() {
    let (disk, durable, places) = long_log();
    let segment = places.last().unwrap().0.segment;
    let offset = usize::try_from(places.last().unwrap().0.offset).unwrap();
    disk.corrupt(segment, |bytes| bytes.truncate(offset + 700));
    let (mut log, recovered, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, durable[..22]);
    assert!(matches!(recovered.torn, Some((_, GroupError::Sizes))), "{recovered:?}");
    for ticket in 50..60 {
        commit_all(&mut log, &[numbered(ticket, 9000)]);
    }
    let (_, _, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed.len(), 32);
}

#[test]
fn swapped_groups_are_refused() {
    let (disk, _, places) = long_log();
    disk.corrupt(SegmentNumber(1), |bytes| {
        let (first, second) = bytes.split_at_mut(3 * 4096);
        first.swap_with_slice(&mut second[..3 * 4096]);
    });
    // The first group is found where the second was; the second does not follow it.
    let damage = refusal(&disk, Lsn::ZERO);
    assert_eq!((damage.place, damage.lsn), (places[2].0, places[1].1));
}

#[test]
fn groups_of_another_log_and_of_an_older_generation_do_not_parse() {
    let (disk, durable, places) = long_log();
    let (other, _) = {
        let disk = Arc::new(SimulatedDisk::new());
        let (mut log, _) = tidegate_storage::embedded::log::Log::open(
            disk.clone(),
            support::LOG_ID + 1,
            &SMALL,
            Lsn::ZERO,
            &mut |_, _| Ok::<_, std::convert::Infallible>(()),
        )
        .unwrap();
        commit_all(&mut log, &[numbered(1, 5000), numbered(2, 5000)]);
        (disk, log)
    };
    let foreign = other.read(SegmentNumber(1)).unwrap();
    let old = disk.read(SegmentNumber(1)).unwrap();
    let tail = places.last().unwrap().0;
    let behind = usize::try_from(tail.offset).unwrap() + 3 * 4096;
    // Behind the tail lie a group of another log and one of an older generation; a client could have sent the latter's
    // bytes, too. Neither is part of this log, and neither makes it look damaged.
    disk.corrupt(tail.segment, |bytes| {
        bytes[behind..behind + 3 * 4096].copy_from_slice(&foreign.bytes()[..3 * 4096]);
        bytes[behind + 3 * 4096..behind + 4 * 4096].copy_from_slice(&old.bytes()[..4096]);
    });
    let (_, recovered, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, durable);
    assert_eq!(recovered.torn, None);
}

#[test]
fn recycled_segments_hold_old_bytes_that_never_come_back() {
    let (disk, mut log) = fresh(&SMALL);
    for ticket in 1..=60 {
        let durable = commit_all(&mut log, &[numbered(ticket, 9000)]);
        log.persisted(Lsn(ticket - 1));
        prepare(&mut log);
        // Opened at each moment, with everything that lies around in recycled files.
        let copy = Arc::new(disk.copy());
        let (_, recovered, replayed) = open(&copy, &SMALL, Lsn(ticket - 1)).unwrap();
        assert_eq!(replayed, durable, "after record {ticket}");
        assert_eq!(recovered.next_lsn, Lsn(ticket + 1));
        assert_eq!(recovered.torn, None);
    }
    let segments = disk.segments().unwrap();
    assert!(segments.len() <= 4 && segments[0].0 > SegmentNumber(8), "{segments:?}");
}

#[test]
fn a_log_behind_its_store_goes_on_behind_the_store() {
    let (disk, mut log) = fresh(&SMALL);
    commit_all(&mut log, &[numbered(1, 10), numbered(2, 10)]);
    drop(log);
    let (mut log, recovered, replayed) = open(&disk, &SMALL, Lsn(7)).unwrap();
    assert_eq!((recovered.next_lsn, replayed.len()), (Lsn(8), 0));
    let durable = commit_all(&mut log, &[append(0, 1, vec![message(1, 1, b"x")])]);
    assert_eq!(durable[0].0, Lsn(8));
    let (_, _, replayed) = open(&disk, &SMALL, Lsn(7)).unwrap();
    assert_eq!(replayed, durable);
    // Without the store's rows there would be a hole.
    assert_eq!(refusal(&disk, Lsn(3)).lsn, Lsn(4));
}

#[test]
fn damage_where_the_store_has_every_record_costs_nothing() {
    let (disk, durable, places) = long_log();
    for (index, (place, lsn)) in places[..11].iter().enumerate() {
        let disk = Arc::new(disk.copy());
        flip(&disk, *place, 80);
        if index > 2 {
            flip(&disk, places[1].0, 80);
        }
        // The group's two records are in the store: nothing that is needed is lost.
        let checkpoint = lsn.next();
        let (mut log, recovered, replayed) = open(&disk, &SMALL, checkpoint).unwrap();
        assert_eq!(replayed, durable[2 * index + 2..]);
        assert_eq!(recovered.truncated, None);
        let more = commit_all(&mut log, &[numbered(70, 9000), numbered(71, 10)]);
        let (_, _, replayed) = open(&disk, &SMALL, checkpoint).unwrap();
        assert_eq!(replayed[replayed.len() - 2..], more[..]);
        // One record less in the store, and it would be.
        assert_eq!(refusal(&disk, *lsn).lsn, lsn.next());
    }
}

#[test]
fn an_old_group_that_was_written_to_a_wrong_place_is_not_handed_out_again() {
    let (disk, _, places) = long_log();
    // The first group once more, over the third: its sequence is a part of what the store has, as at the first start.
    disk.corrupt(SegmentNumber(1), |bytes| {
        let to = usize::try_from(places[2].0.offset).unwrap();
        bytes.copy_within(..3 * 4096, to);
    });
    assert_eq!((refusal(&disk, Lsn::ZERO).place, refusal(&disk, Lsn::ZERO).lsn), places[2]);
}

#[test]
fn damage_before_the_first_needed_group_does_not_take_it_along() {
    let (disk, durable, places) = long_log();
    // Only the last two groups are left, and the store has the records of the first of them.
    for number in [1, 2] {
        disk.remove(SegmentNumber(number)).unwrap();
    }
    let (before, last) = (places[10], places[11]);
    disk.corrupt(SegmentNumber(3), |bytes| bytes[..usize::try_from(before.0.offset).unwrap()].fill(0));
    flip(&disk, before.0, 80);
    let checkpoint = last.1.previous();
    let (_, recovered, replayed) = open(&disk, &SMALL, checkpoint).unwrap();
    assert_eq!(replayed, durable[22..]);
    assert_eq!(recovered.torn, None);
}

#[test]
fn a_prepared_segment_that_was_cut_short_does_not_part_the_log() {
    for length in [0, 700, 4096, 3 * 4096] {
        let (disk, mut log) = fresh(&SMALL);
        commit_all(&mut log, &[numbered(1, 5000)]);
        prepare(&mut log);
        drop(log);
        disk.corrupt(SegmentNumber(2), |bytes| bytes.truncate(length));
        let (mut log, ..) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
        for ticket in 2..=20 {
            commit_all(&mut log, &[numbered(ticket, 9000)]);
            prepare(&mut log);
        }
        let (_, recovered, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
        assert_eq!((replayed.len(), recovered.torn), (20, None), "cut to {length}");
    }
}
