//! While the sync of a group is held back, nothing of its messages leaves: no ack, no delivery, no page. When it has
//! finished, all of it does. Guards the first promise: durable before anybody is told.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail like the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::access::{Identity, Keys};
use tidegate::driver::Now;
use tidegate::simulated::Conditions;
use tidegate::simulated::Sabotage;
use tidegate::simulated::gateway::{Birth, Gateway, LogState, LogStep};
use tidegate::simulated::network::{Behaviour, Network, Shared, SocketId, lock};
use tidegate::simulated::random::Random;
use tidegate::simulated::speech::{Heard, hear, say};
use tidegate::simulated::storage::WorldDisk;
use tidegate_shard::Limits;
use tidegate_storage::Lsn;
use tidegate_storage::embedded::log::{Commit, Log};
use tidegate_storage::store::MemoryStore;
use tidegate_wire::frames::{Create, Hello, History, Send, Sync};
use tidegate_wire::request::HistoryRange;
use tidegate_wire::websocket::Decoder;
use tidegate_wire::{ClientFrame, DeviceId, Encoding, UserId};

const SECRET: &[u8] = b"held";
const ALICE: u64 = 1;
const BOB: u64 = 2;

/// A gateway of three shards whose disk does nothing by itself.
struct Stage {
    network: Shared,
    disk: Arc<WorldDisk>,
    gateway: Gateway,
    streams: BTreeMap<SocketId, Vec<u8>>,
}

impl Stage {
    fn new() -> Self {
        let mut conditions = Conditions::draw(&mut Random::new(1));
        conditions.shards = 3;
        conditions.limits = Limits::default();
        conditions.store_faults = 0;
        let behaviour = Behaviour {
            window_bytes: 1 << 20,
            parcel_bytes: 1 << 20,
            read_bytes: 1 << 20,
            delay: Duration::from_micros(1),
        };
        let clock = Now { monotonic: Duration::from_secs(1), wall_ms: 1_767_225_600_000 };
        let network = Arc::new(Mutex::new(Network::new(clock, Random::new(2), behaviour)));
        let disk: Arc<WorldDisk> = Arc::default();
        let (log, _) =
            Log::open(disk.clone(), 7, &conditions.log, Lsn::ZERO, &mut |_, _| Ok::<(), String>(())).unwrap();
        let gateway = Gateway::start(Birth {
            conditions: &conditions,
            sabotage: Sabotage::None,
            network: &network,
            log,
            store: MemoryStore::new(),
            created_floor: 0,
            random: Random::new(3),
            keys: Keys::hs256(SECRET),
        });
        Self { network, disk, gateway, streams: BTreeMap::new() }
    }

    fn connect(&mut self, user: u64, device: u64) -> SocketId {
        let identity = Identity { user: UserId(user), device: DeviceId(device), expires_at: 9_999_999_999 };
        let token = Keys::hs256(SECRET).sign(identity).unwrap();
        let socket = lock(&self.network).connect().unwrap();
        let head = format!(
            "GET /ws?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: tidegate.v1\r\n\r\n"
        );
        lock(&self.network).client_writes(socket, head.as_bytes());
        self.say(socket, 1, &ClientFrame::Hello(Hello::default()));
        socket
    }

    fn say(&mut self, socket: SocketId, request: u64, frame: &ClientFrame) {
        let bytes = say(Encoding::Binary, request, frame, 0x0102_0304);
        assert_eq!(lock(&self.network).client_writes(socket, &bytes), bytes.len());
    }

    /// Lets workers and store do what they can for two seconds of their time. The disk stands still.
    fn run(&mut self) {
        for _ in 0..400 {
            {
                let mut network = lock(&self.network);
                network.clock.monotonic += Duration::from_millis(5);
                network.arrive();
            }
            for runner in &mut self.gateway.workers {
                let wait = runner.worker.wait();
                runner.worker.turn_after(wait).unwrap();
            }
            self.gateway.store.step(&mut Random::new(4));
            for (socket, bytes) in std::mem::take(&mut lock(&self.network).handed_over) {
                self.streams.entry(socket).or_default().extend_from_slice(&bytes);
            }
        }
    }

    /// What appends have arrived, as one group on its way to the disk.
    fn begin(&mut self) -> Commit {
        assert_eq!(self.gateway.log.gather(), LogStep::Disk, "there is something to commit");
        match std::mem::replace(&mut self.gateway.log.state, LogState::Awake) {
            LogState::Writing(commit) => commit,
            other => panic!("{other:?}"),
        }
    }

