//! From "readable" to bytes in the worker's hands.

use std::io;

use super::UringDriver;
use super::ring::Completion;
use super::slots::Flags;
use super::token::{Kind, Token};
use super::turn::OnEvent;
use crate::driver::{ConnectionId, Event};

impl UringDriver {
    /// One receive per ready connection, as far as the budget goes.
    pub(super) fn submit_receives(&mut self) -> io::Result<()> {
        while self.budget > 0 {
            let Some(connection) = self.ready.pop_front() else { break };
            let Some(slot) = self.slots.find(connection) else { continue };
            if !self.reading && !slot.discards() {
                self.held.push(connection);
                continue;
            }
            slot.flags.clear(Flags::QUEUED);
            let refused = Flags::RECEIVING | Flags::ENDING | Flags::ENDED;
            let paused = slot.flags.has(Flags::PAUSED) && !slot.discards();
            if !slot.flags.has(Flags::READY) || slot.flags.any(refused) || paused {
                continue;
            }
            slot.flags |= Flags::RECEIVING;
            let token = Token::new(Kind::Receive, connection);
            self.ring.receive(slot.target(connection.slot), self.buffers.bytes(), token)?;
            self.budget -= 1;
        }
        Ok(())
    }

    /// The poll behaves like an edge: it fires when something changes, so the socket is read until it is empty.
    pub(super) fn on_poll(
        &mut self,
        connection: ConnectionId,
        completion: Completion,
        on_event: &mut OnEvent<'_>,
    ) {
        let Some(slot) = self.slots.find(connection) else { return };
        if !completion.more {
            slot.flags.clear(Flags::POLL);
        }
        if slot.flags.has(Flags::ENDING) {
            return self.free_if_done(connection);
        }
        if completion.result < 0 {
            return self.lose(connection, on_event);
        }
        if !completion.more {
            self.counters.rearms += 1;
            self.to_poll.push(connection);
        }
        if completion.result & i32::from(libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0 {
            slot.flags |= Flags::HANGUP;
        }
        if slot.flags.has(Flags::RECEIVING) {
            slot.flags |= Flags::AGAIN;
        }
        slot.flags |= Flags::READY;
        self.resume_receiving(connection);
    }

    /// Puts a connection on the ready list, if it is ready and nothing keeps it from being read.
    pub(super) fn resume_receiving(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slots.find(connection) else { return };
        let paused = slot.flags.has(Flags::PAUSED) && !slot.discards();
        // A connection that waits for its close may be among those held back: it is queued again.
        let queued = slot.flags.has(Flags::QUEUED) && !slot.discards();
        let refused = Flags::RECEIVING | Flags::ENDING | Flags::ENDED;
        if slot.flags.has(Flags::READY) && !slot.flags.any(refused) && !paused && !queued {
            slot.flags |= Flags::QUEUED;
            self.ready.push_back(connection);
        }
    }

    pub(super) fn on_received(
        &mut self,
        connection: ConnectionId,
        completion: Completion,
        on_event: &mut OnEvent<'_>,
    ) {
        let Some(slot) = self.slots.find(connection) else {
            unreachable!("a slot is not freed during a receive: {connection:?}")
        };
        slot.flags.clear(Flags::RECEIVING);
        let again = slot.flags.has(Flags::AGAIN);
        slot.flags.clear(Flags::AGAIN);
        let mut rest = again || slot.flags.has(Flags::HANGUP);
        let (live, ending) = (slot.flags.has(Flags::LIVE), slot.flags.has(Flags::ENDING));

        if let Some(buffer) = completion.buffer {
            if completion.result > 0 && live {
                let bytes = self.buffers.filled(buffer, completion.result as usize);
                self.counters.receives += 1;
                self.counters.received_bytes += bytes.len() as u64;
                on_event(self.now, Event::Received { connection, bytes });
            }
            self.buffers.recycle(buffer);
        }
        if ending {
            return self.free_if_done(connection);
        }
        match completion.result {
            0 => return self.on_end_of_stream(connection, on_event),
            count if count > 0 => rest |= count as u32 == self.buffers.bytes(),
            error => match -error {
                libc::EAGAIN => rest = again,
                libc::EINTR => rest = true,
                libc::ENOBUFS => {
                    // Another try in this turn would find none either and only burn submissions.
                    self.counters.starved += 1;
                    slot.flags |= Flags::QUEUED;
                    self.starved.push(connection);
                    return;
                }
                _ => return self.lose(connection, on_event),
            },
        }
        if rest {
            self.resume_receiving(connection);
        } else if let Some(slot) = self.slots.find(connection) {
            slot.flags.clear(Flags::READY);
        }
    }

    fn on_end_of_stream(&mut self, connection: ConnectionId, on_event: &mut OnEvent<'_>) {
        let Some(slot) = self.slots.find(connection) else { return };
        slot.flags |= Flags::ENDED;
        // A peer that has shut only its sending end still gets what it was sent before we were asked to close.
        let still_sending = slot.discards() && !slot.queue.is_empty();
        if !still_sending {
            self.lose(connection, on_event);
        }
    }
}
