//! "Arrived up to" and "read up to": one pointer per conversation, sent together and rarely.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_wire::{ConversationId, Sequence};

use crate::limits::RECEIVED_DELAY;

/// Pointers that moved and have not been told to the gateway.
#[derive(Debug, Default)]
pub(crate) struct Pointers {
    moved: BTreeMap<ConversationId, Sequence>,
    due: Option<Duration>,
}

impl Pointers {
    /// Pointers only move forward.
    pub fn advance(&mut self, now: Duration, conversation: ConversationId, up_to: Sequence) {
        let pointer = self.moved.entry(conversation).or_default();
        *pointer = up_to.max(*pointer);
        self.due.get_or_insert(now + RECEIVED_DELAY);
    }

    pub fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// What to tell the gateway, if it is time.
    pub fn take_due(&mut self, now: Duration) -> BTreeMap<ConversationId, Sequence> {
        if self.due.is_none_or(|due| due > now) {
            return BTreeMap::new();
        }
        self.due = None;
        std::mem::take(&mut self.moved)
    }
}
