//! Messages that the gateway has not answered yet, in the order in which they were handed in.
//!
//! Rules: an entry leaves by its acknowledgement or by a refusal for good, never by a lost connection. After a
//! reconnect everything is sent again with the same client id, oldest first; the gateway knows what it has.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_wire::{ClientMessageId, frames};

use crate::error::SendError;
use crate::limits::{OUTBOX_MESSAGES_MAX, SENDS_IN_FLIGHT_MAX};

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: VecDeque<Entry>,
    in_flight: usize,
}

#[derive(Debug)]
struct Entry {
    frame: frames::Send,
    /// Tells the application through an event; else a caller waits for the answer.
    announced: bool,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// To be sent at this moment or later.
    Waiting(Duration),
    InFlight,
}

/// What left the outbox.
#[derive(Debug)]
pub(crate) struct Answered {
    pub frame: frames::Send,
    pub announced: bool,
}

impl Outbox {
    pub fn push(&mut self, frame: frames::Send, announced: bool) -> Result<(), SendError> {
        if self.entries.len() >= OUTBOX_MESSAGES_MAX {
            return Err(SendError::OutboxFull(self.entries.len()));
        }
        if self.entries.iter().any(|entry| entry.frame.client_id == frame.client_id) {
            return Err(SendError::Repeated(frame.client_id));
        }
        self.entries.push_back(Entry { frame, announced, progress: Progress::Waiting(Duration::ZERO) });
        Ok(())
    }

    /// The next message to put on the wire. A message that waits for its retry holds back the later ones of its
    /// conversation, so that what has not been sent yet keeps its order.
    pub fn next_due(&mut self, now: Duration) -> Option<&frames::Send> {
        if self.in_flight >= SENDS_IN_FLIGHT_MAX {
            return None;
        }
        let mut held_back = Vec::new();
        let due = self.entries.iter().position(|entry| match entry.progress {
            Progress::InFlight => false,
            Progress::Waiting(_) if held_back.contains(&entry.frame.conversation) => false,
            Progress::Waiting(at) if at > now => {
                held_back.push(entry.frame.conversation);
                false
            }
            Progress::Waiting(_) => true,
        })?;
        let entry = &mut self.entries[due];
        entry.progress = Progress::InFlight;
        self.in_flight += 1;
        Some(&entry.frame)
    }

    /// The gateway has answered for good.
    pub fn take(&mut self, client_id: ClientMessageId) -> Option<Answered> {
        let index = self.position(client_id)?;
        let Entry { frame, announced, progress } = self.entries.remove(index)?;
        self.in_flight -= usize::from(progress == Progress::InFlight);
        Some(Answered { frame, announced })
    }

    /// The gateway cannot now.
    pub fn retry_at(&mut self, client_id: ClientMessageId, at: Duration) {
        let Some(index) = self.position(client_id) else { return };
        let entry = &mut self.entries[index];
        self.in_flight -= usize::from(entry.progress == Progress::InFlight);
        entry.progress = Progress::Waiting(at);
    }

    pub fn on_disconnected(&mut self) {
        self.in_flight = 0;
        for entry in &mut self.entries {
            entry.progress = Progress::Waiting(Duration::ZERO);
        }
    }

    /// When a retry is due, if one waits.
    pub fn deadline(&self) -> Option<Duration> {
        self.entries
            .iter()
            .filter_map(|entry| match entry.progress {
                Progress::Waiting(at) if at > Duration::ZERO => Some(at),
                _ => None,
            })
            .min()
    }

    /// Everything that is left, when the client stops.
    pub fn drain(&mut self) -> impl Iterator<Item = Answered> + '_ {
        self.in_flight = 0;
        self.entries.drain(..).map(|Entry { frame, announced, .. }| Answered { frame, announced })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn position(&self, client_id: ClientMessageId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.frame.client_id == client_id.0)
    }
}
