//! Merges the records of all shards into commit groups of one log, and tells the shards what became of them.
//!
//! Owns the log. Does not block: [`log_thread`](crate::storage_threads) performs the commits it hands out, a
//! simulator lets time pass and crashes in between. The order that everything rests on: a durable group is handed to
//! the store *before* any shard hears of it, so a question asked after the news is answered with it.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_storage::Append;
use tidegate_storage::embedded::disk::Disk;
use tidegate_storage::embedded::log::{
    Commit, CommitError, DurableGroup, Finished, Log, RejectReason, Rejected,
};

use crate::links::{LogLink, LogNotice, Outgoing};

/// Records taken from one shard before the next has its turn.
const RECORDS_PER_ROUND: usize = 64;

#[derive(Debug)]
pub struct LogWorker<D> {
    log: Log<D>,
    links: Vec<LogLink>,
    /// Taken from a ring, but the forming group was full.
    held: Option<Append>,
    to_store: Outgoing<DurableGroup>,
    /// News that must wait until the store has taken its group.
    news: VecDeque<(u16, u64)>,
    pub counters: LogCounters,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct LogCounters {
    pub groups: u64,
    pub records: u64,
    pub bytes: u64,
    pub refused: u64,
}

/// The log cannot go on: the process must end and recover from the disk.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be written: {0}. Nothing more is acknowledged; look at the disk, then start again")]
pub struct Poisoned(pub std::io::Error);

impl<D: Disk> LogWorker<D> {
    pub fn new(log: Log<D>, links: Vec<LogLink>, to_store: Outgoing<DurableGroup>) -> Self {
        Self { log, links, held: None, to_store, news: VecDeque::new(), counters: LogCounters::default() }
    }

    /// Takes what the shards have appended into the forming group.
    pub fn collect(&mut self) {
        if let Some(append) = self.held.take()
            && !self.push(append)
        {
            return;
        }
        loop {
            let mut took = false;
            for index in 0..self.links.len() {
                for _ in 0..RECORDS_PER_ROUND {
                    let Some(append) = self.links[index].appends.try_take() else { break };
                    took = true;
                    if !self.push(append) {
                        return;
                    }
                }
            }
            if !took {
                return;
            }
        }
    }

    /// False when the group is full.
    fn push(&mut self, append: Append) -> bool {
        match self.log.push(append) {
            Ok(()) => true,
            // Its shard will hear, or has heard, of the refusal that made it stale.
            Err(Rejected { reason: RejectReason::Stale, .. }) => {
                self.counters.refused += 1;
                true
            }
            Err(Rejected { append, reason: RejectReason::Full }) => {
                self.held = Some(append);
                false
            }
            Err(Rejected { append, reason }) => {
                panic!("record {} of shard {} cannot be appended: {reason}", append.ticket, append.stream)
            }
        }
    }

    /// The next group, if one can go. `None` while the store has not taken the one before.
    pub fn begin(&mut self) -> Option<Commit> {
        if self.to_store.is_clogged() { None } else { self.log.begin() }
    }

    pub fn finish(&mut self, commit: Commit, result: Result<(), CommitError>) -> Result<(), Poisoned> {
        let bytes = commit.bytes() as u64;
        match self.log.finish(commit, result) {
            Finished::Durable(group) => {
                self.counters.groups += 1;
                self.counters.records += group.appends.len() as u64;
                self.counters.bytes += bytes;
                self.news.extend(group.durable_tickets());
                self.to_store.send(group);
            }
            Finished::Refused { error, appends, streams } => {
                tracing::error!(%error, records = appends.len(), "the log refused records; their senders are told");
                self.counters.refused += appends.len() as u64;
                let reason: Arc<str> = error.to_string().into();
                for refused in streams {
                    let (from, epoch, reason) = (refused.from_ticket, refused.epoch, reason.clone());
                    self.link(refused.stream).notices.send(LogNotice::Refused { from, epoch, reason });
                }
            }
            Finished::Poisoned { error } => return Err(Poisoned(error)),
        }
        self.flush();
        Ok(())
    }

    /// Passes on what waits: groups to the store, then news to the shards.
    pub fn flush(&mut self) {
        self.to_store.flush();
        if !self.to_store.is_clogged() {
            while let Some((stream, up_to)) = self.news.pop_front() {
                let notices = &mut self.link(stream).notices;
                match notices.last_kept() {
                    Some(LogNotice::Durable { up_to: earlier }) => *earlier = up_to,
                    _ => notices.send(LogNotice::Durable { up_to }),
                }
            }
        }
        for link in &mut self.links {
            link.notices.flush();
        }
    }

    /// Nothing is left to commit or to pass on.
    pub fn is_idle(&self) -> bool {
        self.held.is_none()
            && !self.log.has_forming()
            && !self.is_clogged()
            && self.links.iter().all(|link| link.appends.is_empty())
    }

    /// Records are there, but no segment is: whoever prepares it rings.
    pub fn waits_for_segment(&self) -> bool {
        (self.held.is_some() || self.log.has_forming()) && !self.to_store.is_clogged()
    }

    pub fn is_clogged(&self) -> bool {
        self.to_store.is_clogged() || self.links.iter().any(|link| link.notices.is_clogged())
    }

    pub fn log(&mut self) -> &mut Log<D> {
        &mut self.log
    }

    fn link(&mut self, stream: u16) -> &mut LogLink {
        let link = &mut self.links[usize::from(stream)];
        assert_eq!(link.shard.0, stream, "links stand in the order of their shards");
        link
    }
}
