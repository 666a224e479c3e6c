//! Between the shard's words and the storage's: the same lists, so that neither crate knows the other.

use tidegate_shard as shard;
use tidegate_shard::contract::{Place, StoredConversation};
use tidegate_storage as storage;
use tidegate_storage::query::Order;
use tidegate_storage::row::Idempotency;
use tidegate_wire::{ConversationId, MessageId, Sequence, UserId};

pub fn append(from: shard::ShardId, append: shard::Append) -> storage::Append {
    let shard::Append { ticket, epoch, rows } = append;
    storage::Append { stream: from.0, ticket, epoch, rows: rows.into_iter().map(row).collect() }
}

fn row(row: shard::Row) -> storage::Row {
    match row {
        shard::Row::Conversation { conversation, meta } => {
            storage::Row::Conversation { conversation: conversation.0, meta }
        }
        shard::Row::Member { conversation, user, info } => {
            storage::Row::Member { conversation: conversation.0, user: user.0, info }
        }
        shard::Row::Message { conversation, seq, frame, key, message_id, created } => storage::Row::Message {
            conversation: conversation.0,
            seq: seq.0,
            frame,
            idempotency: Idempotency {
                sender: key.sender.0,
                client_id: key.client_id.0,
                message_id: message_id.0,
                created_ms: created,
            },
        },
        shard::Row::Delivered { user, device, conversation, seq } => storage::Row::Delivered {
            user: user.0,
            device: device.0,
            conversation: conversation.0,
            seq: seq.0,
        },
    }
}

pub fn query(query: shard::Query) -> storage::Query {
    match query {
        shard::Query::Conversation { conversation } => {
            storage::Query::Conversation { conversation: conversation.0 }
        }
        shard::Query::Messages { conversation, after, up_to, limit, bytes_max, newest } => {
            storage::Query::Messages {
                conversation: conversation.0,
                after: after.0,
                up_to: up_to.0,
                limit,
                bytes_max,
                order: if newest { Order::NewestFirst } else { Order::OldestFirst },
            }
        }
        shard::Query::Repeat { conversation, key } => storage::Query::Idempotency {
            conversation: conversation.0,
            sender: key.sender.0,
            client_id: key.client_id.0,
        },
        shard::Query::ConversationsOf { user, device, above, limit } => storage::Query::ConversationsOf {
            user: user.0,
            device: device.0,
            above: above.map(|conversation| conversation.0),
            limit,
        },
    }
}

pub fn answer(answer: storage::Answer) -> shard::Answer {
    match answer {
        storage::Answer::Conversation(found) => {
            shard::Answer::Conversation(found.map(|found| StoredConversation {
                meta: found.meta,
                members: found.members.into_iter().map(|(user, info)| (UserId(user), info)).collect(),
                last_seq: Sequence(found.last_seq),
            }))
        }
        storage::Answer::Messages { messages, has_more } => shard::Answer::Messages {
            messages: messages.into_iter().map(|(seq, frame)| (Sequence(seq), frame)).collect(),
            has_more,
        },
        storage::Answer::Idempotency(found) => shard::Answer::Repeat(found.map(|found| Place {
            seq: Sequence(found.seq),
            message_id: MessageId(found.message_id),
            created: found.created_ms,
        })),
        storage::Answer::ConversationsOf { conversations, has_more } => shard::Answer::ConversationsOf {
            conversations: conversations
                .into_iter()
                .map(|listed| (ConversationId(listed.conversation), Sequence(listed.delivered)))
                .collect(),
            has_more,
        },
        storage::Answer::Pointers { .. } | storage::Answer::PendingOf { .. } => {
            unreachable!("shards do not ask for pointers or marks")
        }
        storage::Answer::Failed(reason) => {
            tracing::warn!(reason, "the store could not answer");
            shard::Answer::Failed
        }
    }
}
