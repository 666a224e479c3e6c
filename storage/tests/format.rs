//! Proves: the bytes of the log are those of FORMAT.md, and no bytes make the reader panic.
//! Guards against: a change of the format without a change of its version.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod support;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{LOG_ID, SMALL, append, commit_all, fresh, open};
use tidegate_storage::embedded::disk::{Disk, SegmentNumber};
use tidegate_storage::embedded::log::walk;
use tidegate_storage::row::Idempotency;
use tidegate_storage::{Append, Lsn, Row};

fn every_row() -> Vec<Row> {
    let conversation = 0x1111_2222_3333_4444_5555_6666_7777_8888;
    vec![
        Row::Conversation { conversation, meta: Bytes::from_static(b"meta") },
        Row::Member { conversation, user: 0x21, info: Bytes::from_static(b"in") },
        Row::MemberRemoved { conversation, user: 0x22 },
        Row::Message {
            conversation,
            seq: 0x31,
            frame: Bytes::from_static(b"frame"),
            idempotency: Idempotency {
                sender: 0x32,
                client_id: 0xaaaa_bbbb_cccc_dddd_eeee_ffff_0000_1111,
                message_id: 0x33,
                created_ms: 0x0190_0000_0000,
            },
        },
        Row::Delivered { user: 0x41, device: 0x42, conversation, seq: 0x43 },
        Row::Read { user: 0x51, conversation, seq: 0x52 },
        Row::Pending { user: 0x61, conversation, first_seq: 0x62 },
        Row::PendingCleared { user: 0x71, conversation },
    ]
}

const GOLDEN: &str = "\
54474731 0100 0000 efcdab8967452301efcdab8967452301 0100000000000000 \
0100000000000000 0000000000000000 0000000090010000 02000000 97010000 00000000 GROUPCRC \
1f010000 RECORD_1 0900 0000 00000000 0500000000000000 \
01 88887777666655554444333322221111 04000000 6d657461 \
02 88887777666655554444333322221111 2100000000000000 02000000 696e \
03 88887777666655554444333322221111 2200000000000000 \
04 88887777666655554444333322221111 3100000000000000 3200000000000000 11110000ffffeeeeddddccccbbbbaaaa \
3300000000000000 0000000090010000 05000000 6672616d65 \
05 4100000000000000 4200000000000000 88887777666655554444333322221111 4300000000000000 \
06 5100000000000000 88887777666655554444333322221111 5200000000000000 \
07 6100000000000000 88887777666655554444333322221111 6200000000000000 \
08 7100000000000000 88887777666655554444333322221111 \
00000000 RECORD_2 0100 0000 00000000 0100000000000000";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_group() {
    let (disk, mut log) = fresh(&SMALL);
    commit_all(&mut log, &[append(9, 5, every_row()), append(1, 1, vec![])]);
    let segment = disk.read(SegmentNumber(1)).unwrap();
    let golden: String = GOLDEN
        .replace("GROUPCRC", CRCS[0])
        .replace("RECORD_1", CRCS[1])
        .replace("RECORD_2", CRCS[2])
        .split_whitespace()
        .collect();
    assert_eq!(hex(&segment.bytes()[..golden.len() / 2]), golden);
    assert!(segment.bytes()[golden.len() / 2..].iter().all(|byte| *byte == 0), "zeros up to the end");
}

/// CRC-32C of the group and of its two records, computed once by an independent implementation (see FORMAT.md).
const CRCS: [&str; 3] = ["913e3e01", "06675a05", "b9959944"];

#[test]
fn every_row_comes_back() {
    let (disk, mut log) = fresh(&SMALL);
    let written = commit_all(&mut log, &[append(9, 5, every_row()), append(1, 1, vec![])]);
    let (_, recovered, replayed) = open(&disk, &SMALL, Lsn::ZERO).unwrap();
    assert_eq!(replayed, written);
    assert_eq!(recovered.created_ms_max, 0x0190_0000_0000);
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let (disk, mut log) = fresh(&SMALL);
    commit_all(&mut log, &[append(9, 5, every_row()), append(1, 1, every_row())]);
    commit_all(&mut log, &[append(9, 6, every_row())]);
    let mut random = StdRng::seed_from_u64(7);
    let (mut refused, mut read) = (0, 0);
    for _ in 0..1000 {
        let copy = disk.copy();
        copy.corrupt(SegmentNumber(1), |bytes| {
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..2 * 4096);
                bytes[at] = random.random();
            }
            if random.random_bool(0.1) {
                bytes.truncate(random.random_range(0..9000));
            }
            if random.random_bool(0.5) {
                reseal(bytes);
            }
        });
        match open(&std::sync::Arc::new(copy), &SMALL, Lsn::ZERO) {
            Ok((_, _, replayed)) => read += usize::from(!replayed.is_empty()),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 50 && read > 50, "{refused} refused, {read} read");
}

