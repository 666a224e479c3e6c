//! The store in memory: for the simulator, and the reference that the other stores are compared with.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use super::{Store, StoreError};
use crate::limits::IDEMPOTENCY_WINDOW_MS;
use crate::query::{Found, Listed, Opened, Order};
use crate::{Answer, Lsn, Query, Row};

/// Tables as ordered maps. Survives nothing; `persisted_lsn` moves with `flush` as if it did, so that a simulated
/// process whose store outlives its crash can be built from it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    conversations: BTreeMap<u128, Bytes>,
    members: BTreeMap<(u128, u64), Bytes>,
    conversations_of: BTreeMap<(u64, u128), ()>,
    messages: BTreeMap<(u128, u64), Bytes>,
    idempotency: BTreeMap<(u128, u64, u128), Found>,
    delivered: BTreeMap<(u64, u64, u128), u64>,
    read: BTreeMap<(u64, u128), u64>,
    pending: BTreeMap<(u64, u128), u64>,
    applied_lsn: Lsn,
    persisted_lsn: Lsn,
    created_ms_max: u64,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    fn apply_row(&mut self, row: &Row) {
        match row {
            Row::Conversation { conversation, meta } => {
                self.conversations.insert(*conversation, meta.clone());
            }
            Row::Member { conversation, user, info } => {
                self.members.insert((*conversation, *user), info.clone());
                self.conversations_of.insert((*user, *conversation), ());
            }
            Row::MemberRemoved { conversation, user } => {
                self.members.remove(&(*conversation, *user));
                self.conversations_of.remove(&(*user, *conversation));
            }
            Row::Message { conversation, seq, frame, idempotency } => {
                self.messages.insert((*conversation, *seq), frame.clone());
                let found = Found {
                    seq: *seq,
                    message_id: idempotency.message_id,
                    created_ms: idempotency.created_ms,
                };
                self.idempotency.insert((*conversation, idempotency.sender, idempotency.client_id), found);
                self.created_ms_max = self.created_ms_max.max(idempotency.created_ms);
            }
            Row::Delivered { user, device, conversation, seq } => {
                let pointer = self.delivered.entry((*user, *device, *conversation)).or_default();
                *pointer = (*pointer).max(*seq);
            }
            Row::Read { user, conversation, seq } => {
                let pointer = self.read.entry((*user, *conversation)).or_default();
                *pointer = (*pointer).max(*seq);
            }
            Row::Pending { user, conversation, first_seq } => {
                let mark = self.pending.entry((*user, *conversation)).or_insert(*first_seq);
                *mark = (*mark).min(*first_seq);
            }
            Row::PendingCleared { user, conversation } => {
                self.pending.remove(&(*user, *conversation));
            }
        }
    }

    fn open(&self, conversation: u128) -> Option<Opened> {
        let meta = self.conversations.get(&conversation)?.clone();
        let members = self.members.range((conversation, 0)..=(conversation, u64::MAX));
        let newest = self.messages.range((conversation, 0)..=(conversation, u64::MAX)).next_back();
        Some(Opened {
            meta,
            members: members.map(|((_, user), info)| (*user, info.clone())).collect(),
            last_seq: newest.map_or(0, |((_, seq), _)| *seq),
        })
    }

    fn messages(&self, page: &Page) -> Answer {
        if page.after >= page.up_to {
            return Answer::Messages { messages: Vec::new(), has_more: false };
        }
        let range = self.messages.range((
            Bound::Excluded((page.conversation, page.after)),
            Bound::Included((page.conversation, page.up_to)),
        ));
        let found = range.map(|((_, seq), frame)| (*seq, frame.clone()));
        match page.order {
            Order::OldestFirst => take_page(found, page),
            Order::NewestFirst => take_page(found.rev(), page),
        }
    }
}

impl Store for MemoryStore {
    fn apply(&mut self, lsn: Lsn, rows: &[Row]) -> Result<(), StoreError> {
        for row in rows {
            self.apply_row(row);
        }
        self.applied_lsn = self.applied_lsn.max(lsn);
        Ok(())
    }

    fn query(&mut self, query: &Query) -> Answer {
        match *query {
            Query::Conversation { conversation } => Answer::Conversation(self.open(conversation)),
            Query::Messages { conversation, after, up_to, limit, bytes_max, order } => {
                self.messages(&Page { conversation, after, up_to, limit, bytes_max, order })
            }
            Query::Idempotency { conversation, sender, client_id } => {
                Answer::Idempotency(self.idempotency.get(&(conversation, sender, client_id)).copied())
            }
            Query::ConversationsOf { user, device, above, limit } => {
                let ids = self.conversations_of.range(above_of(user, above)).map(|((_, id), ())| *id);
                let (ids, has_more) = take_limit(ids, limit);
                let listed = ids.into_iter().map(|conversation| Listed {
                    conversation,
                    delivered: self.delivered.get(&(user, device, conversation)).copied().unwrap_or(0),
                });
                Answer::ConversationsOf { conversations: listed.collect(), has_more }
            }
            Query::Pointers { user, conversation } => Answer::Pointers {
                read: self.read.get(&(user, conversation)).copied().unwrap_or(0),
                pending: self.pending.get(&(user, conversation)).copied(),
            },
            Query::PendingOf { user, above, limit } => {
                let marks = self.pending.range(above_of(user, above)).map(|((_, id), seq)| (*id, *seq));
                let (pending, has_more) = take_limit(marks, limit);
                Answer::PendingOf { pending, has_more }
            }
        }
    }

    fn persisted_lsn(&self) -> Lsn {
        self.persisted_lsn
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.persisted_lsn = self.applied_lsn;
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        let oldest = self.created_ms_max.saturating_sub(IDEMPOTENCY_WINDOW_MS);
        self.idempotency.retain(|_, found| found.created_ms >= oldest);
        Ok(())
    }
}

/// A question for messages: see [`Query::Messages`].
pub(crate) struct Page {
    pub conversation: u128,
    pub after: u64,
    pub up_to: u64,
    pub limit: u32,
    pub bytes_max: u32,
    pub order: Order,
}

/// Takes messages, nearest to the kept end first, as the bounds allow; hands them out ascending.
pub(crate) fn take_page(found: impl Iterator<Item = (u64, Bytes)>, page: &Page) -> Answer {
    let mut messages = Vec::new();
    let mut bytes = 0;
    let mut has_more = false;
    for (seq, frame) in found {
        let fits = messages.is_empty() || bytes + frame.len() <= page.bytes_max as usize;
        if messages.len() == page.limit as usize || !fits {
            has_more = true;
            break;
        }
        bytes += frame.len();
        messages.push((seq, frame));
    }
    if page.order == Order::NewestFirst {
        messages.reverse();
    }
    Answer::Messages { messages, has_more }
}

fn take_limit<T>(mut items: impl Iterator<Item = T>, limit: u32) -> (Vec<T>, bool) {
    let taken = items.by_ref().take(limit as usize).collect();
    (taken, items.next().is_some())
}

fn above_of(user: u64, above: Option<u128>) -> impl RangeBounds<(u64, u128)> {
    let from = match above {
        Some(above) => Bound::Excluded((user, above)),
        None => Bound::Included((user, 0)),
    };
    (from, Bound::Included((user, u128::MAX)))
}
