//! The network between clients and gateway: connections as two pipes, with delays, splits, merges and resets.
//!
//! Owns the virtual clock, every socket, and the bells of the workers. Also keeps what drivers were handed to send, in
//! its order, until the checkers have looked at it. Bounded: each pipe by its window.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::pipe::Pipe;
use super::random::Random;
use crate::doorbell::Doorbell;
use crate::driver::Now;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Bytes that a direction of a connection holds.
    pub window_bytes: usize,
    /// Bytes that travel together at most.
    pub parcel_bytes: u64,
    /// Bytes a gateway reads at once at most.
    pub read_bytes: u64,
    pub delay: Duration,
}

#[derive(Debug)]
struct Socket {
    to_gateway: Pipe,
    to_client: Pipe,
    /// When each side learns that the connection is broken.
    gateway_reset: Option<Duration>,
    client_reset: Option<Duration>,
    gateway_holds: bool,
    client_holds: bool,
}

/// What a side finds when it looks at its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    Bytes(Vec<u8>),
    Nothing,
    End,
    Reset,
}

#[derive(Debug)]
pub struct Network {
    pub clock: Now,
    pub random: Random,
    pub behaviour: Behaviour,
    sockets: BTreeMap<SocketId, Socket>,
    arrivals: BTreeSet<(Duration, SocketId)>,
    backlogs: Vec<VecDeque<SocketId>>,
    connecting: BTreeMap<SocketId, (Duration, usize)>,
    rung: Vec<bool>,
    sockets_made: u64,
    /// What drivers were handed, in order.
    pub handed_over: Vec<(SocketId, Bytes)>,
}

/// The network as everybody holds it.
pub type Shared = Arc<Mutex<Network>>;

