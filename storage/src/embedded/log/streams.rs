//! Who may append: the epoch of each stream. A refusal opens a new epoch, and everything older stays out.

use std::collections::BTreeMap;

use crate::Append;

#[derive(Debug, Default)]
pub(super) struct Streams {
    /// At most one entry per shard.
    streams: BTreeMap<u16, Stream>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Stream {
    epoch: u32,
    /// The last ticket accepted in this epoch.
    ticket: Option<u64>,
}

/// A stream that lost records to a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedStream {
    pub stream: u16,
    /// This record and every later one that was pushed or is under way is not in the log.
    pub from_ticket: u64,
    /// What the stream's next records must carry.
    pub epoch: u32,
}

impl Streams {
    pub fn is_stale(&self, append: &Append) -> bool {
        append.epoch < self.streams.get(&append.stream).map_or(0, |stream| stream.epoch)
    }

    /// # Panics
    /// When the stream's owner broke the order: tickets go up, and an epoch begins only with a refusal.
    pub fn accept(&mut self, append: &Append) {
        let stream = self.streams.entry(append.stream).or_default();
        assert_eq!(append.epoch, stream.epoch, "stream {} is ahead of its refusals", append.stream);
        assert!(
            stream.ticket.is_none_or(|last| append.ticket > last),
            "stream {}: ticket {} after {:?}",
            append.stream,
            append.ticket,
            stream.ticket
        );
        stream.ticket = Some(append.ticket);
    }

    /// Opens a new epoch for every stream in `refused`.
    pub fn refuse(&mut self, refused: &[Append]) -> Vec<RefusedStream> {
        let mut first = BTreeMap::new();
        for append in refused {
            first.entry(append.stream).or_insert(append.ticket);
        }
        let opened = first.into_iter().map(|(number, from_ticket)| {
            let stream = self.streams.entry(number).or_default();
            stream.epoch += 1;
            stream.ticket = None;
            RefusedStream { stream: number, from_ticket, epoch: stream.epoch }
        });
        opened.collect()
    }
}
