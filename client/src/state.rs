//! The client without a socket, a clock or randomness: it is handed what happened and the time, and asked what to do.
//!
//! Owns the cursors, the outbox, the open questions and the order of messages. Driven by [`State::handle`]; after each
//! call the shell asks [`State::poll_transmit`], [`State::poll_event`], [`State::poll_answer`] until they are empty,
//! and [`State::deadline`] for when to hand in [`Input::Tick`]. Bounded by [`crate::limits`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tidegate_wire::client::ClientFrame;
use tidegate_wire::request::Frames;
use tidegate_wire::{ClientMessageId, ConversationId, DeviceId, Sequence, ServerFrame, UserId, frames};

use crate::config::{Acknowledge, Start};
use crate::error::{CallError, SendError, is_retryable};
use crate::event::{Ack, Event, Message, Page};
use crate::limits::{CALLS_MAX, GAP_PATIENCE, OUTBOX_MESSAGES_MAX, PAGE_MESSAGES, RETRY_DELAY};
use crate::outbox::Outbox;
use crate::pointers::Pointers;
use crate::timeline::{Source, Timeline};

/// Everything that can happen.
#[derive(Debug)]
pub enum Input {
    /// The socket is open (upgrade done).
    Connected,
    /// A frame of the gateway.
    Frame { request: u64, frame: ServerFrame },
    /// The socket is gone.
    Disconnected,
    /// Time passed.
    Tick,
    /// A message to send. `announced`: the outcome is an event; else an [`Answer::Sent`].
    Send { frame: frames::Send, announced: bool },
    /// A question with one answer; fails if the connection goes away in between.
    Call { call: CallId, frame: ClientFrame },
    /// The application's queue has this message.
    Taken { conversation: ConversationId, seq: Sequence },
    /// The application has this message and everything before it.
    Received { conversation: ConversationId, up_to: Sequence },
    /// The user has seen this message and everything before it.
    Read { conversation: ConversationId, up_to: Sequence },
    /// A fresh token for the live session.
    Renew { token: String },
    /// The shell has something to say to the application, in its place among the events.
    Notice { event: Event },
    /// The client ends: nothing is sent any more.
    Stop { reason: String },
}

/// Names a question of the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The end of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Sent { client_id: ClientMessageId, result: Result<Ack, SendError> },
    Created { call: CallId, result: Result<ConversationId, CallError> },
    Page { call: CallId, result: Result<Page, CallError> },
}

/// The client's whole memory.
#[derive(Debug)]
pub struct State {
    name: String,
    start: Start,
    acknowledge: Acknowledge,
    user: Option<UserId>,
    online: bool,
    /// This connection's first welcome has come; later ones answer a renewal.
    welcomed: bool,
    timelines: BTreeMap<ConversationId, Timeline>,
    /// Conversations with a gap, and when to ask history for it.
    gaps: BTreeMap<ConversationId, Duration>,
    outbox: Outbox,
    received: Pointers,
    read: Pointers,
    next_request: u64,
    /// What the answer to a request belongs to.
    requests: HashMap<u64, Pending>,
    /// Questions that wait for a connection.
    calls_waiting: VecDeque<(CallId, ClientFrame)>,
    transmit: VecDeque<(u64, ClientFrame)>,
    events: VecDeque<Event>,
    answers: VecDeque<Answer>,
}

#[derive(Debug, Clone)]
enum Pending {
    Send(ClientMessageId),
    Call { call: CallId, is_history: bool },
    Fill(ConversationId),
}

