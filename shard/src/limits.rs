//! Bounds of a shard: what each costs and how it was found.

use std::time::Duration;

/// A shard wants `Input::Tick` at least this often while it has sessions. Cost: one wake per worker.
pub const TICK: Duration = Duration::from_millis(250);

/// Bounds that an operator may change.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Unanswered requests of one session; past it we stop reading from its socket.
    /// Cost: one draft each (about 200 bytes and the body). Four times the 16 that our clients keep in flight.
    pub session_requests_max: u16,
    /// Unanswered requests of all sessions of the shard; past it we stop reading from all sockets.
    /// Requests of sessions that have gone count until they are answered. Also the `received` that may wait for the store.
    /// Bounds every queue between shards: see `Envelope`. Cost: 32 Ki drafts of at most 64 KiB, 8 MiB at 256 bytes.
    pub requests_max: u32,
    /// Bytes a connection may have unsent before live delivery to it pauses and it is caught up from the store, and
    /// before it is not read from: what does not read its answers gets to ask nothing more.
    /// Cost: per slow reader. Holds four pages of history (`page_bytes_max`).
    pub unsent_bytes_max: u32,
    /// Deliveries handed to sockets in one turn; a larger fan-out goes in slices. 4096 sends take about 3 ms.
    pub deliveries_per_turn: u32,
    /// Conversations in memory; the least recently used idle ones are dropped. About 300 bytes each for a direct one.
    pub conversations_max: usize,
    /// Members of a group, its creator included.
    pub group_members_max: usize,
    /// Bytes of a conversation's name.
    pub name_bytes_max: usize,
    /// Messages of one history page, and the most that catch-up sends of one conversation before `has_more`.
    pub page_messages_max: u32,
    /// Bytes of messages read from the store at once.
    pub page_bytes_max: u32,
    /// Conversations of one session that are caught up at the same time.
    pub catch_up_window: usize,
    /// A session that says nothing for this long after `welcome` is caught up as if it had said hello without cursors.
    pub hello_wait: Duration,
    /// How long a repeat of a send is recognised. At least 24 h; must not exceed what the store keeps.
    pub idempotency_window: Duration,
    /// Memory of the filter that spares the store the question "seen before?". Past it every send asks the store.
    pub repeat_filter_bytes_max: usize,
    /// `received` pointers are gathered for this long before they are appended.
    pub delivered_flush: Duration,
    /// What `welcome` tells clients.
    pub heartbeat: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_requests_max: 64,
            requests_max: 32 * 1024,
            unsent_bytes_max: 256 * 1024,
            deliveries_per_turn: 4096,
            conversations_max: 1 << 20,
            group_members_max: 256,
            name_bytes_max: 256,
            page_messages_max: 100,
            page_bytes_max: 64 * 1024,
            catch_up_window: 16,
            hello_wait: Duration::from_secs(1),
            idempotency_window: Duration::from_secs(24 * 3600),
            repeat_filter_bytes_max: 64 << 20,
            delivered_flush: Duration::from_secs(1),
            heartbeat: Duration::from_secs(30),
        }
    }
}

/// One WebSocket message of a client.
pub const MESSAGE_BYTES_MAX: u32 = 64 * 1024;
/// Characters of a text body.
pub const BODY_CHARACTERS_MAX: u32 = 4000;
/// Rows of `received` pointers in one append, so that it fits a log group many times over.
pub const DELIVERED_ROWS_MAX: usize = 512;
/// Conversations listed at once when a session says hello.
pub const LISTED_MAX: u32 = 256;
/// Conversations of one session that clients may have caught up at the same time by naming them. Cost: about 100 bytes
/// each. Three times what fits one message.
pub const CURSORS_MAX: usize = 8192;
/// What a client is told to wait when it names more.
pub const RETRY_AFTER_CURSORS_MS: u32 = 1000;
/// Messages and grants that may wait for their fan-out before a shard takes no more from its rings.
/// Cost: about 150 bytes each, and the messages. Eight batches of a worker's turn.
pub const INBOX_MAX: usize = 4096;
/// A session that the store could not serve is tried again after this.
pub const STORE_RETRY: Duration = Duration::from_millis(500);
/// What a client is told to wait after the log refused its message.
pub const RETRY_AFTER_STORAGE_MS: u32 = 1000;
