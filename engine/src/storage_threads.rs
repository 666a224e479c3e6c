//! The threads beside the shards that block on the disk.
//!
//! *log*: commits groups, one at a time. *store*: applies them and answers questions. *segments*: prepares log segments
//! ahead. *compaction*: flushes and compacts tables. A failed sync or a store that cannot apply ends the process: what
//! is on the disk is the truth, and a new process reads it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidegate_storage::embedded::disk::FileDisk;
use tidegate_storage::embedded::log::{Log, Preparation};
use tidegate_storage::embedded::lsm::{LsmMaintenance, LsmStore};
use tidegate_storage::{Lsn, Store};

use crate::doorbell::ThreadBell;
use crate::links::{LogLink, Outgoing, StoreLink};
use crate::log_worker::{LogCounters, LogWorker};
use crate::mesh::{Sleeper, channel};
use crate::store_worker::StoreWorker;

/// Groups between the log and the store. At 1 MiB each this is also the memory they may take.
const GROUPS: usize = 16;
/// How long a thread sleeps that waits for something which does not ring.
const POLL: Duration = Duration::from_micros(100);
/// Compaction looks for work at least this often.
const MAINTENANCE_PERIOD: Duration = Duration::from_secs(1);

/// What rings the threads; made before them.
#[derive(Debug)]
pub struct Bells {
    log_bell: Arc<ThreadBell>,
    store_bell: Arc<ThreadBell>,
    pub log: Arc<Sleeper>,
    pub store: Arc<Sleeper>,
}

impl Default for Bells {
    fn default() -> Self {
        let (log_bell, store_bell) = (Arc::new(ThreadBell::new()), Arc::new(ThreadBell::new()));
        let log = Arc::new(Sleeper::new(log_bell.clone()));
        let store = Arc::new(Sleeper::new(store_bell.clone()));
        Self { log_bell, store_bell, log, store }
    }
}

/// Shown on the metrics page.
#[derive(Debug, Default)]
pub struct StorageReport {
    pub groups: AtomicU64,
    pub records: AtomicU64,
    pub bytes: AtomicU64,
    pub refused: AtomicU64,
    pub queries: AtomicU64,
    pub persisted_lsn: AtomicU64,
    pub durable_lsn: AtomicU64,
}

/// The running threads.
#[derive(Debug)]
pub struct StorageThreads {
    log: JoinHandle<()>,
    store: JoinHandle<()>,
    segments: JoinHandle<()>,
    compaction: JoinHandle<()>,
    stop_log: Arc<AtomicBool>,
    stop_store: Arc<AtomicBool>,
    bells: Bells,
    pub report: Arc<StorageReport>,
}

impl StorageThreads {
    pub fn start(
        log: Log<FileDisk>,
        store: LsmStore,
        log_links: Vec<LogLink>,
        store_links: Vec<StoreLink>,
        bells: Bells,
    ) -> io::Result<Self> {
        let report = Arc::new(StorageReport::default());
        let stop_log = Arc::new(AtomicBool::new(false));
        let stop_store = Arc::new(AtomicBool::new(false));
        let (groups, groups_end) = channel(GROUPS);
        let maintenance = store.maintenance();
        let (compact, compact_end) = mpsc::sync_channel::<()>(1);
        let (prepare, prepare_end) = mpsc::sync_channel::<Preparation>(1);
        let (prepared, prepared_end) = mpsc::sync_channel(1);

        let disk = log.disk().clone();
        let log_sleeper = bells.log.clone();
        let segments = named("segments").spawn(move || {
            while let Ok(preparation) = prepare_end.recv() {
                let result = preparation.perform(&*disk);
                if prepared.send((preparation, result)).is_err() {
                    return;
                }
                log_sleeper.wake();
            }
        })?;

        let mut log_worker = LogWorker::new(log, log_links, Outgoing::new(groups, &bells.store));
        let mut log_thread = LogThread {
            bell: bells.log_bell.clone(),
            sleeper: bells.log.clone(),
            maintenance: maintenance.clone(),
            prepare,
            prepared: prepared_end,
            preparing: false,
            stop: stop_log.clone(),
            report: report.clone(),
        };
        let log = named("log").spawn(move || log_thread.run(&mut log_worker))?;

        let mut store_worker = StoreWorker::new(store, groups_end, store_links);
        let mut store_thread = StoreThread {
            bell: bells.store_bell.clone(),
            sleeper: bells.store.clone(),
            maintenance: maintenance.clone(),
            compact,
            stop: stop_store.clone(),
            report: report.clone(),
        };
        let store = named("store").spawn(move || store_thread.run(&mut store_worker))?;

        let log_sleeper = bells.log.clone();
        let compaction = named("compaction").spawn(move || {
            loop {
                let ended =
                    compact_end.recv_timeout(MAINTENANCE_PERIOD) == Err(mpsc::RecvTimeoutError::Disconnected);
                if ended {
                    return;
                }
                let before = maintenance.persisted_lsn();
                // Nothing is lost: the log keeps what the tables lack. A full disk may have room again the next time.
                if let Err(error) = maintenance.run() {
                    tracing::error!(%error, "the tables could not be flushed or compacted; trying again");
                    thread::sleep(MAINTENANCE_PERIOD);
                }
                if maintenance.persisted_lsn() != before {
                    log_sleeper.wake();
                }
            }
        })?;
        Ok(Self { log, store, segments, compaction, stop_log, stop_store, bells, report })
    }

