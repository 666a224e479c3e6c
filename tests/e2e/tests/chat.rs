//! Promise: two users on different shards chat, over binary frames and over JSON, each with several devices.
//! Guards against: echo to the sending session, a second device left out, two ids for one direct conversation, text that
//! only one encoding understands.

#![allow(clippy::unwrap_used)]

use serde_json::json;
use tidegate_client::{Client, Config, Content, Event, Events, Message, Sequence, UserId, connect};
use tidegate_e2e::{BinarySession, Gateway, JsonSession, within};
use tidegate_wire::ServerFrame;
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{self, ConversationKind, MessageKind};

/// Enough users that both shards are home to some, whatever the hash.
const USERS: std::ops::RangeInclusive<u64> = 1..=8;

#[tokio::test]
async fn a_message_is_acknowledged_and_delivered_to_the_other_user() {
    let gateway = Gateway::start();
    let mut first = BinarySession::online(&gateway, 1, 1).await;
    for other in 2..=*USERS.end() {
        let mut second = BinarySession::online(&gateway, other, 1).await;
        let conversation = first.create_direct(other).await;
        let ack = first.send(conversation, 1, &format!("hello {other}")).await;
        assert_eq!(
            (ack.conversation, ack.client_id, ack.seq),
            (conversation, 1, 1),
            "the first message is 1"
        );
        let deliver = second.deliver().await;
        assert_eq!(deliver.body, format!("hello {other}").as_bytes());
        assert_eq!((deliver.conversation, deliver.seq, deliver.sender), (conversation, 1, 1));
        assert_eq!(
            (deliver.client_id, deliver.message_id, deliver.created),
            (1, ack.message_id, ack.created)
        );

        let answer = second.send(conversation, 2, "hello yourself").await;
        assert_eq!(answer.seq, 2);
        assert_eq!(first.deliver().await.seq, 2);
    }
}

#[tokio::test]
async fn the_sending_session_gets_no_echo_and_the_senders_other_device_gets_the_message() {
    let gateway = Gateway::start();
    let mut phone = BinarySession::online(&gateway, 1, 1).await;
    let mut laptop = BinarySession::online(&gateway, 1, 2).await;
    let mut other = BinarySession::online(&gateway, 2, 1).await;
    let conversation = phone.create_direct(2).await;
    phone.send(conversation, 1, "from the phone").await;
    for session in [&mut laptop, &mut other] {
        let deliver = session.deliver().await;
        assert_eq!((deliver.seq, deliver.sender), (1, 1));
    }
    // Deliveries of a conversation come in order: an echo of 1 would stand before 2.
    other.send(conversation, 2, "an answer").await;
    assert_eq!(phone.deliver().await.seq, 2, "no echo");
    assert_eq!(laptop.deliver().await.seq, 2);
}

#[tokio::test]
async fn json_and_binary_users_read_each_other() {
    let gateway = Gateway::start();
    let mut text = JsonSession::online(&gateway, 1, 1).await;
    let mut binary = BinarySession::online(&gateway, 2, 1).await;
    assert_eq!(text.welcome["user"], "1");
    assert_eq!(text.welcome["device"], "1");
    let created = text.ask(json!({"type": "create", "kind": "direct", "members": ["2"]})).await;
    assert_eq!(created["type"], "created", "{created}");
    let conversation = created["conversation"].as_str().unwrap().to_owned();

    let body = "Grüße, 世界 🌊 \"quoted\" \\ \u{1}";
    let sent = json!({"type": "send", "conversation": conversation, "client_id": "my-own-name_1", "kind": "text", "body": body});
    let ack = text.ask(sent).await;
    assert_eq!(ack["type"], "ack", "{ack}");
    assert_eq!((&ack["seq"], &ack["client_id"]), (&json!(1), &json!("my-own-name_1")));
    let deliver = binary.deliver().await;
    assert_eq!(deliver.body, body.as_bytes());
    assert_eq!(deliver.message_id.to_string(), ack["message_id"].as_str().unwrap());

    binary.send(deliver.conversation, 7, body).await;
    let frame = text.next("deliver").await;
    assert_eq!(frame["body"], body);
    assert_eq!((&frame["seq"], &frame["sender"], &frame["kind"]), (&json!(2), &json!("2"), &json!("text")));
    assert_eq!(frame["conversation"], conversation);
    assert_eq!(frame["client_id"], "00000000000000000000000007");
}

#[tokio::test]
async fn opaque_bytes_arrive_as_they_were_sent() {
    let gateway = Gateway::start();
    let mut first = BinarySession::online(&gateway, 1, 1).await;
    let mut second = BinarySession::online(&gateway, 2, 1).await;
    let mut text = JsonSession::online(&gateway, 2, 2).await;
    let conversation = first.create_direct(2).await;
    let body: Vec<u8> = (0..60_000_u32).map(|i| (i * 7 % 256) as u8).collect();
    let send = frames::Send {
        conversation,
        client_id: 1,
        client_time: 5,
        reply_to: 0,
        kind: MessageKind::Opaque as u8,
        body: body.clone(),
        client_ref: String::new(),
    };
    let request = first.ask(&ClientFrame::Send(send)).await;
    let answer = first.answer(request).await;
    assert!(matches!(answer, ServerFrame::Ack(_)), "{answer:?}");
    let deliver = second.deliver().await;
    assert_eq!((deliver.kind, deliver.client_time), (MessageKind::Opaque as u8, 5));
    assert!(deliver.body == body, "{} bytes came, not the same ones", deliver.body.len());
    let frame = text.next("deliver").await;
    assert_eq!(frame["kind"], "opaque");
    assert_eq!(frame["body"].as_str().unwrap().len(), body.len().div_ceil(3) * 4, "base64");
}

