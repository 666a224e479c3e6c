//! What one worker counted: per message, per conversation, per session.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use hdrhistogram::Histogram;
use tidegate_wire::frames;
use tidegate_wire::server::DeliverView;

use crate::ledger::{Acknowledged, Ledger, Seen};
use crate::report::latencies;
use crate::schedule::{Clock, MessageTag, Window};

/// Everything a worker hands back at the end.
#[derive(Debug)]
pub struct Account {
    clock: Clock,
    window: Window,
    body: Vec<u8>,
    /// One per session of the worker: its conversations by id.
    sessions: Vec<HashMap<u128, Entry, RandomState>>,
    /// By conversation index: what this worker's senders were acknowledged.
    pub acknowledged: BTreeMap<u32, Acknowledged>,
    pub counts: Counts,
    pub ack_ns: Histogram<u64>,
    pub deliver_ns: Histogram<u64>,
    /// How late sends left, against their due time (open loop).
    pub send_late_ns: Histogram<u64>,
    /// Refused sends by error code.
    pub refused: BTreeMap<u16, u64>,
    /// The first few unexpected things, in words.
    pub remarks: Vec<String>,
}

/// A conversation as one session sees it.
#[derive(Debug)]
struct Entry {
    index: u32,
    ledger: Ledger,
    /// What the last `received` frame said.
    reported: u64,
}

/// `in_window`: messages whose intended time lies in the measured window, whenever they arrived.
/// `during_window`: what arrived while the window lasted; CPU time is divided by these.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub sent: u64,
    pub acked: u64,
    pub delivered: u64,
    pub acked_in_window: u64,
    pub delivered_in_window: u64,
    pub sent_during_window: u64,
    pub acked_during_window: u64,
    pub delivered_during_window: u64,
    pub reads_during_window: u64,
    pub refused: u64,
    pub lagging: u64,
    pub disconnects: u64,
}

const REMARKS_MAX: usize = 5;

impl Account {
    #[must_use]
    pub fn new(clock: Clock, window: Window, body: Vec<u8>, sessions: usize) -> Self {
        Self {
            clock,
            window,
            body,
            sessions: (0..sessions).map(|_| HashMap::default()).collect(),
            acknowledged: BTreeMap::new(),
            counts: Counts::default(),
            ack_ns: latencies(),
            deliver_ns: latencies(),
            send_late_ns: latencies(),
            refused: BTreeMap::new(),
            remarks: Vec::new(),
        }
    }

    /// A session is a member of a conversation.
    pub fn join(&mut self, session: usize, conversation: u128, index: u32) {
        self.sessions[session].insert(conversation, Entry { index, ledger: Ledger::default(), reported: 0 });
    }

    /// A session was read.
    pub fn read(&mut self, now_ns: u64) {
        self.counts.reads_during_window += u64::from(self.window.contains(now_ns));
    }

    pub fn sent(&mut self, intended_ns: u64, now_ns: u64) {
        self.counts.sent += 1;
        self.counts.sent_during_window += u64::from(self.window.contains(now_ns));
        if self.window.contains(intended_ns) {
            self.send_late_ns.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    pub fn delivered(&mut self, session: usize, message: &DeliverView<'_>, now_ns: u64) {
        let Some(entry) = self.sessions[session].get_mut(&message.conversation) else {
            self.remark(|| {
                format!("delivered a message of conversation {:#x} to a stranger", message.conversation)
            });
            return;
        };
        if message.body != self.body {
            entry.ledger.wrong();
        }
        if entry.ledger.delivered(message.seq, message.client_id) == Seen::Again {
            return;
        }
        self.counts.delivered += 1;
        self.counts.delivered_during_window += u64::from(self.window.contains(now_ns));
        let intended_ns = MessageTag::from_client_id(message.client_id, &self.clock).intended_ns;
        if self.window.contains(intended_ns) {
            self.counts.delivered_in_window += 1;
            self.deliver_ns.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    pub fn acked(&mut self, session: usize, ack: &frames::Ack, now_ns: u64) {
        let Some(entry) = self.sessions[session].get_mut(&ack.conversation) else {
            self.remark(|| format!("an ack of conversation {:#x} came to a stranger", ack.conversation));
            return;
        };
        entry.ledger.acknowledged(ack.seq, ack.client_id);
        self.acknowledged.entry(entry.index).or_default().add(ack.seq, ack.client_id);
        self.counts.acked += 1;
        self.counts.acked_during_window += u64::from(self.window.contains(now_ns));
        let intended_ns = MessageTag::from_client_id(ack.client_id, &self.clock).intended_ns;
        if self.window.contains(intended_ns) {
            self.counts.acked_in_window += 1;
            self.ack_ns.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    pub fn refused(&mut self, error: &frames::Error) {
        self.counts.refused += 1;
        *self.refused.entry(error.code).or_default() += 1;
        self.remark(|| format!("refused with {}: {}", error.code, error.message));
    }

    pub fn disconnected(&mut self, why: &str) {
        self.counts.disconnects += 1;
        self.remark(|| format!("a session ended: {why}"));
    }

    /// Keeps the first few; the rest would say the same.
    pub fn remark(&mut self, remark: impl FnOnce() -> String) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(remark());
        }
    }

    /// Conversations in which a session has more than it last reported, and up to where.
    pub fn unreported(&mut self, session: usize) -> impl Iterator<Item = frames::UpTo> {
        self.sessions[session].iter_mut().filter_map(|(&conversation, entry)| {
            let up_to_seq = entry.ledger.complete_up_to();
            let news = up_to_seq > entry.reported;
            entry.reported = up_to_seq;
            news.then_some(frames::UpTo { conversation, up_to_seq })
        })
    }

    /// Every ledger with the index of its conversation.
    pub fn ledgers(&self) -> impl Iterator<Item = (u32, &Ledger)> {
        self.sessions.iter().flat_map(|session| session.values().map(|entry| (entry.index, &entry.ledger)))
    }
}
