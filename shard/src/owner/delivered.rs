//! How far each device has acknowledged, gathered for a moment so that a device that acknowledges every message costs
//! one row a second. A crash forgets at most that moment: the messages are delivered again.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_wire::{ConversationId, DeviceId, Sequence, UserId};

use super::appends::{Appends, Pending};
use crate::Map;
use crate::context::Context;
use crate::contract::Row;
use crate::limits::DELIVERED_ROWS_MAX;

type Key = (UserId, DeviceId, ConversationId);

#[derive(Debug)]
pub struct DeliveredPointers {
    gathered: Map<Key, Sequence>,
    /// The keys of `gathered`, those that have waited longest first.
    order: VecDeque<Key>,
    /// Handed to the log, not yet durable. One batch at a time.
    in_log: Map<Key, Sequence>,
    next_flush: Duration,
    /// After a refusal a full batch waits, too.
    refused_until: Duration,
}

impl DeliveredPointers {
    pub fn new(context: &Context) -> Self {
        Self {
            gathered: context.map(),
            order: VecDeque::new(),
            in_log: context.map(),
            next_flush: Duration::ZERO,
            refused_until: Duration::ZERO,
        }
    }

    pub fn advance(&mut self, user: UserId, device: DeviceId, conversation: ConversationId, up_to: Sequence) {
        let key = (user, device, conversation);
        match self.gathered.get_mut(&key) {
            Some(pointer) => *pointer = up_to.max(*pointer),
            None => {
                self.gathered.insert(key, up_to);
                self.order.push_back(key);
            }
        }
    }

    /// What the store may not know yet; 0 when nothing.
    pub fn newest(&self, user: UserId, device: DeviceId, conversation: ConversationId) -> Sequence {
        let key = (user, device, conversation);
        let of = |map: &Map<Key, Sequence>| map.get(&key).copied().unwrap_or_default();
        of(&self.gathered).max(of(&self.in_log))
    }

    /// Hands over what has been gathered for long enough.
    pub fn flush(&mut self, context: &mut Context, appends: &mut Appends) {
        if context.now.monotonic >= self.next_flush {
            self.append(context, appends);
        }
    }

    /// A batch that is full need not wait for its time.
    pub fn flush_if_full(&mut self, context: &mut Context, appends: &mut Appends) {
        if self.gathered.len() >= DELIVERED_ROWS_MAX && context.now.monotonic >= self.refused_until {
            self.append(context, appends);
        }
    }

    pub fn on_durable(&mut self, context: &mut Context, appends: &mut Appends) {
        self.in_log.clear();
        self.flush_if_full(context, appends);
    }

    pub fn on_refused(&mut self, context: &Context) {
        self.refused_until = context.now.monotonic + context.limits.delivered_flush;
        self.next_flush = self.refused_until;
        let refused: Vec<_> = self.in_log.drain().collect();
        for ((user, device, conversation), seq) in refused {
            self.advance(user, device, conversation, seq);
        }
    }

    fn append(&mut self, context: &mut Context, appends: &mut Appends) {
        if self.order.is_empty() || !self.in_log.is_empty() {
            return;
        }
        self.next_flush = context.now.monotonic + context.limits.delivered_flush;
        let count = self.order.len().min(DELIVERED_ROWS_MAX);
        let mut rows = Vec::with_capacity(count);
        for key in self.order.drain(..count) {
            let seq = self.gathered.remove(&key).expect("what is in order was gathered");
            self.in_log.insert(key, seq);
            let (user, device, conversation) = key;
            rows.push(Row::Delivered { user, device, conversation, seq });
        }
        appends.push(context, rows, Pending::Delivered);
    }
}
