//! The driver for machines where io_uring is refused: epoll through mio, and plain system calls.
//!
//! Owns the sockets and unsent bytes of one worker. Keeps every promise of the `uring` driver (one suite tests
//! both), at the price of a system call per receive and send, and a process descriptor per connection. Bounded by
//! its slots and by `RLIMIT_NOFILE`.
//!
//! Readiness is edge-triggered: each socket is registered once, for both directions.

mod accept;
mod table;
mod transfer;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use self::accept::Acceptor;
use self::table::{Connection, Phase, Table};
use self::transfer::{Notice, OnEvent};
use crate::doorbell::EventBell;
use crate::driver::{ConnectionId, Driver, DriverCounters, Now, Wait};
use crate::outbox::Outbox;

/// Sizes of one driver.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub connections_max: u32,
    /// The one buffer that all receives share.
    pub receive_buffer_bytes: u32,
    /// Receives per turn, and accepts per turn. The rest waits for the next.
    pub events_per_turn_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections_max: 1 << 20, receive_buffer_bytes: 64 * 1024, events_per_turn_max: 1024 }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct EpollDriver {
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    outbox: Outbox,
    table: Table,
    acceptor: Acceptor,
    /// Held for its descriptor, which is registered.
    _bell: Arc<EventBell>,
    options: Options,
    counters: DriverCounters,
    now: Now,
    reading: bool,
    ready: VecDeque<ConnectionId>,
    /// Ready, but the shard does not read.
    held: Vec<ConnectionId>,
    unflushed: Vec<ConnectionId>,
    to_linger: Vec<ConnectionId>,
    notices: Vec<Notice>,
    close_deadlines: BinaryHeap<Reverse<(Duration, ConnectionId)>>,
}

impl EpollDriver {
    /// # Errors
    /// Those of epoll_create1(2) and epoll_ctl(2).
    pub fn new(options: Options, listener: Option<OwnedFd>, bell: Arc<EventBell>) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&bell.as_fd().as_raw_fd()), BELL, Interest::READABLE)?;
        let driver = Self {
            poll,
            events: Events::with_capacity(options.events_per_turn_max as usize),
            buffer: vec![0; options.receive_buffer_bytes as usize].into_boxed_slice(),
            outbox: Outbox::default(),
            table: Table::new(options.connections_max as usize),
            acceptor: Acceptor::new(listener)?,
            _bell: bell,
            options,
            counters: DriverCounters::default(),
            now: crate::driver::read_clocks(),
            reading: true,
            ready: VecDeque::new(),
            held: Vec::new(),
            unflushed: Vec::new(),
            to_linger: Vec::new(),
            notices: Vec::new(),
            close_deadlines: BinaryHeap::new(),
        };
        if let Some(listener) = &driver.acceptor.listener {
            driver.watch_listener(listener)?;
        }
        Ok(driver)
    }

    fn flush_all(&mut self) {
        for connection in std::mem::take(&mut self.unflushed) {
            self.flush(connection);
        }
        for connection in std::mem::take(&mut self.to_linger) {
            self.linger(connection);
        }
    }

    /// None: until an event.
    fn patience(&mut self, wait: Wait) -> Option<Duration> {
        let Wait::Until(deadline) = wait else { return Some(Duration::ZERO) };
        let receives = self.ready.iter().any(|connection| {
            self.reading || self.table.find(*connection).is_some_and(|content| !content.is_live())
        });
        if receives || !self.notices.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadline = deadline.min(self.earliest_close_deadline()).min(self.acceptor.due_at());
        (deadline != Duration::MAX).then(|| deadline.saturating_sub(crate::driver::read_clocks().monotonic))
    }

    fn note_events(&mut self) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                BELL => {}
                LISTENER => self.acceptor.ready = true,
                token => {
                    let connection = connection_of(token);
                    let Some(content) = self.table.find(connection) else { continue };
                    let hangup = event.is_read_closed() || event.is_error();
                    content.hangup |= hangup;
                    content.ready |= event.is_readable() || hangup;
                    let writable = content.blocked && (event.is_writable() || event.is_error());
                    self.queue_receive(connection);
                    if writable {
                        self.flush(connection);
                    }
                }
            }
        }
        self.events = events;
    }

    /// Gives the connection back when every slot is taken, or the kernel refuses to watch it.
    fn insert(&mut self, content: Connection) -> Result<ConnectionId, Connection> {
        let Some(connection) = self.table.next() else { return Err(content) };
        let both = Interest::READABLE | Interest::WRITABLE;
        let socket = content.socket.as_raw_fd();
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&socket), token_of(connection), both)
        {
            tracing::warn!(%error, "the kernel does not watch a socket");
            return Err(content);
        }
        self.table.insert(connection, content);
        Ok(connection)
    }
}

impl Driver for EpollDriver {
    type Socket = OwnedFd;

    fn turn(&mut self, wait: Wait, on_event: &mut OnEvent<'_>) -> io::Result<Now> {
        self.flush_all();
        let timeout = self.patience(wait);
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Err(_) => self.events.clear(),
            Ok(()) => {}
        }
        self.now = crate::driver::read_clocks();
        self.note_events();
        self.accept_ready(on_event);
        self.receive_ready(on_event);
        self.end_late_closes();
        self.tell(on_event);
        Ok(self.now)
    }

    fn send(&mut self, connection: ConnectionId, bytes: Bytes) {
        let Some(content) = self.table.live(connection) else { return };
        self.outbox.push(&mut content.queue, bytes);
        if !content.queue.is_empty() && !content.blocked && !content.unflushed {
            content.unflushed = true;
            self.unflushed.push(connection);
        }
    }

    fn close(&mut self, connection: ConnectionId, deadline: Duration) {
        let Some(content) = self.table.live(connection) else { return };
        content.phase = Phase::Closing { ended: false };
        if content.queue.is_empty() {
            self.to_linger.push(connection);
        }
        self.close_deadlines.push(Reverse((deadline, connection)));
        self.queue_receive(connection);
    }

    fn set_reading(&mut self, connection: ConnectionId, reading: bool) {
        let Some(content) = self.table.live(connection) else { return };
        content.paused = !reading;
        self.queue_receive(connection);
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
        let content = self.table.live(connection)?;
        if !content.fresh || !content.queue.is_empty() {
            return None;
        }
        let content = self.table.remove(connection)?;
        self.forget_source(&content.socket);
        self.counters.detaches += 1;
        Some(content.socket)
    }

    fn attach(&mut self, socket: OwnedFd) -> Result<ConnectionId, OwnedFd> {
        match self.insert(Connection::new(socket, false)) {
            Ok(connection) => {
                self.counters.attaches += 1;
                Ok(connection)
            }
            Err(content) => {
                self.counters.attaches_refused += 1;
                Err(content.socket)
            }
        }
    }

    fn connections(&self) -> usize {
        self.table.used()
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }
}

/// 32 bits of generation above 32 bits of slot. The highest values are the driver's own.
fn token_of(connection: ConnectionId) -> Token {
    Token((connection.generation as usize) << 32 | connection.slot as usize)
}

fn connection_of(token: Token) -> ConnectionId {
    ConnectionId { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
}

const _: () = assert!(usize::BITS == 64, "a token holds a slot and a generation");
/// Slots stay far below these.
const BELL: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);
