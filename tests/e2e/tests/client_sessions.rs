//! Promise: the Rust client finds its way back by itself where that is right, and stays away where it is not.
//! Guards against: two installations of one device that throw each other out for ever, a client that hammers a gateway with a
//! token it has refused, one that gives up because the gateway starts later.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tidegate_client::{Client, Config, Content, Event, Events, SendError, UserId, connect};
use tidegate_e2e::gateway::{self, free_address};
use tidegate_e2e::{BinarySession, Gateway, within};

async fn until(events: &mut Events, what: &str, matches: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event =
            within(what, events.next()).await.unwrap_or_else(|| panic!("the client ended before {what}"));
        if matches(&event) {
            return event;
        }
    }
}

async fn say(client: &Client, text: &str) -> u64 {
    let notes = within("a conversation", client.create_direct(UserId(1))).await.unwrap();
    within("an acknowledgement", client.send(notes, Content::Text(text.to_owned()))).await.unwrap().seq.0
}

#[tokio::test]
async fn a_gateway_that_starts_later_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let start = || gateway::Start::default().data_dir(directory.path()).listen(&address).start();
    let gateway = start();
    let token = gateway.token(1, 1);
    gateway.kill_hard();
    let (client, mut events) = connect(Config::new(format!("ws://{address}/ws"), token));
    until(&mut events, "a failed attempt", |event| matches!(event, Event::Disconnected { .. })).await;
    // Asked while there is no gateway: answered when there is one.
    let asked = tokio::spawn(async move { say(&client, "waited").await });
    let _gateway = start();
    assert_eq!(asked.await.unwrap(), 1);
}

#[tokio::test]
async fn a_device_that_connected_elsewhere_is_not_thrown_out_again() {
    let gateway = Gateway::start();
    let (first, mut first_events) = connect(Config::new(gateway.url(), gateway.token(1, 1)));
    assert_eq!(say(&first, "the first installation").await, 1);
    let (second, mut second_events) = connect(Config::new(gateway.url(), gateway.token(1, 1)));
    assert_eq!(say(&second, "the second installation").await, 2);
    let stopped = until(&mut first_events, "the end", |event| matches!(event, Event::Stopped { .. })).await;
    assert!(matches!(&stopped, Event::Stopped { reason } if reason.contains("4409")), "{stopped:?}");
    let notes = second.create_direct(UserId(1)).await.unwrap();
    let refused = first.send(notes, Content::Text("too late".to_owned())).await;
    assert!(matches!(refused, Err(SendError::Stopped(_))), "{refused:?}");
    assert_eq!(say(&second, "undisturbed").await, 3);
    second.close().await;
    let connected = |event: &Event| matches!(event, Event::Connected { .. });
    until(&mut second_events, "the session", connected).await;
    while let Some(event) = second_events.next().await {
        assert!(
            !connected(&event) && !matches!(event, Event::Disconnected { .. }),
            "it had one session: {event:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_token_waits_for_a_fresh_one() {
    let gateway = Gateway::start();
    let (client, mut events) = connect(Config::new(gateway.url(), "not a token"));
    let refused =
        until(&mut events, "the refusal", |event| !matches!(event, Event::Disconnected { .. })).await;
    assert!(matches!(refused, Event::TokenRefused { .. }), "{refused:?}");
    client.renew(gateway.token(1, 1)).await;
    assert_eq!(say(&client, "with a fresh token").await, 1);
}

#[tokio::test]
async fn an_expired_session_goes_on_with_a_fresh_token() {
    let gateway = Gateway::start();
    let (client, mut events) = connect(Config::new(gateway.url(), gateway.token_for(1, 1, "2s")));
    assert_eq!(say(&client, "with the short token").await, 1);
    let expired = until(&mut events, "expiry", |event| matches!(event, Event::TokenRefused { .. })).await;
    assert!(matches!(&expired, Event::TokenRefused { reason } if reason.contains("4401")), "{expired:?}");
    client.renew(gateway.token(1, 1)).await;
    assert_eq!(say(&client, "with a fresh token").await, 2);
}

#[tokio::test]
async fn a_token_renewed_in_time_needs_no_attention() {
    let gateway = Gateway::start();
    let (client, mut events) = connect(Config::new(gateway.url(), gateway.token_for(1, 1, "2s")));
    assert_eq!(say(&client, "with the short token").await, 1);
    client.renew(gateway.token(1, 1)).await;
    // Another session with a token of the same life, which nobody renews, tells when it is over.
    let mut other = BinarySession::connect_with(&gateway.url(), &gateway.token_for(2, 1, "3s")).await;
    assert_eq!(other.closed().await.map(|(code, _)| code), Some(4401));
    assert_eq!(say(&client, "on the renewed one").await, 2);
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::TokenRefused { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_url_that_is_none_ends_the_client_with_a_reason() {
    let (client, mut events) = connect(Config::new("http//nowhere", "token"));
    let stopped = until(&mut events, "the end", |event| matches!(event, Event::Stopped { .. })).await;
    assert!(matches!(&stopped, Event::Stopped { reason } if reason.contains("http//nowhere")), "{stopped:?}");
    assert!(client.create_direct(UserId(2)).await.is_err());
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap(), None);
}
