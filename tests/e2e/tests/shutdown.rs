//! Promise: SIGTERM drains: clients are told when to come back and closed with 1012, the process ends with 0, and the next one goes
//! on where it stopped.
//! Guards against: acknowledged messages lost at a clean stop, clients that all come back at once or not at all.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use rustix::process::Signal;
use tidegate_client::{Config, Content, ConversationId, Event, Start, connect};
use tidegate_e2e::gateway::{self, free_address};
use tidegate_e2e::raw::{Raw, upgrade};
use tidegate_e2e::{BinarySession, Gateway, JsonSession, PATIENCE, within};
use tidegate_wire::ServerFrame;

#[tokio::test]
async fn a_drain_tells_every_client_and_ends_with_zero() {
    let mut gateway = Gateway::start();
    let mut binary = BinarySession::online(&gateway, 1, 1).await;
    let mut json = JsonSession::online(&gateway, 2, 1).await;
    binary.pong().await;
    gateway.signal(Signal::TERM);
    let drain = json.next("drain").await;
    assert!(drain["window_ms"].as_u64().unwrap() > 0, "clients are spread: {drain}");
    let (code, reason) = binary.closed().await.expect("a close frame");
    assert_eq!(code, 1012, "{reason}");
    assert!(!reason.is_empty());
    let told = binary.unread();
    assert!(told.iter().any(|(_, frame)| matches!(frame, ServerFrame::Drain(_))), "{told:?}");
    let status = gateway.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
}

#[tokio::test]
async fn with_nobody_connected_it_ends_at_once_and_takes_no_more() {
    let mut gateway = Gateway::start();
    let mut raw = Raw::connect(&gateway);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0));
    // The connection that had not said anything is gone; it never became a session.
    raw.write(upgrade(&[]).as_bytes());
    assert_ne!(raw.http_answer().map(|answer| answer.status), Some(101));
}

#[tokio::test]
async fn the_next_gateway_goes_on_and_the_client_comes_back_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let start = || gateway::Start::default().data_dir(directory.path()).listen(&address).start();
    let mut gateway = start();
    let mut creator = BinarySession::online(&gateway, 1, 9).await;
    let conversation = creator.create_direct(2).await;
    drop(creator);
    let (sender, mut sender_events) = connect(Config::new(gateway.url(), gateway.token(1, 1)));
    let (_receiver, mut events) =
        connect(Config::new(gateway.url(), gateway.token(2, 1)).start(Start::First));
    // Nobody else takes the sender's events.
    let drained = tokio::spawn(async move {
        let mut drained = false;
        while let Some(event) = sender_events.next().await {
            drained |= matches!(event, Event::Draining { .. });
        }
        drained
    });
    for life in 0..2_u64 {
        for number in 1..=10 {
            let text = format!("message {number} of life {life}");
            let sent =
                within("an acknowledgement", sender.send(ConversationId(conversation), Content::Text(text)))
                    .await;
            assert_eq!(sent.unwrap().seq.0, life * 10 + number);
        }
        for number in 1..=10 {
            let message = loop {
                match within("a message", events.next()).await.expect("the client runs") {
                    Event::Message(message) => break message,
                    Event::Stopped { reason } => panic!("stopped: {reason}"),
                    _ => {}
                }
            };
            assert_eq!(message.seq.0, life * 10 + number);
        }
        gateway.signal(Signal::TERM);
        assert_eq!(gateway.wait(Duration::from_secs(60)).code(), Some(0));
        gateway = start();
    }
    sender.close().await;
    assert!(drained.await.unwrap(), "the client has heard of the drain");
}
