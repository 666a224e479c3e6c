//! The conversations that hash to this shard: who belongs, what comes next, what is durable.
//!
//! Owns the order of each conversation. A send is checked, numbered, handed to the log, and only when the log says
//! that it is durable acknowledged and fanned out: `on_durable` is the single place where a message leaves.
//! Never touches a session: answers go to home shards as envelopes. Bounded by the requests in flight of the homes.

mod appends;
mod conversation;
mod delivered;
mod members;
mod repeat_filter;

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::hash_map::Entry;
use tidegate_wire::frames::{ConversationKind, Deliver};
use tidegate_wire::server::Delivery;
use tidegate_wire::{ConversationId, Sequence, UserId};

use self::appends::{Appends, Pending, PendingMessage};
use self::conversation::{Conversation, Repeat, Stage, Waiting};
use self::delivered::DeliveredPointers;
use self::members::{Members, Meta, Role};
use self::repeat_filter::RepeatFilter;
use crate::Map;
use crate::context::Context;
use crate::contract::{
    Answer, Asked, Draft, Envelope, Failure, Grant, Place, Query, Row, SendKey, StoredConversation,
};
use crate::limits::Limits;
use crate::snowflake::{self, Snowflake};

#[derive(Debug)]
pub struct Owner {
    conversations: Map<ConversationId, Conversation>,
    /// The clock that chooses whom to drop from memory: conversations in the order of their opening.
    clock: VecDeque<ConversationId>,
    appends: Appends,
    delivered: DeliveredPointers,
    repeats: RepeatFilter,
    ids: Snowflake,
    /// Latest time given to a message: time does not go back within a shard.
    created: u64,
    /// Which conversation a question to the store was about.
    asked: Map<u64, ConversationId>,
    /// `received` that wait for the store, in all conversations.
    received_waiting: usize,
    /// Until then messages of before the start may be repeated; the filter does not know them.
    past_matters_until: Duration,
}

impl Owner {
    pub fn new(context: &Context, limits: &Limits, created_floor: u64) -> Self {
        Self {
            conversations: context.map(),
            clock: VecDeque::new(),
            appends: Appends::new(context),
            delivered: DeliveredPointers::new(context),
            repeats: RepeatFilter::new(limits.idempotency_window, limits.repeat_filter_bytes_max),
            ids: Snowflake::new(context.node, context.me.0, created_floor),
            created: created_floor,
            asked: context.map(),
            received_waiting: 0,
            past_matters_until: context.now.monotonic + limits.idempotency_window,
        }
    }

    /// Send, Create, Access, Received.
    pub fn on_envelope(&mut self, context: &mut Context, envelope: Envelope) {
        let id = conversation_of(&envelope);
        if matches!(envelope, Envelope::Received { .. }) {
            // No answer is owed for it, so no request bounds it.
            if self.received_waiting >= context.limits.requests_max as usize {
                context.counters.received_shed += 1;
                return;
            }
            self.received_waiting += 1;
        }
        match self.conversations.entry(id) {
            Entry::Vacant(vacant) => {
                let ticket = context.query(Query::Conversation { conversation: id });
                self.asked.insert(ticket, id);
                vacant
                    .insert(Conversation::opening(ticket, context.map()))
                    .waiting
                    .push_back(Waiting::new(envelope));
                self.clock.push_back(id);
                self.make_room(context);
            }
            Entry::Occupied(mut occupied) => {
                let conversation = occupied.get_mut();
                conversation.touched = true;
                let before = conversation.waiting.len();
                conversation.waiting.push_back(Waiting::new(envelope));
                if !matches!(conversation.stage, Stage::Opening { .. }) {
                    self.ask(context, id, before);
                    self.work(context, id);
                }
            }
        }
    }

