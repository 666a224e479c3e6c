//! Promise: a data directory that cannot be used is a clear error at the start, and a disk that fills up refuses sends for
//! now, loses nothing and is not a reason to stop.
//! Guards against: two gateways on one log, an acknowledgement for a message that found no room.

#![allow(clippy::unwrap_used)]

use tidegate_e2e::mount::Mount;
use tidegate_e2e::{BinarySession, Gateway, gateway};
use tidegate_wire::Sequence;
use tidegate_wire::ServerFrame;
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{self, MessageKind};
use tidegate_wire::request::HistoryRange::After;

#[tokio::test]
async fn a_directory_that_another_gateway_holds_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = Gateway::on(directory.path());
    let refused =
        gateway::Start::default().data_dir(directory.path()).try_start().expect_err("the directory is taken");
    assert_ne!(refused.status.code(), Some(0));
    let pid = first.pid().as_raw_nonzero().to_string();
    assert!(refused.stderr.contains(&pid), "it says who holds it ({pid}):\n{}", refused.stderr);
    let directory_name = directory.path().display().to_string();
    assert!(refused.stderr.contains(&directory_name), "it says what is held:\n{}", refused.stderr);
    assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);

    let mut session = BinarySession::online(&first, 1, 1).await;
    let notes = session.create_direct(1).await;
    assert_eq!(session.send(notes, 1, "undisturbed").await.seq, 1);
    first.assert_sound();
    first.kill_hard();
    let second = Gateway::on(directory.path());
    let mut session = BinarySession::online(&second, 1, 1).await;
    assert_eq!(session.send(notes, 2, "the lock went with its holder").await.seq, 2);
}

