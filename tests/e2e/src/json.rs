//! A session over JSON text, as any language has it.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::binary::{Socket, open};
use crate::{Gateway, within};

#[derive(Debug)]
pub struct JsonSession {
    socket: Socket,
    inbox: Vec<Value>,
    next_request: u64,
    pub welcome: Value,
}

impl JsonSession {
    /// Connected, welcomed, and has said hello without cursors.
    pub async fn online(gateway: &Gateway, user: u64, device: u64) -> Self {
        let mut session = Self::connect(gateway, user, device).await;
        session.say(json!({"type": "hello", "cursors": []})).await;
        session
    }

    pub async fn connect(gateway: &Gateway, user: u64, device: u64) -> Self {
        let token = gateway.token(user, device);
        let socket =
            open(&gateway.url(), &token, "tidegate.v1.json").await.expect("the gateway accepts the session");
        let mut session = Self { socket, inbox: Vec::new(), next_request: 1, welcome: Value::Null };
        session.welcome = session.next("welcome").await;
        session
    }

    pub async fn say(&mut self, frame: Value) {
        self.say_text(&frame.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        let sent = within("room to send", self.socket.send(Message::text(text))).await;
        sent.expect("the connection takes a message");
    }

    /// Sends a frame with a fresh request number and returns its answer.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        let request = self.next_request;
        self.next_request += 1;
        frame["request"] = request.into();
        self.say(frame).await;
        self.wait_for(&format!("the answer to request {request}"), |frame| frame["request"] == request).await
    }

    /// The next frame of this type; others are kept.
    pub async fn next(&mut self, kind: &str) -> Value {
        self.wait_for(kind, |frame| frame["type"] == kind).await
    }

    /// Frames that have come and nobody has asked for.
    pub fn unread(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.inbox)
    }

    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    async fn wait_for(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(at) = self.inbox.iter().position(&matches) {
                return self.inbox.remove(at);
            }
            match within(what, self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    self.inbox.push(serde_json::from_str(&text).expect("the gateway sends JSON"));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("waiting for {what}, got {other:?}"),
            }
        }
    }
}
