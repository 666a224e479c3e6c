//! What clients ask.

use tidegate_wire::frames::{self, ConversationKind};
use tidegate_wire::json;
use tidegate_wire::request::{self, Cursors, Frames, HistoryRange, Members, Refusal, Request};
use tidegate_wire::server::ServerFrame;
use tidegate_wire::{ConversationId, Encoding, Sequence, UserId};

use super::catch_up::CatchUp;
use super::{HistoryRequest, Home};
use crate::context::Context;
use crate::contract::{ConnectionId, Draft, Envelope, Output, SendKey};
use crate::limits::{CURSORS_MAX, RETRY_AFTER_CURSORS_MS};
use crate::placement::{direct_conversation, new_conversation, owner_of};

impl Home {
    pub fn on_binary(&mut self, context: &mut Context, connection: ConnectionId, message: &[u8]) {
        let Some(session) = self.sessions.get(connection) else { return };
        if session.encoding != Encoding::Binary {
            return self.violation(context, connection, 1003, "binary message on a JSON session: send text");
        }
        for frame in Frames::new(message) {
            let Ok((header, body)) = frame else {
                return self.violation(context, connection, 1007, "a frame header does not fit its message");
            };
            match request::parse(&header, body) {
                Ok(request) => self.on_request(context, connection, header.request, request),
                Err(refusal) => self.on_refusal(context, connection, header.request, refusal),
            }
        }
    }

    pub fn on_text(&mut self, context: &mut Context, connection: ConnectionId, message: &str) {
        let Some(session) = self.sessions.get(connection) else { return };
        if session.encoding != Encoding::Json {
            return self.violation(
                context,
                connection,
                1003,
                "text message on a binary session: send binary",
            );
        }
        match json::read(message) {
            Ok((request, frame)) => self.on_request(context, connection, request, frame.view()),
            Err((request, refusal)) => self.on_refusal(context, connection, request, refusal),
        }
    }

    fn violation(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        code: u16,
        reason: &'static str,
    ) {
        context.counters.protocol_errors += 1;
        self.close(context, connection, code, reason);
    }

    fn on_refusal(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        refusal: Refusal,
    ) {
        context.counters.frames_refused += 1;
        self.refuse(context, connection, request, refusal.code, refusal.message);
    }

    fn on_request(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        what: Request<'_>,
    ) {
        if !matches!(
            what,
            Request::Hello { .. } | Request::Ping | Request::Renew { .. } | Request::Unknown { .. }
        ) {
            self.greet(context, connection, std::iter::empty());
        }
        match what {
            Request::Hello { cursors, .. } => self.on_hello(context, connection, request, cursors),
            Request::Send(send) => self.on_send(context, connection, request, send),
            Request::Received { conversation, up_to } => {
                self.on_received(context, connection, conversation, up_to)
            }
            Request::Sync { cursors } => self.on_sync(context, connection, request, cursors),
            Request::History { conversation, range, limit } => {
                self.on_history(context, connection, request, conversation, range, limit);
            }
            Request::Create { kind, members, name } => {
                self.on_create(context, connection, request, kind, members, name);
            }
            Request::Ping => self.answer(context, connection, request, &ServerFrame::Pong),
            Request::Renew { token } => {
                let token = token.into();
                context.out.push_back(Output::CheckToken { connection, request, token });
            }
            Request::Read { .. } | Request::Unsupported { .. } => {
                context.counters.frames_refused += 1;
                let message = "this gateway does not offer this request yet: do without it".into();
                self.refuse(context, connection, request, 400, message);
            }
            Request::Unknown { .. } => context.counters.frames_unknown += 1,
        }
    }

    /// The first hello counts; a later one is a sync.
    fn on_hello(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        cursors: Cursors<'_>,
    ) {
        if self.sessions.get(connection).is_some_and(|session| session.greeted) {
            return self.on_sync(context, connection, request, cursors);
        }
        self.greet(context, connection, named(cursors));
    }

    /// From here live messages reach the session, and it is caught up.
    pub(super) fn greet(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        cursors: impl Iterator<Item = (ConversationId, Sequence)>,
    ) {
        let Some(session) = self.sessions.get(connection) else { return };
        if !session.greeted {
            session.greeted = true;
            session.catch_up = Some(Box::new(CatchUp::after_hello(cursors)));
            self.advance(context, connection);
        }
    }

    fn on_sync(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        cursors: Cursors<'_>,
    ) {
        let Some(session) = self.sessions.get(connection) else { return };
        let catch_up = session.catch_up.get_or_insert_with(|| Box::new(CatchUp::partial()));
        let behind = catch_up.len();
        if behind + cursors.len() > CURSORS_MAX {
            context.counters.frames_refused += 1;
            let message = format!(
                "{} cursors while {behind} conversations are being caught up: at most {CURSORS_MAX} at a time, wait for their synced",
                cursors.len()
            );
            let error = frames::Error { code: 429, retry_after_ms: RETRY_AFTER_CURSORS_MS, message };
            return self.answer(context, connection, request, &ServerFrame::Error(error));
        }
        for (conversation, seq) in named(cursors) {
            catch_up.add(conversation, seq);
        }
        self.advance(context, connection);
    }

