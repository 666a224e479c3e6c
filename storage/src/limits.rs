//! Every bound of this crate, what it costs, and where the value comes from.

/// Unit of the log on disk: groups begin and end on it, O_DIRECT writes are multiples of it.
/// Cost: a lone record pads to one block. Origin: the largest logical block size of current NVMe devices.
pub const BLOCK_BYTES: usize = 4096;

/// Bytes of one commit group, header and padding included.
/// Cost: two buffers of this size per log. Origin: the 256 KiB group reached 1.2 GB/s on the measured device with
/// 0.2 ms latency; four times that leaves room for faster devices and bounds the latency of one group to about 1 ms.
pub const GROUP_BYTES_MAX: usize = 1024 * 1024;

/// Upper bound that the reader of a log accepts, whatever the writer was configured to.
/// Cost: recovery clears this many bytes behind the tail. Origin: 4 × the default leaves room to raise it.
pub const GROUP_BYTES_FORMAT_MAX: usize = 4 * GROUP_BYTES_MAX;

/// Bytes of one segment file.
/// Cost: recovery holds one segment in memory; preparing one writes it once. Origin: ScyllaDB and Redpanda use
/// 32–128 MiB; 64 MiB keeps a rotation at less than one per second at 50 MB/s.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Segments kept ready ahead of the one being written.
/// Cost: this many × [`SEGMENT_BYTES`] of disk. Origin: one covers a rotation, the second the time to prepare the next.
pub const SEGMENTS_AHEAD: usize = 2;

/// Bytes of variable content in one row (a frame, a conversation's meta, a membership's info).
/// Cost: one record may take a group of its own. Origin: a WebSocket message is at most 64 KiB; twice that leaves
/// room for the frame that carries it.
pub const ROW_BYTES_MAX: usize = 128 * 1024;

/// Bytes in the active memtable before it is sealed and flushed.
/// Cost: memory, and log that must be replayed after a crash (× [`MEMTABLES_SEALED_MAX`] + 1). Origin: the log
/// replays 64 MiB in well under a second, and a flush of this size makes one table of the target size.
pub const MEMTABLE_BYTES: u64 = 64 * 1024 * 1024;

/// Sealed memtables that may wait for the maintenance thread before `apply` flushes them itself.
/// Cost: this many × [`MEMTABLE_BYTES`] of memory. Origin: a flush takes about as long as filling half a memtable,
/// so a second one waits only when the disk is behind.
pub const MEMTABLES_SEALED_MAX: usize = 3;

/// Sealed memtables that may be kept while flushing fails, before the store gives up.
/// Cost: this many × [`MEMTABLE_BYTES`] of memory, 768 MiB. Origin: on a full disk the log refuses new records long before.
pub const MEMTABLES_UNFLUSHED_MAX: usize = 4 * MEMTABLES_SEALED_MAX;

/// Sorted runs in the top level before `apply` compacts itself.
/// Cost: every point read may look at each run. Origin: lsm-tree compacts from 4 on; 5 × that means compaction is stuck.
pub const TOP_LEVEL_RUNS_MAX: usize = 20;

/// Memory for cached blocks of the store.
/// Cost: itself. Origin: 256 MiB kept 50 000 warm conversations' newest pages in the measured run.
pub const BLOCK_CACHE_BYTES: u64 = 256 * 1024 * 1024;

/// Open table files. Cost: file descriptors, beside those of the sockets. Origin: 64 MiB tables, so 64 GiB stay open.
pub const TABLE_FILES_OPEN_MAX: usize = 1024;

/// How long a repeat of a send is recognised, in milliseconds of message time.
/// Cost: about 80 B per message sent within it. Origin: the promise is 24 h; three days cover a weekend offline.
pub const IDEMPOTENCY_WINDOW_MS: u64 = 72 * 60 * 60 * 1000;

const _: () = assert!(GROUP_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(GROUP_BYTES_FORMAT_MAX >= GROUP_BYTES_MAX);
const _: () = assert!(SEGMENT_BYTES >= 4 * GROUP_BYTES_FORMAT_MAX as u64);
const _: () = assert!(SEGMENT_BYTES.is_multiple_of(BLOCK_BYTES as u64));
const _: () = assert!(2 * ROW_BYTES_MAX < GROUP_BYTES_MAX);
const _: () = assert!(IDEMPOTENCY_WINDOW_MS >= 24 * 60 * 60 * 1000);