    /// Gives the answer back if the question was not the owner's.
    pub fn on_answer(&mut self, context: &mut Context, ticket: u64, answer: Answer) -> Option<Answer> {
        let Some(id) = self.asked.remove(&ticket) else { return Some(answer) };
        let conversation = self.conversations.get_mut(&id)?;
        match answer {
            Answer::Conversation(found) => {
                assert_eq!(conversation.stage, Stage::Opening { ticket }, "{id} was opened twice");
                if let Err(reason) = open(conversation, found, context.shards) {
                    context.counters.queries_failed += 1;
                    self.abandon(context, id, &reason.into());
                    return None;
                }
                self.ask(context, id, 0);
            }
            Answer::Repeat(place) => {
                let asked = Repeat::Asked { ticket };
                if let Some(waiting) = conversation.waiting.iter_mut().find(|waiting| waiting.repeat == asked)
                {
                    waiting.repeat = Repeat::Told(place);
                }
            }
            Answer::Failed => {
                context.counters.queries_failed += 1;
                // Whoever asked may have been told already, because another question failed.
                if conversation.awaits(ticket) {
                    self.abandon(context, id, &Arc::from("the store could not be read"));
                }
                return None;
            }
            other => unreachable!("the owner never asked for {other:?}"),
        }
        self.work(context, id);
        None
    }

    /// The log has these: acknowledge and fan out, in the order in which they were appended.
    pub fn on_durable(&mut self, context: &mut Context, up_to: u64) {
        while let Some(pending) = self.appends.pop_durable(up_to) {
            match pending {
                Pending::Message(message) => self.release(context, message),
                Pending::Created { conversation, asked } => {
                    self.conversation(conversation).appends -= 1;
                    for asked in asked {
                        context.envelope(asked.session.home, Envelope::Created { asked, conversation });
                    }
                }
                Pending::Delivered => self.delivered.on_durable(context, &mut self.appends),
            }
        }
        context.counters.appends_in_flight = self.appends.len() as u64;
    }

    /// The log does not have these and never will: their numbers are free again.
    pub fn on_refused(&mut self, context: &mut Context, from: u64, epoch: u32, reason: &Arc<str>) {
        let refused = self.appends.refuse(from, epoch);
        context.counters.appends_refused += refused.len() as u64;
        context.counters.appends_in_flight = self.appends.len() as u64;
        let failure = Failure::Storage { reason: reason.clone() };
        let mut answers = Vec::new();
        for pending in refused {
            match pending {
                Pending::Message(PendingMessage { conversation, place, key, asked, repeats, .. }) => {
                    let conversation = self.conversation(conversation);
                    assert_eq!(conversation.head, place.seq, "refused from the newest to the oldest");
                    conversation.head = Sequence(place.seq.0 - 1);
                    conversation.appends -= 1;
                    conversation.since.remove(&key);
                    answers.extend(repeats.into_iter().map(|(asked, _)| (asked, true)));
                    answers.push((asked, true));
                }
                Pending::Created { conversation, asked } => {
                    let created = self.conversation(conversation);
                    created.appends -= 1;
                    created.stage = Stage::Absent;
                    created.members = Members::default();
                    if created.is_idle() {
                        self.conversations.remove(&conversation);
                    }
                    answers.extend(asked.into_iter().map(|asked| (asked, false)));
                }
                Pending::Delivered => self.delivered.on_refused(context),
            }
        }
        for (asked, was_send) in answers.into_iter().rev() {
            fail(context, asked, was_send, failure.clone());
        }
    }

    pub fn on_tick(&mut self, context: &mut Context) {
        self.delivered.flush(context, &mut self.appends);
        context.counters.conversations = self.conversations.len() as u64;
    }

