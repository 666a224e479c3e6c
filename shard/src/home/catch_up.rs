//! A session that is behind: which conversations, how far, and what is held back from it meanwhile.
//!
//! Per conversation: ask the owner (is this user a member? what is the newest message that has been fanned out?), read
//! from the store up to there, then go live. The owner's answer comes on the same ring as its messages, so every
//! message up to the granted head has passed before it and every later one comes after it. While a conversation is in
//! here its live messages are held, which means: not sent, only the newest number remembered, and read from the
//! store before it goes live. So nothing is missed, nothing comes twice, nothing comes out of order, and a session
//! that lags costs one entry per conversation however far behind it is.

use std::collections::{BTreeMap, VecDeque};

use tidegate_wire::{ConversationId, Sequence};

use crate::contract::Grant;

#[derive(Debug)]
pub struct CatchUp {
    /// Conversations that the client named in its hello, sorted: the user's list does not speak for them.
    named: Vec<ConversationId>,
    listing: Listing,
    listed_up_to: Option<ConversationId>,
    behind: BTreeMap<ConversationId, Behind>,
    /// Those that can take their next step.
    queue: VecDeque<ConversationId>,
    /// Those that wait for an owner or for the store.
    active: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    Wanted,
    Asked,
    Done,
}

#[derive(Debug)]
struct Behind {
    stage: Stage,
    /// Newest message that was held back.
    held: Sequence,
    /// The client named this cursor while it was being read to: once more from there.
    again: Option<Sequence>,
    /// Sent by this very session meanwhile: it has their acks, and gets no echo.
    own: Vec<Sequence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Known only from a held message; the list may tell more.
    Noted,
    Unasked {
        cursor: Cursor,
    },
    Asking {
        cursor: Cursor,
    },
    Unread(Reading),
    Reading(Reading),
}

/// Where the device stands, and who says so: what the client names counts even if it is less than what it has
/// acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub seq: Sequence,
    pub named: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub position: Sequence,
    pub target: Sequence,
    /// Messages between the cursor and the first one read were left to history.
    pub has_more: bool,
}

/// What the home has to do next for a session.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    List { above: Option<ConversationId> },
    Ask { conversation: ConversationId },
    Read { conversation: ConversationId, reading: Reading },
}

/// How a conversation stands after a page or a grant.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    GoesOn,
    /// The client has everything up to `head`; live from here.
    Synced {
        head: Sequence,
        has_more: bool,
    },
    /// There was nothing to say.
    Current,
    /// Not (or no longer) something this session catches up.
    Unknown,
}

impl CatchUp {
    /// After hello: the conversations the client names, and all others of its user.
    pub fn after_hello(cursors: impl Iterator<Item = (ConversationId, Sequence)>) -> Self {
        let mut catch_up = Self { listing: Listing::Wanted, ..Self::partial() };
        for (conversation, seq) in cursors {
            catch_up.set_cursor(conversation, seq);
            catch_up.named.push(conversation);
        }
        catch_up.named.sort_unstable();
        catch_up.named.dedup();
        catch_up
    }

    /// For single conversations: a sync, or a reader that fell behind.
    pub fn partial() -> Self {
        Self {
            named: Vec::new(),
            listing: Listing::Done,
            listed_up_to: None,
            behind: BTreeMap::new(),
            queue: VecDeque::new(),
            active: 0,
        }
    }

    /// The client names this conversation: it is caught up from there, whatever else is known or under way.
    pub fn add(&mut self, conversation: ConversationId, seq: Sequence) {
        if self.listing != Listing::Done
            && let Err(at) = self.named.binary_search(&conversation)
        {
            self.named.insert(at, conversation);
        }
        self.set_cursor(conversation, seq);
    }

    /// Live delivery stops before `seq`, because the socket takes no more.
    pub fn lag(&mut self, conversation: ConversationId, seq: Sequence) {
        let reading = Reading { position: Sequence(seq.0 - 1), target: seq, has_more: false };
        self.enqueue(conversation, Stage::Unread(reading));
    }

