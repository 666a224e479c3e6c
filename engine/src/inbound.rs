//! What a driver's events mean: bytes of a handshake, of a WebSocket, of an echo. Feeds the shard; what needs the
//! driver is left as an [`Action`] for the worker, because an event is handed over in the middle of a driver's turn.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_shard::contract::{Input, Renewal};
use tidegate_shard::limits::MESSAGE_BYTES_MAX;
use tidegate_shard::{Login, Now, Shard};
use tidegate_wire::websocket::{self, CloseCode, Decoder, Item, Opcode, ProtocolError};

use crate::access::{Identity, Keys, TokenError};
use crate::connections::{Connections, Stage};
use crate::driver::{ConnectionId, Event};
use crate::handshake::{self, Outcome, Protocol, Refusal, Upgrade};

/// Messages that the echo subprotocol returns.
const ECHO_BYTES_MAX: u32 = 16 << 20;

/// Who is let in.
#[derive(Debug)]
pub struct Gate {
    pub keys: Keys,
    /// Offer the echo subprotocol; it needs no token.
    pub echo: bool,
}

/// A finished handshake, on its way to the shard that will keep the connection.
#[derive(Debug)]
pub struct Upgraded {
    /// `None`: an echo connection.
    pub login: Option<Login>,
    pub response: Bytes,
    /// What the client sent behind its request head.
    pub rest: Bytes,
}

/// What the worker does when the driver's turn is over.
#[derive(Debug)]
pub enum Action {
    Send {
        connection: ConnectionId,
        message: Bytes,
    },
    /// Answer a ping, unless the connection has too many unsent.
    Pong {
        connection: ConnectionId,
        message: Bytes,
    },
    SetReading {
        connection: ConnectionId,
        reading: bool,
    },
    /// Send this, then close.
    End {
        connection: ConnectionId,
        last: Bytes,
    },
    /// Answer the handshake with an HTTP error, then close.
    Refuse {
        connection: ConnectionId,
        response: Bytes,
    },
    Upgrade {
        connection: ConnectionId,
        upgraded: Upgraded,
    },
}

#[derive(Debug)]
pub struct Inbound {
    pub shard: Shard,
    pub connections: Connections,
    /// Bounded by the events of one turn.
    pub actions: VecDeque<Action>,
    pub now: Now,
    gate: Arc<Gate>,
}

impl Inbound {
    pub fn new(shard: Shard, gate: Arc<Gate>, now: Now) -> Self {
        Self { shard, connections: Connections::default(), actions: VecDeque::new(), now, gate }
    }

    pub fn on_event(&mut self, now: Now, event: Event<'_>) {
        self.now = now;
        match event {
            Event::Accepted { connection, .. } => self.connections.begin_handshake(connection, now.monotonic),
            Event::Received { connection, bytes } => self.on_bytes(now, connection, bytes),
            Event::Gone { connection } => {
                if let Some(Stage::Session { .. }) = self.connections.remove(connection) {
                    self.shard.handle(now, Input::Disconnected { connection });
                }
            }
            Event::Blocked { connection, unsent } => {
                self.on_blocked(connection, true);
                self.shard.handle(now, Input::Blocked { connection, unsent });
            }
            Event::Drained { connection } => {
                self.on_blocked(connection, false);
                self.shard.handle(now, Input::Drained { connection });
            }
        }
    }

    /// The shard bounds what a session has unsent; pongs and echoes are bounded here.
    fn on_blocked(&mut self, connection: ConnectionId, blocked: bool) {
        self.connections.set_blocked(connection, blocked);
        if let Some(Stage::Echo { .. }) = self.connections.get(connection) {
            self.actions.push_back(Action::SetReading { connection, reading: !blocked });
        }
    }

    /// A connection has left its handshake.
    pub fn open(&mut self, now: Now, connection: ConnectionId, login: Option<Login>) {
        match login {
            Some(login) => {
                let decoder = Decoder::server(MESSAGE_BYTES_MAX);
                self.connections.insert(connection, Stage::Session { decoder });
                self.shard.handle(now, Input::Login { connection, login });
            }
            None => {
                let decoder = Decoder::server(ECHO_BYTES_MAX);
                self.connections.insert(connection, Stage::Echo { decoder });
            }
        }
    }