    /// Finds out, for what has come to wait from `first` on, whether it has been sent before.
    fn ask(&mut self, context: &mut Context, id: ConversationId, first: usize) {
        let conversation = self.conversations.get_mut(&id).expect("its waiting work was just looked at");
        let now = context.now.monotonic;
        let has_past = conversation.has_past && now < self.past_matters_until;
        let Conversation { waiting, since, members, .. } = conversation;
        for waiting in waiting.iter_mut().skip(first) {
            let Envelope::Send(draft) = &waiting.envelope else { continue };
            // Refused when its turn comes. If a create that waits before it makes this a member, the conversation is
            // new, and `since` knows all of it.
            if !members.contains(draft.key.sender) {
                continue;
            }
            let maybe_seen = self.repeats.maybe_seen(hash_of(context, id, draft.key), now);
            let under_way = if maybe_seen { self.appends.find(id, draft.key) } else { None };
            waiting.repeat = if let Some(first) = under_way {
                // It may be durable, and this shard know it, before the store could have answered.
                since.insert(draft.key, first.place);
                Repeat::Told(None)
            } else if maybe_seen || has_past {
                let ticket = context.query(Query::Repeat { conversation: id, key: draft.key });
                context.counters.repeat_queries += 1;
                self.asked.insert(ticket, id);
                Repeat::Asked { ticket }
            } else {
                Repeat::Told(None)
            };
        }
    }

    /// Does what waits, up to the first that needs an answer of the store.
    fn work(&mut self, context: &mut Context, id: ConversationId) {
        loop {
            let conversation = self.conversation(id);
            if matches!(
                conversation.waiting.front(),
                None | Some(Waiting { repeat: Repeat::Asked { .. }, .. })
            ) {
                break;
            }
            let Some(Waiting { envelope, repeat }) = conversation.waiting.pop_front() else { break };
            self.serve(context, id, envelope, repeat);
        }
        let conversation = self.conversation(id);
        if conversation.waiting.is_empty() {
            conversation.since.clear();
            if conversation.stage == Stage::Absent && conversation.is_idle() {
                self.conversations.remove(&id);
            }
        }
    }

    fn serve(&mut self, context: &mut Context, id: ConversationId, envelope: Envelope, repeat: Repeat) {
        match envelope {
            Envelope::Send(draft) => self.send(context, draft, repeat),
            Envelope::Create { asked, kind, creator, members, name, .. } => {
                self.create(context, id, asked, Meta { kind, creator, created: 0, name }, &members);
            }
            Envelope::Access { key, session, user, device, .. } => {
                let conversation = self.conversation(id);
                let (is_member, head) = (conversation.is_member(user), conversation.released);
                let delivered = self.delivered.newest(user, device, id);
                let grant = is_member.then_some(Grant { head, delivered });
                context.envelope(session.home, Envelope::Granted { key, session, conversation: id, grant });
            }
            Envelope::Received { user, device, up_to, .. } => {
                self.received_waiting -= 1;
                let conversation = self.conversation(id);
                if conversation.is_member(user) {
                    let up_to = up_to.min(conversation.released);
                    self.delivered.advance(user, device, id, up_to);
                    self.delivered.flush_if_full(context, &mut self.appends);
                }
            }
            other => unreachable!("{other:?} does not go to an owner"),
        }
    }

    fn send(&mut self, context: &mut Context, draft: Draft, repeat: Repeat) {
        let id = draft.conversation;
        let conversation = self.conversation(id);
        if !conversation.is_member(draft.key.sender) {
            return fail(context, draft.asked, true, Failure::NotAMember);
        }
        let earlier = match repeat {
            Repeat::Told(Some(place)) => Some(place),
            _ => conversation.since.get(&draft.key).copied(),
        };
        if earlier.is_some_and(|place| place.seq <= conversation.released) {
            let place = earlier.expect("just looked at");
            context.counters.sends_repeated += 1;
            return acknowledge(context, &draft, draft.asked, draft.client_ref.clone(), place);
        }
        if earlier.is_some()
            && let Some(first) = self.appends.find(id, draft.key)
        {
            context.counters.sends_repeated += 1;
            return first.repeats.push((draft.asked, draft.client_ref));
        }
        let head = self.conversation(id).head;
        if draft.reply_to > head {
            return fail(
                context,
                draft.asked,
                true,
                Failure::NoSuchMessage { reply_to: draft.reply_to, head },
            );
        }
        self.append(context, draft, head.next());
    }

