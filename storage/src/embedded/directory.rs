//! The data directory: who holds it, which format it has, whose log is in it.
//!
//! ```text
//! LOCK     flock'ed by the process that uses the directory; holds its pid as text
//! FORMAT   "tidegate data directory", "format 1", "log <32 hex digits>", one per line
//! log/     segments
//! store/   tables
//! ```
//!
//! Other files are left alone. `FORMAT` is made before `log` and `store`, so these without it are not ours to touch.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::disk::sync_directory;

/// Version of everything in the directory that this program writes, and the only one it reads.
pub const DIRECTORY_FORMAT: u32 = 1;

const TITLE: &str = "tidegate data directory";

/// A data directory that is locked by this process, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    path: PathBuf,
    log_id: u128,
    /// The lock goes when the file closes.
    _lock: Arc<File>,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error(
        "the data directory {path} is in use by process {holder}; stop that process, or choose another directory with \
         --data-dir"
    )]
    Held { path: PathBuf, holder: String },
    #[error(
        "{action} {path} is not permitted; give the user that runs tidegate the directory (`chown`, `chmod u+rwx`), or \
         choose another one with --data-dir"
    )]
    NotPermitted { path: PathBuf, action: &'static str },
    #[error(
        "{action} {path} failed: the file system is mounted read-only; remount it writable, or choose another \
         directory with --data-dir"
    )]
    ReadOnly { path: PathBuf, action: &'static str },
    #[error(
        "{action} {path} failed: no space is left; free some, or choose another directory with --data-dir"
    )]
    Full { path: PathBuf, action: &'static str },
    #[error(
        "the data directory {path} has format {found}, this program reads format {DIRECTORY_FORMAT}; use the version \
         of tidegate that wrote it, or another directory"
    )]
    OtherFormat { path: PathBuf, found: u32 },
    #[error("{path} is not a tidegate data directory: {problem}; choose another one with --data-dir")]
    NotOurs { path: PathBuf, problem: String },
    #[error("{action} {path} failed: {error}")]
    Io { path: PathBuf, action: &'static str, error: io::Error },
}

impl DataDirectory {
    /// Locks the directory; makes it if it does not exist. `new_log_id` is called for a new one and must return a
    /// random number that nobody can guess.
    pub fn open(path: &Path, new_log_id: impl FnOnce() -> io::Result<u128>) -> Result<Self, DirectoryError> {
        match DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) => return Err(explain(path, "making", error)),
        }
        let lock = lock(path)?;
        let log_id = match read_format(path)? {
            Some(log_id) => log_id,
            None => {
                for name in ["log", "store"] {
                    if path.join(name).exists() {
                        let problem = format!("it has a `{name}` but no FORMAT file");
                        return Err(DirectoryError::NotOurs { path: path.to_owned(), problem });
                    }
                }
                let log_id =
                    new_log_id().map_err(|error| explain(path, "drawing a random number for", error))?;
                write_format(path, log_id)?;
                log_id
            }
        };
        Ok(Self { path: path.to_owned(), log_id, _lock: Arc::new(lock) })
    }

    /// What all checksums of this directory's log are bound to.
    pub fn log_id(&self) -> u128 {
        self.log_id
    }

    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn store_path(&self) -> PathBuf {
        self.path.join("store")
    }
}

/// The log id of a directory that somebody else may be using, and the process that does.
pub(super) fn look(path: &Path) -> Result<(u128, Option<String>), DirectoryError> {
    let Some(log_id) = read_format(path)? else {
        let problem = "there is no FORMAT file".to_owned();
        return Err(DirectoryError::NotOurs { path: path.to_owned(), problem });
    };
    let holder = match File::open(path.join("LOCK")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(explain(&path.join("LOCK"), "opening", error)),
        Ok(mut file) => match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => Some(holder(&mut file)),
        },
    };
    Ok((log_id, holder))
}

fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join("LOCK");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(|error| explain(&path, "opening", error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(DirectoryError::Held { path: directory.to_owned(), holder: holder(&mut file) });
        }
        Err(error) => return Err(explain(&path, "locking", error.into())),
    }
    // Of one width, over the earlier one: a full disk has room for it. Without it only a message would say less.
    if let Err(error) = writeln!(file, "{:<10}", std::process::id()) {
        tracing::warn!(file = %path.display(), %error, "the pid could not be written into the lock file");
    }
    Ok(file)
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "(unknown)".to_owned(),
    }
}

fn read_format(directory: &Path) -> Result<Option<u128>, DirectoryError> {
    let path = directory.join("FORMAT");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(explain(&path, "reading", error)),
    };
    let not_ours = |problem: &str| DirectoryError::NotOurs {
        path: directory.to_owned(),
        problem: format!("its FORMAT file {problem}"),
    };
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(not_ours("has another first line"));
    }
    let format =
        lines.next().and_then(|line| line.strip_prefix("format ")).and_then(|text| text.parse().ok());
    match format {
        Some(DIRECTORY_FORMAT) => {}
        Some(found) => return Err(DirectoryError::OtherFormat { path: directory.to_owned(), found }),
        None => return Err(not_ours("does not name a format")),
    }
    let log_id = lines.next().and_then(|line| line.strip_prefix("log "));
    match log_id.and_then(|text| u128::from_str_radix(text, 16).ok()) {
        Some(log_id) => Ok(Some(log_id)),
        None => Err(not_ours("does not name a log")),
    }
}

/// All of it or nothing, also when the power fails.
fn write_format(directory: &Path, log_id: u128) -> Result<(), DirectoryError> {
    let path = directory.join("FORMAT");
    let unfinished = directory.join("FORMAT.new");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        write!(file, "{TITLE}\nformat {DIRECTORY_FORMAT}\nlog {log_id:032x}\n")?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_directory(directory)
    };
    write().map_err(|error| explain(&path, "writing", error))
}

/// Adds what to do about it.
pub(super) fn explain(path: &Path, action: &'static str, error: io::Error) -> DirectoryError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::PermissionDenied => DirectoryError::NotPermitted { path, action },
        io::ErrorKind::ReadOnlyFilesystem => DirectoryError::ReadOnly { path, action },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DirectoryError::Full { path, action },
        _ => DirectoryError::Io { path, action, error },
    }
}
