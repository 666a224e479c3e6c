//! The connections of one epoll driver.

use std::os::fd::OwnedFd;

use crate::driver::ConnectionId;
use crate::outbox::Queue;

#[derive(Debug)]
pub(super) struct Connection {
    pub socket: OwnedFd,
    pub phase: Phase,
    /// Accepted here, so it may be detached.
    pub fresh: bool,
    pub queue: Queue,
    /// There may be something to receive.
    pub ready: bool,
    /// On the ready list, or held back from it.
    pub queued: bool,
    /// The peer hung up: receive until the end, short reads notwithstanding.
    pub hangup: bool,
    pub paused: bool,
    /// On the flush list.
    pub unflushed: bool,
    /// The kernel is full; the next writable event goes on.
    pub blocked: bool,
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Live,
    /// The worker has asked for the close; unsent bytes go out first.
    Closing {
        /// The peer has ended its stream.
        ended: bool,
    },
    /// Our end is shut; what arrives is forgotten until the peer's end is shut too.
    Lingering,
}

impl Connection {
    pub fn new(socket: OwnedFd, fresh: bool) -> Self {
        Self {
            socket,
            phase: Phase::Live,
            fresh,
            queue: Queue::EMPTY,
            ready: false,
            queued: false,
            hangup: false,
            paused: false,
            unflushed: false,
            blocked: false,
        }
    }

    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    pub fn wants_receive(&self) -> bool {
        let wants = match self.phase {
            Phase::Live => !self.paused,
            Phase::Closing { ended } => !ended,
            Phase::Lingering => true,
        };
        self.ready && wants
    }
}

#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<(u32, Option<Connection>)>,
    free: Vec<u32>,
    capacity: usize,
}

impl Table {
    pub fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), capacity }
    }

    /// Whether an insert would succeed, and the name it would give.
    pub fn next(&self) -> Option<ConnectionId> {
        match self.free.last() {
            Some(slot) => Some(ConnectionId { slot: *slot, generation: self.slots[*slot as usize].0 }),
            None if self.slots.len() < self.capacity => {
                Some(ConnectionId { slot: self.slots.len() as u32, generation: 0 })
            }
            None => None,
        }
    }

    /// # Panics
    /// If the name is not the one that `next` has just given.
    pub fn insert(&mut self, connection: ConnectionId, content: Connection) {
        assert_eq!(self.next(), Some(connection), "insert what next has named");
        if self.free.pop().is_none() {
            self.slots.push((0, None));
        }
        self.slots[connection.slot as usize].1 = Some(content);
    }

    pub fn find(&mut self, connection: ConnectionId) -> Option<&mut Connection> {
        let (generation, content) = self.slots.get_mut(connection.slot as usize)?;
        if *generation == connection.generation { content.as_mut() } else { None }
    }

    pub fn live(&mut self, connection: ConnectionId) -> Option<&mut Connection> {
        self.find(connection).filter(|content| content.is_live())
    }

    pub fn remove(&mut self, connection: ConnectionId) -> Option<Connection> {
        let (generation, content) = self.slots.get_mut(connection.slot as usize)?;
        if *generation != connection.generation {
            return None;
        }
        let content = content.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(connection.slot);
        Some(content)
    }

    pub fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