    /// Commits and applies everything that was handed over, flushes, ends the threads.
    pub fn stop(self) {
        for (stop, sleeper, thread) in
            [(&self.stop_log, &self.bells.log, self.log), (&self.stop_store, &self.bells.store, self.store)]
        {
            stop.store(true, Ordering::Release);
            sleeper.wake();
            join(thread);
        }
        // Their senders went with the two above.
        join(self.segments);
        join(self.compaction);
    }
}

struct LogThread {
    bell: Arc<ThreadBell>,
    sleeper: Arc<Sleeper>,
    maintenance: LsmMaintenance,
    prepare: mpsc::SyncSender<Preparation>,
    prepared: mpsc::Receiver<(Preparation, io::Result<()>)>,
    preparing: bool,
    stop: Arc<AtomicBool>,
    report: Arc<StorageReport>,
}

impl LogThread {
    fn run(&mut self, worker: &mut LogWorker<FileDisk>) {
        loop {
            self.take_care_of_segments(worker);
            worker.collect();
            if let Some(commit) = worker.begin() {
                let result = commit.perform(&**worker.log().disk());
                if let Err(poisoned) = worker.finish(commit, result) {
                    die(&poisoned);
                }
                self.show(worker);
                continue;
            }
            worker.flush();
            if worker.is_idle() && self.stop.load(Ordering::Acquire) {
                return;
            }
            // Neither a ring that has room again nor a prepared segment can be looked at in passing: both are polled.
            let poll = worker.is_clogged() || worker.waits_for_segment();
            if self.sleeper.prepare_sleep(|| poll || worker.is_idle()) {
                self.bell.wait(poll.then_some(POLL));
                self.sleeper.woke();
            }
        }
    }

    fn take_care_of_segments(&mut self, worker: &mut LogWorker<FileDisk>) {
        let log = worker.log();
        log.persisted(self.maintenance.persisted_lsn());
        if self.preparing
            && let Ok((preparation, result)) = self.prepared.try_recv()
        {
            log.finish_preparation(preparation, result);
            self.preparing = false;
        }
        if !self.preparing
            && let Some(preparation) = log.preparation()
        {
            self.preparing = true;
            self.prepare.send(preparation).expect("the segments thread lives as long as the log thread");
        }
    }

    fn show(&self, worker: &mut LogWorker<FileDisk>) {
        let LogCounters { groups, records, bytes, refused } = worker.counters;
        self.report.groups.store(groups, Ordering::Relaxed);
        self.report.records.store(records, Ordering::Relaxed);
        self.report.bytes.store(bytes, Ordering::Relaxed);
        self.report.refused.store(refused, Ordering::Relaxed);
        let Lsn(durable) = worker.log().durable_lsn();
        self.report.durable_lsn.store(durable, Ordering::Relaxed);
    }
}

struct StoreThread {
    bell: Arc<ThreadBell>,
    sleeper: Arc<Sleeper>,
    maintenance: LsmMaintenance,
    compact: mpsc::SyncSender<()>,
    stop: Arc<AtomicBool>,
    report: Arc<StorageReport>,
}

impl StoreThread {
    fn run(&mut self, worker: &mut StoreWorker<LsmStore>) {
        loop {
            match worker.turn() {
                Ok(true) => {
                    if self.maintenance.has_sealed() {
                        // Full means that it has been told already.
                        let _told = self.compact.try_send(());
                    }
                    self.report.queries.store(worker.queries, Ordering::Relaxed);
                    self.report.persisted_lsn.store(self.maintenance.persisted_lsn().0, Ordering::Relaxed);
                    continue;
                }
                Ok(false) => {}
                Err(error) => die(&error),
            }
            if self.stop.load(Ordering::Acquire) {
                if let Err(error) = worker.store().flush() {
                    die(&error);
                }
                return;
            }
            let poll = worker.is_clogged();
            if self.sleeper.prepare_sleep(|| poll || worker.is_idle()) {
                self.bell.wait(poll.then_some(POLL));
                self.sleeper.woke();
            }
        }
    }
}

/// Acknowledged messages are on the disk and unacknowledged ones are unknown: only a restart tells which is which.
fn die(error: &dyn std::error::Error) -> ! {
    tracing::error!(%error, "storage has failed; ending the process");
    std::process::abort();
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.into())
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
