//! A driver, its listener, and a record of everything it said.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate::doorbell::EventBell;
use tidegate::driver::{ConnectionId, Driver, DriverCounters, Event, Now, Wait};
use tidegate::listen::{Sharing, listen, local_address};

/// How a test gets a driver of some kind.
pub trait Rig {
    type Driver: Driver<Socket = OwnedFd>;

    fn make(connections_max: u32, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> Self::Driver;
    fn counters(driver: &Self::Driver) -> DriverCounters;
}

pub struct World<R: Rig> {
    pub driver: R::Driver,
    pub bell: Arc<EventBell>,
    pub address: SocketAddr,
    pub accepted: Vec<ConnectionId>,
    pub received: BTreeMap<ConnectionId, Vec<u8>>,
    pub gone: BTreeSet<ConnectionId>,
    pub blocked: Vec<ConnectionId>,
    pub drained: Vec<ConnectionId>,
    /// Connections of which nothing may be heard any more.
    silent: BTreeSet<ConnectionId>,
    pub now: Now,
}

impl<R: Rig> World<R> {
    pub fn new() -> Self {
        Self::with_room_for(1000)
    }

    pub fn with_room_for(connections_max: u32) -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap(), Sharing::ReusePort).unwrap();
        let address = local_address(&listener).unwrap();
        Self::build(connections_max, Some(listener), address)
    }

    /// Without a listener.
    pub fn deaf() -> Self {
        Self::build(1000, None, "127.0.0.1:1".parse().unwrap())
    }

    fn build(connections_max: u32, listener: Option<OwnedFd>, address: SocketAddr) -> Self {
        let bell = Arc::new(EventBell::new().unwrap());
        Self {
            driver: R::make(connections_max, listener, Arc::clone(&bell)),
            bell,
            address,
            accepted: Vec::new(),
            received: BTreeMap::new(),
            gone: BTreeSet::new(),
            blocked: Vec::new(),
            drained: Vec::new(),
            silent: BTreeSet::new(),
            now: tidegate::driver::read_clocks(),
        }
    }

    pub fn turn(&mut self, wait: Wait) {
        let Self { driver, accepted, received, gone, blocked, drained, silent, .. } = self;
        let now = driver.turn(wait, &mut |_, event| match event {
            Event::Accepted { connection, peer } => {
                assert!(peer.ip().is_loopback());
                accepted.push(connection);
            }
            Event::Received { connection, bytes } => {
                assert!(!silent.contains(&connection), "{connection:?} received after its end");
                assert!(!bytes.is_empty());
                received.entry(connection).or_default().extend_from_slice(bytes);
                // The worker unmasks in place.
                bytes.fill(0xEE);
            }
            Event::Gone { connection } => {
                assert!(silent.insert(connection), "{connection:?} went after its end");
                gone.insert(connection);
            }
            Event::Blocked { connection, unsent } => {
                assert!(!silent.contains(&connection) && unsent > 0);
                blocked.push(connection);
            }
            Event::Drained { connection } => {
                assert!(!silent.contains(&connection));
                drained.push(connection);
            }
        });
        let now = now.unwrap();
        assert!(now.monotonic >= self.now.monotonic);
        self.now = now;
    }

    /// Turns until `done`. The patience is a guard against a hang, not a measurement.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let give_up = tidegate::driver::read_clocks().monotonic + PATIENCE;
        while !done(self) {
            assert!(
                self.now.monotonic < give_up,
                "waited in vain: {what}; counted {:?}",
                R::counters(&self.driver)
            );
            self.turn(Wait::Until(tidegate::driver::read_clocks().monotonic + Duration::from_millis(20)));
        }
    }

    /// A few turns in which something that must not happen would have happened.
    pub fn settle(&mut self) {
        for _ in 0..5 {
            self.turn(Wait::Until(tidegate::driver::read_clocks().monotonic + Duration::from_millis(5)));
        }
    }

    /// A client and its connection, still in the handshake.
    pub fn connect(&mut self) -> (TcpStream, ConnectionId) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        let known = self.accepted.len();
        self.until("accepted", |world| world.accepted.len() > known);
        (client, self.accepted[known])
    }

    /// A client and its connection, attached.
    pub fn connect_attached(&mut self) -> (TcpStream, ConnectionId) {
        let (client, connection) = self.connect();
        (client, self.attach(connection))
    }

    pub fn attach(&mut self, connection: ConnectionId) -> ConnectionId {
        let socket = self.driver.detach(connection).expect("fresh");
        self.driver.attach(socket).expect("there is room")
    }

    pub fn send(&mut self, connection: ConnectionId, bytes: impl Into<Bytes>) {
        self.driver.send(connection, bytes.into());
    }

    pub fn close(&mut self, connection: ConnectionId, within: Duration) {
        self.silent.insert(connection);
        self.driver.close(connection, tidegate::driver::read_clocks().monotonic + within);
    }

    pub fn bytes(&self, connection: ConnectionId) -> &[u8] {
        self.received.get(&connection).map_or(&[], Vec::as_slice)
    }

    pub fn counters(&self) -> DriverCounters {
        R::counters(&self.driver)
    }
}

/// Bytes that differ everywhere, so that a lost, repeated or swapped stretch shows.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Compares without printing megabytes.
pub fn assert_same(got: &[u8], expected: &[u8]) {
    let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!((got.len(), differs), (expected.len(), None), "length and first difference");
}

pub fn read_exactly(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads on another thread until the end of the stream.
pub fn read_to_end(mut client: TcpStream) -> std::thread::JoinHandle<std::io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).map(|_| bytes)
    })
}

pub fn write(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
}

pub const PATIENCE: Duration = Duration::from_secs(20);
/// A close deadline that no test reaches.
pub const LONG: Duration = Duration::from_secs(60);
