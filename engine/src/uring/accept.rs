//! New connections: a multishot accept onto process descriptors, and what to do when it fails.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::SocketFlags;

use super::UringDriver;
use super::ring::{self, Completion};
use super::token::{Kind, Token};
use super::turn::OnEvent;
use crate::driver::Event;
use crate::listen::{Sharing, listen_once, local_address};

/// The listener and its accept.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Option<OwnedFd>,
    /// To listen again after a stop; none when there never was a listener.
    address: Option<SocketAddr>,
    accepting: bool,
    armed: bool,
    cancelling: bool,
    /// Out of descriptors or memory: not before this moment, or a freed descriptor.
    retry_at: Option<Duration>,
}

impl Acceptor {
    pub fn new(listener: Option<OwnedFd>) -> io::Result<Self> {
        let address = listener.as_ref().map(local_address).transpose()?;
        Ok(Self {
            accepting: address.is_some(),
            listener,
            address,
            armed: false,
            cancelling: false,
            retry_at: None,
        })
    }

    pub fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting && self.address.is_some();
    }

    /// A failed accept may succeed now.
    pub fn descriptor_freed(&mut self) {
        if self.retry_at.is_some() {
            self.retry_at = Some(Duration::ZERO);
        }
    }

    /// The latest moment to wake and accept again.
    pub fn retry_at(&self) -> Duration {
        if self.accepting { self.retry_at.unwrap_or(Duration::MAX) } else { Duration::MAX }
    }
}

impl UringDriver {
    pub(super) fn submit_accept(&mut self) -> io::Result<()> {
        let token = Token::own(Kind::Accept);
        let acceptor = &mut self.acceptor;
        if !acceptor.accepting {
            if acceptor.armed && !acceptor.cancelling {
                acceptor.cancelling = true;
                self.ring.cancel(token, Token::own(Kind::Cancel))?;
            }
            return Ok(());
        }
        if acceptor.armed || acceptor.retry_at.is_some_and(|at| at > self.now.monotonic) {
            return Ok(());
        }
        acceptor.retry_at = None;
        if acceptor.listener.is_none() {
            let address = acceptor.address.expect("accepting needs an address");
            match listen_once(address, Sharing::ReusePort) {
                Ok(listener) => acceptor.listener = Some(listener),
                Err(error) => {
                    tracing::warn!(%error, %address, "cannot listen again; will retry");
                    self.counters.accept_errors += 1;
                    acceptor.retry_at = Some(self.now.monotonic + RETRY_PAUSE);
                    return Ok(());
                }
            }
        }
        let listener = acceptor.listener.as_ref().expect("just made sure of it").as_raw_fd();
        acceptor.armed = true;
        self.ring.accept(listener, token)
    }

    pub(super) fn on_accept(&mut self, completion: Completion, on_event: &mut OnEvent<'_>) {
        if !completion.more {
            self.acceptor.armed = false;
            self.acceptor.cancelling = false;
        }
        if completion.result >= 0 {
            return self.take_in(ring::adopt(completion.result), on_event);
        }
        match -completion.result {
            libc::ECANCELED => {}
            // Accepting again at once would fail again: wait until a descriptor is freed, here or elsewhere.
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
                self.counters.accept_errors += 1;
                self.acceptor.retry_at = Some(self.now.monotonic + RETRY_PAUSE);
            }
            // accept(2): errors of the new connection (ECONNABORTED, EPROTO, …); the next one may be fine.
            _ => self.counters.accept_errors += 1,
        }
    }

    fn take_in(&mut self, socket: OwnedFd, on_event: &mut OnEvent<'_>) {
        let peer = rustix::net::getpeername(&socket)
            .ok()
            .and_then(|peer| peer.and_then(|peer| peer.try_into().ok()));
        let Some(peer) = peer else {
            // Reset before we looked.
            self.counters.accept_errors += 1;
            return;
        };
        let Ok(connection) = self.slots.insert(Some(socket)) else {
            self.counters.accepts_refused += 1;
            return;
        };
        self.counters.accepts += 1;
        self.to_poll.push(connection);
        on_event(self.now, Event::Accepted { connection, peer });
    }

    /// Stopped, and the accept is out of the kernel: takes in who has been let in already, then closes the listener.
    pub(super) fn close_listener_if_stopped(&mut self, on_event: &mut OnEvent<'_>) {
        if self.acceptor.accepting || self.acceptor.armed {
            return;
        }
        let Some(listener) = self.acceptor.listener.take() else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&listener, flags) {
            self.take_in(socket, on_event);
        }
    }
}

/// How long a failed accept waits for a descriptor that another worker frees. Waking ten times a second is cheap,
/// and a client in the backlog does not notice more.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
