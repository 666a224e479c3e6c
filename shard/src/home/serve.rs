//! What owners and the store answer, on its way to a session.

use tidegate_wire::request::HistoryRange;
use tidegate_wire::server::ServerFrame;
use tidegate_wire::{ConversationId, Sequence};
use tidegate_wire::{delivery, frames};

use super::catch_up::{Progress, Step};
use super::{HistoryRequest, Home, Purpose};
use crate::context::Context;
use crate::contract::{Answer, ConnectionId, Envelope, Failure, Grant, Query, SessionRef};
use crate::limits::{LISTED_MAX, RETRY_AFTER_STORAGE_MS, STORE_RETRY};
use crate::placement::owner_of;

impl Home {
    pub fn on_envelope(&mut self, context: &mut Context, envelope: Envelope) {
        match envelope {
            // In the order of the ring, and in slices: see `fan_out`.
            Envelope::Deliver { .. }
            | Envelope::Acked { .. }
            | Envelope::Granted { .. }
            | Envelope::Unavailable { .. } => self.inbox.push_back(envelope),
            Envelope::Created { asked, conversation } => {
                let connection = asked.session.connection;
                if self.end_request(context, connection) {
                    let created = frames::Created { conversation: conversation.0 };
                    self.answer(context, connection, asked.request, &ServerFrame::Created(created));
                }
            }
            Envelope::Failed { asked, failure, was_send } => {
                let connection = asked.session.connection;
                let claimed = self.end_request(context, connection);
                match (was_send, claimed) {
                    (true, true) => context.counters.sends_refused += 1,
                    (true, false) => context.counters.sends_unclaimed += 1,
                    (false, _) => {}
                }
                self.fail(context, connection, asked.request, failure);
            }
            other => unreachable!("{other:?} does not go to a home"),
        }
    }

    /// What owners send beside messages, and what must stay in their order: a session that falls behind leaves out what it
    /// has sent itself since, so acks may not overtake messages.
    pub(super) fn on_ordered(&mut self, context: &mut Context, envelope: Envelope) {
        match envelope {
            Envelope::Acked { asked, conversation, client_id, client_ref, place, repeat } => {
                let connection = asked.session.connection;
                if !self.end_request(context, connection) {
                    context.counters.sends_unclaimed += 1;
                    return;
                }
                context.counters.sends_acked += 1;
                let session = self.sessions.get(connection).expect("its request has just ended");
                if !repeat && let Some(catch_up) = session.catch_up.as_deref_mut() {
                    catch_up.note_own(conversation, place.seq);
                }
                let ack = frames::Ack {
                    conversation: conversation.0,
                    client_id: client_id.0,
                    seq: place.seq.0,
                    message_id: place.message_id.0,
                    created: place.created,
                    client_ref: client_ref.into_string(),
                };
                self.answer(context, connection, asked.request, &ServerFrame::Ack(ack));
            }
            Envelope::Granted { key: 0, session, conversation, grant } => {
                self.catch_up_granted(context, session, conversation, grant);
            }
            Envelope::Granted { key, conversation, grant, .. } => {
                let history = self.histories.remove(&key).expect("a grant answers one request");
                match grant {
                    Some(grant) => self.read_history(context, history, conversation, grant.head),
                    None => {
                        self.end_history(context, history.connection, history.request, Failure::NotAMember)
                    }
                }
            }
            Envelope::Unavailable { key: 0, session, conversation } => {
                self.catch_up_unavailable(context, session.connection, conversation);
            }
            Envelope::Unavailable { key, .. } => {
                let history = self.histories.remove(&key).expect("a refusal answers one request");
                self.end_history(context, history.connection, history.request, store_failed());
            }
            other => unreachable!("{other:?} does not wait in the inbox"),
        }
    }

    pub fn on_answer(&mut self, context: &mut Context, ticket: u64, answer: Answer) {
        let purpose = self.queries.remove(&ticket).expect("the store answers each question once");
        if answer == Answer::Failed {
            context.counters.queries_failed += 1;
        }
        match (purpose, answer) {
            (Purpose::List { connection }, Answer::ConversationsOf { conversations, has_more }) => {
                let Some(session) = self.sessions.get(connection) else { return };
                let Some(catch_up) = session.catch_up.as_deref_mut() else { return };
                catch_up.on_list(&conversations, has_more);
                self.advance(context, connection);
            }
            (Purpose::List { connection }, Answer::Failed) => {
                let Some(session) = self.sessions.get(connection) else { return };
                let Some(catch_up) = session.catch_up.as_deref_mut() else { return };
                catch_up.on_list_failed();
                self.retries.push_back((context.now.monotonic + STORE_RETRY, connection));
            }
            (Purpose::Page { connection, conversation }, Answer::Messages { messages, .. }) => {
                self.catch_up_page(context, connection, conversation, &messages);
            }
            (Purpose::Page { connection, conversation }, Answer::Failed) => {
                self.catch_up_unavailable(context, connection, conversation);
            }
            (
                Purpose::History { connection, request, conversation },
                Answer::Messages { messages, has_more },
            ) => {
                let frames = messages.iter().flat_map(|(_, frame)| frame.iter().copied()).collect();
                let page = frames::Page { conversation: conversation.0, has_more, frames };
                if self.end_request(context, connection) {
                    self.answer(context, connection, request, &ServerFrame::Page(page));
                }
            }
            (Purpose::History { connection, request, .. }, Answer::Failed) => {
                self.end_history(context, connection, request, store_failed());
            }
            (purpose, answer) => unreachable!("{answer:?} does not answer {purpose:?}"),
        }
    }

