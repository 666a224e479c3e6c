//! One life of the process: workers, log, store, and the rings between them, made anew after each crash.
//!
//! The parts are the production ones. What stands here is what their threads do around them, in steps: the world says
//! when each step happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_shard::{Identity, Shard, ShardId};
use tidegate_storage::Append;
use tidegate_storage::Store as _;
use tidegate_storage::embedded::log::{Commit, CommitError, DurableGroup, Log, Preparation};
use tidegate_storage::store::MemoryStore;

use super::conditions::Conditions;
use super::driver::{Options, SimulatedDriver, SimulatedSocket};
use super::network::{Shared, SimulatedBell, lock};
use super::random::Random;
use super::sabotage::Sabotage;
use super::storage::{StoreFaults, WorldDisk, WorldStore};
use crate::access::Keys;
use crate::doorbell::Doorbell;
use crate::driver::Wait;
use crate::inbound::{Gate, Inbound};
use crate::links::{LogLink, LogNotice, Outgoing, ShardLinks, StoreLink, links_with};
use crate::log_worker::{LogWorker, Poisoned};
use crate::mesh::{Port, Receiver, Sleeper, channel, mesh};
use crate::store_worker::StoreWorker;
use crate::supervision::{DrainPlan, Supervision};
use crate::worker::{Crossing, Worker};

/// A bell that only remembers.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Doorbell for Flag {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub struct Gateway {
    pub workers: Vec<Runner>,
    pub log: LogRunner,
    pub store: StoreRunner,
}

/// A worker and the sleep it is in.
#[derive(Debug)]
pub struct Runner {
    pub worker: Worker<SimulatedDriver>,
    pub waiting: Wait,
}

/// Where the log's thread stands.
#[derive(Debug)]
pub enum LogState {
    Awake,
    Asleep,
    Writing(Commit),
    Syncing(Commit),
}

#[derive(Debug)]
pub struct LogRunner {
    pub worker: LogWorker<WorldDisk>,
    pub state: LogState,
    pub bell: Arc<Flag>,
    pub sleeper: Arc<Sleeper>,
    /// The segment that is being prepared; done when its time has come.
    pub preparing: Option<(Preparation, Duration)>,
    relays: Vec<NoticeRelay>,
    sabotage: Sabotage,
}

/// A bad line between the log and a shard; only with a planted fault.
#[derive(Debug)]
struct NoticeRelay {
    from: Receiver<LogNotice>,
    to: Outgoing<LogNotice>,
}

#[derive(Debug)]
pub struct StoreRunner {
    pub worker: StoreWorker<WorldStore>,
    pub bell: Arc<Flag>,
    pub sleeper: Arc<Sleeper>,
    pub asleep: bool,
    pub faults: Arc<Mutex<StoreFaults>>,
    /// Groups that are kept back; only with a planted fault.
    late: Option<(Receiver<DurableGroup>, Outgoing<DurableGroup>)>,
}

/// What a life starts from.
#[derive(Debug)]
pub struct Birth<'a> {
    pub conditions: &'a Conditions,
    pub sabotage: Sabotage,
    pub network: &'a Shared,
    pub log: Log<WorldDisk>,
    pub store: MemoryStore,
    pub created_floor: u64,
    pub random: Random,
    pub keys: Keys,
}