impl State {
    #[must_use]
    pub fn new(
        name: String,
        start: Start,
        acknowledge: Acknowledge,
        cursors: impl IntoIterator<Item = (ConversationId, Sequence)>,
    ) -> Self {
        let timelines = cursors.into_iter().map(|(id, seq)| (id, Timeline::starting_after(seq))).collect();
        Self {
            name,
            start,
            acknowledge,
            user: None,
            online: false,
            welcomed: false,
            timelines,
            gaps: BTreeMap::new(),
            outbox: Outbox::default(),
            received: Pointers::default(),
            read: Pointers::default(),
            next_request: 1,
            requests: HashMap::new(),
            calls_waiting: VecDeque::new(),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// Something happened at `now` (monotonic, any origin).
    pub fn handle(&mut self, now: Duration, input: Input) {
        match input {
            Input::Connected => self.on_connected(),
            Input::Frame { request, frame } => self.on_frame(now, request, frame),
            Input::Disconnected => self.on_disconnected(),
            Input::Tick => {}
            Input::Send { frame, announced } => self.on_send(frame, announced),
            Input::Call { call, frame } => self.calls_waiting.push_back((call, frame)),
            Input::Taken { conversation, seq } if self.acknowledge == Acknowledge::OnDelivery => {
                self.received.advance(now, conversation, seq);
            }
            Input::Taken { .. } => {}
            Input::Received { conversation, up_to } => self.received.advance(now, conversation, up_to),
            Input::Read { conversation, up_to } => self.read.advance(now, conversation, up_to),
            Input::Renew { token } if self.online => {
                self.ask(ClientFrame::Renew(frames::Renew { token }), None);
            }
            Input::Renew { .. } => {}
            Input::Notice { event } => self.events.push_back(event),
            Input::Stop { reason } => self.on_stop(&reason),
        }
        if self.online {
            self.pump(now);
        }
    }

    /// The next frame for the socket, with its request number.
    pub fn poll_transmit(&mut self) -> Option<(u64, ClientFrame)> {
        self.transmit.pop_front()
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next answer to a question of the shell.
    pub fn poll_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    /// When to hand in [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if !self.online {
            return None;
        }
        let gap = self.gaps.values().min().copied();
        [gap, self.outbox.deadline(), self.received.deadline(), self.read.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Events that the application has not taken.
    #[must_use]
    pub fn events_waiting(&self) -> usize {
        self.events.len()
    }

    /// There is room for another message and another question.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outbox.len() < OUTBOX_MESSAGES_MAX && self.calls_waiting.len() < CALLS_MAX
    }

    /// Nothing is on its way: every message has its answer, every pointer has been told.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outbox.len() == 0
            && self.requests.is_empty()
            && self.transmit.is_empty()
            && self.received.deadline().is_none()
            && self.read.deadline().is_none()
    }

    /// Where this device stands in every conversation it knows: what to hand to the next client's
    /// [`crate::Config::cursors`].
    #[must_use]
    pub fn cursors(&self) -> BTreeMap<ConversationId, Sequence> {
        self.timelines.iter().filter_map(|(id, timeline)| Some((*id, timeline.cursor()?))).collect()
    }

    fn on_connected(&mut self) {
        let cursors = self
            .cursors()
            .into_iter()
            .map(|(conversation, seq)| frames::Cursor { conversation: conversation.0, last_seq: seq.0 })
            .collect();
        self.online = true;
        self.welcomed = false;
        let hello = frames::Hello { cursors, client: self.name.clone() };
        self.ask(ClientFrame::Hello(hello), None);
    }

    fn on_disconnected(&mut self) {
        self.online = false;
        self.transmit.clear();
        self.gaps.clear();
        self.outbox.on_disconnected();
        for timeline in self.timelines.values_mut() {
            timeline.on_disconnected();
        }
        for (_, pending) in self.requests.drain() {
            if let Pending::Call { call, is_history } = pending {
                self.answers.push_back(failed(call, is_history, CallError::Disconnected));
            }
        }
    }

    fn on_stop(&mut self, reason: &str) {
        self.on_disconnected();
        for (call, frame) in self.calls_waiting.drain(..) {
            let is_history = matches!(frame, ClientFrame::History(_));
            self.answers.push_back(failed(call, is_history, CallError::Stopped(reason.to_owned())));
        }
        for answered in self.outbox.drain() {
            let client_id = ClientMessageId(answered.frame.client_id);
            let error = SendError::Stopped(reason.to_owned());
            if answered.announced {
                self.events.push_back(Event::Refused { client_id, error });
            } else {
                self.answers.push_back(Answer::Sent { client_id, result: Err(error) });
            }
        }
    }

    fn on_send(&mut self, frame: frames::Send, announced: bool) {
        let client_id = ClientMessageId(frame.client_id);
        let Err(error) = self.outbox.push(frame, announced) else { return };
        if announced {
            self.events.push_back(Event::Refused { client_id, error });
        } else {
            self.answers.push_back(Answer::Sent { client_id, result: Err(error) });
        }
    }

    fn on_frame(&mut self, now: Duration, request: u64, frame: ServerFrame) {
        match frame {
            ServerFrame::Welcome(welcome) => self.on_welcome(&welcome),
            ServerFrame::Deliver(deliver) => self.on_message(now, deliver.into(), Source::Delivery),
            ServerFrame::Ack(ack) => self.on_ack(now, request, ack.into()),
            ServerFrame::Synced(synced) => self.on_synced(now, synced),
            ServerFrame::Page(page) => self.on_page(now, request, page),
            ServerFrame::Created(created) => {
                if let Some(Pending::Call { call, is_history: false }) = self.requests.remove(&request) {
                    let result = Ok(ConversationId(created.conversation));
                    self.answers.push_back(Answer::Created { call, result });
                }
            }
            ServerFrame::Error(error) => self.on_error(now, request, error),
            ServerFrame::Receipt(receipt) => self.events.push_back(Event::Receipt {
                conversation: ConversationId(receipt.conversation),
                user: UserId(receipt.user),
                delivered_up_to: Sequence(receipt.delivered_up_to),
                read_up_to: Sequence(receipt.read_up_to),
            }),
            // Live delivery that pauses goes on by itself, and gaps are seen by their sequence; drain, move and pong
            // are the shell's.
            ServerFrame::Lagging(_) | ServerFrame::Drain(_) | ServerFrame::Moved(_) | ServerFrame::Pong => {}
        }
    }

    fn on_welcome(&mut self, welcome: &frames::Welcome) {
        let user = UserId(welcome.user);
        self.user = Some(user);
        if !std::mem::replace(&mut self.welcomed, true) {
            let device = DeviceId(welcome.device);
            self.events.push_back(Event::Connected { user, device, session: welcome.session });
        }
    }

    fn on_message(&mut self, now: Duration, message: Message, source: Source) {
        let conversation = message.conversation;
        let mut ready = Vec::new();
        self.timeline(conversation).offer(message, source, &mut ready);
        let patience = if source == Source::Delivery { Duration::ZERO } else { GAP_PATIENCE };
        self.after_offer(now + patience, conversation, ready);
    }

    fn on_ack(&mut self, now: Duration, request: u64, ack: Ack) {
        self.requests.remove(&request);
        let Some(answered) = self.outbox.take(ack.client_id) else { return };
        if answered.announced {
            self.events.push_back(Event::Ack(ack));
        } else {
            self.answers.push_back(Answer::Sent { client_id: ack.client_id, result: Ok(ack) });
        }
        // The sending session gets no echo: the acknowledgement is this message's place in the conversation.
        let message = Message::acknowledged(answered.frame, ack, self.user.unwrap_or_default());
        self.on_message(now, message, Source::Acknowledgement);
    }

    fn on_synced(&mut self, now: Duration, synced: frames::Synced) {
        let conversation = ConversationId(synced.conversation);
        let mut ready = Vec::new();
        let timeline = self.timeline(conversation);
        timeline.on_synced(Sequence(synced.head_seq));
        timeline.release(&mut ready);
        self.after_offer(now, conversation, ready);
    }

    fn on_page(&mut self, now: Duration, request: u64, page: frames::Page) {
        let conversation = ConversationId(page.conversation);
        let has_more = page.has_more;
        let messages = messages_of(&page.frames);
        match self.requests.remove(&request) {
            Some(Pending::Call { call, is_history: true }) => {
                let result = Ok(Page { conversation, messages, has_more });
                self.answers.push_back(Answer::Page { call, result });
            }
            Some(Pending::Fill(conversation)) => {
                let mut ready = Vec::new();
                let missing = self.timeline(conversation).offer_page(messages, has_more, &mut ready);
                self.on_missing(conversation, missing);
                self.after_offer(now, conversation, ready);
            }
            _ => {}
        }
    }

    fn on_error(&mut self, now: Duration, request: u64, error: frames::Error) {
        let retry_after = match error.retry_after_ms {
            0 => RETRY_DELAY,
            ms => Duration::from_millis(ms.into()),
        };
        match self.requests.remove(&request) {
            Some(Pending::Send(client_id)) if is_retryable(error.code) => {
                self.outbox.retry_at(client_id, now + retry_after);
            }
            Some(Pending::Send(client_id)) => {
                let Some(answered) = self.outbox.take(client_id) else { return };
                let error = SendError::Refused { code: error.code, message: error.message };
                if answered.announced {
                    self.events.push_back(Event::Refused { client_id, error });
                } else {
                    self.answers.push_back(Answer::Sent { client_id, result: Err(error) });
                }
            }
            Some(Pending::Call { call, is_history }) => {
                self.answers.push_back(failed(call, is_history, error.into()));
            }
            Some(Pending::Fill(conversation)) if is_retryable(error.code) => {
                self.timeline(conversation).filling = false;
                self.gaps.insert(conversation, now + retry_after);
            }
            Some(Pending::Fill(conversation)) => {
                let timeline = self.timeline(conversation);
                let missing = timeline.give_up();
                let mut ready = Vec::new();
                timeline.release(&mut ready);
                self.on_missing(conversation, missing);
                self.after_offer(now, conversation, ready);
            }
            None => {}
        }
    }

    fn on_missing(&mut self, conversation: ConversationId, missing: Option<(Sequence, Sequence)>) {
        if let Some((after, before)) = missing {
            self.events.push_back(Event::Missing { conversation, after, before });
        }
    }

    /// Hands out what became ready, and notes whether something is still missing.
    fn after_offer(&mut self, fill_at: Duration, conversation: ConversationId, ready: Vec<Message>) {
        self.events.extend(ready.into_iter().map(Event::Message));
        let timeline = self.timelines.entry(conversation).or_default();
        if let Some(head) = timeline.take_synced() {
            self.events.push_back(Event::Synced { conversation, head });
        }
        if !timeline.has_gap() {
            self.gaps.remove(&conversation);
        } else if !timeline.filling {
            let at = self.gaps.entry(conversation).or_insert(fill_at);
            *at = fill_at.min(*at);
        }
    }

    /// Puts on the wire what may go now.
    fn pump(&mut self, now: Duration) {
        while let Some(frame) = self.outbox.next_due(now) {
            let client_id = ClientMessageId(frame.client_id);
            let frame = ClientFrame::Send(frame.clone());
            self.ask(frame, Some(Pending::Send(client_id)));
        }
        while self.requests.len() < CALLS_MAX + OUTBOX_MESSAGES_MAX {
            let Some((call, frame)) = self.calls_waiting.pop_front() else { break };
            let is_history = matches!(frame, ClientFrame::History(_));
            self.ask(frame, Some(Pending::Call { call, is_history }));
        }
        self.fill_gaps(now);
        for (conversation, up_to) in self.received.take_due(now) {
            let up_to = frames::UpTo { conversation: conversation.0, up_to_seq: up_to.0 };
            self.transmit.push_back((0, ClientFrame::Received(up_to)));
        }
        for (conversation, up_to) in self.read.take_due(now) {
            let up_to = frames::UpTo { conversation: conversation.0, up_to_seq: up_to.0 };
            self.transmit.push_back((0, ClientFrame::Read(up_to)));
        }
    }

    fn fill_gaps(&mut self, now: Duration) {
        let due: Vec<_> = self.gaps.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for conversation in due {
            self.gaps.remove(&conversation);
            let timeline = self.timeline(conversation);
            timeline.filling = true;
            let (before_seq, after_seq) = match timeline.cursor() {
                Some(last) => (0, last.0),
                None => (timeline.first_held().map_or(0, |seq| seq.0), u64::MAX),
            };
            let history =
                frames::History { conversation: conversation.0, before_seq, after_seq, limit: PAGE_MESSAGES };
            self.ask(ClientFrame::History(history), Some(Pending::Fill(conversation)));
        }
    }

    fn ask(&mut self, frame: ClientFrame, pending: Option<Pending>) {
        let request = self.next_request;
        self.next_request += 1;
        if let Some(pending) = pending {
            self.requests.insert(request, pending);
        }
        self.transmit.push_back((request, frame));
    }

    fn timeline(&mut self, conversation: ConversationId) -> &mut Timeline {
        let start = self.start;
        self.timelines.entry(conversation).or_insert_with(|| match start {
            Start::Newest => Timeline::default(),
            Start::First => Timeline::starting_after(Sequence(0)),
        })
    }
}

/// The deliver frames of a page. What cannot be read is left out, and shows as missing.
fn messages_of(frames: &[u8]) -> Vec<Message> {
    let decode = |(header, body)| match ServerFrame::decode(&header, body) {
        Ok(ServerFrame::Deliver(deliver)) => Some(deliver.into()),
        _ => None,
    };
    Frames::new(frames).map_while(Result::ok).filter_map(decode).collect()
}

fn failed(call: CallId, is_history: bool, error: CallError) -> Answer {
    if is_history {
        Answer::Page { call, result: Err(error) }
    } else {
        Answer::Created { call, result: Err(error) }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