/// Makes the checksums fit again, so that nonsense gets past them and into the decoder.
fn reseal(bytes: &mut [u8]) {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&LOG_ID.to_le_bytes()), &1_u64.to_le_bytes());
    let length =
        u32::from_le_bytes(bytes.get(60..64).and_then(|b| b.try_into().ok()).unwrap_or_default()) as usize;
    if length < 96 || length > bytes.len() {
        return;
    }
    let mut at = 72;
    while at + 24 <= length {
        let body = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let end = (at + 24 + body).min(length);
        let crc = crc32c::crc32c_append(seed, &bytes[at + 8..end]);
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &bytes[..68]), &bytes[72..length]);
    bytes[68..72].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_group_of_a_newer_version_is_not_taken_for_a_torn_write() {
    let (disk, mut log) = fresh(&SMALL);
    commit_all(&mut log, &[append(0, 1, every_row())]);
    commit_all(&mut log, &[append(0, 2, every_row())]);
    disk.corrupt(SegmentNumber(1), |bytes| bytes[4096 + 4] = 2);
    let text = open(&disk, &SMALL, Lsn::ZERO).unwrap_err().to_string();
    assert!(text.contains("format version 2"), "{text}");
}

#[test]
fn a_row_of_a_newer_version_is_not_dropped() {
    let (disk, mut log) = fresh(&SMALL);
    let record = append(0, 1, vec![Row::PendingCleared { user: 1, conversation: 2 }]);
    commit_all(&mut log, &[record]);
    disk.corrupt(SegmentNumber(1), |bytes| {
        bytes[96] = 99;
        reseal(bytes);
    });
    let text = open(&disk, &SMALL, Lsn::ZERO).unwrap_err().to_string();
    assert!(text.contains("row kind 99"), "{text}");
}

#[test]
fn nothing_claims_durability_that_was_not() {
    let (disk, mut log) = fresh(&SMALL);
    let mut durable = Lsn::ZERO;
    for ticket in 1..=20 {
        let count = ticket % 3 + 1;
        for index in 0..count {
            log.push(append(0, ticket * 10 + index, every_row())).unwrap();
        }
        let commit = log.begin().unwrap();
        commit.write(&*disk).unwrap();
        walk(&*disk, LOG_ID, None, &mut |group| {
            assert!(group.header.durable_lsn <= durable, "{group:?} was written when {durable} was durable");
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
        let result = commit.sync(&*disk);
        log.finish(commit, result);
        durable = log.durable_lsn();
    }
    assert_eq!(durable, Lsn((1..=20).map(|ticket| ticket % 3 + 1).sum()));
}

#[test]
fn an_append_is_encoded_once_and_exactly() {
    // The bound of a group is exact: what `push` counts is what is written.
    let (disk, mut log) = fresh(&SMALL);
    let record = Append { stream: 3, ticket: 1, epoch: 0, rows: every_row() };
    commit_all(&mut log, &[record]);
    let mut bytes = 0;
    walk(&*disk, LOG_ID, None, &mut |group| {
        bytes = group.header.bytes;
        Ok::<_, std::convert::Infallible>(())
    })
    .unwrap();
    assert_eq!(bytes, 72 + 24 + 0x11f);
}

#[test]
fn a_group_whose_records_cannot_be_read_is_refused_once_and_for_all() {
    // The store has the record before it: recovery tries to go on at the unreadable group, and must not try for ever.
    let (disk, mut log) = fresh(&SMALL);
    commit_all(&mut log, &[append(0, 1, vec![])]);
    commit_all(&mut log, &[append(0, 2, vec![Row::PendingCleared { user: 1, conversation: 2 }])]);
    disk.corrupt(SegmentNumber(1), |bytes| {
        bytes[4096 + 96] = 99;
        reseal(&mut bytes[4096..8192]);
    });
    for checkpoint in [0, 1, 2] {
        let text = open(&disk, &SMALL, Lsn(checkpoint)).unwrap_err().to_string();
        assert!(text.contains("row kind 99"), "{text}");
    }
}