    pub fn on_bytes(&mut self, now: Now, connection: ConnectionId, bytes: &mut [u8]) {
        let Self { shard, connections, actions, gate, .. } = self;
        let end = match connections.get(connection) {
            None => return,
            Some(Stage::Handshake { head }) => {
                // A head that comes in one piece, as nearly all do, is read where it lies.
                if !head.is_empty() {
                    head.extend_from_slice(bytes);
                }
                let all = if head.is_empty() { &*bytes } else { &**head };
                match shake_hands(gate, now, connection, all) {
                    Some(action) => {
                        actions.push_back(action);
                        true
                    }
                    None => {
                        if head.is_empty() {
                            head.extend_from_slice(bytes);
                        }
                        false
                    }
                }
            }
            Some(Stage::Session { decoder }) => {
                let ended = each_item(decoder, bytes, |item| match item {
                    Item::Text(message) => shard.handle(now, Input::Text { connection, message }),
                    Item::Binary(message) => shard.handle(now, Input::Binary { connection, message }),
                    item => control(actions, connection, item),
                });
                ended.is_some_and(|last| {
                    shard.handle(now, Input::Disconnected { connection });
                    actions.push_back(Action::End { connection, last });
                    true
                })
            }
            Some(Stage::Echo { decoder }) => {
                let ended = each_item(decoder, bytes, |item| {
                    let message = match item {
                        Item::Text(message) => websocket::message(Opcode::Text, message.as_bytes()),
                        Item::Binary(message) => websocket::message(Opcode::Binary, message),
                        item => return control(actions, connection, item),
                    };
                    actions.push_back(Action::Send { connection, message });
                });
                ended.is_some_and(|last| {
                    actions.push_back(Action::End { connection, last });
                    true
                })
            }
        };
        if end {
            self.connections.remove(connection);
        }
    }

    /// A live session brings a fresh token.
    pub fn check_token(&mut self, now: Now, connection: ConnectionId, request: u64, token: &str) {
        let outcome = match self.gate.keys.verify(Some(token), now.wall_ms) {
            Ok(Identity { user, device, expires_at }) => Ok(Renewal { user, device, expires_at }),
            Err(error) => Err(error.to_string()),
        };
        self.shard.handle(now, Input::TokenChecked { connection, request, outcome });
    }

    pub fn refuse_late_handshake(&mut self, connection: ConnectionId) {
        self.connections.remove(connection);
        let refusal = Refusal::new("408 Request Timeout", "the request head was not complete in time");
        self.actions.push_back(Action::Refuse { connection, response: refusal.to_response() });
    }

    /// Drain: closes what is no session.
    pub fn close_the_rest(&mut self) {
        for connection in self.connections.without_session() {
            self.connections.remove(connection);
            let last = websocket::close(CloseCode::SERVICE_RESTART, "drain");
            self.actions.push_back(Action::End { connection, last });
        }
    }
}

/// Reads a request head; `None`: it is not complete.
fn shake_hands(gate: &Gate, now: Now, connection: ConnectionId, head: &[u8]) -> Option<Action> {
    let refused = |refusal: &Refusal| Action::Refuse { connection, response: refusal.to_response() };
    let (used, upgrade) = match handshake::read(head, gate.echo) {
        Outcome::Incomplete => return None,
        Outcome::Refused(refusal) => return Some(refused(&refusal)),
        Outcome::Upgrade { used, upgrade } => (used, upgrade),
    };
    match login(gate, now, &upgrade) {
        Ok(login) => {
            let rest = Bytes::copy_from_slice(&head[used..]);
            let upgraded = Upgraded { login, response: upgrade.to_response(), rest };
            Some(Action::Upgrade { connection, upgraded })
        }
        Err(error) => {
            let header = "WWW-Authenticate: Bearer\r\n";
            Some(refused(&Refusal { header, ..Refusal::new("401 Unauthorized", error.to_string()) }))
        }
    }
}

/// Who it is; `None` for an echo connection, which is nobody's.
fn login(gate: &Gate, now: Now, upgrade: &Upgrade<'_>) -> Result<Option<Login>, TokenError> {
    let Protocol::Frames(encoding) = upgrade.protocol else { return Ok(None) };
    let identity = gate.keys.verify(upgrade.token.as_deref(), now.wall_ms)?;
    let (user, device, expires_at) = (identity.user, identity.device, identity.expires_at);
    Ok(Some(Login { user, device, encoding, expires_at }))
}

/// Reads everything in `bytes`. Returns the last thing to send if the connection ends here.
fn each_item(decoder: &mut Decoder, bytes: &mut [u8], mut on_item: impl FnMut(Item<'_>)) -> Option<Bytes> {
    let mut at = 0;
    loop {
        match decoder.next(&mut bytes[at..]) {
            Ok((_, None)) => return None,
            Ok((_, Some(Item::Close { code, .. }))) => {
                // RFC 6455 section 5.5.1: "the endpoint typically echos the status code it received".
                let echoed = code.map_or_else(websocket::close_empty, |code| websocket::close(code, ""));
                return Some(echoed);
            }
            Ok((used, Some(item))) => {
                at += used;
                on_item(item);
            }
            Err(ProtocolError { code, reason }) => return Some(websocket::close(code, reason)),
        }
    }
}

fn control(actions: &mut VecDeque<Action>, connection: ConnectionId, item: Item<'_>) {
    if let Item::Ping(payload) = item {
        actions.push_back(Action::Pong { connection, message: websocket::pong(payload) });
    }
}
