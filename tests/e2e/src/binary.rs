//! A session with binary frames over tungstenite: an independent WebSocket, our frames.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{self, ConversationKind, Cursor, MessageKind};
use tidegate_wire::request::{Frames, HistoryRange};
use tidegate_wire::{ServerFrame, frames::Deliver};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::{Gateway, within};

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A session; every wait in it is bounded and panics with what it waited for.
#[derive(Debug)]
pub struct BinarySession {
    socket: Socket,
    inbox: VecDeque<(u64, ServerFrame)>,
    next_request: u64,
    pub welcome: frames::Welcome,
}

impl BinarySession {
    /// Connected and welcomed; nothing said yet.
    pub async fn connect(gateway: &Gateway, user: u64, device: u64) -> Self {
        Self::connect_with(&gateway.url(), &gateway.token(user, device)).await
    }

    /// The same for a URL and a token that are at hand.
    pub async fn connect_with(url: &str, token: &str) -> Self {
        let socket = open(url, token, "tidegate.v1").await.expect("the gateway accepts the session");
        let welcome = frames::Welcome {
            user: 0,
            device: 0,
            session: 0,
            server_time: 0,
            node: 0,
            heartbeat_ms: 0,
            message_bytes_max: 0,
            body_characters_max: 0,
            page_messages_max: 0,
        };
        let mut session = Self { socket, inbox: VecDeque::new(), next_request: 1, welcome };
        session.welcome = match session.next().await {
            (_, ServerFrame::Welcome(welcome)) => welcome,
            other => panic!("the first frame is a welcome, got {other:?}"),
        };
        session
    }

    /// Connected, and has said hello without cursors.
    pub async fn online(gateway: &Gateway, user: u64, device: u64) -> Self {
        let mut session = Self::connect(gateway, user, device).await;
        session.hello(&[]).await;
        session
    }

    /// Says where it stands; catch-up follows.
    pub async fn hello(&mut self, cursors: &[(u128, u64)]) {
        let hello = frames::Hello { cursors: cursors_of(cursors), client: "e2e".to_owned() };
        self.ask(&ClientFrame::Hello(hello)).await;
    }