    fn commit_everything(&mut self) {
        self.run();
        while self.gateway.log.gather() == LogStep::Disk {
            let LogState::Writing(commit) = std::mem::replace(&mut self.gateway.log.state, LogState::Awake)
            else {
                panic!("a group begins with its write")
            };
            let result = commit.perform(&*self.disk);
            self.gateway.log.finish(commit, result).unwrap();
            self.run();
        }
    }

    fn heard(&self, socket: SocketId) -> Vec<Heard> {
        let stream = &self.streams[&socket];
        let end = stream.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let mut rest = stream[end..].to_vec();
        let mut decoder = Decoder::client(1 << 24);
        let (mut heard, mut at) = (Vec::new(), 0);
        loop {
            let (used, item) = decoder.next(&mut rest[at..]).unwrap();
            let Some(item) = item else { return heard };
            at += used;
            hear(&item, |frame| heard.push(frame)).unwrap();
        }
    }

    /// Acks, deliveries and messages on pages that were handed to this socket.
    fn shown(&self, socket: SocketId) -> (usize, usize, usize) {
        let heard = self.heard(socket);
        let count = |of: fn(&Heard) -> usize| heard.iter().map(of).sum();
        (
            count(|heard| usize::from(matches!(heard, Heard::Ack { .. }))),
            count(|heard| usize::from(matches!(heard, Heard::Deliver(_)))),
            count(|heard| if let Heard::Page { messages, .. } = heard { messages.len() } else { 0 }),
        )
    }

    fn pages(&self, socket: SocketId) -> usize {
        self.heard(socket).iter().filter(|heard| matches!(heard, Heard::Page { .. })).count()
    }
}

#[test]
fn nothing_of_a_message_leaves_before_its_sync_has_finished() {
    let mut stage = Stage::new();
    let (phone, laptop, bob) = (stage.connect(ALICE, 1), stage.connect(ALICE, 2), stage.connect(BOB, 1));
    stage.commit_everything();
    let create = Create { members: vec![BOB], kind: 1, name: String::new() };
    stage.say(phone, 2, &ClientFrame::Create(create));
    stage.commit_everything();
    let created = stage.heard(phone).into_iter().find_map(|heard| match heard {
        Heard::Created { conversation, .. } => Some(conversation),
        _ => None,
    });
    let conversation = created.expect("the conversation is made");

    let send = Send {
        conversation,
        client_id: 77,
        client_time: 0,
        reply_to: 0,
        kind: 1,
        body: b"held back".to_vec(),
        client_ref: String::new(),
    };
    stage.say(phone, 3, &ClientFrame::Send(send.clone()));
    stage.run();
    let commit = stage.begin();
    assert_eq!(commit.records(), 1);
    // Whoever asks meanwhile, in whatever way, hears nothing of it: a repeat, a page, a catch-up, a new device.
    let ask = |stage: &mut Stage| {
        stage.say(phone, 4, &ClientFrame::Send(send.clone()));
        stage.say(bob, 5, &ClientFrame::History(History::of(conversation, HistoryRange::Newest, 10)));
        let cursors = vec![tidegate_wire::frames::Cursor { conversation, last_seq: 0 }];
        stage.say(bob, 0, &ClientFrame::Sync(Sync { cursors }));
    };
    let nothing = (0, 0, 0);
    for moment in ["before the write", "after the write", "after the sync, before the news"] {
        match moment {
            "after the write" => commit.write(&*stage.disk).unwrap(),
            "after the sync, before the news" => commit.sync(&*stage.disk).unwrap(),
            _ => {}
        }
        let pages = stage.pages(bob);
        ask(&mut stage);
        let tablet = stage.connect(BOB, 9);
        stage.run();
        for (who, socket) in [("phone", phone), ("laptop", laptop), ("bob", bob), ("tablet", tablet)] {
            assert_eq!(stage.shown(socket), nothing, "{who}, {moment}");
        }
        assert_eq!(stage.pages(bob), pages + 1, "the page is answered, and empty, {moment}");
    }

    stage.gateway.log.finish(commit, Ok(())).unwrap();
    stage.run();
    let (acks, deliveries, _) = stage.shown(phone);
    assert_eq!((acks, deliveries), (4, 0), "one ack for the send and each of its repeats, no echo");
    assert_eq!(stage.shown(laptop), (0, 1, 0), "the sender's other device");
    assert_eq!(stage.shown(bob), (0, 1, 0), "the other member");
}
