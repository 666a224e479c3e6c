//! Every bound of the client, its cost, and where the value comes from.

use std::time::Duration;

/// Messages that wait for their acknowledgement, sent or not; [`crate::Client::send`] waits for room.
/// Cost: at most this × 64 KiB (the gateway's message bound) = 64 MiB, in practice a few hundred bytes each.
pub const OUTBOX_MESSAGES_MAX: usize = 1024;

/// Sends on the wire without an answer. Cost: none here; it bounds what a reconnect sends again in one burst.
/// Enough to keep one log commit (0.2 ms) filled at 1 000 000 sends per second.
pub const SENDS_IN_FLIGHT_MAX: usize = 256;

/// Messages kept per conversation while the ones before them are fetched. What does not fit is fetched again.
/// Cost: this × message size, only while a gap is open. One catch-up (100) plus as many live ones.
pub const HELD_MESSAGES_MAX: usize = 200;

/// Events between the socket task and the application; when it is full, the socket is not read.
pub const EVENTS_MAX: usize = 1024;

/// Events decoded ahead of a full channel: one WebSocket message's worth is always taken whole.
pub const EVENTS_AHEAD_MAX: usize = 256;

/// Commands of the handles that the socket task has not taken yet.
pub const COMMANDS_MAX: usize = 256;

/// Calls (create, history) without an answer; more wait.
pub const CALLS_MAX: usize = 256;

/// Messages asked for per history page: the gateway's own bound.
pub const PAGE_MESSAGES: u32 = 100;

/// How long an arrived message may stay unacknowledged, so that one `received` covers many.
/// Price: after a crash of the application the gateway delivers at most this much again.
pub const RECEIVED_DELAY: Duration = Duration::from_millis(200);

/// An acknowledgement may overtake deliveries that are already on their way; only a gap that lasts is fetched.
pub const GAP_PATIENCE: Duration = Duration::from_millis(100);

/// Bytes of frames packed into one WebSocket message. Half the gateway's bound, so that one large frame always fits after it.
pub const TRANSMIT_BYTES_MAX: usize = 32 * 1024;

/// First and largest delay before a reconnect; the drawn delay is uniform below `min(max, first × 2^attempt)`.
pub const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(200);
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(30);

/// A TCP connect and upgrade that takes longer has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Retry of a send that was refused for now, when the gateway named no delay.
pub const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Largest WebSocket message taken from the gateway: a page of 100 messages of 64 KiB, with room for headers.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(SENDS_IN_FLIGHT_MAX <= OUTBOX_MESSAGES_MAX);
const _: () = assert!(HELD_MESSAGES_MAX >= PAGE_MESSAGES as usize);