    /// Gives the message its number and hands it to the log.
    fn append(&mut self, context: &mut Context, draft: Draft, seq: Sequence) {
        let created = self.created.max(context.now.wall_ms);
        let message_id = self.ids.next(created);
        // An id that ran ahead of the clock takes the time with it: the next life starts behind the newest time.
        let created = created.max(snowflake::time_of(message_id));
        self.created = created;
        let place = Place { seq, message_id, created };
        let Draft { asked, conversation: id, key, client_ref, client_time, reply_to, kind, body } = draft;
        let deliver = Deliver {
            conversation: id.0,
            client_id: key.client_id.0,
            seq: seq.0,
            message_id: message_id.0,
            sender: key.sender.0,
            created,
            client_time,
            reply_to: reply_to.0,
            kind: kind as u8,
            body,
            client_ref: client_ref.clone().into_string(),
        };
        let delivery = Delivery::encode(&deliver);
        let conversation = self.conversation(id);
        conversation.head = seq;
        conversation.appends += 1;
        conversation.remember(key, place);
        self.repeats.insert(hash_of(context, id, key), context.now.monotonic);
        let row = Row::Message { conversation: id, seq, frame: delivery.frame(), key, message_id, created };
        let pending =
            PendingMessage { conversation: id, place, key, client_ref, asked, delivery, repeats: Vec::new() };
        self.appends.push(context, vec![row], Pending::Message(pending));
    }

    fn create(
        &mut self,
        context: &mut Context,
        id: ConversationId,
        asked: Asked,
        meta: Meta,
        members: &[UserId],
    ) {
        let shards = context.shards;
        let conversation = self.conversation(id);
        if conversation.stage == Stage::Open {
            if conversation.kind != ConversationKind::Direct || !conversation.members.contains(meta.creator) {
                return fail(context, asked, false, Failure::NotAMember);
            }
            if let Some(waiting) = self.appends.find_created(id) {
                return waiting.push(asked);
            }
            return context.envelope(asked.session.home, Envelope::Created { asked, conversation: id });
        }
        conversation.stage = Stage::Open;
        conversation.kind = meta.kind;
        conversation.members = Members::new(members.iter().copied(), shards);
        conversation.appends += 1;
        let meta = Meta { created: context.now.wall_ms, ..meta };
        let mut rows = vec![Row::Conversation { conversation: id, meta: meta.to_bytes() }];
        rows.extend(members.iter().map(|user| {
            let role = if *user == meta.creator { Role::Owner } else { Role::Member };
            Row::Member { conversation: id, user: *user, info: role.to_bytes() }
        }));
        self.appends.push(context, rows, Pending::Created { conversation: id, asked: vec![asked] });
    }

    fn release(&mut self, context: &mut Context, message: PendingMessage) {
        let PendingMessage { conversation: id, place, key, client_ref, asked, delivery, repeats } = message;
        let conversation = self.conversation(id);
        assert_eq!(place.seq, conversation.released.next(), "messages of {id} become durable in their order");
        conversation.released = place.seq;
        conversation.appends -= 1;
        context.counters.messages_durable += 1;
        for (home, members) in conversation.members.by_home() {
            let (seq, members) = (place.seq, members.clone());
            let delivery = delivery.clone();
            let deliver =
                Envelope::Deliver { conversation: id, seq, delivery, members, origin: asked.session };
            context.envelope(home, deliver);
        }
        let client_id = key.client_id;
        let acked = Envelope::Acked { asked, conversation: id, client_id, client_ref, place, repeat: false };
        context.envelope(asked.session.home, acked);
        for (asked, client_ref) in repeats {
            let acked =
                Envelope::Acked { asked, conversation: id, client_id, client_ref, place, repeat: true };
            context.envelope(asked.session.home, acked);
        }
    }

