//! From a directory to a log that takes records and a store that knows all of them.
//!
//! 1. Lock the directory, check its format.
//! 2. Open the store; it is behind the log by what it had not flushed.
//! 3. Recover the log, and apply what the store lacks.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::directory::{DataDirectory, DirectoryError, explain};
use super::disk::FileDisk;
use super::log::{Log, LogOptions, Recovered, RecoveryError};
use super::lsm::{LsmOptions, LsmStore};
use crate::Store;
use crate::store::StoreError;

/// How the embedded back end behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub log: LogOptions,
    pub store: LsmOptions,
}

/// Why the embedded back end cannot be opened. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the log cannot be opened: {0}")]
    Log(#[from] RecoveryError<StoreError>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the data directory, or makes it. The log and the store hold its lock until both are dropped (and with them
/// the log's disk).
pub fn open(directory: &Path, options: &Options) -> Result<(Log<FileDisk>, LsmStore, Recovered), OpenError> {
    let directory = DataDirectory::open(directory, random_log_id)?;
    let store_path = directory.store_path();
    let mut store = LsmStore::open(&store_path, &options.store)?.holding(directory.clone());
    let log_path = directory.log_path();
    let disk = FileDisk::open(&log_path)
        .map_err(|error| explain(&log_path, "opening the log in", error))?
        .holding(directory.clone());
    let checkpoint = store.persisted_lsn();
    let opened =
        Log::open(Arc::new(disk), directory.log_id(), &options.log, checkpoint, &mut |lsn, append| {
            store.apply(lsn, &append.rows)
        });
    let (log, mut recovered) = match opened {
        Err(RecoveryError::Io { action, error, .. }) if is_about_the_directory(&error) => {
            return Err(explain(&log_path, action, error).into());
        }
        opened => opened?,
    };
    recovered.created_ms_max = recovered.created_ms_max.max(store.created_ms_max());
    Ok((log, store, recovered))
}

fn is_about_the_directory(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
    )
}

fn random_log_id() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u128::from_le_bytes(bytes))
}
