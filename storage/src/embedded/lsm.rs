//! The store on disk: every table in one `lsm-tree`, told apart by the first byte of the key.
//!
//! One tree, because one flush then makes all tables durable at once together with the checkpoint row that says up to
//! which record they are. The price: one block size and one filter for all tables; the alternative, a tree per table,
//! needs the minimum over eight checkpoints and keeps log until the idlest table has flushed.
//!
//! The tree's own highest persisted number is not used as the checkpoint: rows have numbers of their own here (several
//! rows of one record must not collide), and compaction may drop the row that carried the highest.
//!
//! The owner's thread applies and queries; flushing and compaction run in [`LsmMaintenance`], on any thread. What bounds
//! it: sealed memtables and top-level runs; past the bound the owner does the work itself, which is the backpressure.

mod expiry;
mod keys;
mod read;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, DescriptorTable, SeqNo, SequenceNumberCounter};

use super::directory::DataDirectory;
use crate::limits;
use crate::store::{Store, StoreError};
use crate::{Answer, Lsn, Query, Row};
use expiry::Expiry;

/// How the store behaves. The defaults are in [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsmOptions {
    pub memtable_bytes: u64,
    pub block_cache_bytes: u64,
    pub table_files_open_max: usize,
    /// How long a repeat of a send is recognised at least.
    pub idempotency_window_ms: u64,
}

impl Default for LsmOptions {
    fn default() -> Self {
        Self {
            memtable_bytes: limits::MEMTABLE_BYTES,
            block_cache_bytes: limits::BLOCK_CACHE_BYTES,
            table_files_open_max: limits::TABLE_FILES_OPEN_MAX,
            idempotency_window_ms: limits::IDEMPOTENCY_WINDOW_MS,
        }
    }
}

/// The store; see the module.
pub struct LsmStore {
    tree: AnyTree,
    memtable_bytes: u64,
    memtable_size: u64,
    applied_lsn: Lsn,
    /// Number of the next row; above every row in the tree.
    next_row: SeqNo,
    shared: Arc<Shared>,
    /// Keeps others out while this store is in use.
    _held: Option<DataDirectory>,
}

/// The flushing and compacting half of an [`LsmStore`].
#[derive(Clone)]
pub struct LsmMaintenance {
    tree: AnyTree,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Every record up to here is in a sealed memtable or on disk.
    sealed_lsn: AtomicU64,
    persisted_lsn: AtomicU64,
    created_ms_max: Arc<AtomicU64>,
}

/// Reads see everything: there is one writer, and it is the reader.
const NEWEST: SeqNo = SeqNo::MAX;

/// No reader looks at earlier versions of a row; flushing and compaction keep only the last.
const KEEP_NO_HISTORY: SeqNo = 0x7FFF_FFFF_FFFF_FFFF;

