//! What waits for the log, in the order in which it was handed over.

use std::collections::VecDeque;

use tidegate_wire::ConversationId;
use tidegate_wire::server::Delivery;

use crate::Map;
use crate::context::Context;
use crate::contract::{Append, Asked, Output, Place, Row, SendKey};

/// Something that happens when its append is durable.
#[derive(Debug)]
pub enum Pending {
    Message(PendingMessage),
    Created {
        conversation: ConversationId,
        asked: Vec<Asked>,
    },
    /// A batch of `received` pointers: nobody waits for it.
    Delivered,
}

#[derive(Debug)]
pub struct PendingMessage {
    pub conversation: ConversationId,
    pub place: Place,
    pub key: SendKey,
    pub client_ref: Box<str>,
    pub asked: Asked,
    pub delivery: Delivery,
    /// Repeats that came before the first was durable: answered with it.
    pub repeats: Vec<(Asked, Box<str>)>,
}

/// Bounded by the requests in flight of all shards, and one batch of pointers.
#[derive(Debug)]
pub struct Appends {
    pending: VecDeque<(u64, Pending)>,
    /// Tickets of what a repeat may look for.
    sends: Map<(ConversationId, SendKey), u64>,
    creates: Map<ConversationId, u64>,
    ticket: u64,
    epoch: u32,
}

impl Appends {
    pub fn new(context: &Context) -> Self {
        Self { pending: VecDeque::new(), sends: context.map(), creates: context.map(), ticket: 0, epoch: 0 }
    }

    pub fn push(&mut self, context: &mut Context, rows: Vec<Row>, pending: Pending) {
        self.ticket += 1;
        match &pending {
            Pending::Message(message) => {
                self.sends.insert((message.conversation, message.key), self.ticket);
            }
            Pending::Created { conversation, .. } => {
                self.creates.insert(*conversation, self.ticket);
            }
            Pending::Delivered => {}
        }
        self.pending.push_back((self.ticket, pending));
        context.counters.appends_in_flight = self.pending.len() as u64;
        context.out.push_back(Output::Append(Append { ticket: self.ticket, epoch: self.epoch, rows }));
    }

    /// The next one that is durable.
    pub fn pop_durable(&mut self, up_to: u64) -> Option<Pending> {
        assert!(
            up_to <= self.ticket,
            "the log says {up_to} is durable, {} is the last handed over",
            self.ticket
        );
        let (ticket, _) = self.pending.front()?;
        if *ticket > up_to {
            return None;
        }
        let (_, pending) = self.pending.pop_front()?;
        self.forget(&pending);
        Some(pending)
    }

    /// Takes back everything from ticket `from` on, newest first, and starts a new epoch.
    pub fn refuse(&mut self, from: u64, epoch: u32) -> Vec<Pending> {
        assert!(epoch > self.epoch, "refusal of epoch {epoch} after epoch {}", self.epoch);
        self.epoch = epoch;
        let kept = self.pending.partition_point(|(ticket, _)| *ticket < from);
        let refused: Vec<_> = self.pending.drain(kept..).rev().map(|(_, pending)| pending).collect();
        for pending in &refused {
            self.forget(pending);
        }
        refused
    }

    /// The append of this send, if it is under way.
    pub fn find(&mut self, conversation: ConversationId, key: SendKey) -> Option<&mut PendingMessage> {
        let ticket = *self.sends.get(&(conversation, key))?;
        match self.of_ticket(ticket) {
            Pending::Message(message) => Some(message),
            other => unreachable!("{other:?} is no message"),
        }
    }

    /// Who waits for the creation of this conversation, if it is under way.
    pub fn find_created(&mut self, conversation: ConversationId) -> Option<&mut Vec<Asked>> {
        let ticket = *self.creates.get(&conversation)?;
        match self.of_ticket(ticket) {
            Pending::Created { asked, .. } => Some(asked),
            other => unreachable!("{other:?} creates nothing"),
        }
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Tickets rise, with gaps where some were refused.
    fn of_ticket(&mut self, ticket: u64) -> &mut Pending {
        let index = self.pending.partition_point(|(earlier, _)| *earlier < ticket);
        let (found, pending) = self.pending.get_mut(index).expect("an indexed append is pending");
        assert_eq!(*found, ticket, "an indexed append is pending");
        pending
    }

    fn forget(&mut self, pending: &Pending) {
        match pending {
            Pending::Message(message) => {
                self.sends.remove(&(message.conversation, message.key));
            }
            Pending::Created { conversation, .. } => {
                self.creates.remove(conversation);
            }
            Pending::Delivered => {}
        }
    }
}
