//! The client side of the floor: sends requests at the pace asked for, counts answers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::sizes::{Counter, Sizes};
use crate::meter::Meter;
use crate::outgoing::{Outgoing, Pace};
use crate::poller::{Poller, Ready};
use crate::report::latencies;
use crate::schedule::{Clock, Window};

/// As in the load generator, so that both wake and read alike.
const READ_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub struct Client<'a> {
    sizes: Sizes,
    poller: Poller,
    /// By user.
    peers: Vec<Peer<'a>>,
    /// Users with requests to send in this turn.
    unflushed: Vec<u32>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Peer<'a> {
    stream: &'a TcpStream,
    counter: Counter,
    unsent: usize,
}

/// What the client saw within the measured window.
#[derive(Debug)]
pub struct Seen {
    pub cpu: Duration,
    pub sent: u64,
    pub acked: u64,
    pub delivered: u64,
    pub reads: u64,
    pub send_late_ns: hdrhistogram::Histogram<u64>,
}

impl<'a> Client<'a> {
    /// `streams` by user; they outlive both threads, so that neither sees the other's end.
    pub fn new(sizes: Sizes, streams: &'a [TcpStream]) -> io::Result<Self> {
        let poller = Poller::new()?;
        let mut peers = Vec::with_capacity(streams.len());
        for (user, stream) in (0_u32..).zip(streams) {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            poller.add(stream, user)?;
            peers.push(Peer { stream, counter: Counter::default(), unsent: 0 });
        }
        Ok(Self { sizes, poller, peers, unflushed: Vec::new(), scratch: vec![0; READ_BYTES] })
    }

    /// Runs until it is told to stop; sends until the window ends.
    pub fn run(
        mut self,
        clock: Clock,
        pace: Pace,
        window: Window,
        senders: u32,
        stop: &AtomicBool,
    ) -> io::Result<Seen> {
        let mut meter = Meter::new(window);
        let mut outgoing = Outgoing::new(pace, window.end_ns, (0..senders).collect());
        let mut ready: Vec<Ready> = Vec::new();
        let mut seen = Seen {
            cpu: Duration::ZERO,
            sent: 0,
            acked: 0,
            delivered: 0,
            reads: 0,
            send_late_ns: latencies(),
        };
        while !stop.load(Relaxed) {
            let now_ns = clock.now_ns();
            meter.look(now_ns);
            for tag in outgoing.take(now_ns) {
                let peer = &mut self.peers[tag.sender as usize];
                if peer.unsent == 0 {
                    self.unflushed.push(tag.sender);
                }
                peer.unsent += self.sizes.request;
                if window.contains(tag.intended_ns) {
                    seen.sent += 1;
                    seen.send_late_ns.saturating_record(now_ns - tag.intended_ns);
                }
            }
            self.flush()?;
            ready.clear();
            let timeout = clock.until(outgoing.next_ns());
            self.poller.wait(timeout, |event| ready.push(event))?;
            for event in &ready {
                self.read(event.source, &mut outgoing, window.contains(now_ns), &mut seen)?;
            }
        }
        seen.cpu = meter.used();
        Ok(seen)
    }

    /// Requests of one sender and turn leave together. What a full socket does not take is tried again each turn.
    fn flush(&mut self) -> io::Result<()> {
        let zeros = [0; 64 * 1024];
        let peers = &mut self.peers;
        let mut failure = None;
        self.unflushed.retain(|&user| {
            let peer = &mut peers[user as usize];
            match peer.stream.write(&zeros[..peer.unsent.min(zeros.len())]) {
                Ok(sent) => peer.unsent -= sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => failure = Some(error),
            }
            peer.unsent > 0
        });
        failure.map_or(Ok(()), Err)
    }

    fn read(&mut self, user: u32, outgoing: &mut Outgoing, counts: bool, seen: &mut Seen) -> io::Result<()> {
        let peer = &mut self.peers[user as usize];
        let read = match peer.stream.read(&mut self.scratch) {
            Ok(0) => return Err(io::Error::other("the server's thread ended early")),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let began = peer.counter.count(self.sizes, &self.scratch[..read]);
        let began = began.ok_or_else(|| io::Error::other("the server sent something that is no answer"))?;
        (0..began.acks).for_each(|_| outgoing.answered(user));
        if counts {
            seen.reads += 1;
            seen.acked += u64::from(began.acks);
            seen.delivered += u64::from(began.delivers);
        }
        Ok(())
    }
}