    /// True if this live message must not be sent: it will be read from the store.
    pub fn holds(&mut self, conversation: ConversationId, seq: Sequence) -> bool {
        if let Some(behind) = self.behind.get_mut(&conversation) {
            behind.held = behind.held.max(seq);
            return true;
        }
        let may_be_listed = self.listing != Listing::Done
            && self.listed_up_to.is_none_or(|listed| conversation > listed)
            && self.named.binary_search(&conversation).is_err();
        if may_be_listed {
            self.behind.insert(
                conversation,
                Behind { stage: Stage::Noted, held: seq, again: None, own: Vec::new() },
            );
        }
        may_be_listed
    }

    /// This session's own message has been acknowledged to it: it is left out when the conversation is read.
    pub fn note_own(&mut self, conversation: ConversationId, seq: Sequence) {
        // A message that need not be held need not be left out either.
        if self.holds(conversation, Sequence(0)) {
            self.behind.get_mut(&conversation).expect("what is held has an entry").own.push(seq);
        }
    }

    pub fn is_own(&self, conversation: ConversationId, seq: Sequence) -> bool {
        self.behind.get(&conversation).is_some_and(|behind| behind.own.contains(&seq))
    }

    pub fn on_list(&mut self, listed: &[(ConversationId, Sequence)], has_more: bool) {
        assert_eq!(self.listing, Listing::Asked, "a list that was not asked for");
        for (conversation, delivered) in listed {
            if self.named.binary_search(conversation).is_err() {
                self.enqueue(
                    *conversation,
                    Stage::Unasked { cursor: Cursor { seq: *delivered, named: false } },
                );
            }
            self.listed_up_to = Some(*conversation);
        }
        if has_more {
            self.listing = Listing::Wanted;
            return;
        }
        self.listing = Listing::Done;
        // Created while the list was read: new to the user, so everything of it is.
        let cursor = Cursor { seq: Sequence(0), named: false };
        for (conversation, behind) in &mut self.behind {
            if behind.stage == Stage::Noted {
                behind.stage = Stage::Unasked { cursor };
                self.queue.push_back(*conversation);
            }
        }
    }

    pub fn on_list_failed(&mut self) {
        self.listing = Listing::Wanted;
    }

    /// `page_max`: more than that behind, and only the newest page is sent.
    pub fn on_granted(&mut self, conversation: ConversationId, grant: Grant, page_max: u32) -> Progress {
        let Some(Stage::Asking { cursor }) = self.stage(conversation) else { return Progress::Unknown };
        self.active -= 1;
        let cursor = if cursor.named { cursor.seq } else { cursor.seq.max(grant.delivered) };
        let position = cursor.max(Sequence(grant.head.0.saturating_sub(page_max.into())));
        if position >= grant.head {
            self.behind.remove(&conversation);
            return Progress::Current;
        }
        let reading = Reading { position, target: grant.head, has_more: position > cursor };
        self.set(conversation, Stage::Unread(reading));
        // Before those that have not begun: few conversations are held at a time.
        self.queue.push_front(conversation);
        Progress::GoesOn
    }

    /// The owner says: not a member.
    pub fn on_denied(&mut self, conversation: ConversationId) -> Progress {
        let Some(Stage::Asking { .. }) = self.stage(conversation) else { return Progress::Unknown };
        self.active -= 1;
        self.behind.remove(&conversation);
        Progress::Current
    }

    /// A page has been sent up to `last` (`None`: the store has nothing in this range).
    pub fn on_page(&mut self, conversation: ConversationId, last: Option<Sequence>) -> Progress {
        let Some(Stage::Reading(mut reading)) = self.stage(conversation) else { return Progress::Unknown };
        self.active -= 1;
        reading.position = last.unwrap_or(reading.target);
        let held = self.behind.get(&conversation).map_or(Sequence(0), |behind| behind.held);
        reading.target = reading.target.max(held);
        if reading.position < reading.target {
            self.set(conversation, Stage::Unread(reading));
            self.queue.push_front(conversation);
            return Progress::GoesOn;
        }
        let behind = self.behind.get_mut(&conversation).expect("its stage was just looked at");
        if let Some(seq) = behind.again.take() {
            behind.stage = Stage::Unasked { cursor: Cursor { seq, named: true } };
            self.queue.push_back(conversation);
        } else {
            self.behind.remove(&conversation);
        }
        Progress::Synced { head: reading.target, has_more: reading.has_more }
    }

