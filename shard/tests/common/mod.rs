//! Several shards connected in memory, with a log and a store that do what a test says. No threads, no time of their own.
//!
//! Nothing moves by itself: `settle` lets everything happen, the smaller steps (`carry`, `commit`, `refuse`, `news`,
//! `answer`, `work`) let one thing happen. Whatever the test, this world checks that nobody hears of a message that
//! is not durable, that nothing is said to a closed connection, and that the counters balance.
#![allow(dead_code, reason = "each test file uses its part of it")]

pub mod client;
pub mod inputs;
pub mod log;
pub mod model;
pub mod speech;
pub mod store;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tidegate_shard::contract::{Answer, ConnectionId, Envelope, Input, Login, Now, Output, Query};
use tidegate_shard::{Identity, Limits, Shard, ShardId, placement};
use tidegate_wire::frames::{self, ConversationKind};
use tidegate_wire::request::HistoryRange;
use tidegate_wire::server::ServerFrame;
use tidegate_wire::{ClientFrame, ConversationId, DeviceId, Encoding, Sequence, UserId};

use self::log::Log;
#[allow(unused_imports, reason = "each test file uses its part of it")]
pub use self::speech::{code_of, message};
use self::speech::{cursors_of, to_json};
use self::store::Store;

pub const NOON_MS: u64 = 1_790_000_000_000;

/// A connection of a device, as its tests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    pub shard: usize,
    pub connection: ConnectionId,
    pub user: UserId,
    pub device: DeviceId,
}

#[derive(Debug)]
pub struct Ear {
    pub encoding: Encoding,
    pub heard: VecDeque<(u64, ServerFrame)>,
    pub closed: Option<u16>,
    pub reading: bool,
}

#[derive(Debug)]
pub struct World {
    pub shards: Vec<Shard>,
    pub limits: Limits,
    pub now: Now,
    pub log: Log,
    pub store: Store,
    /// Questions of each shard that the store has not looked at.
    pub asked: Vec<VecDeque<(u64, Query)>>,
    /// What the store found, on its way back.
    pub answers: Vec<VecDeque<(u64, Answer)>>,
    /// Every question ever asked.
    pub questions: u64,
    pub ears: BTreeMap<Peer, Ear>,
    rings: BTreeMap<(usize, usize), VecDeque<Envelope>>,
    slots: Vec<Vec<ConnectionId>>,
    slots_used: Vec<u32>,
    by_connection: BTreeMap<(usize, ConnectionId), Peer>,
    request: u64,
    lives: u64,
}

impl World {
    pub fn new(shards: u16) -> Self {
        Self::with(shards, Limits::default())
    }

    pub fn with(shards: u16, limits: Limits) -> Self {
        let now = Now { monotonic: Duration::from_secs(1000), wall_ms: NOON_MS };
        let count = usize::from(shards);
        Self {
            shards: start(shards, &limits, now, 1, 0),
            limits,
            now,
            log: Log::new(shards),
            store: Store::default(),
            asked: vec![VecDeque::new(); count],
            answers: vec![VecDeque::new(); count],
            questions: 0,
            ears: BTreeMap::new(),
            rings: BTreeMap::new(),
            slots: vec![Vec::new(); count],
            slots_used: vec![0; count],
            by_connection: BTreeMap::new(),
            request: 0,
            lives: 1,
        }
    }

    /// The process dies and starts again: only what is in the log stays.
    pub fn crash(&mut self) {
        let shards = self.shards.len() as u16;
        self.lives += 1;
        self.shards = start(shards, &self.limits, self.now, self.lives, self.now.wall_ms);
        self.log = Log::new(shards);
        self.asked.iter_mut().for_each(VecDeque::clear);
        self.answers.iter_mut().for_each(VecDeque::clear);
        self.rings.clear();
        self.ears.clear();
        self.by_connection.clear();
    }

    pub fn shard_count(&self) -> u16 {
        self.shards.len() as u16
    }

    // ---- what clients do -------------------------------------------------------------------------------

    /// A new binary session; its welcome has been heard.
    pub fn connect(&mut self, user: u64, device: u64) -> Peer {
        self.connect_with(user, device, Encoding::Binary, NOON_MS / 1000 + 1_000_000)
    }

