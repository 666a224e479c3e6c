//! What is durable, as the disk model and recovery have it: the truth that everything else is compared with.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_storage::{Append, Lsn, Row};
use tidegate_wire::delivery::DeliverView;

use super::speech::{Delivered, checksum};

/// A promise was broken; the text says which and with what values.
pub type Checked = Result<(), String>;

#[derive(Debug, Default)]
pub struct Ledger {
    /// By LSN, from 1.
    records: Vec<u64>,
    pub conversations: BTreeMap<u128, Conversation>,
    keys: BTreeMap<(u128, u64, u128), u64>,
    message_ids: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub struct Conversation {
    pub members: BTreeSet<u64>,
    /// By sequence, from 1.
    pub messages: Vec<Delivered>,
}

impl Conversation {
    pub fn head(&self) -> u64 {
        self.messages.len() as u64
    }
}

impl Ledger {
    /// A record that has been synced, or that recovery has found.
    ///
    /// # Errors
    /// If it breaks a promise about what is in the log.
    pub fn note(&mut self, lsn: Lsn, append: &Append) -> Checked {
        let known = self.records.len() as u64;
        let print = print_of(append);
        if lsn.0 <= known {
            let before = self.records[lsn.0 as usize - 1];
            return check(before == print, || {
                format!("record {lsn} was durable and is another one: {append:?}")
            });
        }
        check(lsn.0 == known + 1, || format!("record {lsn} follows record {known}"))?;
        self.records.push(print);
        append.rows.iter().try_for_each(|row| self.note_row(row))
    }

    /// After recovery: `last` is the newest record in the log.
    ///
    /// # Errors
    /// If durable records are missing.
    pub fn check_recovered(&self, last: Lsn) -> Checked {
        let known = self.records.len() as u64;
        check(last.0 >= known, || format!("records up to {known} were durable, recovery found {last}"))
    }

    fn note_row(&mut self, row: &Row) -> Checked {
        match row {
            Row::Conversation { conversation, .. } => {
                self.conversations.entry(*conversation).or_default();
            }
            Row::Member { conversation, user, .. } => {
                self.conversations.entry(*conversation).or_default().members.insert(*user);
            }
            Row::Message { conversation, seq, frame, idempotency } => {
                let view = DeliverView::read(frame).ok_or("the log holds a message that is none")?;
                let message = Delivered::of(&view);
                check(message.seq == *seq && message.conversation == *conversation, || {
                    format!("a message is in the log at {seq} and says {message:?}")
                })?;
                let key = (*conversation, idempotency.sender, idempotency.client_id);
                if let Some(before) = self.keys.insert(key, *seq) {
                    return Err(format!("client id {key:?} is in the log at {before} and at {seq}"));
                }
                let fresh = self.message_ids.insert(idempotency.message_id);
                check(fresh, || format!("message id {} was given twice", idempotency.message_id))?;
                let known = self.conversations.entry(*conversation).or_default();
                check(*seq == known.head() + 1, || {
                    format!("sequence {seq} of {conversation:x} follows {} in the log", known.head())
                })?;
                let before = known.messages.last().map_or(0, |last| last.message_id);
                check(message.message_id > before, || {
                    format!("message ids of {conversation:x} go back: {before} before {}", message.message_id)
                })?;
                check(known.members.contains(&message.sender), || {
                    format!("{message:?} is of somebody who is no member")
                })?;
                known.messages.push(message);
            }
            _ => {}
        }
        Ok(())
    }

    /// # Errors
    /// If a client would be told something that is not durable, or something else.
    pub fn check_shown(&self, shown: &Delivered) -> Checked {
        let durable = self
            .conversations
            .get(&shown.conversation)
            .and_then(|conversation| conversation.messages.get((shown.seq as usize).checked_sub(1)?));
        match durable {
            None => Err(format!("shown before it is durable: {shown:?}")),
            Some(durable) => check(durable == shown, || format!("shown {shown:?}, durable {durable:?}")),
        }
    }

    /// # Errors
    /// If what is acknowledged is not durable at this place.
    pub fn check_acked(&self, user: u64, conversation: u128, client_id: u128, seq: u64, id: u64) -> Checked {
        let durable = self.keys.get(&(conversation, user, client_id));
        check(durable == Some(&seq), || {
            format!(
                "acknowledged {client_id:x} of user {user} as {seq} of {conversation:x}, durable: {durable:?}"
            )
        })?;
        let message = &self.conversations[&conversation].messages[seq as usize - 1];
        check(message.message_id == id, || format!("acknowledged with message id {id}, durable: {message:?}"))
    }

    pub fn is_member(&self, conversation: u128, user: u64) -> bool {
        self.conversations.get(&conversation).is_some_and(|found| found.members.contains(&user))
    }

    pub fn message(&self, conversation: u128, seq: u64) -> Option<&Delivered> {
        self.conversations.get(&conversation)?.messages.get((seq as usize).checked_sub(1)?)
    }

    pub fn messages(&self) -> u64 {
        self.keys.len() as u64
    }

    pub fn records(&self) -> u64 {
        self.records.len() as u64
    }

    /// The newest record, if there is one: for comparing runs.
    pub fn print(&self) -> u64 {
        self.records.iter().fold(0, |print, record| checksum(&(print ^ record).to_le_bytes()))
    }
}

/// # Errors
/// The text, unless it holds.
pub fn check(holds: bool, text: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(text()) }
}

fn print_of(append: &Append) -> u64 {
    checksum(format!("{append:?}").as_bytes())
}
