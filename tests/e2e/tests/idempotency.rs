//! Promise: the same message sent again, by its client id, is the same message: one acknowledgement, one place in the
//! conversation, whoever of the sender's sessions asks, and after a restart.
//! Guards against: double messages after a reconnect, ids shared between senders or conversations.

use tidegate_e2e::{BinarySession, Gateway};
use tidegate_wire::ServerFrame;
use tidegate_wire::request::HistoryRange::Newest;

#[tokio::test]
async fn sent_again_it_gets_the_first_acknowledgement() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let gateway = Gateway::on(directory.path());
    let mut phone = BinarySession::online(&gateway, 1, 1).await;
    let mut laptop = BinarySession::online(&gateway, 1, 2).await;
    let conversation = phone.create_direct(2).await;
    let first = phone.send(conversation, 77, "only once").await;
    assert_eq!(phone.send(conversation, 77, "only once").await, first, "the same session");
    assert_eq!(laptop.send(conversation, 77, "only once").await, first, "another session");
    assert_eq!(phone.send(conversation, 78, "the next").await.seq, first.seq + 1, "no number was used up");
    assert_eq!(phone.send(conversation, 77, "only once").await, first, "after others");
    gateway.kill_hard();

    let gateway = Gateway::on(directory.path());
    let mut phone = BinarySession::online(&gateway, 1, 1).await;
    assert_eq!(phone.send(conversation, 77, "only once").await, first, "after a restart");
    assert_eq!(phone.send(conversation, 79, "and on").await.seq, 3);
    let (messages, _) = phone.history(conversation, Newest, 100).await;
    assert_eq!(messages.iter().map(|m| m.client_id).collect::<Vec<_>>(), [77, 78, 79]);
}

#[tokio::test]
async fn many_copies_at_once_are_one_message() {
    let gateway = Gateway::start();
    let mut phone = BinarySession::online(&gateway, 1, 1).await;
    let mut laptop = BinarySession::online(&gateway, 1, 2).await;
    let conversation = phone.create_direct(2).await;
    // Without waiting: most of these copies meet the first one before it is durable.
    let send =
        tidegate_wire::client::ClientFrame::Send(tidegate_e2e::binary::text_of(conversation, 5, "copies"));
    let mut requests = Vec::new();
    for _ in 0..50 {
        requests.push((phone.ask(&send).await, laptop.ask(&send).await));
    }
    for (at_phone, at_laptop) in requests {
        for answer in [phone.answer(at_phone).await, laptop.answer(at_laptop).await] {
            let ServerFrame::Ack(ack) = answer else { panic!("expected an acknowledgement, got {answer:?}") };
            assert_eq!((ack.seq, ack.client_id), (1, 5));
        }
    }
    let (messages, _) = phone.history(conversation, Newest, 100).await;
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn ids_of_different_senders_and_conversations_do_not_meet() {
    let gateway = Gateway::start();
    let mut first = BinarySession::online(&gateway, 1, 1).await;
    let mut second = BinarySession::online(&gateway, 2, 1).await;
    let conversation = first.create_direct(2).await;
    assert_eq!(first.send(conversation, 9, "from one").await.seq, 1);
    assert_eq!(second.send(conversation, 9, "from two").await.seq, 2);
    let notes = first.create_direct(1).await;
    assert_eq!(first.send(notes, 10, "a note").await.seq, 1);
    assert_eq!(first.send(conversation, 10, "a message").await.seq, 3);
}