pub fn lock(network: &Shared) -> MutexGuard<'_, Network> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    pub fn new(clock: Now, random: Random, behaviour: Behaviour) -> Self {
        Self {
            clock,
            random,
            behaviour,
            sockets: BTreeMap::new(),
            arrivals: BTreeSet::new(),
            backlogs: Vec::new(),
            connecting: BTreeMap::new(),
            rung: Vec::new(),
            sockets_made: 0,
            handed_over: Vec::new(),
        }
    }

    fn arrival(&mut self) -> Duration {
        self.clock.monotonic + self.random.delay(self.behaviour.delay)
    }

    // ---- the world ----

    /// A process listens, with one backlog and one bell per worker.
    pub fn open(&mut self, workers: usize) {
        self.backlogs = vec![VecDeque::new(); workers];
        self.rung = vec![false; workers];
    }

    /// The process is gone: so are its sockets. Bytes under way to clients are lost.
    pub fn close(&mut self) {
        self.backlogs.clear();
        self.connecting.clear();
        let at = self.clock.monotonic;
        let ids: Vec<_> = self.sockets.keys().copied().collect();
        for id in ids {
            let at = at + self.random.delay(self.behaviour.delay);
            self.break_connection(id, at);
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.gateway_holds = false;
            }
            self.sweep(id);
        }
    }

    pub fn next_arrival(&self) -> Option<Duration> {
        let connect = self.connecting.values().map(|(at, _)| *at).min();
        self.arrivals.first().map(|(at, _)| *at).into_iter().chain(connect).min()
    }

    /// Lets arrive what is due. The time does not move.
    pub fn arrive(&mut self) {
        let now = self.clock.monotonic;
        while let Some((at, id)) = self.arrivals.first().copied()
            && at <= now
        {
            self.arrivals.pop_first();
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.to_gateway.arrive(now);
                socket.to_client.arrive(now);
            }
        }
        let due: Vec<_> =
            self.connecting.iter().filter(|(_, (at, _))| *at <= now).map(|(id, _)| *id).collect();
        for id in due {
            if let Some((_, worker)) = self.connecting.remove(&id) {
                self.backlogs[worker].push_back(id);
            }
        }
    }

    pub fn take_ring(&mut self, worker: usize) -> bool {
        std::mem::take(&mut self.rung[worker])
    }

    pub fn ring(&mut self, worker: usize) {
        if let Some(rung) = self.rung.get_mut(worker) {
            *rung = true;
        }
    }

    /// Sockets that one of the two sides still holds.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    // ---- clients ----

    /// `None`: nobody listens.
    pub fn connect(&mut self) -> Option<SocketId> {
        if self.backlogs.is_empty() {
            return None;
        }
        self.sockets_made += 1;
        let id = SocketId(self.sockets_made);
        let window = self.behaviour.window_bytes;
        let socket = Socket {
            to_gateway: Pipe::new(window),
            to_client: Pipe::new(window),
            gateway_reset: None,
            client_reset: None,
            gateway_holds: true,
            client_holds: true,
        };
        self.sockets.insert(id, socket);
        let at = self.arrival();
        let worker = self.random.index(self.backlogs.len());
        self.connecting.insert(id, (at, worker));
        Some(id)
    }

    /// Returns how many bytes were taken.
    pub fn client_writes(&mut self, id: SocketId, bytes: &[u8]) -> usize {
        self.write(id, bytes, |socket| &mut socket.to_gateway)
    }

    pub fn client_reads(&mut self, id: SocketId) -> Look {
        let now = self.clock.monotonic;
        let most = self.random.within(1..self.behaviour.read_bytes + 1) as usize;
        let Some(socket) = self.sockets.get_mut(&id) else { return Look::Reset };
        look(&mut socket.to_client, socket.client_reset, now, most)
    }

    pub fn client_is_ready(&self, id: SocketId) -> bool {
        let now = self.clock.monotonic;
        self.sockets
            .get(&id)
            .is_none_or(|socket| socket.client_reset.map_or(socket.to_client.is_readable(), |at| at <= now))
    }

    /// Half a close: the gateway may still send.
    pub fn client_shuts(&mut self, id: SocketId) {
        let at = self.arrival();
        if let Some(socket) = self.sockets.get_mut(&id) {
            let at = socket.to_gateway.shut(at);
            self.arrivals.insert((at, id));
        }
    }

    /// Lets go. Without an end shut before, the gateway sees a reset.
    pub fn client_closes(&mut self, id: SocketId) {
        let at = self.arrival();
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.client_holds = false;
            let tidy = socket.to_gateway.is_shut() && socket.to_client.is_at_end();
            if !tidy {
                socket.gateway_reset.get_or_insert(at);
                self.arrivals.insert((at, id));
            }
        }
        self.sweep(id);
    }

    // ---- drivers ----

    pub fn accept(&mut self, worker: usize) -> Option<SocketId> {
        self.backlogs.get_mut(worker)?.pop_front()
    }

    pub fn has_backlog(&self, worker: usize) -> bool {
        self.backlogs.get(worker).is_some_and(|backlog| !backlog.is_empty())
    }

    pub fn gateway_writes(&mut self, id: SocketId, bytes: &[u8]) -> usize {
        self.write(id, bytes, |socket| &mut socket.to_client)
    }

    pub fn gateway_room(&self, id: SocketId) -> usize {
        self.sockets.get(&id).map_or(0, |socket| socket.to_client.room())
    }

    pub fn gateway_reads(&mut self, id: SocketId) -> Look {
        let now = self.clock.monotonic;
        let most = self.random.within(1..self.behaviour.read_bytes + 1) as usize;
        let Some(socket) = self.sockets.get_mut(&id) else { return Look::Reset };
        look(&mut socket.to_gateway, socket.gateway_reset, now, most)
    }

    pub fn gateway_is_reset(&self, id: SocketId) -> bool {
        let now = self.clock.monotonic;
        self.sockets.get(&id).is_none_or(|socket| socket.gateway_reset.is_some_and(|at| at <= now))
    }

    pub fn gateway_is_readable(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| {
            socket.to_gateway.has_bytes()
                || (socket.gateway_reset.is_none() && socket.to_gateway.is_readable())
        })
    }

    pub fn gateway_shuts(&mut self, id: SocketId) {
        let at = self.arrival();
        if let Some(socket) = self.sockets.get_mut(&id) {
            let at = socket.to_client.shut(at);
            self.arrivals.insert((at, id));
        }
    }

    /// Lets go. If the client has not shut its end, what is under way to it may be lost to a reset.
    pub fn gateway_closes(&mut self, id: SocketId) {
        let at = self.arrival();
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.gateway_holds = false;
            if !socket.to_gateway.is_at_end() {
                self.break_connection(id, at);
            } else {
                let at = socket.to_client.shut(at);
                self.arrivals.insert((at, id));
            }
        }
        self.sweep(id);
    }

    fn write(&mut self, id: SocketId, bytes: &[u8], pipe: impl Fn(&mut Socket) -> &mut Pipe) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let parcel = self.random.within(1..self.behaviour.parcel_bytes + 1) as usize;
            let at = self.arrival();
            let Some(socket) = self.sockets.get_mut(&id) else { break };
            let end = bytes.len().min(taken + parcel);
            let (count, at) = pipe(socket).write(&bytes[taken..end], at);
            if count == 0 {
                break;
            }
            self.arrivals.insert((at, id));
            taken += count;
        }
        taken
    }

    fn break_connection(&mut self, id: SocketId, at: Duration) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.to_client.lose_everything();
            socket.to_gateway.lose_everything();
            socket.client_reset.get_or_insert(at);
            self.arrivals.insert((at, id));
        }
    }

    fn sweep(&mut self, id: SocketId) {
        if self.sockets.get(&id).is_some_and(|socket| !socket.client_holds && !socket.gateway_holds) {
            self.sockets.remove(&id);
        }
    }
}

fn look(pipe: &mut Pipe, reset: Option<Duration>, now: Duration, most: usize) -> Look {
    if reset.is_some_and(|at| at <= now) {
        return Look::Reset;
    }
    if pipe.has_bytes() {
        return Look::Bytes(pipe.read(most));
    }
    // The end of a broken connection shows as a reset, in its time.
    if pipe.is_at_end() && reset.is_none() { Look::End } else { Look::Nothing }
}

/// A worker's bell: the world looks whether it was rung.
#[derive(Debug)]
pub struct SimulatedBell {
    pub network: Shared,
    pub worker: usize,
}

impl Doorbell for SimulatedBell {
    fn ring(&self) {
        lock(&self.network).ring(self.worker);
    }
}
