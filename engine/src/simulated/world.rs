//! Who runs when. One actor at a time makes one step at one moment of virtual time; after each step every checker looks.
//!
//! A run has three parts. *Trouble*: clients misbehave and everything fails that the conditions allow. *Settling*: no
//! fault happens any more, everybody connects; within [`SETTLE`] everything must have arrived everywhere and nothing be
//! left over. *Calm*: everybody sends once more, and all of it again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tidegate_storage::Lsn;
use tidegate_storage::Store as _;
use tidegate_storage::embedded::disk::{Fault, SectorFate};
use tidegate_storage::embedded::log::Log;
use tidegate_storage::store::MemoryStore;
use tidegate_wire::Encoding;

use super::conditions::Conditions;
use super::device::{Device, Surroundings};
use super::gateway::{Birth, Gateway, LogState, LogStep, forget_repeats};
use super::ledger::{Ledger, check};
use super::network::{Network, Shared, SocketId, lock};
use super::random::Random;
use super::sabotage::Sabotage;
use super::speech::checksum;
use super::storage::WorldDisk;
use super::viewer::Viewer;
use crate::access::Keys;
use crate::driver::{Driver as _, Now, Wait};

/// Virtual time in which everything must come to rest once the faults have stopped.
const SETTLE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longer than the longest pause of anything that is under way: see `STORE_RETRY`.
const QUIET_LOOKS: u32 = 20;
const SECRET: &[u8] = b"simulated";
const LOG_ID: u128 = 0x7469_6465_6761_7465;
/// 2026-01-01; the clock may jump back from there.
const START_WALL_MS: u64 = 1_767_225_600_000;

/// A run that kept every promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub messages: u64,
    pub crashes: u64,
    pub steps: u64,
    /// The same for the same seed: of everything that happened, in order.
    pub trace: u64,
}

/// A promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub seed: u64,
    pub sabotage: Sabotage,
    pub at: Duration,
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, at, what, .. } = self;
        write!(f, "seed {seed} at {at:?}: {what}\n  replay: {}", replay(*seed, self.sabotage))
    }
}

/// The command that runs one seed again.
#[must_use]
pub fn replay(seed: u64, sabotage: Sabotage) -> String {
    let command = format!("cargo run --release -p tidegate --bin simulate -- 1 --seed {seed}");
    match sabotage {
        Sabotage::None => command,
        planted => format!("{command} --sabotage {planted:?}"),
    }
}

