//! Promise: a power loss in the middle of the last commit group, at any of its sectors, costs nothing that was acknowledged
//! before it: the gateway starts, the tail is cut, sequences go on.
//! Guards against: a torn group that stops the start, one that is half applied, a number given twice after the cut.
//!
//! The log's layout is that of `storage/FORMAT.md`, read here by hand: a group begins on a block, with its magic.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_e2e::{BinarySession, Gateway};
use tidegate_wire::ServerFrame;
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{self, MessageKind};
use tidegate_wire::request::HistoryRange::Newest;

/// Messages in groups of their own, then one more whose group is torn.
const BEFORE: u64 = 10;

/// Large enough for a group of several blocks.
const LAST_BODY_BYTES: usize = 9_000;

/// What happens to the last group.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// Nothing after this many sectors reached the disk.
    CutAfter(u64),
    /// Everything but this sector reached the disk.
    Lost(u64),
}

#[tokio::test]
async fn the_last_group_torn_at_each_sector_costs_nothing_acknowledged_before() {
    let original = tempfile::tempdir().unwrap();
    let (conversation, last) = write_history(&original.path().join("data")).await;
    let group = find_last_group(&original.path().join("data"));
    let sectors = group.bytes.div_ceil(SECTOR_BYTES);
    assert!(sectors > 16, "the last group is the large message: {group:?}");
    let damages = (0..=sectors).map(Damage::CutAfter).chain((0..sectors).map(Damage::Lost));
    for damage in damages {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&original.path().join("data"), &copy.path().join("data"));
        let place = copy.path().join("data").join(&group.file);
        let (from, count) = match damage {
            Damage::CutAfter(kept) => (kept, sectors - kept),
            Damage::Lost(sector) => (sector, 1),
        };
        let is_whole = !zero(&place, group.at + from * SECTOR_BYTES, count * SECTOR_BYTES);
        check(&copy.path().join("data"), conversation, &last, is_whole, damage).await;
    }
}

async fn check(data_dir: &Path, conversation: u128, last: &frames::Send, is_whole: bool, damage: Damage) {
    let mut gateway = Gateway::on(data_dir);
    let mut session = BinarySession::online(&gateway, 1, 2).await;
    let (page, _) = session.history(conversation, Newest, 100).await;
    let seqs: Vec<u64> = page.iter().map(|message| message.seq).collect();
    let expected = if is_whole { BEFORE + 1 } else { BEFORE };
    assert_eq!(seqs, (1..=expected).collect::<Vec<_>>(), "{damage:?}");
    // The sender of the last one has no acknowledgement, or has lost it with its client: it sends again.
    let request = session.ask(&ClientFrame::Send(last.clone())).await;
    match session.answer(request).await {
        ServerFrame::Ack(ack) => assert_eq!(ack.seq, BEFORE + 1, "{damage:?}"),
        other => panic!("{damage:?}: {other:?}"),
    }
    assert_eq!(session.send(conversation, 5_000, "and on").await.seq, BEFORE + 2, "{damage:?}");
    gateway.assert_sound();
    gateway.kill_hard();
    // What was appended after the cut is as durable as ever.
    let gateway = Gateway::on(data_dir);
    let mut session = BinarySession::online(&gateway, 1, 3).await;
    let (page, _) = session.history(conversation, Newest, 100).await;
    assert_eq!(
        page.last().map(|message| (message.seq, message.client_id)),
        Some((BEFORE + 2, 5_000)),
        "{damage:?}"
    );
}

async fn write_history(data_dir: &Path) -> (u128, frames::Send) {
    let gateway = Gateway::on(data_dir);
    let mut session = BinarySession::online(&gateway, 1, 1).await;
    let conversation = session.create_direct(1).await;
    for number in 1..=BEFORE {
        // One at a time: a message that has been acknowledged is in a group before the next one.
        let ack = session.send(conversation, number.into(), &format!("message {number}")).await;
        assert_eq!(ack.seq, number);
    }
    let last = frames::Send {
        conversation,
        client_id: 4_000,
        client_time: 0,
        reply_to: 0,
        kind: MessageKind::Opaque as u8,
        // No byte is zero, so that a lost sector is a damage.
        body: (0..LAST_BODY_BYTES).map(|i| (i % 255) as u8 + 1).collect(),
        client_ref: String::new(),
    };
    let request = session.ask(&ClientFrame::Send(last.clone())).await;
    let answer = session.answer(request).await;
    assert!(matches!(&answer, ServerFrame::Ack(ack) if ack.seq == BEFORE + 1), "{answer:?}");
    gateway.kill_hard();
    (conversation, last)
}

#[derive(Debug)]
struct Group {
    /// Below the data directory.
    file: PathBuf,
    at: u64,
    bytes: u64,
    first_lsn: u64,
}

/// The group with the highest first record of all files.
fn find_last_group(data_dir: &Path) -> Group {
    let mut last: Option<Group> = None;
    for file in files_below(data_dir) {
        let mut bytes = Vec::new();
        fs::File::open(&file).unwrap().read_to_end(&mut bytes).unwrap();
        for (index, block) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
            if block[..4] != *b"TGG1" {
                continue;
            }
            let group = Group {
                file: file.strip_prefix(data_dir).unwrap().to_owned(),
                at: (index * BLOCK_BYTES) as u64,
                bytes: u32::from_le_bytes(*block[60..].first_chunk().unwrap()).into(),
                first_lsn: u64::from_le_bytes(*block[32..].first_chunk().unwrap()),
            };
            if last.as_ref().is_none_or(|last| last.first_lsn < group.first_lsn) {
                last = Some(group);
            }
        }
    }
    last.expect("a log with groups in it")
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Sparse: the segments are zeros nearly everywhere.
fn copy_tree(from: &Path, to: &Path) {
    let copied =
        Command::new("cp").args(["--archive", "--sparse=always"]).arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Returns whether anything was there: the end of a group may be zeros anyway.
fn zero(file: &Path, at: u64, bytes: u64) -> bool {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut before = vec![0; usize::try_from(bytes).unwrap()];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut before).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&vec![0; before.len()]).unwrap();
    before.iter().any(|byte| *byte != 0)
}

const SECTOR_BYTES: u64 = 512;
const BLOCK_BYTES: usize = 4096;
