//! The ordered store: durable rows in, questions answered. Built from the log, so it may lag behind it on disk, never
//! in memory: whatever was applied before a query is seen by it.

mod memory;

pub use memory::MemoryStore;
pub(crate) use memory::{Page, take_page};

use crate::{Answer, Lsn, Query, Row};

/// Tables of durable rows. One thread owns it.
///
/// Whoever hands a durable group to the store does so before anybody hears that the group is durable; then a query
/// that follows the news sees the rows.
pub trait Store {
    /// Applies one record. Records come in order of `lsn`, without a gap above [`Store::persisted_lsn`]; a record that
    /// was applied before is harmless.
    ///
    /// # Errors
    /// The store may miss the record: it must not be used any further.
    fn apply(&mut self, lsn: Lsn, rows: &[Row]) -> Result<(), StoreError>;

    /// Answers from everything applied so far. I/O errors become [`Answer::Failed`].
    fn query(&mut self, query: &Query) -> Answer;

    /// The last record that would still be here after a crash: the log may forget it.
    fn persisted_lsn(&self) -> Lsn;

    /// Brings everything applied so far to disk; afterwards `persisted_lsn` is the last applied.
    ///
    /// # Errors
    /// Nothing is lost, it may be tried again: the rows stay in memory, and the log keeps their records.
    fn flush(&mut self) -> Result<(), StoreError>;

    /// Does a piece of background work (flushing, compaction, forgetting expired idempotency keys), if there is any.
    ///
    /// # Errors
    /// As for [`Store::flush`].
    fn maintain(&mut self) -> Result<(), StoreError>;
}

/// The store cannot go on.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store failed while {action}: {problem}; look at the disk (is it full?); the log has every record"
)]
pub struct StoreError {
    pub action: &'static str,
    pub problem: String,
}
