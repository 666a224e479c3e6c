//! Bytes played as inputs: arbitrary frames of arbitrary sessions, between steps of the log, the store, the rings and
//! the clock. Nothing may panic; the world checks what always holds, and that everything balances at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_shard::Limits;
use tidegate_shard::contract::Input;
use tidegate_wire::frames::{self, ConversationKind};
use tidegate_wire::header::Header;
use tidegate_wire::request::HistoryRange;
use tidegate_wire::{ClientFrame, ConversationId, Encoding, Sequence};

use super::{NOON_MS, Peer, World};

/// The first byte says how many shards; then operations, each a byte and its operands. Missing bytes are 0.
pub fn play(data: &[u8]) {
    let mut bytes = Bytes { rest: data };
    let shards = 1 + u16::from(bytes.next() % 3);
    let limits = Limits {
        session_requests_max: 4,
        requests_max: 16,
        unsent_bytes_max: 500,
        deliveries_per_turn: 3,
        conversations_max: 3,
        page_messages_max: 4,
        page_bytes_max: 600,
        catch_up_window: 2,
        repeat_filter_bytes_max: 16 << 10,
        ..Limits::default()
    };
    let (peers, gone, forgers) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut player = Player { world: World::with(shards, limits), peers, gone, forgers };
    // Long enough for every interleaving of a few sessions, short enough to be quick.
    for _ in 0..2000 {
        if bytes.rest.is_empty() {
            break;
        }
        player.play(&mut bytes);
    }
    player.rest();
}

struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

struct Player {
    world: World,
    peers: Vec<Peer>,
    /// Connections that are no more, for inputs that come late.
    gone: Vec<Peer>,
    /// Those that may have made up any request number.
    forgers: BTreeSet<Peer>,
}

impl Player {
    fn play(&mut self, bytes: &mut Bytes<'_>) {
        let what = bytes.next();
        if let 0..=11 = what % 26 {
            let who = bytes.next();
            return self.play_client(what % 26, who, bytes);
        }
        let shard = usize::from(what >> 5) % self.world.shards.len();
        match what % 26 {
            12 => drop(self.world.carry(usize::from(what >> 5))),
            13 => self.world.commit(1 + usize::from(bytes.next() % 4)),
            14 => {
                let kept = usize::from(bytes.next()) % (self.world.log.forming() + 1);
                self.world.commit(kept);
                self.world.log.refuse(0);
            }
            15 => drop(self.world.news(shard)),
            16 => drop(self.world.look_up(shard)),
            17 => drop(self.world.fail_look_up(shard)),
            18 => drop(self.world.answer(shard)),
            19 => drop(self.world.work(shard)),
            20 => self.world.tick(Duration::from_millis(u64::from(bytes.next()) * 16)),
            21 => self.late(bytes.next()),
            22 | 23 => self.world.settle_without_log(),
            24 => {
                self.world.crash();
                self.peers.clear();
                self.gone.clear();
            }
            _ => self.world.feed(shard, Input::Drain { reconnect_after_ms: 1, window_ms: u32::MAX }),
        }
    }

    fn play_client(&mut self, what: u8, who: u8, bytes: &mut Bytes<'_>) {
        let (open, closed): (Vec<Peer>, Vec<Peer>) =
            self.peers.iter().partition(|peer| self.world.ears[peer].closed.is_none());
        self.peers = open;
        self.gone.extend_from_slice(&closed);
        for peer in closed {
            self.world.disconnect(peer);
        }
        if what == 0 || self.peers.is_empty() {
            let encoding = if who & 0x80 == 0 { Encoding::Binary } else { Encoding::Json };
            let expires_at = NOON_MS / 1000 + if who & 0x40 == 0 { 1_000_000 } else { 3 };
            let peer = self.world.connect_with(
                u64::from(1 + who % 4),
                u64::from(who >> 2 & 1),
                encoding,
                expires_at,
            );
            return self.peers.push(peer);
        }
        let index = usize::from(who) % self.peers.len();
        let peer = self.peers[index];
        match what {
            1 => {
                self.world.disconnect(self.peers.swap_remove(index));
                self.gone.push(peer);
            }
            2 => {
                let length = bytes.next();
                self.raw(peer, who & 0x80 != 0, bytes.take(length.into()));
            }
            3 => drop(self.world.hello(peer, &self.cursors(bytes))),
            4 => drop(self.world.sync(peer, &self.cursors(bytes))),
            5 | 6 => {
                let (conversation, client_id) = (self.conversation(bytes.next()), bytes.next().into());
                let reply_to = if what == 5 { 0 } else { bytes.next().into() };
                self.world.say(peer, &super::message(conversation, client_id, reply_to));
            }
            7 => {
                let kind = if who & 0x80 == 0 { ConversationKind::Group } else { ConversationKind::Direct };
                let members: Vec<_> =
                    bytes.take(1 + usize::from(who >> 4 & 3)).iter().map(|m| u64::from(*m % 6)).collect();
                self.world.create(peer, kind, &members);
            }
            8 => {
                let conversation = self.conversation(bytes.next());
                self.world.received(peer, conversation, bytes.next().into());
            }
            9 => {
                let (conversation, at) = (self.conversation(bytes.next()), Sequence(bytes.next().into()));
                let range = match who >> 6 {
                    0 => HistoryRange::Newest,
                    1 => HistoryRange::Before(at.next()),
                    2 => HistoryRange::After(at),
                    _ => HistoryRange::After(Sequence(u64::MAX - 1 - at.0)),
                };
                self.world.history(peer, conversation, range, (who >> 3 & 7).into());
            }
            10 => {
                let (connection, unsent) = (peer.connection, usize::from(bytes.next()) * 4);
                self.world.feed(peer.shard, Input::Blocked { connection, unsent });
            }
            _ => self.world.feed(peer.shard, Input::Drained { connection: peer.connection }),
        }
    }