    /// The owner or the store could not answer: the same step again, later.
    pub fn on_unavailable(&mut self, conversation: ConversationId) {
        let again = match self.stage(conversation) {
            Some(Stage::Asking { cursor }) => Stage::Unasked { cursor },
            Some(Stage::Reading(reading)) => Stage::Unread(reading),
            _ => return,
        };
        self.active -= 1;
        self.set(conversation, again);
        self.queue.push_back(conversation);
    }

    /// The next thing to do, at most `window` of them at a time.
    pub fn next_step(&mut self, window: usize) -> Option<Step> {
        if self.listing == Listing::Wanted && self.queue.len() < window {
            self.listing = Listing::Asked;
            return Some(Step::List { above: self.listed_up_to });
        }
        if self.active >= window {
            return None;
        }
        let conversation = self.queue.pop_front()?;
        self.active += 1;
        match self.stage(conversation) {
            Some(Stage::Unasked { cursor }) => {
                self.set(conversation, Stage::Asking { cursor });
                Some(Step::Ask { conversation })
            }
            Some(Stage::Unread(reading)) => {
                self.set(conversation, Stage::Reading(reading));
                Some(Step::Read { conversation, reading })
            }
            stage => unreachable!("{conversation} is queued in {stage:?}"),
        }
    }

    /// Conversations that are being caught up.
    pub fn len(&self) -> usize {
        self.behind.len()
    }

    pub fn is_done(&self) -> bool {
        self.listing == Listing::Done && self.behind.is_empty()
    }

    /// Of several cursors the lowest counts.
    fn set_cursor(&mut self, conversation: ConversationId, seq: Sequence) {
        let Some(behind) = self.behind.get_mut(&conversation) else {
            return self.enqueue(conversation, Stage::Unasked { cursor: Cursor { seq, named: true } });
        };
        match &mut behind.stage {
            Stage::Noted => {
                self.enqueue(conversation, Stage::Unasked { cursor: Cursor { seq, named: true } })
            }
            Stage::Unasked { cursor } | Stage::Asking { cursor } => {
                let seq = if cursor.named { seq.min(cursor.seq) } else { seq };
                *cursor = Cursor { seq, named: true };
            }
            Stage::Unread(_) | Stage::Reading(_) => {
                behind.again = Some(behind.again.map_or(seq, |earlier| earlier.min(seq)));
            }
        }
    }

    fn enqueue(&mut self, conversation: ConversationId, stage: Stage) {
        let noted = Behind { stage: Stage::Noted, held: Sequence(0), again: None, own: Vec::new() };
        let behind = self.behind.entry(conversation).or_insert(noted);
        if behind.stage == Stage::Noted {
            behind.stage = stage;
            self.queue.push_back(conversation);
        }
    }

    fn stage(&self, conversation: ConversationId) -> Option<Stage> {
        self.behind.get(&conversation).map(|behind| behind.stage)
    }

