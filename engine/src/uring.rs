//! The production driver: one io_uring per worker.
//!
//! Owns the ring, the sockets, the receive buffers and the unsent bytes of one worker. Knows nothing of frames.
//! Driven by [`Driver::turn`] on the thread that made it. Bounded by its slots (connections), its receive buffers,
//! and what the worker sends.
//!
//! Rules; where they come from stands where they are obeyed:
//! 1. Between turns nothing is queued for the kernel, and only polls, shutdowns and closes are armed. All else
//!    (receives, sends) carries `MSG_DONTWAIT`, so it is done when the submit returns. Calls between turns only
//!    note what to do on lists.
//! 2. An idle connection owns no buffer: it sits in a multishot poll, and receives into provided buffers.
//! 3. A completion without the "more" flag ended its request, whatever its result (`IORING_CQE_F_MORE`).
//! 4. Cancel before close, in one submit: a close alone leaves the polled socket open for ever.
//! 5. A slot is freed when its last completion has come; its next user has another generation.
//! 6. Every completion of a turn is handled in it, so no send goes out before the fate of the one before is known.
//! 7. Buffers are given back once per turn; what found none tries again in the next.

mod accept;
mod buffers;
mod close;
mod probe;
mod receive;
mod ring;
mod scratch;
mod send;
mod slots;
mod token;
mod turn;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
pub use probe::probe;

use self::accept::Acceptor;
use self::buffers::Buffers;
use self::ring::{Completion, Ring};
use self::scratch::Scratch;
use self::slots::{Flags, Slots};
use self::token::Kind;
use crate::doorbell::EventBell;
use crate::driver::{ConnectionId, Driver, DriverCounters, Event, Now, Wait, read_clocks};
use crate::outbox::Outbox;

/// Sizes of one driver.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections held at once; lowered to `RLIMIT_NOFILE` and to 1M, the kernel's bounds for one direct table.
    /// Cost per idle connection: 16 bytes here, about 4.2 KB in the kernel.
    pub connections_max: u32,
    /// A fan-out of this many sends goes out in one system call. Cost: 64 bytes each.
    pub submission_entries: u32,
    /// At least twice the events of a turn; an overflow costs re-arming every poll it hits. Cost: 16 bytes each.
    pub completion_entries: u32,
    /// A power of two. At least `events_per_turn_max`, or receives are put off to the next turn.
    pub receive_buffers: u16,
    pub receive_buffer_bytes: u32,
    /// Receives per turn. The rest waits for the next.
    pub events_per_turn_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 1 << 20,
            submission_entries: 4096,
            completion_entries: 32768,
            receive_buffers: 1024,
            receive_buffer_bytes: 4096,
            events_per_turn_max: 1024,
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct UringDriver {
    /// First, so that it is closed before the memory that the kernel knows is freed.
    ring: Ring,
    buffers: Buffers,
    scratch: Scratch,
    outbox: Outbox,
    slots: Slots,
    acceptor: Acceptor,
    bell: Arc<EventBell>,
    bell_armed: bool,
    options: Options,
    counters: DriverCounters,

    /// The time of the last turn.
    now: Now,
    /// Receives that this turn may still submit.
    budget: u32,
    reading: bool,
    /// Completions being handled; kept for its memory.
    batch: Vec<Completion>,

    // What to do at the next submit. An entry whose connection is gone is skipped.
    to_poll: Vec<ConnectionId>,
    to_poll_writable: Vec<ConnectionId>,
    ready: VecDeque<ConnectionId>,
    /// Ready, but the shard does not read.
    held: Vec<ConnectionId>,
    /// Ready, but there was no buffer.
    starved: Vec<ConnectionId>,
    unflushed: Vec<ConnectionId>,
    backlogged: Vec<ConnectionId>,
    to_linger: Vec<ConnectionId>,
    to_end: Vec<ConnectionId>,
    /// Sent as a whole in this submit; succeeded, unless a completion says otherwise.
    flushed: Vec<ConnectionId>,
    close_deadlines: BinaryHeap<Reverse<(Duration, ConnectionId)>>,
}

