//! Receives, sends, and the end of a connection.

use std::cmp::Reverse;
use std::io::IoSlice;
use std::time::Duration;

use mio::unix::SourceFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg, shutdown};

use super::EpollDriver;
use super::table::Phase;
use crate::driver::{ConnectionId, Event, Now};

pub(super) type OnEvent<'a> = dyn FnMut(Now, Event<'_>) + 'a;

/// Something to tell after the wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    Gone(ConnectionId),
    Blocked(ConnectionId),
    Drained(ConnectionId),
}

impl EpollDriver {
    /// Edge-triggered: a socket is read until it is empty, one buffer at a time so that each gets its turn.
    pub(super) fn receive_ready(&mut self, on_event: &mut OnEvent<'_>) {
        let mut budget = self.options.events_per_turn_max;
        while budget > 0 {
            let Some(connection) = self.ready.pop_front() else { break };
            let Some(content) = self.table.find(connection) else { continue };
            if !self.reading && content.is_live() {
                self.held.push(connection);
                continue;
            }
            content.queued = false;
            if content.wants_receive() {
                budget -= 1;
                self.receive(connection, on_event);
            }
        }
    }

    fn receive(&mut self, connection: ConnectionId, on_event: &mut OnEvent<'_>) {
        let Some(content) = self.table.find(connection) else { return };
        let count = match recv(&content.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => {
                content.ready = false;
                return;
            }
            Err(Errno::INTR) => return self.queue_receive(connection),
            Err(_) => return self.lose(connection),
        };
        if count == 0 {
            return self.on_end_of_stream(connection);
        }
        let rest = content.hangup || count == self.buffer.len();
        content.ready = rest;
        if content.is_live() {
            self.counters.receives += 1;
            self.counters.received_bytes += count as u64;
            on_event(self.now, Event::Received { connection, bytes: &mut self.buffer[..count] });
        }
        self.queue_receive(connection);
    }

    fn on_end_of_stream(&mut self, connection: ConnectionId) {
        let Some(content) = self.table.find(connection) else { return };
        if let Phase::Closing { ended } = &mut content.phase {
            // A peer that has shut only its sending end still gets what it was sent before we were asked to close.
            *ended = true;
            return;
        }
        self.lose(connection);
    }

    /// Puts a connection on the ready list, if it has something and nothing keeps it from being read.
    pub(super) fn queue_receive(&mut self, connection: ConnectionId) {
        let Some(content) = self.table.find(connection) else { return };
        // One that waits for its close may be among those held back: it is queued again.
        if content.wants_receive() && !(content.queued && content.is_live()) {
            content.queued = true;
            self.ready.push_back(connection);
        }
    }

    /// Sends what there is until the kernel is full.
    pub(super) fn flush(&mut self, connection: ConnectionId) {
        let Some(content) = self.table.find(connection) else { return };
        content.unflushed = false;
        while !content.queue.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                self.outbox.chunks(content.queue).take(SLICES_MAX).map(IoSlice::new).collect();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            self.counters.sends += 1;
            match sendmsg(&content.socket, &slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(count) => self.outbox.advance(&mut content.queue, count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.counters.sends_short += 1;
                    if !std::mem::replace(&mut content.blocked, true) && content.is_live() {
                        self.notices.push(Notice::Blocked(connection));
                    }
                    return;
                }
                Err(_) => return self.lose(connection),
            }
        }
        let was_blocked = std::mem::replace(&mut content.blocked, false);
        match content.phase {
            Phase::Live if was_blocked => self.notices.push(Notice::Drained(connection)),
            Phase::Live => {}
            Phase::Closing { .. } | Phase::Lingering => self.linger(connection),
        }
    }

    /// Shuts our end, so that the peer gets everything and an end instead of a reset, and waits for the peer's.
    pub(super) fn linger(&mut self, connection: ConnectionId) {
        let Some(content) = self.table.find(connection) else { return };
        let ended = content.phase == Phase::Closing { ended: true };
        if ended || shutdown(&content.socket, Shutdown::Write).is_err() {
            return self.lose(connection);
        }
        content.phase = Phase::Lingering;
        content.ready = true;
        self.queue_receive(connection);
    }

    /// Closes at once; the worker hears of it if it still cares.
    pub(super) fn lose(&mut self, connection: ConnectionId) {
        let Some(mut content) = self.table.remove(connection) else { return };
        if content.is_live() {
            self.notices.push(Notice::Gone(connection));
        }
        self.outbox.clear(&mut content.queue);
        self.counters.closes += 1;
        self.forget_source(&content.socket);
        self.acceptor.descriptor_freed();
    }

    pub(super) fn forget_source(&self, socket: &std::os::fd::OwnedFd) {
        let socket = std::os::fd::AsRawFd::as_raw_fd(socket);
        self.poll
            .registry()
            .deregister(&mut SourceFd(&socket))
            .expect("every socket of the table is registered");
    }

    pub(super) fn tell(&mut self, on_event: &mut OnEvent<'_>) {
        for notice in std::mem::take(&mut self.notices) {
            match notice {
                Notice::Gone(connection) => on_event(self.now, Event::Gone { connection }),
                Notice::Blocked(connection) => {
                    let Some(content) = self.table.live(connection) else { continue };
                    let unsent = self.outbox.unsent(content.queue);
                    on_event(self.now, Event::Blocked { connection, unsent });
                }
                Notice::Drained(connection) => {
                    if self.table.live(connection).is_some() {
                        on_event(self.now, Event::Drained { connection });
                    }
                }
            }
        }
    }

    pub(super) fn end_late_closes(&mut self) {
        while self.earliest_close_deadline() <= self.now.monotonic {
            if let Some(Reverse((_, connection))) = self.close_deadlines.pop() {
                self.counters.closes_late += 1;
                self.lose(connection);
            }
        }
    }

    /// Forgets deadlines of connections that are closed already, so that nobody wakes for them.
    pub(super) fn earliest_close_deadline(&mut self) -> Duration {
        while let Some(Reverse((deadline, connection))) = self.close_deadlines.peek().copied() {
            if self.table.find(connection).is_some() {
                return deadline;
            }
            self.close_deadlines.pop();
        }
        Duration::MAX
    }
}

/// Buffers per send; the kernel takes up to 1024, and the vector is made anew for each send.
const SLICES_MAX: usize = 64;
