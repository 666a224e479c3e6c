//! The sessions of the users whose home this shard is: what they ask, what reaches them.
//!
//! Owns every session, its requests in flight and its catch-up. Never decides about a conversation: it asks the owner.
//! Bounded by the connections of the driver, the requests per session and per shard, and `unsent_bytes_max`.

mod catch_up;
mod fan_out;
mod requests;
mod serve;
mod sessions;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tidegate_wire::ConversationId;
use tidegate_wire::frames;
use tidegate_wire::request::HistoryRange;
use tidegate_wire::server::{self, ServerFrame};

use self::sessions::Sessions;
use crate::Map;
use crate::context::Context;
use crate::contract::{Asked, ConnectionId, Envelope, Login, Output, Renewal, SessionRef};
use crate::limits::{BODY_CHARACTERS_MAX, MESSAGE_BYTES_MAX};

#[derive(Debug)]
pub struct Home {
    sessions: Sessions,
    /// Messages and grants from owners, in the order of their rings, until the turn gets to them.
    inbox: VecDeque<Envelope>,
    /// How far the fan-out at the front of `inbox` has come.
    fanned_out: usize,
    /// What a question to the store was for.
    queries: Map<u64, Purpose>,
    /// History requests that wait for the owner's grant.
    histories: Map<u32, HistoryRequest>,
    history_key: u32,
    /// Sessions that have not said hello, in the order of their login.
    ungreeted: VecDeque<(Duration, ConnectionId)>,
    /// Sessions that the store could not serve, with the time to try again.
    retries: VecDeque<(Duration, ConnectionId)>,
    /// Slot at which the next sweep for expired sessions goes on.
    swept: usize,
}

#[derive(Clone, Copy, Debug)]
enum Purpose {
    List { connection: ConnectionId },
    Page { connection: ConnectionId, conversation: ConversationId },
    History { connection: ConnectionId, request: u64, conversation: ConversationId },
}

#[derive(Clone, Copy, Debug)]
struct HistoryRequest {
    connection: ConnectionId,
    request: u64,
    range: HistoryRange,
    limit: u32,
}

impl Home {
    pub fn new(context: &Context) -> Self {
        Self {
            sessions: Sessions::new(context.map()),
            inbox: VecDeque::new(),
            fanned_out: 0,
            queries: context.map(),
            histories: context.map(),
            history_key: 0,
            ungreeted: VecDeque::new(),
            retries: VecDeque::new(),
            swept: 0,
        }
    }

    pub fn on_login(&mut self, context: &mut Context, connection: ConnectionId, login: Login) {
        if let Some(old) = self.sessions.of_device(login.user, login.device) {
            context.counters.sessions_replaced += 1;
            self.close(context, old, 4409, "this device has connected again");
        }
        self.sessions.open(connection, login);
        context.counters.sessions = self.sessions.count() as u64;
        self.ungreeted.push_back((context.now.monotonic + context.limits.hello_wait, connection));
        self.welcome(context, connection, 0);
    }

    /// A fresh token moves the end of the session; it must speak for the same user and device.
    pub fn on_token_checked(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        outcome: Result<Renewal, String>,
    ) {
        let Some(session) = self.sessions.get(connection) else { return };
        let (user, device) = (session.user, session.device);
        let problem = match outcome {
            Ok(renewal) if (renewal.user, renewal.device) == (user, device) => {
                session.expires_at = u32::try_from(renewal.expires_at).unwrap_or(u32::MAX);
                return self.welcome(context, connection, request);
            }
            Ok(other) => format!(
                "the token is for user {} on device {}: this session is of user {user} on device {device}",
                other.user, other.device
            ),
            Err(problem) => problem,
        };
        context.counters.frames_refused += 1;
        self.refuse(context, connection, request, 401, problem);
    }

    fn welcome(&mut self, context: &mut Context, connection: ConnectionId, request: u64) {
        let Some(session) = self.sessions.get(connection) else { return };
        let welcome = frames::Welcome {
            user: session.user.0,
            device: session.device.0,
            session: context.session_number(connection),
            server_time: context.now.wall_ms,
            node: context.node.into(),
            heartbeat_ms: context.limits.heartbeat.as_millis() as u32,
            message_bytes_max: MESSAGE_BYTES_MAX,
            body_characters_max: BODY_CHARACTERS_MAX,
            page_messages_max: context.limits.page_messages_max,
        };
        self.answer(context, connection, request, &ServerFrame::Welcome(welcome));
    }