impl LsmStore {
    /// Opens (or makes) the store in `directory`. It holds everything up to its `persisted_lsn`; the caller applies
    /// what the log has behind it.
    pub fn open(directory: &Path, options: &LsmOptions) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::default());
        let versions = SequenceNumberCounter::default();
        let expiry = Expiry {
            created_ms_max: shared.created_ms_max.clone(),
            window_ms: options.idempotency_window_ms,
        };
        let tree = Config::new(directory, versions.clone(), SequenceNumberCounter::default())
            .use_cache(Arc::new(Cache::with_capacity_bytes(options.block_cache_bytes)))
            .use_descriptor_table(Some(Arc::new(DescriptorTable::new(options.table_files_open_max))))
            .with_compaction_filter_factory(Some(Arc::new(expiry)))
            .open()
            .map_err(failed("opening the tables"))?;
        let next_row = tree.get_highest_persisted_seqno().map_or(1, |highest| highest + 1);
        versions.set(next_row);

        let checkpoint = tree.get(keys::CHECKPOINT, NEWEST).map_err(failed("reading the checkpoint"))?;
        let (lsn, created_ms) = match checkpoint.as_deref().map(<[u8; 16]>::try_from) {
            None => (0, 0),
            Some(Ok(value)) => {
                let (lsn, created_ms) = value.split_at(8);
                (read::u64_le(lsn), read::u64_le(created_ms))
            }
            Some(Err(_)) => {
                return Err(StoreError {
                    action: "reading the checkpoint",
                    problem: "its row does not have 16 bytes".to_owned(),
                });
            }
        };
        shared.sealed_lsn.store(lsn, Ordering::Relaxed);
        shared.persisted_lsn.store(lsn, Ordering::Relaxed);
        shared.created_ms_max.store(created_ms, Ordering::Relaxed);
        Ok(Self {
            tree,
            memtable_bytes: options.memtable_bytes,
            memtable_size: 0,
            applied_lsn: Lsn(lsn),
            next_row,
            shared,
            _held: None,
        })
    }

    /// Keeps the data directory locked as long as this store.
    pub(crate) fn holding(self, directory: DataDirectory) -> Self {
        Self { _held: Some(directory), ..self }
    }

    /// The half that works in the background. Several copies are harmless; one thread is enough.
    pub fn maintenance(&self) -> LsmMaintenance {
        LsmMaintenance { tree: self.tree.clone(), shared: self.shared.clone() }
    }

    /// The last record applied.
    pub fn applied_lsn(&self) -> Lsn {
        self.applied_lsn
    }

    /// Greatest creation time of any message applied, milliseconds since 1970.
    pub fn created_ms_max(&self) -> u64 {
        self.shared.created_ms_max.load(Ordering::Relaxed)
    }

    fn put(&mut self, key: keys::Key, value: Bytes) {
        let (_, size) = self.tree.insert(key, value, self.next_row);
        self.memtable_size = size;
        self.next_row += 1;
    }

    fn put_u64(&mut self, key: keys::Key, value: u64) {
        self.put(key, Bytes::copy_from_slice(&value.to_le_bytes()));
    }

    fn remove(&mut self, key: keys::Key) {
        let (_, size) = self.tree.remove(key, self.next_row);
        self.memtable_size = size;
        self.next_row += 1;
    }

    fn apply_row(&mut self, row: &Row) -> Result<(), lsm_tree::Error> {
        match row {
            Row::Conversation { conversation, meta } => {
                self.put(keys::conversation(*conversation), meta.clone());
            }
            Row::Member { conversation, user, info } => {
                self.put(keys::member(*conversation, *user), info.clone());
                self.put(keys::listed(*user, *conversation), Bytes::new());
            }
            Row::MemberRemoved { conversation, user } => {
                self.remove(keys::member(*conversation, *user));
                self.remove(keys::listed(*user, *conversation));
            }
            Row::Message { conversation, seq, frame, idempotency } => {
                self.put(keys::message(*conversation, *seq), frame.clone());
                let mut value = Vec::with_capacity(keys::IDEMPOTENCY_VALUE_BYTES);
                for number in [*seq, idempotency.message_id, idempotency.created_ms] {
                    value.extend_from_slice(&number.to_le_bytes());
                }
                let key = keys::idempotency(*conversation, idempotency.sender, idempotency.client_id);
                self.put(key, value.into());
                self.shared.created_ms_max.fetch_max(idempotency.created_ms, Ordering::Relaxed);
            }
            Row::Delivered { user, device, conversation, seq } => {
                self.raise(keys::delivered(*user, *device, *conversation), *seq)?;
            }
            Row::Read { user, conversation, seq } => self.raise(keys::read(*user, *conversation), *seq)?,
            Row::Pending { user, conversation, first_seq } => {
                let key = keys::pending(*user, *conversation);
                if self.number(&key)?.is_none_or(|mark| *first_seq < mark) {
                    self.put_u64(key, *first_seq);
                }
            }
            Row::PendingCleared { user, conversation } => self.remove(keys::pending(*user, *conversation)),
        }
        Ok(())
    }

    fn raise(&mut self, key: keys::Key, seq: u64) -> Result<(), lsm_tree::Error> {
        if self.number(&key)?.is_none_or(|pointer| seq > pointer) {
            self.put_u64(key, seq);
        }
        Ok(())
    }

    /// The backpressure: does the background work here when it is behind. A failure (a full disk) costs nothing while
    /// there is memory, the log has every record; past the last bound it is final.
    fn keep_up(&self) -> Result<(), StoreError> {
        let maintenance = self.maintenance();
        let sealed = self.tree.sealed_memtable_count();
        let mut result = Ok(());
        if sealed > limits::MEMTABLES_SEALED_MAX {
            result = maintenance.flush();
        }
        if result.is_ok() && self.tree.l0_run_count() > limits::TOP_LEVEL_RUNS_MAX {
            result = maintenance.compact();
        }
        match result {
            Err(error) if sealed <= limits::MEMTABLES_UNFLUSHED_MAX => {
                tracing::warn!(%error, sealed, "the store keeps records in memory, the log has them on disk");
                Ok(())
            }
            result => result,
        }
    }

    /// Closes the active memtable with the checkpoint in it: a flush makes both durable, or neither.
    fn seal(&mut self) {
        let mut value = Vec::with_capacity(16);
        value.extend_from_slice(&self.applied_lsn.0.to_le_bytes());
        value.extend_from_slice(&self.created_ms_max().to_le_bytes());
        self.put(keys::CHECKPOINT.to_vec(), value.into());
        self.tree.rotate_memtable();
        self.memtable_size = 0;
        self.shared.sealed_lsn.store(self.applied_lsn.0, Ordering::Release);
    }
}

