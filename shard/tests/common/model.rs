//! Clients that keep count. Random operations on a world; what each session hears is compared with what it must have
//! heard: every message once, in order, the same ack for the same send, pages as the log has them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_shard::Limits;
use tidegate_shard::contract::Input;
use tidegate_shard::limits::TICK;
use tidegate_wire::frames::ConversationKind;
use tidegate_wire::request::HistoryRange;
use tidegate_wire::server::{DeliverView, ServerFrame};
use tidegate_wire::{ConversationId, DeviceId, Encoding, Sequence, UserId};

use super::{NOON_MS, Peer, World};

const USERS: u64 = 4;
const DEVICES: u64 = 2;

/// Four bytes are one operation: which, who, on what, how much.
pub type Op = [u8; 4];

/// Plays the operations on `shards` shards, then lets everything come to rest and compares.
pub fn play(shards: u16, ops: &[Op]) {
    let mut model = Model::new(shards);
    for op in ops {
        model.play(*op);
        model.listen();
    }
    model.rest();
}

struct Model {
    world: World,
    peers: Vec<Peer>,
    sessions: BTreeMap<Peer, Session>,
    conversations: Vec<ConversationId>,
    /// What a send was given first, for ever.
    places: BTreeMap<(ConversationId, UserId, u128), (u64, u64)>,
    /// The highest acknowledgement a device has ever sent.
    acknowledged: BTreeMap<(UserId, DeviceId, ConversationId), u64>,
}

#[derive(Default)]
struct Session {
    asked: BTreeMap<u64, Asked>,
    tracks: BTreeMap<ConversationId, Track>,
    /// Named by the first hello.
    named: BTreeMap<ConversationId, u64>,
    greeted: bool,
    blocked: bool,
}

enum Asked {
    Send { conversation: ConversationId, client_id: u128 },
    History { conversation: ConversationId, range: HistoryRange, limit: u32 },
    Create,
}

/// Where a session stands in a conversation.
#[derive(Default)]
struct Track {
    last: u64,
    /// Something has been delivered: from here on nothing may be missing.
    started: bool,
    /// Sequences it was acknowledged: its own messages are not echoed.
    own: BTreeSet<u64>,
    /// Cursors of syncs: the gateway may go back to each once.
    rewinds: Vec<u64>,
    /// A gap that a `synced` with `has_more` must explain.
    gap: bool,
}

