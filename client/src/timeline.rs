//! One conversation as this device sees it: what has been handed out, and what waits because something before it is
//! missing.
//!
//! ```text
//!  1 .. last_seq | gap | held (at most HELD_MESSAGES_MAX) .. head
//!  handed out      asked from history
//! ```
//! Messages enter by live delivery, catch-up, history pages and own acknowledgements, in any mixture, and leave once
//! and in order.

use std::collections::BTreeMap;

use tidegate_wire::Sequence;

use crate::event::Message;
use crate::limits::HELD_MESSAGES_MAX;

#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// The last one handed out; `None` while it is not known where to begin.
    last_seq: Option<Sequence>,
    held: BTreeMap<Sequence, Message>,
    /// The highest sequence heard of.
    head: Sequence,
    /// The gateway has said that catch-up ended here, and the application has not heard it yet.
    synced_at: Option<Sequence>,
    /// A history page is on its way.
    pub filling: bool,
}

/// Where a message came from: what it says about the messages before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Delivered: the gateway delivers in order, so an unknown conversation begins here.
    Delivery,
    /// An own message: may overtake deliveries.
    Acknowledgement,
}

impl Timeline {
    pub fn starting_after(last_seq: Sequence) -> Self {
        Self { last_seq: Some(last_seq), head: last_seq, ..Self::default() }
    }

    pub fn cursor(&self) -> Option<Sequence> {
        self.last_seq
    }

    /// Takes a message in; what became ready is pushed to `ready`.
    pub fn offer(&mut self, message: Message, source: Source, ready: &mut Vec<Message>) {
        let seq = message.seq;
        self.head = self.head.max(seq);
        if self.last_seq.is_none() && (source == Source::Delivery || seq == Sequence(1)) {
            let first = self.held.keys().next().map_or(seq, |held| seq.min(*held));
            self.last_seq = Some(Sequence(first.0.saturating_sub(1)));
        }
        if self.last_seq.is_some_and(|last| seq <= last) {
            return;
        }
        if self.held.len() < HELD_MESSAGES_MAX || self.last_seq.is_some_and(|last| seq == last.next()) {
            self.held.insert(seq, message);
        }
        self.release(ready);
    }

    /// A page of the messages after the cursor (or, when nothing is known yet, the newest ones). It is the truth: what
    /// is not in it does not exist. Returns the missing range, exclusive on both sides, if there is one.
    pub fn offer_page(
        &mut self,
        messages: Vec<Message>,
        has_more: bool,
        ready: &mut Vec<Message>,
    ) -> Option<(Sequence, Sequence)> {
        self.filling = false;
        let mut missing = None;
        let first = messages.first().map(|message| message.seq);
        match (self.last_seq, first) {
            (None, first) => {
                let begin = first.into_iter().chain(self.held.keys().next().copied()).min();
                self.last_seq = Some(begin.map_or(self.head, |begin| Sequence(begin.0.saturating_sub(1))));
            }
            (Some(last), Some(first)) if first > last.next() => missing = self.jump_to(first),
            (Some(_), Some(_)) => {}
            (Some(_), None) if !has_more => missing = self.give_up(),
            (Some(_), None) => {}
        }
        for message in messages {
            self.offer(message, Source::Delivery, ready);
        }
        self.release(ready);
        missing
    }

    /// History is refused: goes on with what is there.
    pub fn give_up(&mut self) -> Option<(Sequence, Sequence)> {
        self.filling = false;
        let next = self.held.keys().next().copied().unwrap_or(self.head.next());
        self.jump_to(next)
    }

    /// The gateway has caught this device up to `head`.
    pub fn on_synced(&mut self, head: Sequence) {
        self.head = self.head.max(head);
        self.synced_at = Some(head);
        if self.last_seq.is_none() {
            let begin = self.held.keys().next().map_or(head, |held| Sequence(held.0.saturating_sub(1)));
            self.last_seq = Some(begin.min(head));
        }
    }

    /// What to tell the application about a catch-up that has ended.
    pub fn take_synced(&mut self) -> Option<Sequence> {
        let head = self.synced_at.filter(|head| self.last_seq.is_some_and(|last| last >= *head))?;
        self.synced_at = None;
        Some(head)
    }

    /// Something before `head` has not come.
    pub fn has_gap(&self) -> bool {
        self.last_seq.is_none_or(|last| last < self.head)
    }

    /// The lowest sequence that waits, where history of an unknown conversation ends.
    pub fn first_held(&self) -> Option<Sequence> {
        self.held.keys().next().copied()
    }

    /// Catch-up of the next session brings again whatever waited.
    pub fn on_disconnected(&mut self) {
        self.held.clear();
        self.filling = false;
        self.synced_at = None;
        self.head = self.last_seq.unwrap_or_default();
    }

    pub fn release(&mut self, ready: &mut Vec<Message>) {
        let Some(mut last) = self.last_seq else { return };
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() > last.next() {
                break;
            }
            let message = entry.remove();
            if message.seq == last.next() {
                last = message.seq;
                ready.push(message);
            }
        }
        self.last_seq = Some(last);
    }

    fn jump_to(&mut self, next: Sequence) -> Option<(Sequence, Sequence)> {
        let last = self.last_seq.unwrap_or_default();
        if next <= last.next() {
            return None;
        }
        self.last_seq = Some(Sequence(next.0 - 1));
        Some((last, next))
    }
}
