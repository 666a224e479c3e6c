//! Segments as files of one directory: `<number, 16 digits>.segment`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, OFlags};

use super::super::directory::DataDirectory;
use super::{AlignedBuffer, Disk, SegmentNumber};
use crate::limits::BLOCK_BYTES;

/// A directory of segment files, written with O_DIRECT where the file system has it.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    direct: bool,
    writable: bool,
    /// Keeps others out while this disk is in use.
    _held: Option<DataDirectory>,
    /// Open segments. Held only to look a file up, never during I/O.
    files: Mutex<BTreeMap<SegmentNumber, Arc<File>>>,
}

impl FileDisk {
    /// Opens (and makes, if missing) the directory. Leftovers of an interrupted `create` are removed.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let mut disk = Self::open_buffered(directory)?;
        disk.direct = direct_works(directory)?;
        if !disk.direct {
            tracing::warn!(
                directory = %directory.display(),
                "the file system refuses O_DIRECT: the log goes through the page cache (still synced, slower, and \
                 after a failed sync the cache may show bytes that the disk does not have)"
            );
        }
        Ok(disk)
    }

    /// Like [`FileDisk::open`], through the page cache whatever the file system has.
    pub fn open_buffered(directory: &Path) -> io::Result<Self> {
        if !directory.try_exists()? {
            fs::create_dir(directory)?;
            if let Some(parent) = directory.parent() {
                sync_directory(parent)?;
            }
        }
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            direct: false,
            writable: true,
            _held: None,
            files: Mutex::default(),
        })
    }

    /// For looking only: no file is made, changed or removed, and no lock is needed.
    pub fn open_read_only(directory: &Path) -> io::Result<Self> {
        fs::read_dir(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            direct: false,
            writable: false,
            _held: None,
            files: Mutex::default(),
        })
    }

    /// Keeps the data directory locked as long as this disk.
    pub(crate) fn holding(self, directory: DataDirectory) -> Self {
        Self { _held: Some(directory), ..self }
    }

    /// Whether writes bypass the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    pub fn path(&self, segment: SegmentNumber) -> PathBuf {
        self.directory.join(format!("{segment}.segment"))
    }

    fn file(&self, segment: SegmentNumber) -> io::Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&segment) {
            return Ok(file.clone());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(self.writable);
        if self.direct {
            options.custom_flags(direct_flag());
        }
        let file = Arc::new(options.open(self.path(segment))?);
        files.insert(segment, file.clone());
        Ok(file)
    }

    fn forget(&self, segment: SegmentNumber) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
    }
}

impl Disk for FileDisk {
    fn segments(&self) -> io::Result<Vec<(SegmentNumber, u64)>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".segment")) else { continue };
            let Ok(number) = number.parse() else { continue };
            segments.push((SegmentNumber(number), entry.metadata()?.len()));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn create(&self, segment: SegmentNumber, bytes: u64) -> io::Result<()> {
        self.forget(segment);
        let unfinished = self.directory.join(format!("{segment}.new"));
        let made = fill_with_zeros(&unfinished, bytes, self.direct)
            .and_then(|()| fs::rename(&unfinished, self.path(segment)))
            .and_then(|()| sync_directory(&self.directory));
        if made.is_err() {
            // On a full disk the attempt must not keep the space that somebody else is waiting for.
            if let Err(error) = fs::remove_file(&unfinished)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file = %unfinished.display(), %error, "an unfinished segment stays behind");
            }
        }
        made
    }

    fn rename(&self, from: SegmentNumber, to: SegmentNumber) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        fs::rename(self.path(from), self.path(to))?;
        sync_directory(&self.directory)
    }

    fn remove(&self, segment: SegmentNumber) -> io::Result<()> {
        self.forget(segment);
        match fs::remove_file(self.path(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_directory(&self.directory),
        }
    }

    fn write(&self, segment: SegmentNumber, offset: u64, blocks: &AlignedBuffer) -> io::Result<()> {
        debug_assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "offset {offset} is inside a block");
        debug_assert!(blocks.len().is_multiple_of(BLOCK_BYTES), "{} bytes are no whole blocks", blocks.len());
        self.file(segment)?.write_all_at(blocks.bytes(), offset)
    }

    fn sync(&self, segment: SegmentNumber) -> io::Result<()> {
        rustix::fs::fdatasync(&*self.file(segment)?)?;
        Ok(())
    }

    fn read(&self, segment: SegmentNumber) -> io::Result<AlignedBuffer> {
        let file = self.file(segment)?;
        let length = usize::try_from(file.metadata()?.len()).expect("a segment fits into memory");
        // A file that was cut inside a block still reads as whole blocks, with zeros behind its end.
        let mut buffer = AlignedBuffer::zeroed(length);
        let mut read = 0;
        while read < length {
            match file.read_at(&mut buffer.bytes_mut()[read..], read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(buffer)
    }
}

pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    // The parent of a relative path of one component is the empty path.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

/// Allocates *and writes* the file: a sync of blocks that were only allocated waits for the file system's journal.
fn fill_with_zeros(path: &Path, bytes: u64, direct: bool) -> io::Result<()> {
    const CHUNK_BYTES: usize = 1024 * 1024;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if direct {
        options.custom_flags(direct_flag());
    }
    let file = options.open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let chunk = u64::min(bytes, CHUNK_BYTES as u64);
    let zeros = AlignedBuffer::zeroed(usize::try_from(chunk).expect("at most the chunk size"));
    let mut offset = 0;
    while offset < bytes {
        let length = u64::min(bytes - offset, zeros.len() as u64);
        file.write_all_at(
            &zeros.bytes()[..usize::try_from(length).expect("at most the chunk size")],
            offset,
        )?;
        offset += length;
    }
    file.sync_all()
}

/// Tries it: some file systems refuse to open with O_DIRECT, others only to write.
fn direct_works(directory: &Path) -> io::Result<bool> {
    let path = directory.join("probe.new");
    let probe = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(direct_flag())
        .open(&path)
        .and_then(|file| file.write_all_at(AlignedBuffer::zeroed(BLOCK_BYTES).bytes(), 0));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match probe {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(false)
        }
        // A full disk says nothing about O_DIRECT, and is not this function's business.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(true),
        Err(error) => Err(error),
    }
}

fn direct_flag() -> i32 {
    i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open(2) fits into its int")
}