    /// Bytes as they are, or as the body of a frame of any kind; in the encoding of the session or in the other.
    fn raw(&mut self, peer: Peer, swapped: bool, message: &[u8]) {
        self.forgers.insert(peer);
        let connection = peer.connection;
        let is_binary = (self.world.ears[&peer].encoding == Encoding::Binary) != swapped;
        if !is_binary {
            let message = &String::from_utf8_lossy(message);
            return self.world.feed(peer.shard, Input::Text { connection, message });
        }
        let [0, kind, body @ ..] = message else {
            return self.world.feed(peer.shard, Input::Binary { connection, message });
        };
        let header = Header {
            length: body.len() as u32,
            kind: u16::from(*kind % 32),
            version: 1,
            flags: 0,
            request: 9,
        };
        let mut message = [&header.to_bytes()[..], body].concat();
        message.resize(header.frame_bytes(), 0);
        self.world.feed(peer.shard, Input::Binary { connection, message: &message });
    }

    /// What a driver may still say of a connection that is gone.
    fn late(&mut self, which: u8) {
        if self.gone.is_empty() {
            return;
        }
        let Peer { shard, connection, .. } = self.gone[usize::from(which) % self.gone.len()];
        let ping = ClientFrame::Ping.encode(1);
        let input = match which >> 6 {
            0 => Input::Disconnected { connection },
            1 => Input::Blocked { connection, unsent: 10 },
            2 => Input::Drained { connection },
            _ => Input::Binary { connection, message: &ping },
        };
        self.world.feed(shard, input);
    }

    fn cursors(&self, bytes: &mut Bytes<'_>) -> Vec<(ConversationId, u64)> {
        let count = bytes.next() % 4;
        (0..count).map(|_| (self.conversation(bytes.next()), bytes.next().into())).collect()
    }

    fn conversation(&self, which: u8) -> ConversationId {
        let known = self.world.store.conversations.len();
        let index = usize::from(which) % (known + 1);
        self.world.store.conversations.keys().nth(index).copied().unwrap_or(ConversationId(404))
    }

    fn rest(&mut self) {
        for peer in self.peers.clone() {
            self.world.feed(peer.shard, Input::Drained { connection: peer.connection });
        }
        for _ in 0..3 {
            self.world.settle();
            self.world.tick(Duration::from_secs(2));
        }
        self.world.settle();
        for (peer, ear) in &self.world.ears {
            assert!(ear.reading || ear.closed.is_some(), "{peer:?} is not read from");
            let mut answered = BTreeSet::new();
            for (request, frame) in ear.heard.iter().filter(|(request, _)| *request != 0) {
                let is_first = answered.insert(*request);
                assert!(is_first || self.forgers.contains(peer), "{request} was answered twice: {frame:?}");
            }
        }
        assert!(self.world.shards.iter().all(|shard| !shard.is_congested()));
    }
}

/// Hello and sync of the raw kind need their bodies: what a corpus starts from.
pub fn frame_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let cursor = frames::Cursor { conversation: 404, last_seq: 3 };
    let frames = [
        ("hello", ClientFrame::Hello(frames::Hello { cursors: vec![cursor; 2], client: "fuzz/1".into() })),
        ("sync", ClientFrame::Sync(frames::Sync { cursors: vec![cursor] })),
        (
            "create",
            ClientFrame::Create(frames::Create { members: vec![1, 2], kind: 2, name: "harbour".into() }),
        ),
        ("send", super::message(ConversationId(404), 7, 0)),
        ("renew", ClientFrame::Renew(frames::Renew { token: "e30".into() })),
        ("ping", ClientFrame::Ping),
    ];
    frames.into_iter().map(|(name, frame)| (name, frame.encode(5).to_vec())).collect()
}
