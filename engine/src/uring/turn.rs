//! One turn: submit, wait, hand out; then once more for the receives that the first part called for.

use std::io;
use std::time::Duration;

use super::UringDriver;
use super::ring::{Completion, Repeats};
use super::slots::Flags;
use super::token::{Kind, Token};
use crate::driver::{ConnectionId, Event, Now, Wait, read_clocks};

pub(super) type OnEvent<'a> = dyn FnMut(Now, Event<'_>) + 'a;

impl UringDriver {
    pub(super) fn run_turn(&mut self, wait: Wait, on_event: &mut OnEvent<'_>) -> io::Result<Now> {
        self.budget = self.options.events_per_turn_max;
        self.submit_noted()?;
        let (want, timeout) = self.patience(wait);
        let mut batch = std::mem::take(&mut self.batch);
        self.ring.enter(want, timeout, &mut batch)?;
        self.now = read_clocks();
        self.complete_all(batch, on_event);
        self.end_late_closes();
        if self.has_noted() {
            self.submit_noted()?;
            let mut batch = std::mem::take(&mut self.batch);
            self.ring.enter(0, None, &mut batch)?;
            self.complete_all(batch, on_event);
        }
        // Rule 7: one publication per turn, and only then another try of those that found no buffer.
        self.buffers.commit();
        self.ready.extend(self.starved.drain(..));
        Ok(self.now)
    }

    /// Puts what was noted since the last submit into the queue.
    fn submit_noted(&mut self) -> io::Result<()> {
        self.submit_ends()?;
        self.submit_lingers()?;
        self.submit_accept()?;
        if !self.bell_armed {
            let token = Token::own(Kind::Bell);
            self.ring.poll_bell(std::os::fd::AsFd::as_fd(&*self.bell), token)?;
            self.bell_armed = true;
        }
        self.submit_polls()?;
        self.submit_sends()?;
        self.submit_receives()
    }

    /// Whether a second submit in this turn has something to do. What the worker sends comes between turns.
    fn has_noted(&self) -> bool {
        !(self.to_poll.is_empty()
            && self.to_poll_writable.is_empty()
            && self.backlogged.is_empty()
            && self.to_linger.is_empty()
            && self.to_end.is_empty())
            || !self.ready.is_empty() && self.budget > 0
    }

    /// How many completions to wait for, and how long.
    fn patience(&mut self, wait: Wait) -> (u32, Option<Duration>) {
        let Wait::Until(mut deadline) = wait else { return (0, None) };
        // Left over when the budget was used up on receives that are queued: they complete at once. Anything still
        // on the list (budget 0) must not be slept on.
        if !self.ready.is_empty() {
            return (0, None);
        }
        deadline = deadline.min(self.earliest_close_deadline()).min(self.acceptor.retry_at());
        let left = deadline.saturating_sub(read_clocks().monotonic);
        (u32::from(!left.is_zero()), (left < FOREVER).then_some(left))
    }

    /// Handles the completions of an enter. Everything was submitted before, so memory may be let go here.
    fn complete_all(&mut self, mut batch: Vec<Completion>, on_event: &mut OnEvent<'_>) {
        for completion in batch.drain(..) {
            self.complete(completion, on_event);
        }
        self.batch = batch;
        self.settle_sends();
        self.close_listener_if_stopped(on_event);
    }

    fn complete(&mut self, completion: Completion, on_event: &mut OnEvent<'_>) {
        let connection = completion.token.connection;
        match completion.token.kind {
            Kind::Poll => self.on_poll(connection, completion, on_event),
            Kind::PollWritable => self.on_writable(connection, completion, on_event),
            Kind::Receive => self.on_received(connection, completion, on_event),
            Kind::Send => self.on_sent(connection, completion.result, on_event),
            Kind::Shutdown => self.on_shut(connection, completion.result),
            Kind::Close => self.on_closed(connection, completion.result),
            // Nothing to cancel: the poll ended by itself, and its own completion says so.
            Kind::Cancel => {}
            Kind::Accept => self.on_accept(completion, on_event),
            Kind::Bell => {
                if !completion.more {
                    self.bell_armed = false;
                    self.counters.rearms += 1;
                }
            }
        }
    }

    fn submit_polls(&mut self) -> io::Result<()> {
        for connection in self.to_poll.drain(..) {
            let Some(slot) = self.slots.find(connection) else { continue };
            if slot.flags.any(Flags::POLL | Flags::ENDING) {
                continue;
            }
            slot.flags |= Flags::POLL;
            self.ring.poll_readable(slot.target(connection.slot), Token::new(Kind::Poll, connection))?;
        }
        for connection in self.to_poll_writable.drain(..) {
            let Some(slot) = self.slots.find(connection) else { continue };
            if slot.flags.any(Flags::POLL_WRITABLE | Flags::ENDING) {
                continue;
            }
            slot.flags |= Flags::POLL_WRITABLE;
            let token = Token::new(Kind::PollWritable, connection);
            let repeats =
                if slot.flags.has(Flags::WRITABLE_EDGE) { Repeats::Multishot } else { Repeats::Once };
            self.ring.poll_writable(slot.target(connection.slot), repeats, token)?;
        }
        Ok(())
    }

    /// The socket is of no use any more: tells the worker, if it still cares, and closes.
    pub(super) fn lose(&mut self, connection: ConnectionId, on_event: &mut OnEvent<'_>) {
        if let Some(slot) = self.slots.live(connection) {
            slot.flags.clear(Flags::LIVE);
            on_event(self.now, Event::Gone { connection });
        }
        self.end(connection);
    }
}

/// A longer wait is one without an end; the kernel's seconds are signed.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