impl UringDriver {
    /// A driver of the calling thread, on which every turn must happen.
    ///
    /// # Errors
    /// When the kernel refuses the ring, its table or its buffers.
    #[allow(unsafe_code)]
    pub fn new(options: Options, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> io::Result<Self> {
        let acceptor = Acceptor::new(listener)?;
        let descriptors_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let descriptors_max = descriptors_max.map_or(u32::MAX, |max| max.try_into().unwrap_or(u32::MAX));
        let capacity = options.connections_max.min(descriptors_max).min(DIRECT_TABLE_MAX);
        let buffers = Buffers::new(options.receive_buffers, options.receive_buffer_bytes);
        let ring = Ring::new(options.submission_entries, options.completion_entries)?;
        ring.register_table(capacity)?;
        // SAFETY: dropped in the reverse order of declaration here, and in the order of its fields as a driver: the
        // ring goes before the buffers.
        unsafe { ring.register_buffers(&buffers)? };
        Ok(Self {
            ring,
            buffers,
            scratch: Scratch::default(),
            outbox: Outbox::default(),
            slots: Slots::new(capacity),
            acceptor,
            bell,
            bell_armed: false,
            options,
            counters: DriverCounters::default(),
            now: read_clocks(),
            budget: 0,
            reading: true,
            batch: Vec::new(),
            to_poll: Vec::new(),
            to_poll_writable: Vec::new(),
            ready: VecDeque::new(),
            held: Vec::new(),
            starved: Vec::new(),
            unflushed: Vec::new(),
            backlogged: Vec::new(),
            to_linger: Vec::new(),
            to_end: Vec::new(),
            flushed: Vec::new(),
            close_deadlines: BinaryHeap::new(),
        })
    }

    /// Connections that fit.
    pub fn capacity(&self) -> usize {
        self.slots.capacity() as usize
    }
}

impl Driver for UringDriver {
    type Socket = OwnedFd;

    fn turn(&mut self, wait: Wait, on_event: &mut dyn FnMut(Now, Event<'_>)) -> io::Result<Now> {
        self.run_turn(wait, on_event)
    }

    fn send(&mut self, connection: ConnectionId, bytes: Bytes) {
        let Some(slot) = self.slots.live(connection) else { return };
        self.outbox.push(&mut slot.queue, bytes);
        if !slot.queue.is_empty() && !slot.flags.any(Flags::BACKLOG | Flags::UNFLUSHED) {
            slot.flags |= Flags::UNFLUSHED;
            self.unflushed.push(connection);
        }
    }

    fn close(&mut self, connection: ConnectionId, deadline: Duration) {
        let Some(slot) = self.slots.live(connection) else { return };
        slot.flags.clear(Flags::LIVE);
        slot.flags |= Flags::CLOSE_ASKED;
        let unsent = !slot.queue.is_empty();
        self.close_deadlines.push(Reverse((deadline, connection)));
        if !unsent {
            self.to_linger.push(connection);
        }
        self.resume_receiving(connection);
    }

    fn set_reading(&mut self, connection: ConnectionId, reading: bool) {
        let Some(slot) = self.slots.live(connection) else { return };
        if reading {
            slot.flags.clear(Flags::PAUSED);
            self.resume_receiving(connection);
        } else {
            slot.flags |= Flags::PAUSED;
        }
    }

    fn set_reading_all(&mut self, reading: bool) {
        self.reading = reading;
        if reading {
            self.ready.extend(self.held.drain(..));
        }
    }

    fn set_accepting(&mut self, accepting: bool) {
        self.acceptor.set_accepting(accepting);
    }

    fn detach(&mut self, connection: ConnectionId) -> Option<OwnedFd> {
        let slot = self.slots.live(connection)?;
        if !slot.queue.is_empty() {
            return None;
        }
        let socket = slot.plain.take()?;
        // The poll that may be armed takes nothing from the new owner; the next submit cancels it.
        slot.flags.clear(Flags::LIVE);
        slot.flags |= Flags::ENDING | Flags::END_DUE;
        self.to_end.push(connection);
        self.counters.detaches += 1;
        self.acceptor.descriptor_freed();
        Some(socket)
    }

    fn attach(&mut self, socket: OwnedFd) -> Result<ConnectionId, OwnedFd> {
        let Ok(connection) = self.slots.insert(None) else {
            self.counters.attaches_refused += 1;
            return Err(socket);
        };
        if let Err(error) = self.ring.install(connection.slot, socket.as_raw_fd()) {
            tracing::warn!(%error, slot = connection.slot, "the kernel does not install a socket");
            self.slots.remove(connection);
            self.counters.attaches_refused += 1;
            return Err(socket);
        }
        self.counters.attaches += 1;
        self.to_poll.push(connection);
        drop(socket);
        self.acceptor.descriptor_freed();
        Ok(connection)
    }

    fn counters(&self) -> DriverCounters {
        let Ring { submission_fulls, completion_overflows, .. } = self.ring;
        DriverCounters { submission_fulls, completion_overflows, ..self.counters }
    }

    fn connections(&self) -> usize {
        self.slots.used()
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.ring.cancel_all(&mut batch);
        for completion in batch {
            // Accepted, and nobody has heard of it.
            if completion.token.kind == Kind::Accept && completion.result >= 0 {
                drop(ring::adopt(completion.result));
            }
        }
    }
}

/// `IORING_MAX_FIXED_FILES`.
const DIRECT_TABLE_MAX: u32 = 1 << 20;
const _: () = assert!(DIRECT_TABLE_MAX <= token::SLOTS_MAX);
