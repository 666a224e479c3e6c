//! From the worker's bytes to the socket: one send per connection and turn.
//!
//! What goes out whole completes silently, and its buffers are let go when the submit has returned. What the kernel
//! does not take becomes the connection's backlog, sent piece by piece whenever the socket has room.

#![allow(unsafe_code)]

use std::io;

use super::UringDriver;
use super::ring::{Completion, SendCompletes};
use super::scratch::COPY_BYTES_MAX;
use super::slots::Flags;
use super::token::{Kind, Token};
use super::turn::OnEvent;
use crate::driver::{ConnectionId, Event};
use crate::outbox::{Outbox, Queue};

impl UringDriver {
    pub(super) fn submit_sends(&mut self) -> io::Result<()> {
        let mut unflushed = std::mem::take(&mut self.unflushed);
        for connection in unflushed.drain(..) {
            let Some(slot) = self.slots.find(connection) else { continue };
            slot.flags.clear(Flags::UNFLUSHED);
            self.submit_send(connection)?;
        }
        self.unflushed = unflushed;
        let mut backlogged = std::mem::take(&mut self.backlogged);
        for connection in backlogged.drain(..) {
            // A multishot poll may speak of room when nothing is left to send, or twice; `SENDING` catches the latter.
            if self.slots.find(connection).is_some_and(|slot| slot.flags.has(Flags::BACKLOG)) {
                self.submit_send(connection)?;
            }
        }
        self.backlogged = backlogged;
        Ok(())
    }

    fn submit_send(&mut self, connection: ConnectionId) -> io::Result<()> {
        let Some(slot) = self.slots.find(connection) else { return Ok(()) };
        if slot.flags.any(Flags::ENDING | Flags::SENDING) || slot.queue.is_empty() {
            return Ok(());
        }
        let piece = Piece::next(&self.outbox, slot.queue);
        let completes = if piece.is_last && !slot.flags.has(Flags::BACKLOG) {
            self.flushed.push(connection);
            SendCompletes::UnlessWhole
        } else {
            slot.flags |= Flags::BACKLOG | Flags::SENDING;
            SendCompletes::Always
        };
        let mut chunks = self.outbox.chunks(slot.queue);
        let memory = if piece.is_joined {
            self.scratch.join(chunks, piece.length)
        } else {
            chunks.next().expect("the queue is not empty").as_ptr()
        };
        self.counters.sends += 1;
        let token = Token::new(Kind::Send, connection);
        let target = slot.target(connection.slot);
        // SAFETY: the memory is a buffer of the outbox or the scratch. Both are let go in `settle_sends` or on this
        // send's completion, both after the enter that follows has returned. Between here and there nothing
        // advances or clears a queue: only receives are submitted.
        unsafe { self.ring.send(target, memory, piece.length as u32, completes, token) }
    }

    /// A send that was short, failed, or has bytes behind it.
    pub(super) fn on_sent(&mut self, connection: ConnectionId, result: i32, on_event: &mut OnEvent<'_>) {
        let Some(slot) = self.slots.find(connection) else { return };
        slot.flags.clear(Flags::SENDING);
        if slot.flags.has(Flags::ENDING) {
            return self.free_if_done(connection);
        }
        let taken = match result {
            count if count >= 0 => count as usize,
            error if matches!(-error, libc::EAGAIN | libc::EINTR) => 0,
            _ => return self.lose(connection, on_event),
        };
        let asked = Piece::next(&self.outbox, slot.queue).length;
        self.outbox.advance(&mut slot.queue, taken);
        if slot.queue.is_empty() {
            return self.on_drained(connection, on_event);
        }
        slot.flags |= Flags::BACKLOG;
        if taken == asked {
            self.backlogged.push(connection);
            return;
        }
        self.counters.sends_short += 1;
        self.to_poll_writable.push(connection);
        if !slot.flags.has(Flags::BLOCKED) {
            slot.flags |= Flags::BLOCKED;
            if slot.flags.has(Flags::LIVE) {
                let unsent = self.outbox.unsent(slot.queue);
                on_event(self.now, Event::Blocked { connection, unsent });
            }
        }
    }

    fn on_drained(&mut self, connection: ConnectionId, on_event: &mut OnEvent<'_>) {
        let Some(slot) = self.slots.find(connection) else { return };
        let was_blocked = slot.flags.has(Flags::BLOCKED);
        slot.flags.clear(Flags::BACKLOG | Flags::BLOCKED);
        if slot.flags.has(Flags::CLOSE_ASKED) {
            self.to_linger.push(connection);
        } else if was_blocked {
            on_event(self.now, Event::Drained { connection });
        }
    }

    /// io_uring reports a half-closed peer (`POLLRDHUP`) to every poll, asked or not. A single poll for room would
    /// complete at once, for ever; a multishot says it once, and then speaks when there is room.
    pub(super) fn on_writable(
        &mut self,
        connection: ConnectionId,
        completion: Completion,
        on_event: &mut OnEvent<'_>,
    ) {
        let Some(slot) = self.slots.find(connection) else { return };
        if !completion.more {
            slot.flags.clear(Flags::POLL_WRITABLE);
        }
        if slot.flags.has(Flags::ENDING) {
            return self.free_if_done(connection);
        }
        if completion.result < 0 {
            return self.lose(connection, on_event);
        }
        if completion.result & i32::from(libc::POLLOUT | libc::POLLERR | libc::POLLHUP) != 0 {
            self.backlogged.push(connection);
        } else if !completion.more {
            slot.flags |= Flags::WRITABLE_EDGE;
            self.to_poll_writable.push(connection);
        }
    }

    /// After a submit whose completions have all been handled: what went out whole is let go.
    pub(super) fn settle_sends(&mut self) {
        for connection in self.flushed.drain(..) {
            let Some(slot) = self.slots.find(connection) else { continue };
            if slot.flags.any(Flags::BACKLOG | Flags::ENDING) {
                continue;
            }
            self.outbox.clear(&mut slot.queue);
            if slot.flags.has(Flags::CLOSE_ASKED) {
                self.to_linger.push(connection);
            }
        }
        self.scratch.reset();
    }
}

/// What the next send of a queue consists of; the same until the queue changes.
#[derive(Debug)]
struct Piece {
    length: usize,
    /// Several buffers become one first.
    is_joined: bool,
    /// Nothing is left behind it.
    is_last: bool,
}

impl Piece {
    fn next(outbox: &Outbox, queue: Queue) -> Self {
        let unsent = outbox.unsent(queue);
        let head = outbox.chunks(queue).next().map_or(0, <[u8]>::len);
        let is_joined = head < unsent && head < JOIN_BELOW_BYTES;
        let length = if is_joined { unsent.min(COPY_BYTES_MAX) } else { head.min(SEND_BYTES_MAX) };
        Self { length, is_joined, is_last: length == unsent }
    }
}

/// A first buffer of this size goes out alone: copying it would cost more than a second send.
const JOIN_BELOW_BYTES: usize = 32 * 1024;
/// The length of a send is 32 bits, its result 31.
const SEND_BYTES_MAX: usize = 1 << 30;