    /// Takes every step of a session's catch-up that can be taken.
    pub(super) fn advance(&mut self, context: &mut Context, connection: ConnectionId) {
        let Some(session) = self.sessions.get(connection) else { return };
        let (user, device) = (session.user, session.device);
        // Behind a socket that takes no more there is no use in reading on: `on_drained` comes back here.
        if session.unsent > 0 {
            return;
        }
        let Some(catch_up) = session.catch_up.as_deref_mut() else { return };
        while let Some(step) = catch_up.next_step(context.limits.catch_up_window) {
            match step {
                Step::List { above } => {
                    let ticket =
                        context.query(Query::ConversationsOf { user, device, above, limit: LISTED_MAX });
                    self.queries.insert(ticket, Purpose::List { connection });
                }
                Step::Ask { conversation } => {
                    let session = SessionRef { home: context.me, connection };
                    let access = Envelope::Access { key: 0, session, user, device, conversation };
                    context.envelope(owner_of(conversation, context.shards), access);
                }
                Step::Read { conversation, reading } => {
                    let ticket = context.query(Query::Messages {
                        conversation,
                        after: reading.position,
                        up_to: reading.target,
                        limit: context.limits.page_messages_max,
                        bytes_max: context.limits.page_bytes_max,
                        newest: false,
                    });
                    self.queries.insert(ticket, Purpose::Page { connection, conversation });
                }
            }
        }
        if catch_up.is_done() {
            session.catch_up = None;
        }
    }

    fn catch_up_granted(
        &mut self,
        context: &mut Context,
        session: SessionRef,
        conversation: ConversationId,
        grant: Option<Grant>,
    ) {
        let connection = session.connection;
        let page_max = context.limits.page_messages_max;
        let Some(session) = self.sessions.get(connection) else { return };
        let Some(catch_up) = session.catch_up.as_deref_mut() else { return };
        match grant {
            Some(grant) => {
                catch_up.on_granted(conversation, grant, page_max);
            }
            None => {
                if catch_up.on_denied(conversation) == Progress::Current {
                    self.refuse(context, connection, 0, 403, not_a_member());
                }
            }
        }
        self.advance(context, connection);
    }

    fn catch_up_page(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        conversation: ConversationId,
        messages: &[(Sequence, bytes::Bytes)],
    ) {
        let Some(session) = self.sessions.get(connection) else { return };
        let Some(catch_up) = session.catch_up.as_deref_mut() else { return };
        let frames: Vec<_> = messages
            .iter()
            .filter(|(seq, _)| !catch_up.is_own(conversation, *seq))
            .map(|(_, frame)| frame.clone())
            .collect();
        let progress = catch_up.on_page(conversation, messages.last().map(|(seq, _)| *seq));
        if !frames.is_empty() {
            let message = delivery::deliver_stored(session.encoding, &frames);
            context.counters.deliveries_stored += frames.len() as u64;
            session.sends(&message);
            context.send(connection, message);
        }
        if let Progress::Synced { head, has_more } = progress {
            let synced = frames::Synced { conversation: conversation.0, head_seq: head.0, has_more };
            self.answer(context, connection, 0, &ServerFrame::Synced(synced));
        }
        self.advance(context, connection);
    }

    fn catch_up_unavailable(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        conversation: ConversationId,
    ) {
        let Some(session) = self.sessions.get(connection) else { return };
        let Some(catch_up) = session.catch_up.as_deref_mut() else { return };
        catch_up.on_unavailable(conversation);
        self.retries.push_back((context.now.monotonic + STORE_RETRY, connection));
    }

    fn read_history(
        &mut self,
        context: &mut Context,
        history: HistoryRequest,
        conversation: ConversationId,
        head: Sequence,
    ) {
        let HistoryRequest { connection, request, range, limit } = history;
        let (after, up_to, newest) = match range {
            HistoryRange::Before(before) => {
                (Sequence(0), head.min(Sequence(before.0.saturating_sub(1))), true)
            }
            HistoryRange::After(after) => (after, head, false),
            HistoryRange::Newest => (Sequence(0), head, true),
        };
        if after >= up_to {
            if self.end_request(context, connection) {
                let page = frames::Page { conversation: conversation.0, has_more: false, frames: Vec::new() };
                self.answer(context, connection, request, &ServerFrame::Page(page));
            }
            return;
        }
        let bytes_max = context.limits.page_bytes_max;
        let ticket = context.query(Query::Messages { conversation, after, up_to, limit, bytes_max, newest });
        self.queries.insert(ticket, Purpose::History { connection, request, conversation });
    }

    fn end_history(
        &mut self,
        context: &mut Context,
        connection: ConnectionId,
        request: u64,
        failure: Failure,
    ) {
        self.end_request(context, connection);
        self.fail(context, connection, request, failure);
    }

    fn fail(&mut self, context: &mut Context, connection: ConnectionId, request: u64, failure: Failure) {
        let (code, retry_after_ms, message) = match failure {
            Failure::NotAMember => (403, 0, not_a_member()),
            Failure::NoSuchMessage { reply_to, head } => {
                (404, 0, format!("reply_to {reply_to}: the conversation's newest message is {head}"))
            }
            Failure::Storage { reason } => (
                503,
                RETRY_AFTER_STORAGE_MS,
                format!("nothing was stored: {reason}; send it again with the same client id"),
            ),
        };
        let error = frames::Error { code, retry_after_ms, message };
        self.answer(context, connection, request, &ServerFrame::Error(error));
    }
}

fn store_failed() -> Failure {
    Failure::Storage { reason: "the store could not be read".into() }
}

/// The same for a conversation of others and for none, so that nobody learns which.
fn not_a_member() -> String {
    "you are not a member of this conversation, or it does not exist".into()
}
