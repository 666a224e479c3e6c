//! Messages from owners to the sockets of members, in slices.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_wire::delivery::Delivery;
use tidegate_wire::frames;
use tidegate_wire::server::{self, ServerFrame};
use tidegate_wire::{ConversationId, Encoding, Sequence, UserId};

use super::Home;
use super::catch_up::CatchUp;
use super::sessions::Session;
use crate::context::Context;
use crate::contract::{ConnectionId, Envelope, SessionRef};

impl Home {
    /// Works on what owners sent, up to about `deliveries_per_turn` deliveries.
    pub fn fan_out(&mut self, context: &mut Context) {
        let mut budget = context.limits.deliveries_per_turn as usize;
        while budget > 0
            && let Some(envelope) = self.inbox.pop_front()
        {
            let Envelope::Deliver { conversation, seq, delivery, members, origin } = envelope else {
                self.on_ordered(context, envelope);
                budget -= 1;
                continue;
            };
            let end = members.len().min(self.fanned_out + budget);
            let mut message = Message { conversation, seq, delivery, origin, json: None };
            for user in &members[self.fanned_out..end] {
                self.sessions.each_of(*user, |connection, session| {
                    message.reach(context, connection, session);
                });
            }
            budget -= end - self.fanned_out;
            if end < members.len() {
                self.fanned_out = end;
                self.inbox.push_front(message.into_envelope(members));
                return;
            }
            self.fanned_out = 0;
        }
    }
}

struct Message {
    conversation: ConversationId,
    seq: Sequence,
    delivery: Delivery,
    origin: SessionRef,
    /// Made for the first JSON session, shared by the others.
    json: Option<Bytes>,
}

impl Message {
    fn reach(&mut self, context: &mut Context, connection: ConnectionId, session: &mut Session) {
        if (SessionRef { home: context.me, connection }) == self.origin {
            return;
        }
        // A session that has not said hello is caught up from the store when it does.
        let behind = session.catch_up.as_deref_mut();
        if !session.greeted || behind.is_some_and(|behind| behind.holds(self.conversation, self.seq)) {
            context.counters.deliveries_held += 1;
            return;
        }
        if session.unsent > context.limits.unsent_bytes_max {
            return self.lag(context, connection, session);
        }
        let message = match session.encoding {
            Encoding::Binary => self.delivery.message().clone(),
            Encoding::Json => self.json.get_or_insert_with(|| self.delivery.json()).clone(),
        };
        context.counters.deliveries += 1;
        session.sends(&message);
        context.send(connection, message);
    }

    /// The socket takes no more: the session becomes a cursor, and is caught up when the socket has drained.
    fn lag(&self, context: &mut Context, connection: ConnectionId, session: &mut Session) {
        let behind = session.catch_up.get_or_insert_with(|| Box::new(CatchUp::partial()));
        behind.lag(self.conversation, self.seq);
        context.counters.lagging += 1;
        let lagging = frames::Lagging { conversation: self.conversation.0 };
        let message = server::encode(session.encoding, 0, &ServerFrame::Lagging(lagging));
        session.sends(&message);
        context.send(connection, message);
    }

    fn into_envelope(self, members: Arc<[UserId]>) -> Envelope {
        let Self { conversation, seq, delivery, origin, .. } = self;
        Envelope::Deliver { conversation, seq, delivery, members, origin }
    }
}