    fn on_send(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        send: request::Send<'_>,
    ) {
        let asked = self.asked(context, connection, request);
        let Some(session) = self.sessions.get(connection) else { return };
        let draft = Draft {
            asked,
            conversation: send.conversation,
            key: SendKey { sender: session.user, client_id: send.client_id },
            client_ref: send.client_ref.into(),
            client_time: send.client_time,
            reply_to: send.reply_to,
            kind: send.kind,
            body: send.body.to_vec(),
        };
        context.counters.sends_received += 1;
        self.begin_request(context, connection);
        context.envelope(owner_of(send.conversation, context.shards), Envelope::Send(draft));
    }

    fn on_received(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        id: ConversationId,
        up_to: Sequence,
    ) {
        let Some(session) = self.sessions.get(connection) else { return };
        let (user, device) = (session.user, session.device);
        let received = Envelope::Received { user, device, conversation: id, up_to };
        context.envelope(owner_of(id, context.shards), received);
    }

    fn on_history(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        conversation: ConversationId,
        range: HistoryRange,
        limit: u32,
    ) {
        let most = context.limits.page_messages_max;
        if limit > most {
            let message =
                format!("limit {limit}: a page has at most {most} messages; ask for the next page after it");
            context.counters.frames_refused += 1;
            return self.refuse(context, connection, request, 400, message);
        }
        let session = self.asked(context, connection, request).session;
        let Some(asker) = self.sessions.get(connection) else { return };
        let (user, device) = (asker.user, asker.device);
        let limit = if limit == 0 { most } else { limit };
        // Key 0 means catch-up.
        self.history_key = self.history_key.checked_add(1).unwrap_or(1);
        let key = self.history_key;
        self.histories.insert(key, HistoryRequest { connection, request, range, limit });
        self.begin_request(context, connection);
        let access = Envelope::Access { key, session, user, device, conversation };
        context.envelope(owner_of(conversation, context.shards), access);
    }

    fn on_create(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        kind: ConversationKind,
        members: Members<'_>,
        name: &str,
    ) {
        let asked = self.asked(context, connection, request);
        let Some(session) = self.sessions.get(connection) else { return };
        let creator = session.user;
        let conversation = match check_create(context, creator, kind, members, name) {
            Ok(conversation) => conversation,
            Err((code, message)) => {
                context.counters.frames_refused += 1;
                return self.refuse(context, connection, request, code, message);
            }
        };
        let mut all: Vec<_> = members.iter().map(UserId).chain([creator]).collect();
        all.sort_unstable();
        all.dedup();
        self.begin_request(context, connection);
        let (members, name) = (all.into_boxed_slice(), name.into());
        let create = Envelope::Create { asked, conversation, kind, creator, members, name };
        context.envelope(owner_of(conversation, context.shards), create);
    }

    /// One more answer is owed; past the bound of the session, its socket is not read until some have been given.
    fn begin_request(&mut self, context: &mut Context, connection: ConnectionId) {
        let session = self.sessions.get(connection).expect("only open sessions ask");
        session.requests += 1;
        context.counters.requests_in_flight += 1;
        session.pace(context, connection);
    }

    /// An answer was given. False when the session is gone.
    pub(super) fn end_request(&mut self, context: &mut Context, connection: ConnectionId) -> bool {
        context.counters.requests_in_flight -= 1;
        let Some(session) = self.sessions.get(connection) else { return false };
        session.requests -= 1;
        session.pace(context, connection);
        true
    }
}

fn named(cursors: Cursors<'_>) -> impl Iterator<Item = (ConversationId, Sequence)> {
    cursors.iter().map(|cursor| (ConversationId(cursor.conversation), Sequence(cursor.last_seq)))
}

fn check_create(
    context: &mut Context,
    creator: UserId,
    kind: ConversationKind,
    members: Members<'_>,
    name: &str,
) -> Result<ConversationId, (u16, String)> {
    if members.iter().any(|user| user == 0) {
        return Err((400, "member 0: user ids start at 1".into()));
    }
    let name_bytes_max = context.limits.name_bytes_max;
    if name.len() > name_bytes_max {
        let message = format!("a name of {} bytes: shorten it to {name_bytes_max}", name.len());
        return Err((413, message));
    }
    match kind {
        ConversationKind::Direct => {
            let mut others = members.iter().map(UserId).filter(|user| *user != creator);
            let other = others.next().unwrap_or(creator);
            if let Some(third) = others.find(|user| *user != other) {
                let message = format!(
                    "a direct conversation has two members: create a group to have {creator}, {other} and {third} in one"
                );
                return Err((400, message));
            }
            Ok(direct_conversation(creator, other))
        }
        ConversationKind::Group => {
            let most = context.limits.group_members_max;
            if members.len() + 1 > most {
                let message = format!(
                    "{} members and the creator: a group has at most {most} members in all",
                    members.len()
                );
                return Err((413, message));
            }
            let random = u128::from(context.random()) << 64 | u128::from(context.random());
            Ok(new_conversation(context.now.wall_ms, random))
        }
        ConversationKind::Channel => {
            Err((400, "this gateway does not offer channels yet: create a group".into()))
        }
    }
}
