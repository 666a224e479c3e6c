//! What waits for the log, in the order in which it was handed over.

use std::collections::VecDeque;

use tidegate_wire::ConversationId;
use tidegate_wire::server::Delivery;

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
#[derive(Debug, Default)]
pub struct Appends {
    pending: VecDeque<(u64, Pending)>,
    ticket: u64,
    epoch: u32,
}

impl Appends {
    pub fn push(&mut self, context: &mut Context, rows: Vec<Row>, pending: Pending) {
        self.ticket += 1;
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
        if *ticket <= up_to { self.pending.pop_front().map(|(_, pending)| pending) } else { None }
    }

    /// Takes back everything from ticket `from` on, newest first, and starts a new epoch.
    pub fn refuse(&mut self, from: u64, epoch: u32) -> impl Iterator<Item = Pending> {
        assert!(epoch > self.epoch, "refusal of epoch {epoch} after epoch {}", self.epoch);
        self.epoch = epoch;
        let kept = self.pending.iter().take_while(|(ticket, _)| *ticket < from).count();
        self.pending.drain(kept..).rev().map(|(_, pending)| pending)
    }

    /// The append of this send, if it is under way.
    pub fn find(&mut self, conversation: ConversationId, key: SendKey) -> Option<&mut PendingMessage> {
        self.pending.iter_mut().rev().find_map(|(_, pending)| match pending {
            Pending::Message(message) if message.conversation == conversation && message.key == key => {
                Some(message)
            }
            _ => None,
        })
    }

    /// Who waits for the creation of this conversation, if it is under way.
    pub fn find_created(&mut self, id: ConversationId) -> Option<&mut Vec<Asked>> {
        self.pending.iter_mut().rev().find_map(|(_, pending)| match pending {
            Pending::Created { conversation, asked } if *conversation == id => Some(asked),
            _ => None,
        })
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }
}
