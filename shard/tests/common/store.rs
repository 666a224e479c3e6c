//! A store on plain maps. What it is told twice, or out of order, is a bug of the shard: it says so at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidegate_shard::contract::{Answer, Place, Query, Row, SendKey, StoredConversation};
use tidegate_wire::server::DeliverView;
use tidegate_wire::{ClientMessageId, ConversationId, DeviceId, Sequence, UserId};

#[derive(Clone, Debug, Default)]
pub struct Store {
    pub conversations: BTreeMap<ConversationId, (Bytes, Vec<(UserId, Bytes)>)>,
    pub messages: BTreeMap<ConversationId, BTreeMap<Sequence, Bytes>>,
    pub keys: BTreeMap<(ConversationId, UserId, ClientMessageId), Place>,
    pub delivered: BTreeMap<(UserId, DeviceId, ConversationId), Sequence>,
}

impl Store {
    pub fn apply(&mut self, rows: &[Row]) {
        for row in rows {
            self.apply_row(row);
        }
    }

    fn apply_row(&mut self, row: &Row) {
        match row.clone() {
            Row::Conversation { conversation, meta } => {
                let before = self.conversations.insert(conversation, (meta, Vec::new()));
                assert!(before.is_none(), "{conversation} was created twice");
            }
            Row::Member { conversation, user, info } => {
                let (_, members) =
                    self.conversations.get_mut(&conversation).expect("members follow their conversation");
                assert!(
                    members.iter().all(|(member, _)| *member != user),
                    "{user} joined {conversation} twice"
                );
                members.push((user, info));
            }
            Row::Message { conversation, seq, frame, key, message_id, created } => {
                assert_eq!(
                    seq,
                    self.head(conversation).next(),
                    "the log has a gap or a repeat in {conversation}"
                );
                let view = DeliverView::read(&frame).expect("the log holds deliver frames");
                let in_frame =
                    (view.conversation, view.seq, view.sender, view.client_id, view.message_id, view.created);
                let in_row = (conversation.0, seq.0, key.sender.0, key.client_id.0, message_id.0, created);
                assert_eq!(in_frame, in_row, "the row of a message disagrees with its frame");
                assert!(
                    self.is_member(conversation, key.sender),
                    "{} is no member of {conversation}",
                    key.sender
                );
                let place = Place { seq, message_id, created };
                let before = self.keys.insert((conversation, key.sender, key.client_id), place);
                assert_eq!(before, None, "the same send was stored twice in {conversation}");
                self.messages.entry(conversation).or_default().insert(seq, frame);
            }
            Row::Delivered { user, device, conversation, seq } => {
                assert!(seq <= self.head(conversation), "{user} acknowledged what is not there");
                let pointer = self.delivered.entry((user, device, conversation)).or_default();
                *pointer = seq.max(*pointer);
            }
        }
    }

    pub fn head(&self, conversation: ConversationId) -> Sequence {
        self.messages.get(&conversation).and_then(|of| of.keys().next_back()).copied().unwrap_or_default()
    }

    pub fn is_member(&self, conversation: ConversationId, user: UserId) -> bool {
        self.conversations
            .get(&conversation)
            .is_some_and(|(_, members)| members.iter().any(|(member, _)| *member == user))
    }

    pub fn answer(&self, query: &Query) -> Answer {
        match *query {
            Query::Conversation { conversation } => {
                Answer::Conversation(self.conversations.get(&conversation).map(|(meta, members)| {
                    StoredConversation {
                        meta: meta.clone(),
                        members: members.clone(),
                        last_seq: self.head(conversation),
                    }
                }))
            }
            Query::Messages { conversation, after, up_to, limit, bytes_max, newest } => {
                self.messages(conversation, after, up_to, (limit, bytes_max), newest)
            }
            Query::Repeat { conversation, key: SendKey { sender, client_id } } => {
                Answer::Repeat(self.keys.get(&(conversation, sender, client_id)).copied())
            }
            Query::ConversationsOf { user, device, above, limit } => {
                let mut listed: Vec<_> = self
                    .conversations
                    .iter()
                    .filter(|(id, (_, members))| {
                        above.is_none_or(|above| **id > above)
                            && members.iter().any(|(member, _)| *member == user)
                    })
                    .map(|(id, _)| {
                        (*id, self.delivered.get(&(user, device, *id)).copied().unwrap_or_default())
                    })
                    .collect();
                let has_more = listed.len() > limit as usize;
                listed.truncate(limit as usize);
                Answer::ConversationsOf { conversations: listed, has_more }
            }
        }
    }

    fn messages(
        &self,
        conversation: ConversationId,
        after: Sequence,
        up_to: Sequence,
        (limit, bytes_max): (u32, u32),
        newest: bool,
    ) -> Answer {
        let mut found: Vec<_> = self
            .messages
            .get(&conversation)
            .into_iter()
            .flatten()
            .filter(|(seq, _)| after < **seq && **seq <= up_to)
            .map(|(seq, frame)| (*seq, frame.clone()))
            .collect();
        if newest {
            found.reverse();
        }
        let mut bytes = 0;
        let kept = found
            .iter()
            .take(limit as usize)
            .enumerate()
            .take_while(|(index, (_, frame))| {
                bytes += frame.len();
                *index == 0 || bytes <= bytes_max as usize
            })
            .count();
        let has_more = kept < found.len();
        found.truncate(kept);
        if newest {
            found.reverse();
        }
        Answer::Messages { messages: found, has_more }
    }
}