    /// The store failed: whoever waits gets an error, and the next touch tries again.
    fn abandon(&mut self, context: &mut Context, id: ConversationId, reason: &Arc<str>) {
        let conversation = self.conversation(id);
        let waiting = std::mem::take(&mut conversation.waiting);
        conversation.since.clear();
        if matches!(conversation.stage, Stage::Opening { .. }) {
            self.conversations.remove(&id);
        }
        // Answers to their questions are yet to come: `asked` keeps the tickets.
        for Waiting { envelope, .. } in waiting {
            let failure = Failure::Storage { reason: reason.clone() };
            match envelope {
                Envelope::Send(Draft { asked, .. }) => fail(context, asked, true, failure),
                Envelope::Create { asked, .. } => fail(context, asked, false, failure),
                Envelope::Access { key, session, conversation, .. } => {
                    context.envelope(session.home, Envelope::Unavailable { key, session, conversation });
                }
                // A pointer that is forgotten costs a repeated delivery.
                Envelope::Received { .. } => self.received_waiting -= 1,
                other => unreachable!("{other:?} does not wait at an owner"),
            }
        }
    }

    /// Drops the least recently touched idle conversations while there are too many. Looks at a few per call.
    fn make_room(&mut self, context: &Context) {
        for _ in 0..4 {
            let too_many = self.conversations.len() > context.limits.conversations_max;
            // Conversations that turned out not to exist leave their id on the clock.
            if !too_many && self.clock.len() <= 2 * self.conversations.len() + 64 {
                return;
            }
            let Some(id) = self.clock.pop_front() else { return };
            let Some(conversation) = self.conversations.get_mut(&id) else { continue };
            if too_many && conversation.is_idle() && !conversation.touched {
                self.conversations.remove(&id);
            } else {
                conversation.touched = false;
                self.clock.push_back(id);
            }
        }
    }

    fn conversation(&mut self, id: ConversationId) -> &mut Conversation {
        self.conversations.get_mut(&id).expect("a conversation with work under way stays in memory")
    }
}

impl Waiting {
    fn new(envelope: Envelope) -> Self {
        Self { envelope, repeat: Repeat::NotAsked }
    }
}

fn open(
    conversation: &mut Conversation,
    found: Option<StoredConversation>,
    shards: u16,
) -> Result<(), &'static str> {
    let Some(StoredConversation { meta, members, last_seq }) = found else {
        conversation.stage = Stage::Absent;
        return Ok(());
    };
    let meta = Meta::from_bytes(&meta).ok_or("the conversation's record is damaged or of a newer version")?;
    conversation.stage = Stage::Open;
    conversation.kind = meta.kind;
    conversation.members = Members::new(members.into_iter().map(|(user, _)| user), shards);
    conversation.head = last_seq;
    conversation.released = last_seq;
    conversation.has_past = last_seq > Sequence(0);
    Ok(())
}

fn fail(context: &mut Context, asked: Asked, was_send: bool, failure: Failure) {
    context.envelope(asked.session.home, Envelope::Failed { asked, failure, was_send });
}

fn acknowledge(context: &mut Context, draft: &Draft, asked: Asked, client_ref: Box<str>, place: Place) {
    let (conversation, client_id) = (draft.conversation, draft.key.client_id);
    let acked = Envelope::Acked { asked, conversation, client_id, client_ref, place, repeat: true };
    context.envelope(asked.session.home, acked);
}

fn hash_of(context: &Context, conversation: ConversationId, key: SendKey) -> u64 {
    context.hasher().hash_one((conversation, key))
}

fn conversation_of(envelope: &Envelope) -> ConversationId {
    match envelope {
        Envelope::Send(draft) => draft.conversation,
        Envelope::Create { conversation, .. }
        | Envelope::Access { conversation, .. }
        | Envelope::Received { conversation, .. } => *conversation,
        other => unreachable!("{other:?} does not go to an owner"),
    }
}
