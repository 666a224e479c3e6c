//! The driver of a worker in a simulation: sockets of the [`Network`], virtual time, faults as the network has them.
//!
//! Level-triggered: every turn looks at every connection, beginning at one that the seed chooses. A turn never waits;
//! the world decides when it happens.

use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::network::{Look, Network, Shared, SocketId, lock};
use super::sabotage::Sabotage;
use crate::driver::{ConnectionId, Driver, DriverCounters, Event, Now, Wait};
use crate::outbox::{Outbox, Queue};

/// Sizes of one driver.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub connections_max: usize,
    pub events_per_turn_max: usize,
    pub sabotage: Sabotage,
}

#[derive(Debug)]
pub struct SimulatedDriver {
    network: Shared,
    worker: usize,
    options: Options,
    slots: Vec<Slot>,
    free: Vec<u32>,
    outbox: Outbox,
    reading: bool,
    accepting: bool,
    counters: DriverCounters,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    socket: SocketId,
    phase: Phase,
    fresh: bool,
    queue: Queue,
    blocked: bool,
    paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    /// Unsent bytes go out first.
    Closing {
        deadline: Duration,
    },
    /// Our end is shut; the peer's is waited for.
    Lingering {
        deadline: Duration,
    },
}

/// What a look at one connection led to.
enum Seen {
    Going,
    Gone,
}

impl SimulatedDriver {
    pub fn new(network: Shared, worker: usize, options: Options) -> Self {
        Self {
            network,
            worker,
            options,
            slots: Vec::new(),
            free: Vec::new(),
            outbox: Outbox::default(),
            reading: true,
            accepting: true,
            counters: DriverCounters::default(),
        }
    }

    /// The next turn would have an event, or something to do: a sleeping worker must be woken.
    pub fn is_ready(&self, network: &Network) -> bool {
        let now = network.clock.monotonic;
        let accepts = self.accepting && network.has_backlog(self.worker);
        accepts
            || self.slots.iter().filter_map(|slot| slot.connection.as_ref()).any(|connection| {
                let socket = connection.socket;
                let writes = !connection.queue.is_empty() && network.gateway_room(socket) > 0;
                let reads = network.gateway_is_readable(socket)
                    && match connection.phase {
                        Phase::Live => self.reading && !connection.paused,
                        Phase::Closing { .. } => false,
                        Phase::Lingering { .. } => true,
                    };
                let late = match connection.phase {
                    Phase::Live => false,
                    Phase::Closing { deadline } | Phase::Lingering { deadline } => deadline <= now,
                };
                network.gateway_is_reset(socket) || writes || reads || late
            })
    }

    /// The earliest deadline of a close.
    pub fn next_deadline(&self) -> Option<Duration> {
        let connections = self.slots.iter().filter_map(|slot| slot.connection.as_ref());
        let deadlines = connections.filter_map(|connection| match connection.phase {
            Phase::Live => None,
            Phase::Closing { deadline } | Phase::Lingering { deadline } => Some(deadline),
        });
        deadlines.min()
    }

    /// Bytes unsent of each live connection.
    pub fn unsent(&self) -> impl Iterator<Item = (ConnectionId, usize)> {
        self.live_connections().map(|(id, connection)| (id, self.outbox.unsent(connection.queue)))
    }

    /// The live connections and their sockets.
    pub fn live(&self) -> impl Iterator<Item = (ConnectionId, SocketId)> {
        self.live_connections().map(|(id, connection)| (id, connection.socket))
    }

