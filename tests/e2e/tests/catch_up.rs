//! Promise: whoever comes back gets, from its cursors, everything it missed: in order, no gap, nothing twice; far behind
//! means the newest 100 and history for the rest; strangers learn nothing.
//! Guards against: off-by-one at cursors and page ends, live messages that overtake catch-up, refusals that tell a
//! foreign conversation from one that does not exist.

#![allow(clippy::unwrap_used)]

use serde_json::json;
use tidegate_client::{Config, Event, Start, connect};
use tidegate_e2e::binary::delivers_of;
use tidegate_e2e::{BinarySession, Gateway, JsonSession, within};
use tidegate_wire::frames::Deliver;
use tidegate_wire::request::HistoryRange::{After, Before, Newest};
use tidegate_wire::{Sequence, ServerFrame};

/// A conversation of users 1 and 2 in which user 1 has sent `count` messages; user 2 was never there.
async fn conversation_with(gateway: &Gateway, count: u64) -> (BinarySession, u128) {
    let mut sender = BinarySession::online(gateway, 1, 1).await;
    let conversation = sender.create_direct(2).await;
    send_more(&mut sender, conversation, 1..=count).await;
    (sender, conversation)
}

async fn send_more(sender: &mut BinarySession, conversation: u128, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let ack = sender.send(conversation, number.into(), &format!("message {number}")).await;
        assert_eq!(ack.seq, number);
    }
}