    /// A session that has said hello without cursors.
    pub fn join(&mut self, user: u64, device: u64) -> Peer {
        let peer = self.connect(user, device);
        self.hello(peer, &[]);
        peer
    }

    pub fn connect_with(&mut self, user: u64, device: u64, encoding: Encoding, expires_at: u64) -> Peer {
        let (user, device) = (UserId(user), DeviceId(device));
        let shard = usize::from(placement::home_of(user, self.shard_count()).0);
        let connection = self.free_slot(shard);
        let peer = Peer { shard, connection, user, device };
        let ear = Ear { encoding, heard: VecDeque::new(), closed: None, reading: true };
        self.ears.insert(peer, ear);
        self.by_connection.insert((shard, connection), peer);
        self.feed(shard, Input::Login { connection, login: Login { user, device, encoding, expires_at } });
        let welcome = self.ears.get_mut(&peer).expect("just inserted").heard.pop_front();
        assert!(matches!(welcome, Some((0, ServerFrame::Welcome(_)))), "{welcome:?} is the first frame");
        peer
    }

    pub fn disconnect(&mut self, peer: Peer) {
        if self.ears.remove(&peer).is_some() {
            self.by_connection.remove(&(peer.shard, peer.connection));
            self.slots[peer.shard].push(peer.connection);
        }
        self.feed(peer.shard, Input::Disconnected { connection: peer.connection });
    }

    /// Says something under a fresh request number, which it returns.
    pub fn say(&mut self, peer: Peer, frame: &ClientFrame) -> u64 {
        self.request += 1;
        let request = self.request;
        let connection = peer.connection;
        match self.ears[&peer].encoding {
            Encoding::Binary => {
                let message = frame.encode(request);
                self.feed(peer.shard, Input::Binary { connection, message: &message });
            }
            Encoding::Json => {
                let message = to_json(request, frame);
                self.feed(peer.shard, Input::Text { connection, message: &message });
            }
        }
        request
    }

    pub fn hello(&mut self, peer: Peer, cursors: &[(ConversationId, u64)]) -> u64 {
        self.say(
            peer,
            &ClientFrame::Hello(frames::Hello { cursors: cursors_of(cursors), client: "test".into() }),
        )
    }

    pub fn sync(&mut self, peer: Peer, cursors: &[(ConversationId, u64)]) -> u64 {
        self.say(peer, &ClientFrame::Sync(frames::Sync { cursors: cursors_of(cursors) }))
    }

    pub fn send(&mut self, peer: Peer, conversation: ConversationId, client_id: u128) -> u64 {
        self.say(peer, &message(conversation, client_id, 0))
    }

    pub fn create(&mut self, peer: Peer, kind: ConversationKind, members: &[u64]) -> u64 {
        let create = frames::Create { members: members.to_vec(), kind: kind as u8, name: String::new() };
        self.say(peer, &ClientFrame::Create(create))
    }

    pub fn received(&mut self, peer: Peer, conversation: ConversationId, up_to_seq: u64) -> u64 {
        self.say(peer, &ClientFrame::Received(frames::UpTo { conversation: conversation.0, up_to_seq }))
    }

    pub fn history(
        &mut self,
        peer: Peer,
        conversation: ConversationId,
        range: HistoryRange,
        limit: u32,
    ) -> u64 {
        self.say(peer, &ClientFrame::History(frames::History::of(conversation.0, range, limit)))
    }

    /// A group of these users, durable; the first creates it.
    pub fn group(&mut self, creator: Peer, members: &[u64]) -> ConversationId {
        let request = self.create(creator, ConversationKind::Group, members);
        self.settle();
        match self.answer_to(creator, request) {
            ServerFrame::Created(created) => ConversationId(created.conversation),
            other => panic!("{other:?} instead of a conversation"),
        }
    }

    /// Sends and waits for the ack: the message's sequence.
    pub fn post(&mut self, peer: Peer, conversation: ConversationId, client_id: u128) -> u64 {
        let request = self.send(peer, conversation, client_id);
        self.settle();
        match self.answer_to(peer, request) {
            ServerFrame::Ack(ack) => ack.seq,
            other => panic!("{other:?} instead of an ack"),
        }
    }

    // ---- what clients hear -----------------------------------------------------------------------------