impl Gateway {
    pub fn start(birth: Birth<'_>) -> Self {
        let Birth { conditions, sabotage, network, log, store, created_floor, mut random, keys } = birth;
        let shards = usize::from(conditions.shards);
        lock(network).open(shards);
        let bells = (0..shards)
            .map(|worker| Arc::new(SimulatedBell { network: network.clone(), worker }) as Arc<dyn Doorbell>);
        let ports: Vec<Port<Crossing<SimulatedSocket>>> =
            mesh(shards, conditions.ring_slots, bells.collect());
        let (log_bell, store_bell) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
        let log_sleeper = Arc::new(Sleeper::new(log_bell.clone()));
        let store_sleeper = Arc::new(Sleeper::new(store_bell.clone()));
        let gate = Arc::new(Gate { keys, echo: false });
        let supervision = Arc::new(Supervision::new(conditions.shards, DrainPlan::default()));
        let (mut log_links, mut store_links, mut relays) = (Vec::new(), Vec::new(), Vec::new());
        let mut workers = Vec::new();
        for (index, port) in ports.into_iter().enumerate() {
            let me = ShardId(index as u16);
            let (shard_links, mut log_link, store_link): (ShardLinks, LogLink, StoreLink) =
                links_with(conditions.links, me, &port.sleeper(), &log_sleeper, &store_sleeper);
            if matches!(sabotage, Sabotage::RefusalLost | Sabotage::NewsAhead) {
                let (sender, from) = channel(64);
                let to = std::mem::replace(&mut log_link.notices, Outgoing::new(sender, &log_sleeper));
                relays.push(NoticeRelay { from, to });
            }
            log_links.push(log_link);
            store_links.push(store_link);
            let options =
                Options { connections_max: conditions.connections_max, events_per_turn_max: 64, sabotage };
            let driver = SimulatedDriver::new(network.clone(), index, options);
            let identity =
                Identity { me, shards: conditions.shards, node: 1, seed: random.draw(), created_floor };
            let now = lock(network).clock;
            let shard = Shard::new(&identity, conditions.limits.clone(), now);
            let inbound = Inbound::new(shard, gate.clone(), now);
            let worker = Worker::new(driver, inbound, port, shard_links, supervision.clone(), me);
            workers.push(Runner { worker, waiting: Wait::No });
        }
        let (groups, groups_end) = channel(conditions.group_slots);
        let (groups, groups_end, late) = if sabotage == Sabotage::StoreToldLate {
            let (sender, receiver) = channel(conditions.group_slots);
            (sender, groups_end, Some((receiver, Outgoing::new(groups, &store_sleeper))))
        } else {
            (groups, groups_end, None)
        };
        let faults = Arc::new(Mutex::new(StoreFaults {
            random: random.fork(),
            per_mille: conditions.store_faults,
            cuts_pages: sabotage == Sabotage::PageCut,
        }));
        let store = WorldStore { inner: store, faults: faults.clone() };
        Self {
            workers,
            log: LogRunner {
                worker: LogWorker::new(log, log_links, Outgoing::new(groups, &store_sleeper)),
                state: LogState::Awake,
                bell: log_bell,
                sleeper: log_sleeper,
                preparing: None,
                relays,
                sabotage,
            },
            store: StoreRunner {
                worker: StoreWorker::new(store, groups_end, store_links),
                bell: store_bell,
                sleeper: store_sleeper,
                asleep: false,
                faults,
                late,
            },
        }
    }
}

/// What a step of the log's thread asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum LogStep {
    /// A write or a sync has begun.
    Disk,
    Again,
    Soon,
    Asleep,
}

impl LogRunner {
    /// The part of the log thread's loop that does not touch the disk.
    pub fn gather(&mut self) -> LogStep {
        self.worker.collect();
        if let Some(commit) = self.worker.begin() {
            self.state = LogState::Writing(commit);
            return LogStep::Disk;
        }
        self.worker.flush();
        self.relay();
        if self.worker.is_clogged() || self.worker.waits_for_segment() || self.relays_clogged() {
            return LogStep::Soon;
        }
        let worker = &self.worker;
        if self.sleeper.prepare_sleep(|| worker.is_idle()) {
            self.state = LogState::Asleep;
            LogStep::Asleep
        } else {
            LogStep::Again
        }
    }

    pub fn finish(&mut self, commit: Commit, result: Result<(), CommitError>) -> Result<(), Poisoned> {
        self.state = LogState::Awake;
        let finished = self.worker.finish(commit, result);
        self.relay();
        finished
    }

    fn relay(&mut self) {
        for relay in &mut self.relays {
            while let Some(notice) = relay.from.try_take() {
                match (self.sabotage, notice) {
                    (Sabotage::RefusalLost, LogNotice::Refused { .. }) => {}
                    (Sabotage::NewsAhead, LogNotice::Durable { up_to }) => {
                        relay.to.send(LogNotice::Durable { up_to: up_to + 1 });
                    }
                    (_, notice) => relay.to.send(notice),
                }
            }
            relay.to.flush();
        }
    }

    fn relays_clogged(&self) -> bool {
        self.relays.iter().any(|relay| relay.to.is_clogged())
    }
}

impl StoreRunner {
    /// One turn of the store's thread; true if it wants another one soon.
    pub fn step(&mut self, random: &mut Random) -> bool {
        if let Some((from, to)) = &mut self.late {
            while random.chance(300)
                && let Some(group) = from.try_take()
            {
                to.send(group);
            }
            to.flush();
        }
        let worked = self.worker.turn().expect("a store in memory takes every record");
        let waits = self.late.as_ref().is_some_and(|(from, to)| !from.is_empty() || to.is_clogged());
        if worked || waits || self.worker.is_clogged() {
            return true;
        }
        let worker = &self.worker;
        self.asleep = self.sleeper.prepare_sleep(|| worker.is_idle());
        !self.asleep
    }

    /// Persists what has been applied; what comes back outlives a crash.
    pub fn checkpoint(&mut self) -> MemoryStore {
        let store = self.worker.store();
        store.flush().expect("a store in memory has nothing to fail at");
        store.inner.clone()
    }
}

/// The rows of a record with other client ids: a store that has forgotten which were sent.
pub fn forget_repeats(append: &mut Append) {
    for row in &mut append.rows {
        if let tidegate_storage::Row::Message { idempotency, .. } = row {
            idempotency.client_id = !idempotency.client_id;
        }
    }
}
