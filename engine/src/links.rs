//! The rings between one shard and the two storage threads. Both ends of each are made here.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_shard::ShardId;
use tidegate_storage::{Answer, Append, Query};

use crate::mesh::{Receiver, Sender, Sleeper, channel};

/// Slots of the rings between a shard and the storage threads.
#[derive(Clone, Copy, Debug)]
pub struct Capacities {
    /// Records under way to the log, per shard. A full ring leaves them in the shard's outbox, which the bound on
    /// requests in flight limits.
    pub appends: usize,
    /// News of the log; durable ones merge, so few are enough.
    pub notices: usize,
    /// Questions under way to the store, and answers back.
    pub queries: usize,
}

impl Default for Capacities {
    fn default() -> Self {
        Self { appends: 4096, notices: 64, queries: 1024 }
    }
}

/// What became of records.
#[derive(Clone, Debug)]
pub enum LogNotice {
    Durable { up_to: u64 },
    Refused { from: u64, epoch: u32, reason: Arc<str> },
}

/// The shard's ends.
#[derive(Debug)]
pub struct ShardLinks {
    pub appends: Outgoing<Append>,
    pub notices: Receiver<LogNotice>,
    pub queries: Outgoing<(u64, Query)>,
    pub answers: Receiver<(u64, Answer)>,
}

/// The log's ends for one shard.
#[derive(Debug)]
pub struct LogLink {
    pub shard: ShardId,
    pub appends: Receiver<Append>,
    pub notices: Outgoing<LogNotice>,
}

/// The store's ends for one shard.
#[derive(Debug)]
pub struct StoreLink {
    pub queries: Receiver<(u64, Query)>,
    pub answers: Outgoing<(u64, Answer)>,
}

/// Rings between `shard` and the storage threads; each end wakes the other through its sleeper.
pub fn links(
    shard: ShardId,
    shard_sleeper: &Arc<Sleeper>,
    log_sleeper: &Arc<Sleeper>,
    store_sleeper: &Arc<Sleeper>,
) -> (ShardLinks, LogLink, StoreLink) {
    links_with(Capacities::default(), shard, shard_sleeper, log_sleeper, store_sleeper)
}

/// The same, with rings of other sizes.
pub fn links_with(
    capacities: Capacities,
    shard: ShardId,
    shard_sleeper: &Arc<Sleeper>,
    log_sleeper: &Arc<Sleeper>,
    store_sleeper: &Arc<Sleeper>,
) -> (ShardLinks, LogLink, StoreLink) {
    let (appends, appends_end) = channel(capacities.appends);
    let (notices, notices_end) = channel(capacities.notices);
    let (queries, queries_end) = channel(capacities.queries);
    let (answers, answers_end) = channel(capacities.queries);
    let shard_links = ShardLinks {
        appends: Outgoing::new(appends, log_sleeper),
        notices: notices_end,
        queries: Outgoing::new(queries, store_sleeper),
        answers: answers_end,
    };
    let log = LogLink { shard, appends: appends_end, notices: Outgoing::new(notices, shard_sleeper) };
    let store = StoreLink { queries: queries_end, answers: Outgoing::new(answers, shard_sleeper) };
    (shard_links, log, store)
}

/// A ring's sending end that keeps what does not fit, in order. What bounds the kept ones stands where it is used.
#[derive(Debug)]
pub struct Outgoing<T> {
    ring: Sender<T>,
    kept: VecDeque<T>,
    peer: Arc<Sleeper>,
    sent: bool,
}

impl<T: Send> Outgoing<T> {
    pub fn new(ring: Sender<T>, peer: &Arc<Sleeper>) -> Self {
        Self { ring, kept: VecDeque::new(), peer: peer.clone(), sent: false }
    }

    pub fn send(&mut self, item: T) {
        if !self.kept.is_empty() {
            return self.kept.push_back(item);
        }
        match self.ring.try_send(item) {
            Ok(()) => self.sent = true,
            Err(item) => self.kept.push_back(item),
        }
    }

    /// Sends what was kept, as far as it fits, and wakes the peer if it sleeps. To be called at the end of a turn.
    pub fn flush(&mut self) {
        while let Some(item) = self.kept.pop_front() {
            match self.ring.try_send(item) {
                Ok(()) => self.sent = true,
                Err(item) => {
                    self.kept.push_front(item);
                    break;
                }
            }
        }
        if std::mem::take(&mut self.sent) {
            self.peer.wake();
        }
    }

    /// Some did not fit: call [`Outgoing::flush`] again soon.
    pub fn is_clogged(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The newest of the kept ones.
    pub fn last_kept(&mut self) -> Option<&mut T> {
        self.kept.back_mut()
    }
}
