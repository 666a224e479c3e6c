//! How far each device has acknowledged, gathered for a moment so that a device that acknowledges every message costs
//! one row a second. A crash forgets at most that moment: the messages are delivered again.

use std::time::Duration;

use tidegate_wire::{ConversationId, DeviceId, Sequence, UserId};

use super::appends::{Appends, Pending};
use crate::Map;
use crate::context::Context;
use crate::contract::Row;
use crate::limits::DELIVERED_ROWS_MAX;

type Key = (UserId, DeviceId, ConversationId);

#[derive(Debug, Default)]
pub struct DeliveredPointers {
    gathered: Map<Key, Sequence>,
    /// Handed to the log, not yet durable. One batch at a time.
    in_log: Map<Key, Sequence>,
    next_flush: Duration,
}

impl DeliveredPointers {
    pub fn advance(&mut self, user: UserId, device: DeviceId, conversation: ConversationId, up_to: Sequence) {
        let pointer = self.gathered.entry((user, device, conversation)).or_default();
        *pointer = up_to.max(*pointer);
    }

    /// What the store may not know yet; 0 when nothing.
    pub fn newest(&self, user: UserId, device: DeviceId, conversation: ConversationId) -> Sequence {
        let key = (user, device, conversation);
        let of = |map: &Map<Key, Sequence>| map.get(&key).copied().unwrap_or_default();
        of(&self.gathered).max(of(&self.in_log))
    }

    pub fn flush(&mut self, context: &mut Context, appends: &mut Appends) {
        if self.gathered.is_empty() || !self.in_log.is_empty() || context.now.monotonic < self.next_flush {
            return;
        }
        self.next_flush = context.now.monotonic + context.limits.delivered_flush;
        let mut batch: Vec<_> = self.gathered.iter().map(|(key, seq)| (*key, *seq)).collect();
        batch.sort_unstable();
        batch.truncate(DELIVERED_ROWS_MAX);
        let mut rows = Vec::with_capacity(batch.len());
        for (key, seq) in batch {
            self.gathered.remove(&key);
            self.in_log.insert(key, seq);
            let (user, device, conversation) = key;
            rows.push(Row::Delivered { user, device, conversation, seq });
        }
        appends.push(context, rows, Pending::Delivered);
    }

    pub fn on_durable(&mut self) {
        self.in_log.clear();
        // A batch that was full has left some behind: they need not wait another second.
        if self.gathered.len() >= DELIVERED_ROWS_MAX {
            self.next_flush = Duration::ZERO;
        }
    }

    pub fn on_refused(&mut self) {
        for ((user, device, conversation), seq) in std::mem::take(&mut self.in_log) {
            self.advance(user, device, conversation, seq);
        }
    }
}