fn seqs(messages: &[Deliver]) -> Vec<u64> {
    messages.iter().map(|message| message.seq).collect()
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

#[tokio::test]
async fn an_offline_user_gets_what_was_sent_meanwhile() {
    let gateway = Gateway::start();
    let (_sender, conversation) = conversation_with(&gateway, 5).await;
    let mut receiver = BinarySession::online(&gateway, 2, 1).await;
    let (messages, synced) = receiver.catch_up().await;
    assert_eq!(seqs(&messages), range(1, 5));
    assert_eq!((synced.conversation, synced.head_seq, synced.has_more), (conversation, 5, false));
    assert_eq!(messages[4].body, b"message 5");
}

#[tokio::test]
async fn catch_up_begins_after_the_cursor_and_live_messages_follow_it() {
    let gateway = Gateway::start();
    let (mut sender, conversation) = conversation_with(&gateway, 20).await;
    let mut receiver = BinarySession::connect(&gateway, 2, 1).await;
    receiver.hello(&[(conversation, 12)]).await;
    send_more(&mut sender, conversation, 21..=25).await;
    let mut got = Vec::new();
    while got.len() < 13 {
        got.push(receiver.deliver().await.seq);
    }
    assert_eq!(got, range(13, 25));
}

#[tokio::test]
async fn a_cursor_at_the_head_gets_nothing_again() {
    let gateway = Gateway::start();
    let (mut sender, conversation) = conversation_with(&gateway, 3).await;
    let mut receiver = BinarySession::connect(&gateway, 2, 1).await;
    receiver.hello(&[(conversation, 3)]).await;
    receiver.pong().await;
    send_more(&mut sender, conversation, [4]).await;
    assert_eq!(receiver.deliver().await.seq, 4);
}

#[tokio::test]
async fn far_behind_gets_the_newest_hundred_and_history_has_the_rest() {
    let gateway = Gateway::start();
    let (_sender, conversation) = conversation_with(&gateway, 250).await;
    let mut receiver = BinarySession::connect(&gateway, 2, 1).await;
    receiver.hello(&[(conversation, 10)]).await;
    let (messages, synced) = receiver.catch_up().await;
    assert_eq!(seqs(&messages), range(151, 250));
    assert_eq!((synced.head_seq, synced.has_more), (250, true));
    let (page, has_more) = receiver.history(conversation, After(Sequence(10)), 100).await;
    assert_eq!((seqs(&page), has_more), (range(11, 110), true));
    let (page, _) = receiver.history(conversation, After(Sequence(110)), 40).await;
    assert_eq!(seqs(&page), range(111, 150));

    // Exactly 100 behind is not "more".
    let mut near = BinarySession::connect(&gateway, 2, 2).await;
    near.hello(&[(conversation, 150)]).await;
    let (messages, synced) = near.catch_up().await;
    assert_eq!((seqs(&messages), synced.has_more), (range(151, 250), false));
}

#[tokio::test]
async fn the_client_crate_fills_the_gap_by_itself() {
    let gateway = Gateway::start();
    let (mut sender, conversation) = conversation_with(&gateway, 350).await;
    let cursors = [(tidegate_client::ConversationId(conversation), tidegate_client::Sequence(7))];
    let config = Config::new(gateway.url(), gateway.token(2, 1)).cursors(cursors);
    for (config, first) in [(config.clone(), 8), (config.start(Start::First), 8)] {
        let (client, mut events) = connect(config);
        let mut got = Vec::new();
        while got.last() != Some(&350) {
            match within("a message", events.next()).await.expect("the client runs") {
                Event::Message(message) => got.push(message.seq.0),
                Event::Missing { .. } | Event::Stopped { .. } => panic!("nothing is missing"),
                _ => {}
            }
        }
        assert_eq!(got, range(first, 350));
        client.close().await;
    }
    send_more(&mut sender, conversation, [351]).await;
}

#[tokio::test]
async fn history_pages_both_ways_to_both_ends() {
    let gateway = Gateway::start();
    let (mut session, conversation) = conversation_with(&gateway, 25).await;
    let cases = [
        (Newest, 10, range(16, 25), true),
        (Before(Sequence(16)), 10, range(6, 15), true),
        (Before(Sequence(6)), 10, range(1, 5), false),
        (Before(Sequence(6)), 5, range(1, 5), false),
        (Before(Sequence(1)), 5, vec![], false),
        (Before(Sequence(1000)), 3, range(23, 25), true),
        (After(Sequence(0)), 10, range(1, 10), true),
        (After(Sequence(20)), 5, range(21, 25), false),
        (After(Sequence(20)), 4, range(21, 24), true),
        (After(Sequence(25)), 5, vec![], false),
        (After(Sequence(1000)), 5, vec![], false),
        (Newest, 100, range(1, 25), false),
        (Newest, 1, vec![25], true),
        // No limit is the largest.
        (Newest, 0, range(1, 25), false),
    ];
    for (asked, limit, expected, more) in cases {
        let (page, has_more) = session.history(conversation, asked, limit).await;
        assert_eq!((seqs(&page), has_more), (expected, more), "{asked:?}, limit {limit}");
    }
    for limit in [101, u32::MAX] {
        match session.try_history(conversation, Newest, limit).await {
            ServerFrame::Error(error) => {
                assert_eq!(error.code, 400, "{error:?}");
                assert!(error.message.contains(&limit.to_string()), "the message names the value: {error:?}");
            }
            ServerFrame::Page(page) => panic!("limit {limit} gave {:?}", seqs(&delivers_of(&page))),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn json_history_is_the_same_page() {
    let gateway = Gateway::start();
    let (_sender, _) = conversation_with(&gateway, 12).await;
    let mut session = JsonSession::online(&gateway, 2, 1).await;
    let synced = session.next("synced").await;
    assert_eq!((&synced["head_seq"], &synced["has_more"]), (&json!(12), &json!(false)));
    let conversation = &synced["conversation"];
    let page = session
        .ask(json!({"type": "history", "conversation": conversation, "before_seq": 8, "limit": 3}))
        .await;
    assert_eq!(page["type"], "page", "{page}");
    let got: Vec<u64> =
        page["messages"].as_array().unwrap().iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert_eq!((got, &page["has_more"]), (range(5, 7), &json!(true)));
    assert_eq!(page["messages"][0]["body"], "message 5");
    assert_eq!(page["messages"][0]["sender"], "1");
}

#[tokio::test]
async fn a_device_without_cursors_gets_what_it_has_not_acknowledged() {
    let gateway = Gateway::start();
    let (mut sender, conversation) = conversation_with(&gateway, 130).await;
    let mut phone = BinarySession::online(&gateway, 2, 1).await;
    let (messages, synced) = phone.catch_up().await;
    assert_eq!((seqs(&messages), synced.has_more), (range(31, 130), true), "the newest page");
    phone.received(conversation, 130).await;
    drop(phone);
    send_more(&mut sender, conversation, 131..=133).await;
    // A new session of the same device, its memory lost.
    let mut phone = BinarySession::online(&gateway, 2, 1).await;
    let (messages, synced) = phone.catch_up().await;
    assert_eq!((seqs(&messages), synced.head_seq), (range(131, 133), 133));
    // Another device of the same user has acknowledged nothing.
    let mut laptop = BinarySession::online(&gateway, 2, 2).await;
    let (messages, _) = laptop.catch_up().await;
    assert_eq!(seqs(&messages), range(34, 133));
}

#[tokio::test]
async fn messages_stay_undelivered_until_they_are_acknowledged() {
    let gateway = Gateway::start();
    let (mut sender, conversation) = conversation_with(&gateway, 0).await;
    let mut phone = BinarySession::online(&gateway, 2, 1).await;
    phone.pong().await;
    send_more(&mut sender, conversation, 1..=3).await;
    for seq in 1..=3 {
        assert_eq!(phone.deliver().await.seq, seq);
    }
    // Delivered live, but never acknowledged: the device may have lost them.
    drop(phone);
    let mut phone = BinarySession::online(&gateway, 2, 1).await;
    let (messages, _) = phone.catch_up().await;
    assert_eq!(seqs(&messages), range(1, 3));
}

#[tokio::test]
async fn a_stranger_cannot_tell_a_foreign_conversation_from_none() {
    let gateway = Gateway::start();
    let (_sender, foreign) = conversation_with(&gateway, 3).await;
    let mut stranger = BinarySession::online(&gateway, 3, 1).await;
    let unknown = 0x0190_1234_5678_7abc_8def_0123_4567_89ab;
    let mut refusals = Vec::new();
    for conversation in [foreign, unknown] {
        let name = tidegate_wire::ConversationId(conversation).to_string();
        let answers = [
            stranger.try_send(conversation, 1, "let me in").await,
            stranger.try_history(conversation, Newest, 10).await,
        ];
        refusals.push(answers.map(|answer| match answer {
            ServerFrame::Error(error) => {
                assert_eq!(error.code, 403, "{error:?}");
                (error.code, error.retry_after_ms, error.message.replace(&name, "CONVERSATION"))
            }
            other => panic!("a stranger got {other:?}"),
        }));
    }
    assert_eq!(refusals[0], refusals[1]);
    // Neither does a cursor open it: what comes next is the stranger's own.
    let mut stranger = BinarySession::connect(&gateway, 3, 2).await;
    stranger.hello(&[(foreign, 0), (unknown, 0)]).await;
    stranger.pong().await;
    let leaked: Vec<_> = stranger.unread();
    assert!(
        !leaked.iter().any(|(_, frame)| matches!(frame, ServerFrame::Deliver(_) | ServerFrame::Synced(_))),
        "{leaked:?}"
    );
}