    pub fn on_disconnected(&mut self, context: &mut Context, connection: ConnectionId) {
        // Its requests stay in flight until they are answered: a peer that asks and goes must not look idle.
        if self.sessions.close(connection).is_some() {
            context.counters.sessions = self.sessions.count() as u64;
        }
    }

    pub fn on_blocked(&mut self, context: &mut Context, connection: ConnectionId, unsent: usize) {
        if let Some(session) = self.sessions.get(connection) {
            session.unsent = u32::try_from(unsent).unwrap_or(u32::MAX).max(1);
            session.pace(context, connection);
        }
    }

    pub fn on_drained(&mut self, context: &mut Context, connection: ConnectionId) {
        let Some(session) = self.sessions.get(connection) else { return };
        session.unsent = 0;
        session.pace(context, connection);
        self.advance(context, connection);
    }

    pub fn on_tick(&mut self, context: &mut Context) {
        let now = context.now.monotonic;
        while let Some((due, connection)) = self.ungreeted.front().copied()
            && due <= now
        {
            self.ungreeted.pop_front();
            self.greet(context, connection, std::iter::empty());
        }
        while let Some((due, connection)) = self.retries.front().copied()
            && due <= now
        {
            self.retries.pop_front();
            self.advance(context, connection);
        }
        self.sweep(context);
    }

    pub fn on_drain(&mut self, context: &mut Context, reconnect_after_ms: u32, window_ms: u32) {
        let all: Vec<_> = self.sessions.range(0..usize::MAX).map(|(connection, _)| connection).collect();
        let drain = ServerFrame::Drain(frames::Drain { reconnect_after_ms, window_ms });
        let reason = format!("drain: reconnect after {reconnect_after_ms} ms, spread over {window_ms} ms");
        for connection in all {
            self.answer(context, connection, 0, &drain);
            self.close(context, connection, 1012, reason.clone());
        }
    }

    /// Closes sessions whose token has ended. An eighth of the slots per tick: all of them in two seconds, without a
    /// timer per session.
    fn sweep(&mut self, context: &mut Context) {
        if self.swept >= self.sessions.slots() {
            self.swept = 0;
        }
        let until = self.swept + self.sessions.slots().div_ceil(8);
        let now = context.now.wall_ms / 1000;
        let expired: Vec<_> = self
            .sessions
            .range(self.swept..until)
            .filter(|(_, session)| u64::from(session.expires_at) <= now)
            .map(|(connection, _)| connection)
            .collect();
        self.swept = until;
        for connection in expired {
            context.counters.sessions_expired += 1;
            self.close(context, connection, 4401, "the token has expired: connect with a new one");
        }
    }

    /// Sends one frame to a session in its encoding.
    fn answer(&mut self, context: &mut Context, connection: ConnectionId, request: u64, frame: &ServerFrame) {
        let Some(session) = self.sessions.get(connection) else { return };
        let message = server::encode(session.encoding, request, frame);
        session.sends(&message);
        context.send(connection, message);
        session.pace(context, connection);
    }

    fn refuse(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        code: u16,
        message: String,
    ) {
        let error = frames::Error { code, retry_after_ms: 0, message };
        self.answer(context, connection, request, &ServerFrame::Error(error));
    }

    fn close(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        code: u16,
        reason: impl Into<Cow<'static, str>>,
    ) {
        self.on_disconnected(context, connection);
        context.out.push_back(Output::Close { connection, code, reason: reason.into() });
    }

    /// Something waits in the inbox.
    pub fn has_work(&self) -> bool {
        !self.inbox.is_empty()
    }

    pub fn inbox_len(&self) -> usize {
        self.inbox.len()
    }

    fn asked(&self, context: &Context, connection: ConnectionId, request: u64) -> Asked {
        Asked { session: SessionRef { home: context.me, connection }, request }
    }
}

impl sessions::Session {
    /// Stops reading from a session that is owed too many answers, or does not read them; goes on when it has caught up.
    fn pace(&mut self, context: &mut Context, connection: ConnectionId) {
        let requests_max = context.limits.session_requests_max;
        let pause = self.requests >= requests_max || self.unsent > context.limits.unsent_bytes_max;
        let resume = self.requests <= requests_max / 2 && self.unsent == 0;
        let reading = match (self.paused, pause, resume) {
            (false, true, _) => false,
            (true, _, true) => true,
            _ => return,
        };
        self.paused = !reading;
        context.out.push_back(Output::SetReading { connection, reading });
    }

    /// Counts bytes towards what the socket has yet to take.
    fn sends(&mut self, message: &Bytes) {
        if self.unsent > 0 {
            self.unsent = self.unsent.saturating_add(u32::try_from(message.len()).unwrap_or(u32::MAX));
        }
    }
}