    /// Everything heard since the last time.
    pub fn hear(&mut self, peer: Peer) -> Vec<(u64, ServerFrame)> {
        self.ears.get_mut(&peer).expect("a peer of this world").heard.drain(..).collect()
    }

    /// Takes the one answer to a request, leaving the rest.
    pub fn answer_to(&mut self, peer: Peer, request: u64) -> ServerFrame {
        self.try_answer_to(peer, request).unwrap_or_else(|| panic!("no answer to request {request}"))
    }

    pub fn try_answer_to(&mut self, peer: Peer, request: u64) -> Option<ServerFrame> {
        let heard = &mut self.ears.get_mut(&peer).expect("a peer of this world").heard;
        let index = heard.iter().position(|(of, _)| *of == request)?;
        let answer = heard.remove(index).map(|(_, frame)| frame);
        assert!(heard.iter().all(|(of, _)| *of != request), "request {request} was answered twice");
        answer
    }

    /// Sequences delivered in a conversation since the last time; takes everything heard.
    pub fn delivered(&mut self, peer: Peer, conversation: ConversationId) -> Vec<u64> {
        self.hear(peer)
            .into_iter()
            .filter_map(|(_, frame)| match frame {
                ServerFrame::Deliver(deliver) if deliver.conversation == conversation.0 => Some(deliver.seq),
                _ => None,
            })
            .collect()
    }

    pub fn closed(&self, peer: Peer) -> Option<u16> {
        self.ears[&peer].closed
    }

    // ---- steps -----------------------------------------------------------------------------------------

    pub fn feed(&mut self, shard: usize, input: Input<'_>) {
        self.shards[shard].handle(self.now, input);
        self.drain(shard);
    }

    pub fn work(&mut self, shard: usize) -> bool {
        let left = self.shards[shard].work(self.now);
        self.drain(shard);
        left
    }

    /// Carries one envelope of the `index`th ring that has any. False when all are empty.
    pub fn carry(&mut self, index: usize) -> bool {
        let loaded: Vec<_> =
            self.rings.iter().filter(|(_, ring)| !ring.is_empty()).map(|(ring, _)| *ring).collect();
        if loaded.is_empty() {
            return false;
        }
        let ring = loaded[index % loaded.len()];
        let envelope = self.rings.get_mut(&ring).and_then(VecDeque::pop_front).expect("a loaded ring");
        self.feed(ring.1, Input::Envelope(envelope));
        true
    }

    pub fn commit(&mut self, count: usize) {
        let count = count.min(self.log.forming());
        self.log.commit(count, &mut self.store);
    }

    /// Tells a shard the next thing its log has to say.
    pub fn news(&mut self, shard: usize) -> bool {
        let Some(news) = self.log.next_news(shard) else { return false };
        self.feed(shard, news.input());
        true
    }

    /// The store looks at the oldest question of a shard.
    pub fn look_up(&mut self, shard: usize) -> bool {
        let Some((ticket, query)) = self.asked[shard].pop_front() else { return false };
        self.answers[shard].push_back((ticket, self.store.answer(&query)));
        true
    }

    /// The store fails at the oldest question of a shard.
    pub fn fail_look_up(&mut self, shard: usize) -> bool {
        let Some((ticket, _)) = self.asked[shard].pop_front() else { return false };
        self.answers[shard].push_back((ticket, Answer::Failed));
        true
    }

    /// Hands a shard the oldest answer.
    pub fn answer(&mut self, shard: usize) -> bool {
        let Some((ticket, answer)) = self.answers[shard].pop_front() else { return false };
        self.feed(shard, Input::Answer { ticket, answer });
        true
    }

    pub fn tick(&mut self, after: Duration) {
        self.now.monotonic += after;
        self.now.wall_ms += after.as_millis() as u64;
        for shard in 0..self.shards.len() {
            self.feed(shard, Input::Tick);
        }
    }

    /// Everything moves but the log.
    pub fn settle_without_log(&mut self) {
        loop {
            let mut moved = self.carry(0);
            for shard in 0..self.shards.len() {
                moved |= self.news(shard) | self.look_up(shard) | self.answer(shard);
                moved |= self.work(shard) || !self.asked[shard].is_empty();
            }
            if !moved {
                return;
            }
        }
    }

