//! What a worker asks of the kernel (or of the simulator), and what it hears back.
//!
//! A driver owns the sockets of one worker and everything about them: readiness, buffers, unsent bytes, the order
//! of cancel and close. It knows nothing of frames. It is driven by [`Driver::turn`]; between two turns the worker
//! says what to send and close, and nothing reaches the kernel before the next turn.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

pub use tidegate_shard::{ConnectionId, Now};

/// Reads both clocks of the machine: for real drivers, once per turn, and for start-up.
pub fn read_clocks() -> Now {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let wall = clock_gettime(ClockId::Realtime);
    // Neither is negative: one counts from boot, the other from 1970.
    let monotonic = Duration::new(monotonic.tv_sec.max(0) as u64, monotonic.tv_nsec as u32);
    Now { monotonic, wall_ms: wall.tv_sec.max(0) as u64 * 1000 + wall.tv_nsec as u64 / 1_000_000 }
}

/// How long a turn may wait for the first event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// There is work left: look, do not sleep.
    No,
    /// Sleep until an event, the doorbell, or this moment of the monotonic clock.
    Until(Duration),
}

/// What happened to a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client connected. The connection is in its handshake: not yet attached, may still be detached.
    Accepted { connection: ConnectionId, peer: SocketAddr },
    /// Bytes arrived; they may be changed in place (unmasking) and are gone after the call.
    Received { connection: ConnectionId, bytes: &'a mut [u8] },
    /// The peer is gone (end of stream or error). The driver has begun to close; no event of it follows.
    Gone { connection: ConnectionId },
    /// The kernel did not take everything: `unsent` bytes wait in the driver.
    Blocked { connection: ConnectionId, unsent: usize },
    /// Everything that waited has been taken.
    Drained { connection: ConnectionId },
}

/// What a driver has counted since it was made.
#[derive(Clone, Copy, Default, Debug)]
pub struct DriverCounters {
    /// Connections handed to the worker as accepted.
    pub accepts: u64,
    /// Accepts that failed: out of descriptors or memory, or the peer was gone again.
    pub accept_errors: u64,
    /// Connections closed at once because every slot was taken.
    pub accepts_refused: u64,
    /// Sockets taken in from another driver.
    pub attaches: u64,
    /// Sockets given back because every slot was taken, or the kernel refused to install them.
    pub attaches_refused: u64,
    /// Connections closed, for whatever reason. With detached ones, accepts + attaches = these + connections held.
    pub closes: u64,
    pub detaches: u64,
    /// Closes that hit their deadline with bytes unsent or the peer's end still open.
    pub closes_late: u64,
    /// Receives that brought bytes, and how many bytes.
    pub receives: u64,
    pub received_bytes: u64,
    /// Receives put off to the next turn for want of a buffer.
    pub starved: u64,
    /// Send operations given to the kernel.
    pub sends: u64,
    /// Sends that the kernel took only in part, or not at all.
    pub sends_short: u64,
    /// Multishot requests that the kernel ended and the driver armed again.
    pub rearms: u64,
    /// Turns that found the completion queue overflown.
    pub completion_overflows: u64,
    /// Times a turn filled the submission queue and submitted early.
    pub submission_fulls: u64,
}

/// A driver. Real ones: `uring`, `epoll`; `simulated` runs the same worker under one seed.
pub trait Driver {
    /// A socket on its way from one driver to another.
    type Socket: Send;

    /// Submits what was asked since the last turn, waits as `wait` allows, and hands out what happened, at most
    /// about `events_per_turn_max` of it. Returns the time after the wait; the events happened at that time.
    fn turn(&mut self, wait: Wait, on_event: &mut dyn FnMut(Now, Event<'_>)) -> std::io::Result<Now>;

    /// Sends bytes after whatever was sent before. All that is sent to one connection between two turns leaves in
    /// one system call, as long as it is one buffer or at most 64 KiB. Bytes of a connection that is gone are
    /// dropped.
    fn send(&mut self, connection: ConnectionId, bytes: Bytes);

    /// Closes once everything sent before has been taken by the kernel and the peer has closed its end too, or at
    /// `deadline` (monotonic) at the latest. The peer gets everything and an end of stream at once; waiting for its
    /// end keeps a reset from overtaking the last bytes. No event of this connection follows.
    fn close(&mut self, connection: ConnectionId, deadline: Duration);

    /// Stops (or goes on) reading from one connection: its flow control.
    fn set_reading(&mut self, connection: ConnectionId, reading: bool);

    /// Stops (or goes on) reading from all connections: the shard's backpressure.
    fn set_reading_all(&mut self, reading: bool);

    /// Stops (or goes on) accepting. Stopped for good (drain) means the listener is closed, so that another process
    /// on the same port gets the connections.
    fn set_accepting(&mut self, accepting: bool);

    /// Takes a connection that was accepted here, and has nothing unsent, out of this driver.
    fn detach(&mut self, connection: ConnectionId) -> Option<Self::Socket>;

    /// Takes a socket in, for good (a direct descriptor in `uring`); gives it back when every slot is taken.
    fn attach(&mut self, socket: Self::Socket) -> Result<ConnectionId, Self::Socket>;

    /// Connections held: handshakes, and those whose close is not finished, included.
    fn connections(&self) -> usize;

    fn counters(&self) -> DriverCounters;
}