impl Model {
    fn new(shards: u16) -> Self {
        // Small bounds, so that the edges are met all the time.
        let limits = Limits {
            session_requests_max: 6,
            requests_max: 40,
            unsent_bytes_max: 600,
            deliveries_per_turn: 2,
            conversations_max: 3,
            page_messages_max: 8,
            page_bytes_max: 700,
            catch_up_window: 2,
            repeat_filter_bytes_max: 16 << 10,
            ..Limits::default()
        };
        Self {
            world: World::with(shards, limits),
            peers: Vec::new(),
            sessions: BTreeMap::new(),
            conversations: vec![ConversationId(404)],
            places: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    fn play(&mut self, [what, who, on, much]: Op) {
        let shards = self.world.shards.len();
        let shard = usize::from(who) % shards;
        match what % 26 {
            0 => {
                self.connect(1 + u64::from(who) % USERS, 1 + u64::from(on) % DEVICES, much.is_multiple_of(3))
            }
            1 if much.is_multiple_of(4) => self.with(who, |model, peer| {
                model.world.disconnect(peer);
                model.forget(peer);
            }),
            2 => self.with(who, |model, peer| model.hello(peer, on, much)),
            3..=7 => self.with(who, |model, peer| model.send(peer, on, much)),
            8 => self.with(who, |model, peer| model.create(peer, on, much)),
            9 => self.with(who, |model, peer| model.received(peer, on, much)),
            10 => self.with(who, |model, peer| model.sync(peer, on, much)),
            11 => self.with(who, |model, peer| model.history(peer, on, much)),
            12 => self.with(who, |model, peer| {
                model.session(peer).blocked = true;
                let (connection, unsent) = (peer.connection, usize::from(much) * 4);
                model.world.feed(peer.shard, Input::Blocked { connection, unsent });
            }),
            13 => self.with(who, |model, peer| model.unblock(peer)),
            14..=16 => drop(self.world.carry(on.into())),
            17 => self.world.commit(1 + usize::from(much) % 4),
            18 if much.is_multiple_of(3) => {
                let kept = usize::from(on) % (self.world.log.forming() + 1);
                self.world.commit(kept);
                self.world.log.refuse(0);
            }
            19 => drop(self.world.news(shard)),
            20 => drop(self.world.look_up(shard)),
            21 if much.is_multiple_of(3) => drop(self.world.fail_look_up(shard)),
            21 | 22 => drop(self.world.answer(shard)),
            23 => drop(self.world.work(shard)),
            24 => self.world.tick(TICK * u32::from(1 + much % 5)),
            25 if much.is_multiple_of(16) => {
                self.world.crash();
                self.peers.clear();
                self.sessions.clear();
            }
            _ => self.world.settle_without_log(),
        }
    }

    fn with(&mut self, who: u8, act: impl FnOnce(&mut Self, Peer)) {
        self.peers.retain(|peer| self.world.ears[peer].closed.is_none());
        if !self.peers.is_empty() {
            act(self, self.peers[usize::from(who) % self.peers.len()]);
        }
    }

    fn session(&mut self, peer: Peer) -> &mut Session {
        self.sessions.get_mut(&peer).expect("an open peer has a session")
    }

    fn forget(&mut self, peer: Peer) {
        self.peers.retain(|other| *other != peer);
        self.sessions.remove(&peer);
    }

    fn conversation(&self, on: u8) -> ConversationId {
        self.conversations[usize::from(on) % self.conversations.len()]
    }

    fn connect(&mut self, user: u64, device: u64, json: bool) {
        let encoding = if json { Encoding::Json } else { Encoding::Binary };
        let peer = self.world.connect_with(user, device, encoding, NOON_MS / 1000 + 1_000_000);
        self.peers.push(peer);
        self.sessions.insert(peer, Session::default());
    }

    fn hello(&mut self, peer: Peer, on: u8, much: u8) {
        if self.session(peer).greeted {
            return self.sync(peer, on, much);
        }
        let conversation = self.conversation(on);
        let cursor = u64::from(much) % (self.world.store.head(conversation).0 + 1);
        let session = self.session(peer);
        session.greeted = true;
        session.named.insert(conversation, cursor);
        // Past `hello_wait` it is a sync.
        session.tracks.entry(conversation).or_default().rewinds.push(cursor);
        self.world.hello(peer, &[(conversation, cursor)]);
        if !self.world.store.is_member(conversation, peer.user) {
            self.session(peer).named.clear();
        }
    }

    fn sync(&mut self, peer: Peer, on: u8, much: u8) {
        let conversation = self.conversation(on);
        let session = self.session(peer);
        session.greeted = true;
        let known = session.tracks.get(&conversation).map_or(0, |track| track.last);
        let cursor = u64::from(much) % (known + 1);
        session.tracks.entry(conversation).or_default().rewinds.push(cursor);
        self.world.sync(peer, &[(conversation, cursor)]);
    }

    fn send(&mut self, peer: Peer, on: u8, much: u8) {
        let conversation = self.conversation(on);
        let client_id = u128::from(much);
        self.session(peer).greeted = true;
        let request = self.world.send(peer, conversation, client_id);
        self.session(peer).asked.insert(request, Asked::Send { conversation, client_id });
    }

    fn create(&mut self, peer: Peer, on: u8, much: u8) {
        self.session(peer).greeted = true;
        let request = if much.is_multiple_of(2) {
            self.world.create(peer, ConversationKind::Direct, &[1 + u64::from(on) % USERS])
        } else {
            let members: Vec<_> = (1..=USERS).filter(|user| on >> user & 1 == 1).collect();
            self.world.create(peer, ConversationKind::Group, &members)
        };
        self.session(peer).asked.insert(request, Asked::Create);
    }

    fn received(&mut self, peer: Peer, on: u8, much: u8) {
        let conversation = self.conversation(on);
        let session = self.session(peer);
        session.greeted = true;
        let known = session.tracks.get(&conversation).map_or(0, |track| track.last);
        let up_to = u64::from(much) % (known + 1);
        let pointer = self.acknowledged.entry((peer.user, peer.device, conversation)).or_default();
        *pointer = up_to.max(*pointer);
        self.world.received(peer, conversation, up_to);
    }

    fn history(&mut self, peer: Peer, on: u8, much: u8) {
        let conversation = self.conversation(on);
        let at = Sequence(u64::from(much >> 3));
        let range = match much % 3 {
            0 => HistoryRange::Newest,
            1 => HistoryRange::Before(at.next()),
            _ => HistoryRange::After(at),
        };
        let limit = u32::from(much % 5) + 1;
        self.session(peer).greeted = true;
        let request = self.world.history(peer, conversation, range, limit);
        self.session(peer).asked.insert(request, Asked::History { conversation, range, limit });
    }

    fn unblock(&mut self, peer: Peer) {
        if std::mem::take(&mut self.session(peer).blocked) {
            self.world.feed(peer.shard, Input::Drained { connection: peer.connection });
        }
    }

    /// Compares what every session has heard.
    fn listen(&mut self) {
        for peer in self.peers.clone() {
            for (request, frame) in self.world.hear(peer) {
                self.on_frame(peer, request, &frame);
            }
            if let Some(code) = self.world.closed(peer) {
                assert_eq!(code, 4409, "nothing else closes these sessions");
                self.forget(peer);
                self.world.disconnect(peer);
            }
        }
    }

    fn on_frame(&mut self, peer: Peer, request: u64, frame: &ServerFrame) {
        let acknowledged = |id| self.acknowledged.get(&(peer.user, peer.device, id)).copied().unwrap_or(0);
        let session = self.sessions.get_mut(&peer).expect("an open peer has a session");
        match frame {
            ServerFrame::Deliver(deliver) => {
                let id = ConversationId(deliver.conversation);
                let from = session.named.get(&id).copied().unwrap_or_else(|| acknowledged(id));
                session.tracks.entry(id).or_default().on_deliver(deliver.seq, from, peer);
                let stored = &self.world.store.messages[&id][&Sequence(deliver.seq)];
                let stored = DeliverView::read(stored).expect("a deliver frame");
                let heard = DeliverView::from(deliver);
                assert_eq!(
                    (heard.message_id, heard.sender, heard.client_id, heard.created, heard.body),
                    (stored.message_id, stored.sender, stored.client_id, stored.created, stored.body)
                );
            }
            ServerFrame::Synced(synced) => {
                let track = session.tracks.entry(ConversationId(synced.conversation)).or_default();
                if synced.has_more {
                    track.gap = false;
                }
                assert!(!track.gap, "{peer:?} has a gap that nothing explains");
            }
            ServerFrame::Ack(ack) => {
                let Some(Asked::Send { conversation, client_id }) = session.asked.remove(&request) else {
                    panic!("an ack for request {request}, which is no open send")
                };
                assert_eq!((ack.conversation, ack.client_id), (conversation.0, client_id));
                session.tracks.entry(conversation).or_default().own.insert(ack.seq);
                let place = (ack.seq, ack.message_id);
                let first = *self.places.entry((conversation, peer.user, client_id)).or_insert(place);
                assert_eq!(place, first, "the same send got two places");
            }
            ServerFrame::Created(created) => {
                assert!(matches!(session.asked.remove(&request), Some(Asked::Create)));
                let id = ConversationId(created.conversation);
                assert!(self.world.store.conversations.contains_key(&id), "created, and not durable");
                if !self.conversations.contains(&id) {
                    self.conversations.push(id);
                }
            }
            ServerFrame::Page(page) => {
                let Some(Asked::History { conversation, range, limit }) = session.asked.remove(&request)
                else {
                    panic!("a page for request {request}, which asked for none")
                };
                let seqs = super::client::page_seqs(page);
                assert!(seqs.len() <= limit as usize);
                assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "a page with a gap: {seqs:?}");
                let head = self.world.store.head(conversation).0;
                match (range, &seqs[..]) {
                    (HistoryRange::After(after), [first, ..]) => assert_eq!(*first, after.0 + 1),
                    (HistoryRange::Before(before), [.., last]) => assert!(*last < before.0),
                    (HistoryRange::Newest, [.., last]) => assert!(*last <= head),
                    (_, []) => assert!(!page.has_more),
                }
            }
            ServerFrame::Error(error) => {
                assert!(matches!(error.code, 403 | 503), "{error:?}");
                if request == 0 {
                    return assert_eq!(error.code, 403, "only catch-up of a stranger's cursor");
                }
                let asked = session.asked.remove(&request).expect("an error answers a request");
                let (Asked::Send { conversation, .. } | Asked::History { conversation, .. }) = asked else {
                    return;
                };
                let is_member = self.world.store.is_member(conversation, peer.user);
                assert!(error.code != 403 || !is_member, "{peer:?} is a member of {conversation}");
            }
            ServerFrame::Lagging(_) | ServerFrame::Pong => {}
            other => panic!("{other:?} is nothing these clients ask for"),
        }
    }

    /// Everything heals and moves until nothing is left; then every session must have everything.
    fn rest(&mut self) {
        for _ in 0..3 {
            for peer in self.peers.clone() {
                self.unblock(peer);
            }
            self.world.tick(Duration::from_secs(2));
            self.world.settle();
            self.listen();
        }
        for (peer, session) in &self.sessions {
            assert!(session.asked.is_empty(), "{} requests without an answer", session.asked.len());
            assert!(self.world.ears[peer].reading, "{peer:?} is not read from");
            for (id, (_, members)) in &self.world.store.conversations {
                if !members.iter().any(|(member, _)| *member == peer.user) {
                    continue;
                }
                let head = self.world.store.head(*id).0;
                let empty = Track::default();
                let track = session.tracks.get(id).unwrap_or(&empty);
                let acknowledged =
                    self.acknowledged.get(&(peer.user, peer.device, *id)).copied().unwrap_or(0);
                let from = session.named.get(id).copied().unwrap_or(acknowledged);
                let has = if track.started { track.last } else { from };
                let missing: Vec<_> = (has + 1..=head).filter(|seq| !track.own.contains(seq)).collect();
                assert!(missing.is_empty(), "{peer:?} lacks {missing:?} of {id} (head {head})");
                assert!(!track.gap, "{peer:?} has a gap in {id} that nothing explains");
            }
        }
        assert!(self.world.shards.iter().all(|shard| !shard.is_congested()));
    }
}

impl Track {
    /// `from`: where catch-up may begin at the latest.
    fn on_deliver(&mut self, seq: u64, from: u64, peer: Peer) {
        if seq <= self.last && self.started {
            let allowed = self.rewinds.iter().position(|cursor| *cursor < seq);
            let index = allowed.unwrap_or_else(|| panic!("{peer:?} got {seq} again after {}", self.last));
            self.rewinds.remove(index);
        } else {
            let expected = if self.started { self.last } else { from };
            self.gap |= (expected + 1..seq).any(|missing| !self.own.contains(&missing));
        }
        self.started = true;
        self.last = seq;
    }
}
