//! Questions to the tree.

use std::ops::Bound;

use bytes::Bytes;
use lsm_tree::{AbstractTree, Guard};

use super::{LsmStore, NEWEST, keys};
use crate::query::{Found, Listed, Opened, Order};
use crate::store::{Page, take_page};
use crate::{Answer, Query};

type Result<T> = std::result::Result<T, lsm_tree::Error>;

impl LsmStore {
    pub(super) fn answer(&self, query: &Query) -> Result<Answer> {
        match *query {
            Query::Conversation { conversation } => {
                Ok(Answer::Conversation(self.open_conversation(conversation)?))
            }
            Query::Messages { conversation, after, up_to, limit, bytes_max, order } => {
                self.messages(&Page { conversation, after, up_to, limit, bytes_max, order })
            }
            Query::Idempotency { conversation, sender, client_id } => {
                let key = keys::idempotency(conversation, sender, client_id);
                Ok(Answer::Idempotency(self.value(&key)?.and_then(|value| found(&value))))
            }
            Query::ConversationsOf { user, device, above, limit } => {
                self.conversations_of(user, device, above, limit)
            }
            Query::Pointers { user, conversation } => Ok(Answer::Pointers {
                read: self.number(&keys::read(user, conversation))?.unwrap_or(0),
                pending: self.number(&keys::pending(user, conversation))?,
            }),
            Query::PendingOf { user, above, limit } => self.pending_of(user, above, limit),
        }
    }

    /// A value that is one number.
    pub(super) fn number(&self, key: &[u8]) -> Result<Option<u64>> {
        Ok(self.value(key)?.map(|value| u64_le(&value)))
    }

    fn value(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.tree.get(key, NEWEST)?.map(Bytes::from))
    }

    fn open_conversation(&self, conversation: u128) -> Result<Option<Opened>> {
        let Some(meta) = self.value(&keys::conversation(conversation))? else { return Ok(None) };
        let mut members = Vec::new();
        let range = keys::member(conversation, 0)..=keys::member(conversation, u64::MAX);
        for entry in self.tree.range(range, NEWEST, None) {
            let (key, info) = entry.into_inner()?;
            members.extend(keys::last_u64(&key).map(|user| (user, Bytes::from(info))));
        }
        let range = keys::message(conversation, 0)..=keys::message(conversation, u64::MAX);
        let newest = self.tree.range(range, NEWEST, None).next_back();
        let newest = newest.map(Guard::key).transpose()?;
        let last_seq = newest.and_then(|key| keys::last_u64(&key)).unwrap_or(0);
        Ok(Some(Opened { meta, members, last_seq }))
    }

    fn messages(&self, page: &Page) -> Result<Answer> {
        if page.after >= page.up_to {
            return Ok(Answer::Messages { messages: Vec::new(), has_more: false });
        }
        let range = (
            Bound::Excluded(keys::message(page.conversation, page.after)),
            Bound::Included(keys::message(page.conversation, page.up_to)),
        );
        let entries = self.tree.range(range, NEWEST, None);
        let mut failure = None;
        let entry = |guard: lsm_tree::IterGuardImpl| match guard.into_inner() {
            Ok((key, frame)) => keys::last_u64(&key).map(|seq| (seq, Bytes::from(frame))),
            Err(error) => {
                failure = Some(error);
                None
            }
        };
        // An error ends the iteration, and the page with it is thrown away below.
        let answer = match page.order {
            Order::OldestFirst => take_page(entries.map_while(entry), page),
            Order::NewestFirst => take_page(entries.rev().map_while(entry), page),
        };
        match failure {
            None => Ok(answer),
            Some(error) => Err(error),
        }
    }

    fn conversations_of(&self, user: u64, device: u64, above: Option<u128>, limit: u32) -> Result<Answer> {
        let (entries, has_more) = self.above(keys::listed, user, above, limit)?;
        let mut conversations = Vec::with_capacity(entries.len());
        for (conversation, _) in entries {
            let delivered = self.number(&keys::delivered(user, device, conversation))?.unwrap_or(0);
            conversations.push(Listed { conversation, delivered });
        }
        Ok(Answer::ConversationsOf { conversations, has_more })
    }

    fn pending_of(&self, user: u64, above: Option<u128>, limit: u32) -> Result<Answer> {
        let (entries, has_more) = self.above(keys::pending, user, above, limit)?;
        let pending = entries.into_iter().map(|(conversation, value)| (conversation, u64_le(&value)));
        Ok(Answer::PendingOf { pending: pending.collect(), has_more })
    }

    /// A page of a table that is keyed by user and conversation.
    fn above(
        &self,
        key: fn(u64, u128) -> keys::Key,
        user: u64,
        above: Option<u128>,
        limit: u32,
    ) -> Result<(Vec<(u128, Bytes)>, bool)> {
        let from = match above {
            Some(above) => Bound::Excluded(key(user, above)),
            None => Bound::Included(key(user, 0)),
        };
        let mut page = Vec::new();
        for entry in self.tree.range((from, Bound::Included(key(user, u128::MAX))), NEWEST, None) {
            let (key, value) = entry.into_inner()?;
            if page.len() == limit as usize {
                return Ok((page, true));
            }
            page.extend(keys::last_u128(&key).map(|conversation| (conversation, Bytes::from(value))));
        }
        Ok((page, false))
    }
}

/// The first 8 bytes; a shorter value, which this program never writes, counts as 0.
pub(super) fn u64_le(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn found(value: &[u8]) -> Option<Found> {
    if value.len() != keys::IDEMPOTENCY_VALUE_BYTES {
        return None;
    }
    Some(Found { seq: u64_le(value), message_id: u64_le(&value[8..]), created_ms: u64_le(&value[16..]) })
}
