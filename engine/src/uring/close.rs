//! The end of a connection, in this order:
//!
//! 1. what was sent before is taken by the kernel (`CLOSE_ASKED`);
//! 2. our sending end is shut, and what still arrives is read and forgotten until the peer shuts its own
//!    (`LINGERING`): a socket closed with unread bytes answers with a reset, which takes the last bytes out of the
//!    peer's hands;
//! 3. polls are cancelled and the socket is closed (`ENDING`), in one submit;
//! 4. the last completion comes, and the slot is free.
//!
//! The deadline cuts 1 and 2 short. A peer that is gone goes straight to 3.

use std::cmp::Reverse;
use std::io;
use std::time::Duration;

use rustix::net::Shutdown;

use super::UringDriver;
use super::ring::Target;
use super::slots::Flags;
use super::token::{Kind, Token};
use crate::driver::ConnectionId;

impl UringDriver {
    /// Step 2.
    pub(super) fn submit_lingers(&mut self) -> io::Result<()> {
        while let Some(connection) = self.to_linger.pop() {
            let Some(slot) = self.slots.find(connection) else { continue };
            if slot.flags.any(Flags::LINGERING | Flags::ENDING) {
                continue;
            }
            slot.flags |= Flags::LINGERING;
            if slot.flags.has(Flags::ENDED) {
                self.end(connection);
                continue;
            }
            match slot.target(connection.slot) {
                Target::Plain(_) => {
                    let plain = slot.plain.as_ref().expect("a plain target has a descriptor");
                    // Fails on a socket that is not connected any more; its poll reports that.
                    let shut = rustix::net::shutdown(plain, Shutdown::Write);
                    self.on_shut(connection, shut.map_or_else(|error| -error.raw_os_error(), |()| 0));
                }
                target @ Target::Direct(_) => {
                    slot.flags |= Flags::SHUTTING;
                    self.ring.shut_sending(target, Token::new(Kind::Shutdown, connection))?;
                }
            }
        }
        // Sockets found dead just above.
        self.submit_ends()
    }

    /// Our sending end is shut: read on until the peer's end is shut too.
    pub(super) fn on_shut(&mut self, connection: ConnectionId, result: i32) {
        let Some(slot) = self.slots.find(connection) else { return };
        slot.flags.clear(Flags::SHUTTING);
        if slot.flags.has(Flags::ENDING) {
            // The close waited for the shutdown, which needs the descriptor. Or it has yet to be looked at, if the
            // peer went in this very turn; a second entry would be a second close.
            if !slot.flags.has(Flags::END_DUE) {
                slot.flags |= Flags::END_DUE;
                self.to_end.push(connection);
            }
        } else if result < 0 {
            self.end(connection);
        } else {
            slot.flags |= Flags::READY;
            self.resume_receiving(connection);
        }
    }

    /// Step 3, from anywhere; only the first call counts.
    pub(super) fn end(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slots.find(connection) else { return };
        if slot.flags.has(Flags::ENDING) {
            return;
        }
        slot.flags.clear(Flags::LIVE);
        slot.flags |= Flags::ENDING | Flags::END_DUE;
        if slot.plain.is_none() {
            slot.flags |= Flags::CLOSING;
        }
        self.outbox.clear(&mut slot.queue);
        self.counters.closes += 1;
        self.to_end.push(connection);
    }

    pub(super) fn submit_ends(&mut self) -> io::Result<()> {
        while let Some(connection) = self.to_end.pop() {
            let Some(slot) = self.slots.find(connection) else { continue };
            slot.flags.clear(Flags::END_DUE);
            if slot.flags.has(Flags::SHUTTING) {
                continue;
            }
            // Rule 4: the cancels go first. They complete only when they find nothing.
            for (flag, kind) in [(Flags::POLL, Kind::Poll), (Flags::POLL_WRITABLE, Kind::PollWritable)] {
                if slot.flags.has(flag) {
                    self.ring.cancel(Token::new(kind, connection), Token::new(Kind::Cancel, connection))?;
                }
            }
            if slot.flags.has(Flags::CLOSING) {
                self.ring.close(connection.slot, Token::new(Kind::Close, connection))?;
            }
            self.free_if_done(connection);
        }
        Ok(())
    }

    pub(super) fn on_closed(&mut self, connection: ConnectionId, result: i32) {
        let Some(slot) = self.slots.find(connection) else { return };
        if result < 0 {
            let error = io::Error::from_raw_os_error(-result);
            tracing::error!(%error, slot = connection.slot, "the close of a direct descriptor failed");
        }
        slot.flags.clear(Flags::CLOSING);
        self.free_if_done(connection);
    }

    /// Step 4.
    pub(super) fn free_if_done(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slots.find(connection) else { return };
        if !slot.flags.has(Flags::ENDING) || slot.flags.any(Flags::IN_KERNEL) {
            return;
        }
        let slot = self.slots.remove(connection);
        if slot.plain.is_some() {
            self.acceptor.descriptor_freed();
        }
    }

    /// Closes whose time is up, whatever is unsent or unread.
    pub(super) fn end_late_closes(&mut self) {
        while let Some(Reverse((deadline, connection))) = self.close_deadlines.peek().copied() {
            if deadline > self.now.monotonic {
                break;
            }
            self.close_deadlines.pop();
            if self.slots.find(connection).is_some_and(|slot| !slot.flags.has(Flags::ENDING)) {
                self.counters.closes_late += 1;
                self.end(connection);
            }
        }
    }

    /// Forgets deadlines of connections that are closed already, so that nobody wakes for them.
    pub(super) fn earliest_close_deadline(&mut self) -> Duration {
        while let Some(Reverse((deadline, connection))) = self.close_deadlines.peek().copied() {
            if self.slots.find(connection).is_some_and(|slot| !slot.flags.has(Flags::ENDING)) {
                return deadline;
            }
            self.close_deadlines.pop();
        }
        Duration::MAX
    }
}