    /// Everything moves until nothing is left to do.
    pub fn settle(&mut self) {
        loop {
            self.settle_without_log();
            if self.log.forming() == 0 {
                return self.check_balance();
            }
            self.commit(usize::MAX);
        }
    }

    /// With nothing under way, what came in has gone out.
    pub fn check_balance(&self) {
        let sum = |of: fn(&tidegate_shard::Counters) -> u64| -> u64 {
            self.shards.iter().map(|shard| of(shard.counters())).sum()
        };
        assert_eq!(sum(|c| c.requests_in_flight), 0, "requests without an answer");
        assert_eq!(sum(|c| c.appends_in_flight), 0, "appends without an end");
        assert_eq!(
            sum(|c| c.sends_received),
            sum(|c| c.sends_acked) + sum(|c| c.sends_refused) + sum(|c| c.sends_unclaimed),
            "sends received = acked + refused + unclaimed"
        );
    }

    pub fn count(&self, of: impl Fn(&tidegate_shard::Counters) -> u64) -> u64 {
        self.shards.iter().map(|shard| of(shard.counters())).sum()
    }

    fn free_slot(&mut self, shard: usize) -> ConnectionId {
        match self.slots[shard].pop() {
            Some(ConnectionId { slot, generation }) => ConnectionId { slot, generation: generation + 1 },
            None => {
                self.slots_used[shard] += 1;
                ConnectionId { slot: self.slots_used[shard] - 1, generation: 1 }
            }
        }
    }

    fn drain(&mut self, shard: usize) {
        while let Some(output) = self.shards[shard].poll_output() {
            match output {
                Output::Send { connection, message } => self.on_send(shard, connection, &message),
                Output::Close { connection, code, reason } => {
                    assert!(
                        reason.len() <= 123,
                        "a close reason of {} bytes (RFC 6455 section 5.5)",
                        reason.len()
                    );
                    let ear = self.ear(shard, connection);
                    assert_eq!(ear.closed.replace(code), None, "closed twice");
                }
                Output::SetReading { connection, reading } => {
                    let ear = self.ear(shard, connection);
                    assert_ne!(std::mem::replace(&mut ear.reading, reading), reading, "reading set twice");
                }
                Output::Envelope { to, envelope } => {
                    assert_ne!(usize::from(to.0), shard, "an envelope to itself");
                    self.rings.entry((shard, to.0.into())).or_default().push_back(envelope);
                }
                Output::Append(append) => self.log.push(ShardId(shard as u16), append),
                Output::CheckToken { connection, request, token } => {
                    let outcome = client::read_token(&token);
                    self.feed(shard, Input::TokenChecked { connection, request, outcome });
                }
                Output::Query { ticket, query } => {
                    self.questions += 1;
                    self.asked[shard].push_back((ticket, query));
                }
            }
        }
    }

    fn on_send(&mut self, shard: usize, connection: ConnectionId, message: &[u8]) {
        let ear = self.ear(shard, connection);
        assert_eq!(ear.closed, None, "a send to a closed connection");
        let frames = client::decode(ear.encoding, message);
        let user = self.by_connection[&(shard, connection)].user;
        for (conversation, seq) in frames.iter().flat_map(|(_, frame)| client::mentions(frame)) {
            assert!(Sequence(seq) <= self.store.head(conversation), "{seq} of {conversation} is not durable");
            assert!(
                self.store.is_member(conversation, user),
                "{user} hears of {conversation}, a stranger to it"
            );
        }
        self.ear(shard, connection).heard.extend(frames);
    }

    fn ear(&mut self, shard: usize, connection: ConnectionId) -> &mut Ear {
        let peer = self
            .by_connection
            .get(&(shard, connection))
            .unwrap_or_else(|| panic!("output for {connection:?}, which is gone"));
        self.ears.get_mut(peer).expect("every connection has an ear")
    }
}

fn start(shards: u16, limits: &Limits, now: Now, life: u64, created_floor: u64) -> Vec<Shard> {
    (0..shards)
        .map(|me| {
            let seed = life * 1000 + u64::from(me);
            let identity = Identity { me: ShardId(me), shards, node: 1, seed, created_floor };
            Shard::new(&identity, limits.clone(), now)
        })
        .collect()
}