    fn live_connections(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let connection = slot.connection.as_ref().filter(|connection| connection.phase == Phase::Live)?;
            Some((ConnectionId { slot: index as u32, generation: slot.generation }, connection))
        })
    }

    fn insert(&mut self, socket: SocketId, fresh: bool) -> Option<ConnectionId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.options.connections_max => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        let slot = &mut self.slots[index as usize];
        slot.connection = Some(Connection {
            socket,
            phase: Phase::Live,
            fresh,
            queue: Queue::EMPTY,
            blocked: false,
            paused: false,
        });
        Some(ConnectionId { slot: index, generation: slot.generation })
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        let mut connection = slot.connection.take()?;
        if self.options.sabotage != Sabotage::GenerationKept {
            slot.generation += 1;
        }
        self.free.push(id.slot);
        self.outbox.clear(&mut connection.queue);
        Some(connection)
    }

    fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.connection.as_mut() } else { None }
    }

    fn find_live(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.find(id).filter(|connection| connection.phase == Phase::Live)
    }

    fn accept(&mut self, network: &mut Network, on_event: &mut dyn FnMut(Now, Event<'_>)) {
        let peer = ([127, 0, 0, 1], 1).into();
        for _ in 0..self.options.events_per_turn_max {
            let Some(socket) = network.accept(self.worker) else { break };
            match self.insert(socket, true) {
                Some(connection) => {
                    self.counters.accepts += 1;
                    on_event(network.clock, Event::Accepted { connection, peer });
                }
                None => {
                    self.counters.accepts_refused += 1;
                    network.gateway_closes(socket);
                }
            }
        }
    }

    fn look(
        &mut self,
        network: &mut Network,
        id: ConnectionId,
        on_event: &mut dyn FnMut(Now, Event<'_>),
    ) -> Seen {
        let now = network.clock;
        let reading = self.reading;
        let sabotage = self.options.sabotage;
        let Some(slot) = self.slots.get_mut(id.slot as usize) else { return Seen::Going };
        let Some(connection) = slot.connection.as_mut() else { return Seen::Going };
        let socket = connection.socket;
        if network.gateway_is_reset(socket) {
            return Seen::Gone;
        }
        if let Phase::Closing { deadline } | Phase::Lingering { deadline } = connection.phase
            && deadline <= now.monotonic
        {
            self.counters.closes_late += 1;
            return Seen::Gone;
        }
        while !connection.queue.is_empty() {
            let Some(chunk) = self.outbox.chunks(connection.queue).next() else { break };
            let length = chunk.len();
            self.counters.sends += 1;
            let taken = network.gateway_writes(socket, chunk);
            let forgotten =
                if sabotage == Sabotage::ShortWriteRepeated && taken < length { taken / 2 } else { taken };
            self.outbox.advance(&mut connection.queue, forgotten);
            if taken < length {
                self.counters.sends_short += 1;
                break;
            }
        }
        let empty = connection.queue.is_empty();
        match connection.phase {
            Phase::Live if !empty && !connection.blocked => {
                connection.blocked = true;
                let unsent = self.outbox.unsent(connection.queue);
                on_event(now, Event::Blocked { connection: id, unsent });
            }
            Phase::Live if empty && connection.blocked => {
                connection.blocked = false;
                if sabotage != Sabotage::DrainedLost {
                    on_event(now, Event::Drained { connection: id });
                }
            }
            Phase::Closing { deadline } if empty => {
                connection.phase = Phase::Lingering { deadline };
                network.gateway_shuts(socket);
            }
            Phase::Live | Phase::Closing { .. } | Phase::Lingering { .. } => {}
        }
        match connection.phase {
            Phase::Live if reading && !connection.paused => match network.gateway_reads(socket) {
                Look::Bytes(mut bytes) => {
                    self.counters.receives += 1;
                    self.counters.received_bytes += bytes.len() as u64;
                    on_event(now, Event::Received { connection: id, bytes: &mut bytes });
                    Seen::Going
                }
                Look::Nothing => Seen::Going,
                Look::End | Look::Reset => Seen::Gone,
            },
            Phase::Lingering { .. } => match network.gateway_reads(socket) {
                Look::Bytes(_) | Look::Nothing => Seen::Going,
                Look::End | Look::Reset => Seen::Gone,
            },
            Phase::Live | Phase::Closing { .. } => Seen::Going,
        }
    }
}

/// A socket between two drivers; closed when nobody takes it in.
#[derive(Debug)]
pub struct SimulatedSocket {
    network: Shared,
    id: Option<SocketId>,
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.network).gateway_closes(id);
        }
    }
}

impl Driver for SimulatedDriver {
    type Socket = SimulatedSocket;

    fn turn(&mut self, _wait: Wait, on_event: &mut dyn FnMut(Now, Event<'_>)) -> io::Result<Now> {
        let network = self.network.clone();
        let network = &mut *lock(&network);
        if self.accepting {
            self.accept(network, on_event);
        }
        let slots = self.slots.len();
        let first = if slots == 0 { 0 } else { network.random.index(slots) };
        for index in (first..slots).chain(0..first) {
            let slot = &self.slots[index];
            if slot.connection.is_none() {
                continue;
            }
            let id = ConnectionId { slot: index as u32, generation: slot.generation };
            if let Seen::Gone = self.look(network, id, on_event)
                && let Some(connection) = self.remove(id)
            {
                self.counters.closes += 1;
                network.gateway_closes(connection.socket);
                let lost = self.options.sabotage == Sabotage::GoneLost && network.random.chance(500);
                if connection.phase == Phase::Live && !lost {
                    on_event(network.clock, Event::Gone { connection: id });
                }
            }
        }
        Ok(network.clock)
    }

    fn send(&mut self, connection: ConnectionId, bytes: Bytes) {
        let Some(content) = self.find_live(connection) else { return };
        let socket = content.socket;
        let mut queue = content.queue;
        lock(&self.network).handed_over.push((socket, bytes.clone()));
        self.outbox.push(&mut queue, bytes);
        if let Some(content) = self.find_live(connection) {
            content.queue = queue;
        }
    }

    fn close(&mut self, connection: ConnectionId, deadline: Duration) {
        if let Some(content) = self.find_live(connection) {
            content.phase = Phase::Closing { deadline };
        }
    }

    fn set_reading(&mut self, connection: ConnectionId, reading: bool) {
        let forgotten = reading && self.options.sabotage == Sabotage::ReadingForgotten;
        if let Some(content) = self.find_live(connection)
            && !forgotten
        {
            content.paused = !reading;
        }
    }

    fn set_reading_all(&mut self, reading: bool) {
        self.reading = reading;
    }

    fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    fn detach(&mut self, connection: ConnectionId) -> Option<SimulatedSocket> {
        let content = self.find_live(connection)?;
        if !content.fresh || !content.queue.is_empty() {
            return None;
        }
        let content = self.remove(connection)?;
        self.counters.detaches += 1;
        Some(SimulatedSocket { network: self.network.clone(), id: Some(content.socket) })
    }

    fn attach(&mut self, mut socket: SimulatedSocket) -> Result<ConnectionId, SimulatedSocket> {
        let id = socket.id.take().expect("a socket on its way has not been taken in");
        let Some(connection) = self.insert(id, false) else {
            self.counters.attaches_refused += 1;
            socket.id = Some(id);
            return Err(socket);
        };
        self.counters.attaches += 1;
        Ok(connection)
    }

    fn connections(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }
}
