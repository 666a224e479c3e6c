//! One conversation in the memory of its owner.

use std::collections::VecDeque;

use hashbrown::HashSet;
use tidegate_wire::frames::ConversationKind;
use tidegate_wire::{Sequence, UserId};

use super::members::Members;
use crate::Map;
use crate::contract::{Envelope, Place, SendKey};

#[derive(Debug)]
pub struct Conversation {
    pub stage: Stage,
    pub kind: ConversationKind,
    pub members: Members,
    /// Number of the last append; the next message gets the one after it.
    pub head: Sequence,
    /// Newest message that is durable and fanned out.
    pub released: Sequence,
    /// It had messages when it was opened, whose keys the repeat filter may not know.
    pub has_past: bool,
    /// Appends that are not durable yet.
    pub appends: u32,
    /// Work that waits for the store, in the order of arrival. Everything that comes later waits behind it.
    pub waiting: VecDeque<Waiting>,
    /// Sends numbered while others waited: an answer of the store may be older than they are.
    pub since: Map<SendKey, Place>,
    /// Touched since the hand of the clock last passed.
    pub touched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The store has been asked for it, under this ticket.
    Opening {
        ticket: u64,
    },
    /// The store does not have it (and nobody has created it yet).
    Absent,
    Open,
}

#[derive(Debug)]
pub struct Waiting {
    pub envelope: Envelope,
    pub repeat: Repeat,
}

/// Where the question "has this been sent before?" stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    NotAsked,
    Asked { ticket: u64 },
    Told(Option<Place>),
}

impl Conversation {
    /// `since`: an empty map.
    pub fn opening(ticket: u64, since: Map<SendKey, Place>) -> Self {
        Self {
            stage: Stage::Opening { ticket },
            kind: ConversationKind::Group,
            members: Members::default(),
            head: Sequence(0),
            released: Sequence(0),
            has_past: false,
            appends: 0,
            waiting: VecDeque::new(),
            since,
            touched: true,
        }
    }

    pub fn is_member(&self, user: UserId) -> bool {
        self.stage == Stage::Open && self.members.contains(user)
    }

    /// Somebody waits for the answer to this question.
    pub fn awaits(&self, ticket: u64) -> bool {
        self.stage == Stage::Opening { ticket }
            || self.waiting.iter().any(|waiting| waiting.repeat == Repeat::Asked { ticket })
    }

    /// A send was numbered: those of the same key that wait already must find it. All others will find it in the log or
    /// the store, so what nobody waits for is forgotten from time to time.
    pub fn remember(&mut self, key: SendKey, place: Place) {
        if self.waiting.is_empty() {
            return;
        }
        self.since.insert(key, place);
        if self.since.len() > 2 * self.waiting.len() + SINCE_SLACK {
            let mut wanted = HashSet::with_hasher(self.since.hasher().clone());
            wanted.extend(self.waiting.iter().filter_map(|waiting| match &waiting.envelope {
                Envelope::Send(draft) => Some(draft.key),
                _ => None,
            }));
            self.since.retain(|key, _| wanted.contains(key));
        }
    }

    /// Nothing depends on its being in memory.
    pub fn is_idle(&self) -> bool {
        !matches!(self.stage, Stage::Opening { .. }) && self.appends == 0 && self.waiting.is_empty()
    }
}

/// Places kept beyond twice those that somebody waits for, so that a sweep pays for itself.
const SINCE_SLACK: usize = 64;