    /// Sends a frame; returns its request number.
    pub async fn ask(&mut self, frame: &ClientFrame) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.write(frame.encode(request)).await;
        request
    }

    /// Sends the payload of one binary message.
    pub async fn write(&mut self, payload: Bytes) {
        let sent = within("room to send", self.socket.send(Message::Binary(payload))).await;
        sent.expect("the connection takes a message");
    }

    /// The next frame.
    pub async fn next(&mut self) -> (u64, ServerFrame) {
        loop {
            if let Some(frame) = self.inbox.pop_front() {
                return frame;
            }
            self.read().await;
        }
    }

    /// The answer to a request; everything else that comes before it is kept.
    pub async fn answer(&mut self, request: u64) -> ServerFrame {
        let mut seen = 0;
        loop {
            if let Some(at) = (seen..self.inbox.len()).find(|at| self.inbox[*at].0 == request) {
                return self.inbox.remove(at).expect("found above").1;
            }
            seen = self.inbox.len();
            self.read().await;
        }
    }

    /// The next message of somebody else; receipts are skipped, anything else is a surprise.
    pub async fn deliver(&mut self) -> Deliver {
        loop {
            match self.next().await {
                (_, ServerFrame::Deliver(deliver)) => return deliver,
                (_, ServerFrame::Receipt(_) | ServerFrame::Synced(_)) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    /// The messages of a catch-up and its end.
    pub async fn catch_up(&mut self) -> (Vec<Deliver>, frames::Synced) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                (_, ServerFrame::Deliver(deliver)) => messages.push(deliver),
                (_, ServerFrame::Synced(synced)) => return (messages, synced),
                (_, ServerFrame::Receipt(_)) => {}
                other => panic!("expected catch-up, got {other:?}"),
            }
        }
    }

    pub async fn create_direct(&mut self, with: u64) -> u128 {
        self.create(ConversationKind::Direct, &[with]).await
    }

    pub async fn create_group(&mut self, members: &[u64]) -> u128 {
        self.create(ConversationKind::Group, members).await
    }

    pub async fn create(&mut self, kind: ConversationKind, members: &[u64]) -> u128 {
        let name = if kind == ConversationKind::Direct { "" } else { "a group" };
        let create = frames::Create { members: members.to_vec(), kind: kind as u8, name: name.to_owned() };
        let request = self.ask(&ClientFrame::Create(create)).await;
        match self.answer(request).await {
            ServerFrame::Created(created) => created.conversation,
            other => panic!("expected a conversation, got {other:?}"),
        }
    }

    /// Sends a text and waits for its acknowledgement.
    pub async fn send(&mut self, conversation: u128, client_id: u128, text: &str) -> frames::Ack {
        match self.try_send(conversation, client_id, text).await {
            ServerFrame::Ack(ack) => ack,
            other => panic!("expected an acknowledgement, got {other:?}"),
        }
    }

    /// Sends a text and waits for whatever answers it.
    pub async fn try_send(&mut self, conversation: u128, client_id: u128, text: &str) -> ServerFrame {
        let request = self.ask(&ClientFrame::Send(text_of(conversation, client_id, text))).await;
        self.answer(request).await
    }

    /// A page of history, or the refusal.
    pub async fn try_history(&mut self, conversation: u128, range: HistoryRange, limit: u32) -> ServerFrame {
        let request = self.ask(&ClientFrame::History(frames::History::of(conversation, range, limit))).await;
        self.answer(request).await
    }

    /// The sequences of a page of history, and whether there is more.
    pub async fn history(
        &mut self,
        conversation: u128,
        range: HistoryRange,
        limit: u32,
    ) -> (Vec<Deliver>, bool) {
        match self.try_history(conversation, range, limit).await {
            ServerFrame::Page(page) => (delivers_of(&page), page.has_more),
            other => panic!("expected a page, got {other:?}"),
        }
    }

    /// Says that messages have arrived, and waits until the gateway has taken that in.
    pub async fn received(&mut self, conversation: u128, up_to_seq: u64) {
        self.ask(&ClientFrame::Received(frames::UpTo { conversation, up_to_seq })).await;
        self.pong().await;
    }

    /// Everything said so far has been read by the gateway.
    pub async fn pong(&mut self) {
        let request = self.ask(&ClientFrame::Ping).await;
        let answer = self.answer(request).await;
        assert_eq!(answer, ServerFrame::Pong);
    }

    /// Waits for the gateway to end the session; returns the close code and reason, if it gave one.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match within("the end of the session", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => {
                    return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Binary(bytes))) => self.inbox.extend(decode(&bytes)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Frames that have come and nobody has asked for.
    pub fn unread(&mut self) -> Vec<(u64, ServerFrame)> {
        self.inbox.drain(..).collect()
    }

    /// The socket below, for a test that has to be rude.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// The bare socket, for a client with a loop of its own.
    #[must_use]
    pub fn into_socket(self) -> Socket {
        assert!(self.inbox.is_empty(), "frames would be lost: take `unread` first");
        self.socket
    }

    async fn read(&mut self) {
        match within("a frame", self.socket.next()).await {
            Some(Ok(Message::Binary(bytes))) => self.inbox.extend(decode(&bytes)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("expected a binary message, got {other:?}"),
        }
    }
}

/// Opens a socket with a token in the header.
///
/// # Errors
/// What tungstenite says, the HTTP refusal among it.
pub async fn open(url: &str, token: &str, subprotocol: &str) -> Result<Socket, tungstenite::Error> {
    let mut request = url.into_client_request()?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("tokens are ASCII");
    request.headers_mut().insert("authorization", bearer);
    let subprotocol = HeaderValue::from_str(subprotocol).expect("subprotocols are ASCII");
    request.headers_mut().insert("sec-websocket-protocol", subprotocol);
    let opened =
        within("the upgrade", tokio_tungstenite::connect_async_with_config(request, None, true)).await;
    opened.map(|(socket, _)| socket)
}

/// All frames of one binary message.
///
/// # Panics
/// If the gateway sent something that is not its protocol.
#[must_use]
pub fn decode(message: &[u8]) -> Vec<(u64, ServerFrame)> {
    let frames = Frames::new(message).map(|frame| {
        let (header, body) = frame.expect("the gateway sends whole frames");
        (header.request, ServerFrame::decode(&header, body).expect("the gateway sends valid frames"))
    });
    frames.collect()
}

/// The messages of a page.
///
/// # Panics
/// If the page holds anything else.
#[must_use]
pub fn delivers_of(page: &frames::Page) -> Vec<Deliver> {
    let frames = decode(&page.frames).into_iter().map(|(_, frame)| match frame {
        ServerFrame::Deliver(deliver) => deliver,
        other => panic!("a page holds messages, got {other:?}"),
    });
    frames.collect()
}

/// A text message.
#[must_use]
pub fn text_of(conversation: u128, client_id: u128, text: &str) -> frames::Send {
    frames::Send {
        conversation,
        client_id,
        client_time: 0,
        reply_to: 0,
        kind: MessageKind::Text as u8,
        body: text.as_bytes().to_vec(),
        client_ref: String::new(),
    }
}

fn cursors_of(cursors: &[(u128, u64)]) -> Vec<Cursor> {
    cursors.iter().map(|&(conversation, last_seq)| Cursor { conversation, last_seq }).collect()
}