    fn set(&mut self, conversation: ConversationId, stage: Stage) {
        self.behind.get_mut(&conversation).expect("only entries that are there change their stage").stage =
            stage;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConversationId = ConversationId(1);
    const B: ConversationId = ConversationId(2);

    fn head(head: u64) -> Grant {
        Grant { head: Sequence(head), delivered: Sequence(0) }
    }

    fn steps(catch_up: &mut CatchUp) -> Vec<Step> {
        std::iter::from_fn(|| catch_up.next_step(16)).collect()
    }

    #[test]
    fn a_message_that_comes_while_a_page_is_read_is_read_too() {
        let mut it = CatchUp::after_hello([(A, Sequence(5))].into_iter());
        assert_eq!(steps(&mut it), [Step::List { above: None }, Step::Ask { conversation: A }]);
        it.on_list(&[(A, Sequence(0))], false);
        assert_eq!(it.on_granted(A, head(7), 100), Progress::GoesOn);
        let reading = Reading { position: Sequence(5), target: Sequence(7), has_more: false };
        assert_eq!(steps(&mut it), [Step::Read { conversation: A, reading }]);
        assert!(it.holds(A, Sequence(8)));
        assert_eq!(it.on_page(A, Some(Sequence(7))), Progress::GoesOn);
        let reading = Reading { position: Sequence(7), target: Sequence(8), has_more: false };
        assert_eq!(steps(&mut it), [Step::Read { conversation: A, reading }]);
        assert_eq!(it.on_page(A, Some(Sequence(8))), Progress::Synced { head: Sequence(8), has_more: false });
        assert!(it.is_done());
        assert!(!it.holds(A, Sequence(9)));
    }

    #[test]
    fn more_than_a_page_behind_sends_the_newest_page() {
        let mut it = CatchUp::partial();
        it.add(A, Sequence(5));
        steps(&mut it);
        it.on_granted(A, head(500), 100);
        let reading = Reading { position: Sequence(400), target: Sequence(500), has_more: true };
        assert_eq!(steps(&mut it), [Step::Read { conversation: A, reading }]);
    }

    #[test]
    fn a_conversation_created_while_the_list_is_read_is_not_lost() {
        let mut it = CatchUp::after_hello(std::iter::empty());
        assert_eq!(steps(&mut it), [Step::List { above: None }]);
        assert!(it.holds(A, Sequence(1)));
        it.on_list(&[(B, Sequence(3))], false);
        assert_eq!(steps(&mut it), [Step::Ask { conversation: B }, Step::Ask { conversation: A }]);
        assert_eq!(it.on_granted(B, head(3), 100), Progress::Current);
        assert_eq!(it.on_granted(A, head(1), 100), Progress::GoesOn);
    }

    #[test]
    fn a_client_that_claims_to_be_ahead_gets_live_messages() {
        let mut it = CatchUp::partial();
        it.add(A, Sequence(u64::MAX));
        steps(&mut it);
        assert_eq!(it.on_granted(A, head(3), 100), Progress::Current);
        assert!(it.is_done());
    }

    #[test]
    fn what_the_device_acknowledged_counts_unless_the_client_names_less() {
        let mut it = CatchUp::after_hello([(A, Sequence(2))].into_iter());
        steps(&mut it);
        it.on_list(&[(A, Sequence(9)), (B, Sequence(9))], false);
        steps(&mut it);
        let grant = Grant { head: Sequence(12), delivered: Sequence(11) };
        it.on_granted(A, grant, 100);
        it.on_granted(B, grant, 100);
        let from = |seq, conversation| Step::Read {
            conversation,
            reading: Reading { position: Sequence(seq), target: Sequence(12), has_more: false },
        };
        assert_eq!(steps(&mut it), [from(11, B), from(2, A)]);
    }

    #[test]
    fn what_the_session_sent_meanwhile_is_left_out() {
        let mut it = CatchUp::after_hello([(A, Sequence(5))].into_iter());
        steps(&mut it);
        it.note_own(A, Sequence(6));
        it.note_own(B, Sequence(1));
        it.on_list(&[(B, Sequence(0))], false);
        assert_eq!(it.on_granted(A, head(7), 100), Progress::GoesOn);
        assert!(it.is_own(A, Sequence(6)) && !it.is_own(A, Sequence(7)));
        assert!(it.is_own(B, Sequence(1)), "the list had not come to it");
        steps(&mut it);
        it.on_page(A, Some(Sequence(7)));
        it.note_own(A, Sequence(8));
        assert!(!it.is_own(A, Sequence(8)), "live again");
    }

    #[test]
    fn a_store_that_fails_is_asked_the_same_again() {
        let mut it = CatchUp::partial();
        it.lag(A, Sequence(4));
        let first = steps(&mut it);
        it.on_unavailable(A);
        assert_eq!(steps(&mut it), first);
    }
}
