//! The table of connections; the index of a slot is its index in the direct descriptor table.
//!
//! One slot, 16 bytes, is all that an idle connection owns in user memory:
//!
//! ```text
//!  0        4        8         12        16
//!  | generation | flags | plain fd | queue |
//! ```
//!
//! The table grows as connections come, up to its capacity; freed slots are used again, last freed first.

use std::ops::{BitOr, BitOrAssign};
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::{Fd, Fixed};

use super::ring::Target;
use crate::driver::ConnectionId;
use crate::outbox::Queue;

#[derive(Debug)]
pub(super) struct Slot {
    pub generation: u32,
    pub flags: Flags,
    /// In the handshake: its process descriptor. Attached: none, the direct table holds the socket.
    pub plain: Option<OwnedFd>,
    pub queue: Queue,
}

const _: () = assert!(size_of::<Slot>() == 16);

impl Slot {
    pub fn target(&self, slot: u32) -> Target {
        match &self.plain {
            Some(plain) => Target::Plain(Fd(plain.as_raw_fd())),
            None => Target::Direct(Fixed(slot)),
        }
    }

    /// What arrives is read only to be forgotten: the connection waits for its close.
    pub fn discards(&self) -> bool {
        self.flags.has(Flags::CLOSE_ASKED)
    }
}

#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    capacity: u32,
    used: u32,
}

impl Slots {
    pub fn new(capacity: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), capacity, used: 0 }
    }

    /// A slot for a new connection, `LIVE`; `Err` when every one is taken.
    pub fn insert(&mut self, plain: Option<OwnedFd>) -> Result<ConnectionId, Option<OwnedFd>> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.capacity as usize => {
                self.slots.push(Slot { generation: 0, flags: Flags::NONE, plain: None, queue: Queue::EMPTY });
                self.slots.len() as u32 - 1
            }
            None => return Err(plain),
        };
        self.used += 1;
        let slot = &mut self.slots[index as usize];
        debug_assert_eq!(slot.flags, Flags::NONE);
        slot.flags = Flags::LIVE;
        slot.plain = plain;
        Ok(ConnectionId { slot: index, generation: slot.generation })
    }

    /// The slot, if this connection still has it.
    pub fn find(&mut self, connection: ConnectionId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(connection.slot as usize)?;
        (slot.generation == connection.generation && slot.flags != Flags::NONE).then_some(slot)
    }

    /// The slot, if the worker may still speak of this connection.
    pub fn live(&mut self, connection: ConnectionId) -> Option<&mut Slot> {
        self.find(connection).filter(|slot| slot.flags.has(Flags::LIVE))
    }

    /// Frees a slot that nothing in the kernel refers to. Dropping the plain descriptor here closes the socket.
    pub fn remove(&mut self, connection: ConnectionId) -> Slot {
        let slot = &mut self.slots[connection.slot as usize];
        assert_eq!(slot.generation, connection.generation, "slot {} freed twice", connection.slot);
        assert!(
            !slot.flags.any(Flags::IN_KERNEL),
            "slot {} freed while in use: {:?}",
            connection.slot,
            slot.flags
        );
        let next = Slot {
            generation: slot.generation.wrapping_add(1),
            flags: Flags::NONE,
            plain: None,
            queue: Queue::EMPTY,
        };
        self.free.push(connection.slot);
        self.used -= 1;
        std::mem::replace(slot, next)
    }

    pub fn used(&self) -> usize {
        self.used as usize
    }

    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}

/// What is going on with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flags(u32);

impl Flags {
    pub const NONE: Self = Self(0);
    /// The worker knows it: events are handed out, and its calls count.
    pub const LIVE: Self = Self(1);
    /// In the kernel: the multishot poll for bytes and hang-ups.
    pub const POLL: Self = Self(1 << 1);
    /// In the kernel: the poll for room to send.
    pub const POLL_WRITABLE: Self = Self(1 << 2);
    pub const RECEIVING: Self = Self(1 << 3);
    /// A send that completes in any case.
    pub const SENDING: Self = Self(1 << 4);
    pub const SHUTTING: Self = Self(1 << 5);
    /// The close of a direct descriptor is due or under way.
    pub const CLOSING: Self = Self(1 << 6);
    /// There may be something to receive.
    pub const READY: Self = Self(1 << 7);
    /// On the ready list (or held back from it by the shard's backpressure).
    pub const QUEUED: Self = Self(1 << 8);
    /// The poll fired while a receive was under way: receive again.
    pub const AGAIN: Self = Self(1 << 9);
    /// The peer hung up: receive until the end, short reads notwithstanding.
    pub const HANGUP: Self = Self(1 << 10);
    /// The end of the stream has been received.
    pub const ENDED: Self = Self(1 << 11);
    /// The worker does not want to read.
    pub const PAUSED: Self = Self(1 << 12);
    /// On the flush list.
    pub const UNFLUSHED: Self = Self(1 << 13);
    /// Bytes are left from an earlier send; what is sent goes behind them.
    pub const BACKLOG: Self = Self(1 << 14);
    /// The worker has been told that it is blocked.
    pub const BLOCKED: Self = Self(1 << 15);
    /// The worker has asked for the close.
    pub const CLOSE_ASKED: Self = Self(1 << 16);
    /// Our end is shut; waiting for the peer's.
    pub const LINGERING: Self = Self(1 << 17);
    /// The poll for room to send is a multishot: see `on_writable`.
    pub const WRITABLE_EDGE: Self = Self(1 << 19);
    /// Cancel and close are due or under way; nothing else happens any more.
    pub const ENDING: Self = Self(1 << 18);
    /// On the list of connections to cancel and close at the next submit.
    pub const END_DUE: Self = Self(1 << 20);

    /// A completion is to come; the slot cannot be freed before.
    pub const IN_KERNEL: Self = Self(
        Self::POLL.0
            | Self::POLL_WRITABLE.0
            | Self::RECEIVING.0
            | Self::SENDING.0
            | Self::SHUTTING.0
            | Self::CLOSING.0,
    );

    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }

    pub fn any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    pub fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
