//! The server side of the floor: reads requests, writes answers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::sizes::{ANSWERS_PER_SEND_MAX, Pattern, Sizes};
use crate::meter::Meter;
use crate::poller::{Interest, Poller, Ready};
use crate::schedule::{Clock, Window, nanoseconds};
use crate::topology::Topology;

/// One read of a gateway: provided buffers are of this order.
const READ_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub struct Server<'a> {
    topology: Arc<Topology>,
    sizes: Sizes,
    pattern: Pattern,
    poller: Poller,
    /// By user.
    peers: Vec<Peer<'a>>,
    /// Users that are owed something.
    owing: Vec<u32>,
    gather: Duration,
    used: Used,
}

/// What the server did within the measured window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub cpu: Duration,
    pub acked: u64,
    pub delivered: u64,
    pub sends: u64,
}

#[derive(Debug)]
struct Peer<'a> {
    stream: &'a TcpStream,
    /// Bytes read beyond the last whole request.
    partial: usize,
    requests: u64,
    acks: usize,
    delivers: usize,
    /// What the kernel did not take.
    unsent: Vec<u8>,
}

impl<'a> Server<'a> {
    /// `streams` by user; they outlive both threads, so that neither sees the other's end.
    pub fn new(
        topology: Arc<Topology>,
        sizes: Sizes,
        gather: Duration,
        streams: &'a [TcpStream],
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        let mut peers = Vec::with_capacity(streams.len());
        for (user, stream) in (0_u32..).zip(streams) {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            poller.add(stream, user)?;
            peers.push(Peer { stream, partial: 0, requests: 0, acks: 0, delivers: 0, unsent: Vec::new() });
        }
        let pattern = Pattern::new(sizes);
        Ok(Self { topology, sizes, pattern, poller, peers, owing: Vec::new(), gather, used: Used::default() })
    }

    /// Runs until it is told to stop.
    pub fn run(mut self, clock: Clock, window: Window, stop: &AtomicBool) -> io::Result<Used> {
        let mut meter = Meter::new(window);
        let mut ready: Vec<Ready> = Vec::new();
        let mut scratch = vec![0; READ_BYTES];
        let mut answer_ns = u64::MAX;
        while !stop.load(Relaxed) {
            let now_ns = clock.now_ns();
            meter.look(now_ns);
            if !self.owing.is_empty() && answer_ns == u64::MAX {
                answer_ns = now_ns + nanoseconds(self.gather);
            }
            if now_ns >= answer_ns {
                answer_ns = u64::MAX;
                self.answer(window.contains(now_ns))?;
            }
            ready.clear();
            let timeout = clock.until(answer_ns);
            self.poller.wait(timeout, |event| ready.push(event))?;
            for event in &ready {
                if event.write {
                    flush(&self.poller, event.source, &mut self.peers[event.source as usize], &[])?;
                }
                if event.read {
                    self.read(event.source, &mut scratch)?;
                }
            }
        }
        self.used.cpu = meter.used();
        Ok(self.used)
    }

    fn read(&mut self, user: u32, scratch: &mut [u8]) -> io::Result<()> {
        let peer = &mut self.peers[user as usize];
        let read = match peer.stream.read(scratch) {
            Ok(0) => return Err(io::Error::other("the client's thread ended early")),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let bytes = peer.partial + read;
        peer.partial = bytes % self.sizes.request;
        let (first, count) = (peer.requests, bytes / self.sizes.request);
        peer.requests += count as u64;
        for request in first..first + count as u64 {
            self.owe(user, true);
            let target = self.topology.target(user, request) as usize;
            for place in 0..self.topology.members()[target].len() {
                let member = self.topology.members()[target][place];
                if member != user {
                    self.owe(member, false);
                }
            }
        }
        Ok(())
    }

    fn owe(&mut self, user: u32, ack: bool) {
        let peer = &mut self.peers[user as usize];
        if peer.acks + peer.delivers == 0 {
            self.owing.push(user);
        }
        if ack {
            peer.acks += 1;
        } else {
            peer.delivers += 1;
        }
    }

    fn answer(&mut self, counts: bool) -> io::Result<()> {
        for user in std::mem::take(&mut self.owing) {
            let peer = &mut self.peers[user as usize];
            let (mut acks, mut delivers) =
                (std::mem::take(&mut peer.acks), std::mem::take(&mut peer.delivers));
            if counts {
                self.used.acked += acks as u64;
                self.used.delivered += delivers as u64;
            }
            while acks + delivers > 0 {
                let now = (acks.min(ANSWERS_PER_SEND_MAX), delivers.min(ANSWERS_PER_SEND_MAX));
                (acks, delivers) = (acks - now.0, delivers - now.1);
                self.used.sends += u64::from(counts);
                flush(
                    &self.poller,
                    user,
                    &mut self.peers[user as usize],
                    self.pattern.answers(now.0, now.1),
                )?;
            }
        }
        Ok(())
    }
}

/// Sends what was left, then `bytes`; keeps what the kernel does not take.
fn flush(poller: &Poller, user: u32, peer: &mut Peer<'_>, bytes: &[u8]) -> io::Result<()> {
    let was_blocked = !peer.unsent.is_empty();
    let left = std::mem::take(&mut peer.unsent);
    for piece in [left.as_slice(), bytes] {
        if !piece.is_empty() {
            let sent = if peer.unsent.is_empty() { write(peer.stream, piece)? } else { 0 };
            peer.unsent.extend_from_slice(&piece[sent..]);
        }
    }
    let is_blocked = !peer.unsent.is_empty();
    if was_blocked != is_blocked {
        let interest = if is_blocked { Interest::ReadAndWrite } else { Interest::Read };
        poller.change(peer.stream, user, interest)?;
    }
    Ok(())
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