#[tokio::test]
async fn a_direct_conversation_is_the_same_from_both_sides_and_every_time() {
    let gateway = Gateway::start();
    let mut first = BinarySession::online(&gateway, 1, 1).await;
    let mut second = BinarySession::online(&gateway, 2, 1).await;
    let conversation = first.create_direct(2).await;
    assert_eq!(first.create_direct(2).await, conversation);
    assert_eq!(second.create_direct(1).await, conversation);
    assert_ne!(first.create_direct(3).await, conversation);
}

#[tokio::test]
async fn notes_to_self_reach_the_own_devices() {
    let gateway = Gateway::start();
    let mut phone = BinarySession::online(&gateway, 1, 1).await;
    let mut laptop = BinarySession::online(&gateway, 1, 2).await;
    let notes = phone.create(ConversationKind::Direct, &[1]).await;
    assert_eq!(laptop.create(ConversationKind::Direct, &[]).await, notes, "empty and self are the same");
    assert_eq!(phone.send(notes, 1, "milk").await.seq, 1);
    assert_eq!(laptop.deliver().await.body, b"milk");
    assert_eq!(laptop.send(notes, 2, "bread").await.seq, 2);
    assert_eq!(phone.deliver().await.body, b"bread");
}

#[tokio::test]
async fn a_group_reaches_all_its_members_and_nobody_else() {
    let gateway = Gateway::start();
    let mut sessions = Vec::new();
    for user in USERS {
        sessions.push(BinarySession::online(&gateway, user, 1).await);
    }
    let mut outsider = BinarySession::online(&gateway, 99, 1).await;
    let members: Vec<u64> = USERS.collect();
    let group = sessions[0].create_group(&members).await;
    assert_ne!(sessions[0].create_group(&members).await, group, "every group is a new one");
    for sender in 0..sessions.len() {
        let ack = sessions[sender].send(group, sender as u128 + 1, &format!("from {sender}")).await;
        assert_eq!(ack.seq, sender as u64 + 1);
        for (receiver, session) in sessions.iter_mut().enumerate() {
            if receiver != sender {
                let deliver = session.deliver().await;
                assert_eq!((deliver.conversation, deliver.seq), (group, ack.seq));
            }
        }
    }
    // The outsider's own traffic comes after whatever would have leaked.
    let other = outsider.create_direct(1).await;
    sessions[0].send(other, 100, "to the outsider").await;
    assert_eq!(outsider.deliver().await.conversation, other);
}

#[tokio::test]
async fn the_client_crate_chats() {
    let gateway = Gateway::start();
    let (first, mut first_events) = connect(Config::new(gateway.url(), gateway.token(1, 1)));
    let (second, mut second_events) = connect(Config::new(gateway.url(), gateway.token(2, 1)));
    let conversation = within("a conversation", first.create_direct(UserId(2))).await.expect("created");
    wait_online(&mut second_events).await;
    let ack = say(&first, conversation, "hello").await;
    assert_eq!(ack, Sequence(1));
    assert_eq!(message(&mut second_events).await.content.as_text(), Some("hello"));
    assert_eq!(say(&second, conversation, "hello yourself").await, Sequence(2));
    let own = message(&mut first_events).await;
    assert_eq!((own.seq, own.sender), (Sequence(1), UserId(1)), "the own message at its place");
    assert_eq!(message(&mut first_events).await.seq, Sequence(2));

    let page = first.history(conversation, tidegate_client::HistoryRange::Newest, 10).await.expect("a page");
    assert_eq!(page.messages.iter().map(|m| m.seq.0).collect::<Vec<_>>(), [1, 2]);
    assert!(!page.has_more);
    let cursors = first.cursors().await;
    assert_eq!(cursors[&conversation], Sequence(2));
    first.close().await;
    second.close().await;
    while let Some(event) = first_events.next().await {
        assert!(!matches!(event, Event::Message(_)), "nothing after its end: {event:?}");
    }
}

async fn say(client: &Client, conversation: tidegate_client::ConversationId, text: &str) -> Sequence {
    let sent = within("an acknowledgement", client.send(conversation, Content::Text(text.to_owned()))).await;
    sent.expect("sent").seq
}

async fn message(events: &mut Events) -> Message {
    loop {
        match within("a message", events.next()).await.expect("the client runs") {
            Event::Message(message) => return message,
            Event::Stopped { reason } => panic!("stopped: {reason}"),
            _ => {}
        }
    }
}

async fn wait_online(events: &mut Events) {
    while !matches!(within("a session", events.next()).await, Some(Event::Connected { .. })) {}
}
