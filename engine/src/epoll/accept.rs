//! New connections, until the listener has no more or the process no descriptor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::Interest;
use mio::unix::SourceFd;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, getpeername};

use super::table::Connection;
use super::transfer::OnEvent;
use super::{EpollDriver, LISTENER};
use crate::driver::Event;
use crate::listen::{Sharing, listen_once, local_address};

#[derive(Debug)]
pub(super) struct Acceptor {
    pub listener: Option<OwnedFd>,
    /// To listen again after a stop; none when there never was a listener.
    address: Option<SocketAddr>,
    accepting: bool,
    /// Somebody may be waiting.
    pub ready: bool,
    /// Out of descriptors or memory: not before this moment, or a freed descriptor.
    retry_at: Option<Duration>,
}

impl Acceptor {
    pub fn new(listener: Option<OwnedFd>) -> io::Result<Self> {
        let address = listener.as_ref().map(local_address).transpose()?;
        Ok(Self { accepting: address.is_some(), listener, address, ready: true, retry_at: None })
    }

    pub fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting && self.address.is_some();
        self.ready = true;
    }

    /// A failed accept may succeed now.
    pub fn descriptor_freed(&mut self) {
        if self.retry_at.is_some() {
            self.retry_at = Some(Duration::ZERO);
        }
    }

    /// When to accept next without being told.
    pub fn due_at(&self) -> Duration {
        match (self.ready && self.address.is_some(), self.retry_at) {
            (false, _) => Duration::MAX,
            (true, None) => Duration::ZERO,
            (true, Some(at)) => at,
        }
    }
}

impl EpollDriver {
    pub(super) fn accept_ready(&mut self, on_event: &mut OnEvent<'_>) {
        if self.acceptor.due_at() > self.now.monotonic {
            return;
        }
        self.acceptor.retry_at = None;
        if self.acceptor.accepting && self.acceptor.listener.is_none() && !self.listen_again() {
            return;
        }
        for _ in 0..self.options.events_per_turn_max {
            let Some(listener) = &self.acceptor.listener else { break };
            match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => self.take_in(socket, on_event),
                Err(Errno::AGAIN) => {
                    self.acceptor.ready = false;
                    break;
                }
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.counters.accept_errors += 1;
                    self.acceptor.retry_at = Some(self.now.monotonic + RETRY_PAUSE);
                    break;
                }
                // accept(2): errors of the new connection; the next one may be fine.
                Err(_) => self.counters.accept_errors += 1,
            }
        }
        if !self.acceptor.accepting {
            // Who has been let in is taken in above; closing the listener sends the others elsewhere.
            self.acceptor.listener = None;
            self.acceptor.ready = false;
            self.acceptor.retry_at = None;
        }
    }

    pub(super) fn watch_listener(&self, listener: &OwnedFd) -> io::Result<()> {
        let listener = listener.as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&listener), LISTENER, Interest::READABLE)
    }

    fn listen_again(&mut self) -> bool {
        let address = self.acceptor.address.expect("accepting needs an address");
        let listening = listen_once(address, Sharing::ReusePort)
            .and_then(|listener| self.watch_listener(&listener).map(|()| listener));
        match listening {
            Ok(listener) => self.acceptor.listener = Some(listener),
            Err(error) => {
                tracing::warn!(%error, %address, "cannot listen again; will retry");
                self.counters.accept_errors += 1;
                self.acceptor.retry_at = Some(self.now.monotonic + RETRY_PAUSE);
            }
        }
        self.acceptor.listener.is_some()
    }

    fn take_in(&mut self, socket: OwnedFd, on_event: &mut OnEvent<'_>) {
        let peer = getpeername(&socket).ok().and_then(|peer| peer.and_then(|peer| peer.try_into().ok()));
        let Some(peer) = peer else {
            // Reset before we looked.
            self.counters.accept_errors += 1;
            return;
        };
        let Ok(connection) = self.insert(Connection::new(socket, true)) else {
            self.counters.accepts_refused += 1;
            return;
        };
        self.counters.accepts += 1;
        on_event(self.now, Event::Accepted { connection, peer });
    }
}

/// How long a failed accept waits for a descriptor that another worker frees.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