/// Runs one seed.
///
/// # Errors
/// The first broken promise.
pub fn simulate(seed: u64, sabotage: Sabotage) -> Result<Summary, Violation> {
    let mut world = World::new(seed, sabotage);
    let result = world.live();
    let at = lock(&world.network).clock.monotonic;
    match result {
        Ok(()) => Ok(Summary {
            messages: world.ledger.messages(),
            crashes: world.crashes,
            steps: world.steps,
            trace: world.trace ^ world.ledger.print(),
        }),
        Err(what) => Err(Violation { seed, sabotage, at, what }),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Actor {
    Chaos,
    Segments,
    Log,
    Store,
    Worker(usize),
    Device(usize),
    Network,
}

#[derive(Debug)]
struct World {
    sabotage: Sabotage,
    conditions: Conditions,
    random: Random,
    network: Shared,
    disk: Arc<WorldDisk>,
    /// What the store has persisted, and the newest message time it knows.
    snapshot: (MemoryStore, u64),
    gateway: Option<Gateway>,
    devices: Vec<Device>,
    viewers: BTreeMap<SocketId, Viewer>,
    ledger: Ledger,
    due: Vec<(Actor, Duration)>,
    not_before: Vec<Duration>,
    wall_offset_ms: i64,
    trouble: bool,
    next_crash: Duration,
    next_jump: Duration,
    crashes: u64,
    steps: u64,
    trace: u64,
}

/// Why a step did not simply go on.
#[derive(Debug)]
enum Stop {
    Crash,
    Violation(String),
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Violation(what)
    }
}

const NEVER: Duration = Duration::MAX;

impl World {
    fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut random = Random::new(seed);
        let mut conditions = Conditions::draw(&mut random);
        let people = conditions.users * conditions.devices_of_user;
        conditions.connections_max = conditions.connections_max.max(people as usize + 3);
        let clock = Now { monotonic: Duration::from_secs(1), wall_ms: START_WALL_MS };
        let network = Arc::new(std::sync::Mutex::new(Network::new(clock, random.fork(), conditions.network)));
        let mut devices = Vec::new();
        for user in 1..=conditions.users {
            for device in 1..=conditions.devices_of_user {
                let encoding = random.pick(&[Encoding::Binary, Encoding::Json]);
                let page_max = conditions.limits.page_messages_max;
                let manners = conditions.clients;
                let source = random.fork();
                devices.push(Device::new(
                    user,
                    device,
                    encoding,
                    manners,
                    page_max,
                    conditions.users,
                    source,
                ));
            }
        }
        let mut actors = vec![Actor::Chaos, Actor::Segments, Actor::Log, Actor::Store];
        actors.extend((0..usize::from(conditions.shards)).map(Actor::Worker));
        actors.extend((0..devices.len()).map(Actor::Device));
        actors.push(Actor::Network);
        let mut world = Self {
            sabotage,
            random,
            network,
            disk: Arc::default(),
            snapshot: (MemoryStore::new(), 0),
            gateway: None,
            devices,
            viewers: BTreeMap::new(),
            ledger: Ledger::default(),
            not_before: vec![Duration::ZERO; actors.len()],
            due: actors.into_iter().map(|actor| (actor, Duration::ZERO)).collect(),
            wall_offset_ms: 0,
            trouble: true,
            next_crash: NEVER,
            next_jump: NEVER,
            crashes: 0,
            steps: 0,
            trace: 0,
            conditions,
        };
        world.next_crash = world.after(world.conditions.crash_every);
        world.next_jump = world.after(world.conditions.clock_jumps);
        world
    }

    fn live(&mut self) -> Result<(), String> {
        self.start()?;
        let end = self.now() + self.conditions.length;
        while self.now() < end {
            self.step_to(end)?;
        }
        self.end_trouble();
        self.settle()?;
        for device in &mut self.devices {
            device.silent = false;
        }
        let end = self.now() + Duration::from_millis(300);
        while self.now() < end {
            self.step_to(end)?;
        }
        for device in &mut self.devices {
            device.silent = true;
        }
        self.settle()
    }

    fn end_trouble(&mut self) {
        self.trouble = false;
        self.disk.inner.set_capacity(None);
        self.conditions.no_space = 0;
        self.conditions.disk_faults = 0;
        self.conditions.stalls = 0;
        self.conditions.store_faults = 0;
        (self.next_crash, self.next_jump) = (NEVER, NEVER);
        if let Some(gateway) = &self.gateway {
            gateway.store.faults.lock().unwrap_or_else(PoisonError::into_inner).per_mille = 0;
        }
        for device in &mut self.devices {
            device.well_behaved = true;
            device.silent = true;
        }
    }

    fn settle(&mut self) -> Result<(), String> {
        let deadline = self.now() + SETTLE;
        let mut quiet = 0;
        loop {
            let look = self.now() + LOOK_EVERY;
            while self.now() < look {
                self.step_to(look)?;
            }
            let unsettled = self.unsettled();
            quiet = if unsettled.is_none() { quiet + 1 } else { 0 };
            match unsettled {
                // One quiet look may fall between a question and its answer.
                None if quiet == QUIET_LOOKS => return Ok(()),
                None => {}
                Some(what) if self.now() >= deadline => {
                    return Err(format!("{SETTLE:?} after the last fault: {what}"));
                }
                Some(_) => {}
            }
        }
    }

    /// What has not come to rest, if anything.
    fn unsettled(&mut self) -> Option<String> {
        let Some(gateway) = &mut self.gateway else { return Some("the gateway is down".into()) };
        for device in &self.devices {
            let Device { user, device: number, .. } = device;
            if device.link.as_ref().is_none_or(|link| !link.welcomed) {
                return Some(format!("user {user} device {number} is not connected"));
            }
            if device.unacked() > 0 {
                return Some(format!(
                    "user {user} device {number} has {} unanswered sends",
                    device.unacked()
                ));
            }
            for (conversation, known) in &self.ledger.conversations {
                let position = device.position(*conversation);
                if known.members.contains(user) && position != known.head() {
                    return Some(format!(
                        "user {user} device {number} has {position} of {} messages in {conversation:x}",
                        known.head()
                    ));
                }
            }
            let viewer = device.link.as_ref().and_then(|link| self.viewers.get(&link.socket));
            if let Some(Err(gap)) = viewer.map(Viewer::check_explained) {
                return Some(gap);
            }
        }
        let mut connections = 0;
        for (index, runner) in gateway.workers.iter_mut().enumerate() {
            let counters = runner.worker.shard().counters().clone();
            connections += runner.worker.driver().connections();
            let answered = counters.sends_acked + counters.sends_refused + counters.sends_unclaimed;
            let live: Vec<_> = runner.worker.driver().live().map(|(id, _)| id).collect();
            let busy = live.iter().find(|id| match runner.worker.connections().get(**id) {
                Some(crate::connections::Stage::Session { decoder }) => !decoder.is_idle(),
                _ => true,
            });
            let unsent: usize = runner.worker.driver().unsent().map(|(_, unsent)| unsent).sum();
            if counters.sessions as usize != runner.worker.driver().connections()
                || counters.sends_received != answered
                || counters.requests_in_flight != 0
                || counters.appends_in_flight != 0
                || unsent != 0
                || busy.is_some()
                || !runner.worker.has_nothing_to_take()
            {
                let connections = runner.worker.driver().connections();
                return Some(format!(
                    "shard {index} is not at rest: {connections} connections, {unsent} bytes unsent, buffer held by \
                     {busy:?}, {counters:?}"
                ));
            }
        }
        let sockets = lock(&self.network).sockets();
        let people = self.devices.len();
        (connections != people || sockets != people)
            .then(|| format!("{people} devices, {connections} connections, {sockets} sockets"))
    }

    // ---- time ----

    fn now(&self) -> Duration {
        lock(&self.network).clock.monotonic
    }

    /// A random moment, `mean` from now on average.
    fn after(&mut self, mean: Duration) -> Duration {
        if mean.is_zero() {
            return NEVER;
        }
        self.now() + mean.mul_f64(self.random.within(1..2000) as f64 / 1000.0)
    }

    fn step_to(&mut self, end: Duration) -> Result<(), String> {
        let arrival = lock(&self.network).next_arrival().unwrap_or(NEVER);
        if let Some(network) = self.due.last_mut() {
            network.1 = arrival;
        }
        let (index, (actor, due)) = self
            .due
            .iter()
            .copied()
            .enumerate()
            .min_by_key(|(index, (_, due))| ((*due).max(self.not_before[*index]), *index))
            .expect("there are always actors");
        let due = due.max(self.not_before[index]);
        if due > end {
            self.advance(end);
            return Ok(());
        }
        self.advance(due);
        self.steps += 1;
        self.trace =
            checksum(&(self.trace ^ (index as u64) << 56 ^ self.now().as_nanos() as u64).to_le_bytes());
        let stopped = self.run(actor).and_then(|()| self.look().map_err(Stop::Violation));
        match stopped {
            Ok(()) => {
                self.wake_up()?;
                Ok(())
            }
            Err(Stop::Crash) => {
                self.look()?;
                self.crash();
                Ok(())
            }
            Err(Stop::Violation(what)) => Err(what),
        }
    }

    fn advance(&mut self, to: Duration) {
        let mut network = lock(&self.network);
        network.clock.monotonic = network.clock.monotonic.max(to);
        let wall = START_WALL_MS as i64 + network.clock.monotonic.as_millis() as i64 + self.wall_offset_ms;
        network.clock.wall_ms = wall.max(0) as u64;
    }

    fn index_of(&self, actor: Actor) -> usize {
        self.due.iter().position(|(other, _)| *other == actor).expect("every actor has a place")
    }

    /// The actor runs next at `at`; not at all before a stall is over.
    fn schedule(&mut self, actor: Actor, at: Duration) {
        let index = self.index_of(actor);
        self.due[index].1 = at;
    }

    fn schedule_soon(&mut self, actor: Actor) {
        let delay = self.random.delay(self.conditions.turn_delay) + Duration::from_nanos(100);
        let at = self.now() + delay;
        self.schedule(actor, at);
    }

    fn maybe_stall(&mut self, actor: Actor) {
        if self.random.chance(self.conditions.stalls) {
            let until = self.now() + self.random.delay(self.conditions.stall);
            let index = self.index_of(actor);
            self.not_before[index] = until;
        }
    }

    // ---- actors ----

    fn run(&mut self, actor: Actor) -> Result<(), Stop> {
        match actor {
            Actor::Network => {
                lock(&self.network).arrive();
                Ok(())
            }
            Actor::Chaos => self.run_chaos(),
            Actor::Device(index) => self.run_device(index),
            Actor::Worker(index) => self.run_worker(index),
            Actor::Store => self.run_store(),
            Actor::Segments => self.run_segments(),
            Actor::Log => self.run_log(),
        }
    }

    fn run_chaos(&mut self) -> Result<(), Stop> {
        let now = self.now();
        if self.gateway.is_none() {
            self.start()?;
        } else if now >= self.next_crash {
            self.next_crash = self.after(self.conditions.crash_every);
            return Err(Stop::Crash);
        }
        if now >= self.next_jump {
            self.next_jump = self.after(self.conditions.clock_jumps);
            let hour = 3_600_000;
            self.wall_offset_ms += self.random.within(0..2 * hour) as i64 - hour as i64;
        }
        self.schedule(Actor::Chaos, self.next_crash.min(self.next_jump).max(now + Duration::from_micros(1)));
        Ok(())
    }

    fn run_device(&mut self, index: usize) -> Result<(), Stop> {
        let conversations: Vec<u128> = self.ledger.conversations.keys().copied().collect();
        let keys = Keys::hs256(SECRET);
        let mut network = lock(&self.network);
        let device = &mut self.devices[index];
        let mut around = Surroundings {
            network: &mut network,
            viewers: &mut self.viewers,
            keys: &keys,
            hello_may_be_late: self.conditions.limits.hello_wait < Duration::from_secs(60),
            conversations: &conversations,
        };
        device.step(&mut around)?;
        let at = device.next_action;
        drop(network);
        self.schedule(Actor::Device(index), at);
        Ok(())
    }

    fn run_worker(&mut self, index: usize) -> Result<(), Stop> {
        let Some(gateway) = &mut self.gateway else {
            self.schedule(Actor::Worker(index), NEVER);
            return Ok(());
        };
        let runner = &mut gateway.workers[index];
        let wait = std::mem::replace(&mut runner.waiting, Wait::No);
        runner.worker.turn_after(wait).expect("the simulated driver has no errors");
        runner.waiting = runner.worker.wait();
        let unsent = runner.worker.driver().unsent().map(|(_, unsent)| unsent).max().unwrap_or(0);
        let most = self.conditions.limits.unsent_bytes_max as usize + UNSENT_SLACK;
        check(unsent <= most, || format!("{unsent} bytes wait for one connection, at most {most} may"))?;
        let counters = runner.worker.shard().counters();
        let answered = counters.sends_acked + counters.sends_refused + counters.sends_unclaimed;
        let open = counters.sends_received.checked_sub(answered);
        check(open.is_some_and(|open| open <= counters.requests_in_flight), || {
            format!("shard {index}: sends received are not those answered and those in flight: {counters:?}")
        })?;
        match runner.waiting {
            Wait::No => self.schedule_soon(Actor::Worker(index)),
            Wait::Until(at) => {
                let deadline = runner.worker.driver().next_deadline().unwrap_or(NEVER);
                self.schedule(Actor::Worker(index), at.min(deadline));
            }
        }
        self.maybe_stall(Actor::Worker(index));
        Ok(())
    }

    fn run_store(&mut self) -> Result<(), Stop> {
        let Some(gateway) = &mut self.gateway else {
            self.schedule(Actor::Store, NEVER);
            return Ok(());
        };
        if gateway.store.step(&mut self.random) {
            self.schedule_soon(Actor::Store);
        } else {
            self.schedule(Actor::Store, NEVER);
        }
        self.maybe_stall(Actor::Store);
        Ok(())
    }

    fn run_segments(&mut self) -> Result<(), Stop> {
        self.schedule(Actor::Segments, NEVER);
        let Some(gateway) = &mut self.gateway else { return Ok(()) };
        if let Some((preparation, _)) = gateway.log.preparing.take() {
            if self.random.chance(self.conditions.no_space) {
                self.disk.inner.inject(Fault::Create);
            }
            let result = preparation.perform(&*self.disk);
            gateway.log.worker.log().finish_preparation(preparation, result);
            gateway.log.sleeper.wake();
        }
        Ok(())
    }

    fn run_log(&mut self) -> Result<(), Stop> {
        let Some(gateway) = &mut self.gateway else {
            self.schedule(Actor::Log, NEVER);
            return Ok(());
        };
        let disk_delay = self.random.delay(self.conditions.disk_delay);
        let log = &mut gateway.log;
        match std::mem::replace(&mut log.state, LogState::Awake) {
            LogState::Writing(commit) => {
                if self.random.chance(self.conditions.no_space) {
                    self.disk.inner.inject(Fault::Create);
                }
                if self.random.chance(self.conditions.disk_faults) {
                    let sectors = self.random.within(0..9) as usize;
                    self.disk.inner.inject(Fault::Write { sectors });
                }
                match commit.write(&*self.disk) {
                    Ok(()) => {
                        if self.sabotage == Sabotage::NewsBeforeSync {
                            log.finish(commit, Ok(())).map_err(|_| Stop::Crash)?;
                        } else {
                            log.state = LogState::Syncing(commit);
                        }
                    }
                    Err(error) => log.finish(commit, Err(error)).map_err(|_poisoned| Stop::Crash)?,
                }
                let at = self.now() + disk_delay;
                self.schedule(Actor::Log, at);
            }
            LogState::Syncing(commit) => {
                if self.random.chance(self.conditions.disk_faults) {
                    self.disk.inner.inject(Fault::Sync);
                }
                let lies = self.sabotage == Sabotage::SyncLies && self.random.chance(100);
                self.disk.sync_lies.store(lies, Ordering::Relaxed);
                let result = commit.sync(&*self.disk);
                self.disk.sync_lies.store(false, Ordering::Relaxed);
                if result.is_ok() {
                    for (index, append) in commit.appends().iter().enumerate() {
                        self.ledger.note(commit.first_lsn().plus(index as u64), append)?;
                    }
                }
                log.finish(commit, result).map_err(|_poisoned| Stop::Crash)?;
                self.schedule_soon(Actor::Log);
            }
            LogState::Awake | LogState::Asleep => {
                if log.preparing.is_none()
                    && let Some(preparation) = log.worker.log().preparation()
                {
                    let at = lock(&self.network).clock.monotonic + disk_delay * 3;
                    log.preparing = Some((preparation, at));
                    let segments = self.due.iter_mut().find(|(actor, _)| *actor == Actor::Segments);
                    segments.expect("every actor has a place").1 = at;
                }
                match log.gather() {
                    LogStep::Disk => {
                        let at = self.now() + disk_delay;
                        self.schedule(Actor::Log, at);
                    }
                    LogStep::Again => self.schedule_soon(Actor::Log),
                    LogStep::Soon => {
                        let at = self.now() + Duration::from_micros(100);
                        self.schedule(Actor::Log, at);
                    }
                    LogStep::Asleep => self.schedule(Actor::Log, NEVER),
                }
                if self.random.chance(self.conditions.checkpoints) {
                    self.checkpoint();
                }
            }
        }
        self.maybe_stall(Actor::Log);
        Ok(())
    }

    fn checkpoint(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let log = gateway.log.worker.log();
        let created = log.created_ms_max();
        let store = gateway.store.checkpoint();
        log.persisted(store.persisted_lsn());
        self.snapshot = (store, created);
    }

    // ---- after each step ----

    /// The checkers look at what drivers were handed.
    fn look(&mut self) -> Result<(), String> {
        let handed_over = std::mem::take(&mut lock(&self.network).handed_over);
        for (socket, bytes) in handed_over {
            self.trace = checksum(&(self.trace ^ checksum(&bytes)).to_le_bytes());
            let Some(viewer) = self.viewers.get_mut(&socket) else {
                return Err(format!("{socket:?} is written to and nobody has opened it"));
            };
            let place = (viewer.user - 1) * self.conditions.devices_of_user + viewer.device - 1;
            let acknowledged = &self.devices[place as usize].acknowledged;
            viewer.look(&self.ledger, acknowledged, &bytes)?;
        }
        Ok(())
    }

    /// Wakes whoever has a reason; finds those who sleep over something.
    fn wake_up(&mut self) -> Result<(), String> {
        let now = self.now();
        for index in 0..self.devices.len() {
            let ready = self.devices[index].is_ready(&lock(&self.network), now);
            let place = self.index_of(Actor::Device(index));
            if ready && self.due[place].1 > now {
                let delay = self.random.delay(self.conditions.turn_delay) + Duration::from_nanos(100);
                self.due[place].1 = self.due[place].1.min(now + delay);
            }
        }
        let Some(gateway) = &mut self.gateway else { return Ok(()) };
        let mut woken = Vec::new();
        for (index, runner) in gateway.workers.iter_mut().enumerate() {
            let mut network = lock(&self.network);
            let mut rung = network.take_ring(index);
            if self.sabotage == Sabotage::WakeLost && rung {
                rung = !self.random.chance(50);
            }
            if runner.waiting == Wait::No {
                continue;
            }
            let ready = runner.worker.driver().is_ready(&network);
            if rung || ready {
                runner.waiting = match runner.waiting {
                    Wait::Until(_) => Wait::Until(Duration::ZERO),
                    Wait::No => Wait::No,
                };
                woken.push(Actor::Worker(index));
            } else if runner.waiting != Wait::Until(Duration::ZERO) && !runner.worker.has_nothing_to_take() {
                return Err(format!("worker {index} sleeps, its rings hold something, and nobody rang"));
            }
        }
        let log = &mut gateway.log;
        let rung = log.bell.take();
        if matches!(log.state, LogState::Asleep) {
            if rung {
                log.sleeper.woke();
                log.state = LogState::Awake;
                woken.push(Actor::Log);
            } else if !log.worker.is_idle() {
                return Err("the log sleeps, there is something to commit, and nobody rang".into());
            }
        }
        let store = &mut gateway.store;
        let rung = store.bell.take();
        if store.asleep {
            if rung {
                store.sleeper.woke();
                store.asleep = false;
                woken.push(Actor::Store);
            } else if !store.worker.is_idle() {
                return Err("the store sleeps, there is something to do, and nobody rang".into());
            }
        }
        for actor in woken {
            let delay = self.random.delay(self.conditions.turn_delay) + Duration::from_nanos(100);
            let place = self.index_of(actor);
            self.due[place].1 = self.due[place].1.min(now + delay);
        }
        Ok(())
    }

    // ---- lives ----

    fn crash(&mut self) {
        self.crashes += 1;
        self.gateway = None;
        lock(&self.network).close();
        // The process alone, or the machine with it.
        let power = self.random.chance(500);
        let mut random = self.random.fork();
        let keeps = random.pick(&[0, 500, 950]);
        self.disk.inner.crash(|_| match power {
            false => SectorFate::Kept,
            true if random.chance(keeps) => SectorFate::Kept,
            true if random.chance(100) => SectorFate::Torn(random.within(0..512) as usize),
            true => SectorFate::Lost,
        });
        let back = self.now() + self.random.delay(Duration::from_millis(800));
        self.schedule(Actor::Chaos, back);
    }

    fn start(&mut self) -> Result<(), String> {
        let (snapshot, snapshot_created) = self.snapshot.clone();
        let mut store = snapshot;
        let checkpoint = store.persisted_lsn();
        let mut found = Vec::new();
        let (log, recovered) =
            Log::open(self.disk.clone(), LOG_ID, &self.conditions.log, checkpoint, &mut |lsn, append| {
                found.push((lsn, append));
                Ok::<(), String>(())
            })
            .map_err(|error| format!("the log cannot be opened: {error}"))?;
        if self.sabotage == Sabotage::TailDropped && self.crashes > 0 {
            found.pop();
        }
        let last = found.last().map_or(checkpoint, |(lsn, _)| *lsn);
        self.ledger.check_recovered(last)?;
        for (lsn, append) in &mut found {
            self.ledger.note(*lsn, append)?;
            if self.sabotage == Sabotage::RepeatsForgotten {
                forget_repeats(append);
            }
            store.apply(*lsn, &append.rows).map_err(|error| error.to_string())?;
        }
        check(recovered.next_lsn == Lsn(last.0 + 1) || self.sabotage != Sabotage::None, || {
            format!("recovery hands out records up to {last} and goes on with {}", recovered.next_lsn)
        })?;
        let created_floor = match self.sabotage {
            Sabotage::FloorForgotten => 0,
            _ => recovered.created_ms_max.max(snapshot_created),
        };
        let birth = Birth {
            conditions: &self.conditions,
            sabotage: self.sabotage,
            network: &self.network,
            log,
            store,
            created_floor,
            random: self.random.fork(),
            keys: Keys::hs256(SECRET),
        };
        self.gateway = Some(Gateway::start(birth));
        let now = self.now();
        for actor in [Actor::Log, Actor::Store, Actor::Chaos] {
            self.schedule(actor, now);
        }
        for index in 0..usize::from(self.conditions.shards) {
            self.schedule(Actor::Worker(index), now);
        }
        Ok(())
    }
}

/// What may be on its way to one connection beyond the bound, before the worker hears that the socket is full: the
/// pages of a catch-up window, the answers to the requests of one session, and one turn of live messages.
const UNSENT_SLACK: usize = 1 << 20;