impl Store for LsmStore {
    fn apply(&mut self, lsn: Lsn, rows: &[Row]) -> Result<(), StoreError> {
        for row in rows {
            self.apply_row(row).map_err(failed("applying a record"))?;
        }
        self.applied_lsn = self.applied_lsn.max(lsn);
        if self.memtable_size >= self.memtable_bytes {
            self.seal();
            self.keep_up()?;
        }
        Ok(())
    }

    fn query(&mut self, query: &Query) -> Answer {
        self.answer(query).unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }

    fn persisted_lsn(&self) -> Lsn {
        Lsn(self.shared.persisted_lsn.load(Ordering::Acquire))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.applied_lsn > self.persisted_lsn() {
            self.seal();
            self.maintenance().flush()?;
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        self.maintenance().run()
    }
}

impl LsmMaintenance {
    /// Flushes what is sealed and compacts once, as far as there is anything to do. Blocks.
    ///
    /// # Errors
    /// Nothing is lost: the rows stay in memory and the log keeps their records. It may be tried again (a full disk may
    /// have room by then); every try writes new files.
    pub fn run(&self) -> Result<(), StoreError> {
        self.flush()?;
        self.compact()
    }

    /// Sealed memtables wait to be flushed.
    pub fn has_sealed(&self) -> bool {
        self.tree.sealed_memtable_count() > 0
    }

    /// The last record on disk: the log may forget it.
    pub fn persisted_lsn(&self) -> Lsn {
        Lsn(self.shared.persisted_lsn.load(Ordering::Acquire))
    }

    fn flush(&self) -> Result<(), StoreError> {
        let lock = self.tree.get_flush_lock();
        // Read before the flush: everything sealed by then is on disk afterwards.
        let sealed = self.shared.sealed_lsn.load(Ordering::Acquire);
        self.tree.flush(&lock, KEEP_NO_HISTORY).map_err(failed("flushing tables"))?;
        self.shared.persisted_lsn.fetch_max(sealed, Ordering::AcqRel);
        Ok(())
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.tree.compact(Arc::new(Leveled::default()), KEEP_NO_HISTORY).map_err(failed("compacting tables"))
    }
}

fn failed(action: &'static str) -> impl Fn(lsm_tree::Error) -> StoreError {
    move |error| StoreError { action, problem: error.to_string() }
}

impl std::fmt::Debug for LsmStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LsmStore").field("applied_lsn", &self.applied_lsn).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LsmMaintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LsmMaintenance").field("persisted_lsn", &self.persisted_lsn()).finish_non_exhaustive()
    }
}