#[test]
fn a_read_only_directory_is_refused() {
    let mount = Mount::new(300);
    mount.make_read_only();
    let data_dir = mount.path().join("data");
    let refused = gateway::Start::default().data_dir(&data_dir).mount(&mount).try_start();
    let refused = refused.expect_err("nothing can be written there");
    assert_ne!(refused.status.code(), Some(0));
    let data_dir = data_dir.display().to_string();
    assert!(refused.stderr.contains(&data_dir), "it says which directory:\n{}", refused.stderr);
    assert!(
        refused.stderr.to_lowercase().contains("read-only"),
        "it says what is wrong:\n{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);

    // One that was fine before.
    mount.make_writable();
    let gateway = gateway::Start::default().data_dir(data_dir.as_ref()).mount(&mount).start();
    gateway.kill_hard();
    mount.make_read_only();
    let refused = gateway::Start::default().data_dir(data_dir.as_ref()).mount(&mount).try_start();
    let refused = refused.expect_err("nothing can be written there any more");
    assert!(
        refused.stderr.to_lowercase().contains("read-only"),
        "it says what is wrong:\n{}",
        refused.stderr
    );
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused =
        gateway::Start::default().data_dir(file.path()).try_start().expect_err("a file is no directory");
    assert_ne!(refused.status.code(), Some(0));
    assert!(refused.stderr.contains(&file.path().display().to_string()), "{}", refused.stderr);
    assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
}

#[test]
fn a_disk_too_small_to_begin_with_is_refused() {
    let mount = Mount::new(8);
    let data_dir = mount.path().join("data");
    let refused = gateway::Start::default().data_dir(&data_dir).mount(&mount).try_start();
    let refused = refused.expect_err("the log does not fit");
    assert_ne!(refused.status.code(), Some(0));
    let stderr = refused.stderr.to_lowercase();
    assert!(
        stderr.contains("no space") || stderr.contains("room"),
        "it says what is missing:\n{}",
        refused.stderr
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[tokio::test]
async fn a_full_disk_refuses_for_now_and_keeps_everything_acknowledged() {
    let mount = Mount::new(DISK_MEGABYTES);
    let data_dir = mount.path().join("data");
    let start = || gateway::Start::default().data_dir(&data_dir).mount(&mount).start();
    let mut gateway = start();
    // What is left after the first segments goes to somebody else, except for a little.
    mount.shell(&format!(
        "cd '{}' && dd if=/dev/zero of=ballast bs=1M count={DISK_MEGABYTES} 2>/dev/null; truncate -s -4M ballast",
        mount.path().display()
    ));
    let mut session = BinarySession::online(&gateway, 1, 1).await;
    let notes = session.create_direct(1).await;
    let mut acknowledged = 0;
    let refusal = loop {
        assert!(acknowledged < SENDS_MAX, "the disk does not fill up");
        match try_send_large(&mut session, notes, acknowledged + 1).await {
            ServerFrame::Ack(ack) => {
                acknowledged += 1;
                assert_eq!(ack.seq, acknowledged);
            }
            ServerFrame::Error(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal.code, 503, "{refusal:?}");
    assert!(refusal.retry_after_ms > 0, "retryable: {refusal:?}");
    assert!(acknowledged > 0);
    // Everything else goes on, and a refused number is given to the next message.
    let (page, _) = session.history(notes, After(Sequence(acknowledged - 1)), 10).await;
    assert_eq!(page.len(), 1);
    session.pong().await;
    gateway.assert_sound();
    gateway.kill_hard();

    // Room again: everything acknowledged is there, nothing else, and it goes on without a gap.
    mount.shell(&format!("rm '{}/ballast'", mount.path().display()));
    let gateway = start();
    let mut session = BinarySession::online(&gateway, 1, 2).await;
    let mut seen = 0;
    loop {
        let (page, has_more) = session.history(notes, After(Sequence(seen)), 100).await;
        for message in page {
            seen += 1;
            assert_eq!((message.seq, message.client_id), (seen, u128::from(seen)));
        }
        if !has_more {
            break;
        }
    }
    assert_eq!(seen, acknowledged, "acknowledged, and nothing more");
    match try_send_large(&mut session, notes, acknowledged + 1).await {
        ServerFrame::Ack(ack) => assert_eq!(ack.seq, acknowledged + 1),
        other => panic!("there is room: {other:?}"),
    }
}

#[tokio::test]
async fn room_made_on_a_full_disk_is_used_without_a_restart() {
    let mount = Mount::new(DISK_MEGABYTES);
    let data_dir = mount.path().join("data");
    let mut gateway = gateway::Start::default().data_dir(&data_dir).mount(&mount).start();
    mount.shell(&format!(
        "cd '{}' && dd if=/dev/zero of=ballast bs=1M count={DISK_MEGABYTES} 2>/dev/null; truncate -s -4M ballast",
        mount.path().display()
    ));
    let mut session = BinarySession::online(&gateway, 1, 1).await;
    let notes = session.create_direct(1).await;
    let mut acknowledged = 0;
    while let ServerFrame::Ack(_) = try_send_large(&mut session, notes, acknowledged + 1).await {
        acknowledged += 1;
        assert!(acknowledged < SENDS_MAX, "the disk does not fill up");
    }
    mount.shell(&format!("rm '{}/ballast'", mount.path().display()));
    let mut tries = 0;
    loop {
        tries += 1;
        match try_send_large(&mut session, notes, acknowledged + 1).await {
            ServerFrame::Ack(ack) => {
                assert_eq!(ack.seq, acknowledged + 1, "the refused number was not used up");
                break;
            }
            ServerFrame::Error(error) => {
                assert_eq!(error.code, 503, "{error:?}");
                assert!(tries < 200, "still refused after {tries} tries: {error:?}");
                tokio::time::sleep(std::time::Duration::from_millis(
                    error.retry_after_ms.clamp(10, 500).into(),
                ))
                .await;
            }
            other => panic!("{other:?}"),
        }
    }
    gateway.assert_sound();
}

/// 60 000 bytes, so that the log fills after about a thousand of them per segment.
async fn try_send_large(session: &mut BinarySession, conversation: u128, number: u64) -> ServerFrame {
    let mut body = vec![0; 60_000];
    body[..8].copy_from_slice(&number.to_le_bytes());
    let send = frames::Send {
        conversation,
        client_id: number.into(),
        client_time: 0,
        reply_to: 0,
        kind: MessageKind::Opaque as u8,
        body,
        client_ref: String::new(),
    };
    let request = session.ask(&ClientFrame::Send(send)).await;
    session.answer(request).await
}

/// Room for the segments that are made ahead.
const DISK_MEGABYTES: u32 = 300;

/// 1.2 GB: four times the disk.
const SENDS_MAX: u64 = 20_000;
