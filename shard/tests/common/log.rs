//! A log that commits, refuses and keeps silent on command. It knows epochs as the real one does: after a refusal it
//! drops what a shard appended before it heard of it.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_shard::contract::{Input, Row};
use tidegate_shard::{Append, ShardId};

use super::store::Store;

#[derive(Debug)]
pub struct Log {
    forming: VecDeque<(usize, Append)>,
    streams: Vec<Stream>,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    epoch: u32,
    last_ticket: u64,
    news: VecDeque<News>,
}

#[derive(Clone, Debug)]
pub enum News {
    Durable { up_to: u64 },
    Refused { from: u64, epoch: u32 },
}

impl News {
    pub fn input(self) -> Input<'static> {
        match self {
            Self::Durable { up_to } => Input::Durable { up_to },
            Self::Refused { from, epoch } => {
                Input::Refused { from, epoch, reason: Arc::from("the disk is full") }
            }
        }
    }
}

impl Log {
    pub fn new(shards: u16) -> Self {
        Self { forming: VecDeque::new(), streams: vec![Stream::default(); shards.into()] }
    }

    pub fn push(&mut self, from: ShardId, append: Append) {
        let stream = &mut self.streams[usize::from(from.0)];
        assert_eq!(append.ticket, stream.last_ticket + 1, "tickets count up by one");
        assert!(!append.rows.is_empty(), "an append without rows");
        stream.last_ticket = append.ticket;
        assert!(append.epoch <= stream.epoch, "an epoch that has not begun");
        if append.epoch == stream.epoch {
            self.forming.push_back((from.0.into(), append));
        }
    }

    pub fn forming(&self) -> usize {
        self.forming.len()
    }

    pub fn forming_rows(&self) -> Vec<Row> {
        self.forming.iter().flat_map(|(_, append)| append.rows.clone()).collect()
    }

    /// The first `count` appends become durable: the store has them before any shard hears of it.
    pub fn commit(&mut self, count: usize, store: &mut Store) {
        for (shard, append) in self.forming.drain(..count) {
            store.apply(&append.rows);
            self.streams[shard].news.push_back(News::Durable { up_to: append.ticket });
        }
    }

    /// Everything but the first `kept` appends is refused.
    pub fn refuse(&mut self, kept: usize) {
        let refused: Vec<_> = self.forming.drain(kept..).collect();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            if let Some((_, first)) = refused.iter().find(|(shard, _)| *shard == index) {
                stream.epoch += 1;
                stream.news.push_back(News::Refused { from: first.ticket, epoch: stream.epoch });
            }
        }
    }

    pub fn next_news(&mut self, shard: usize) -> Option<News> {
        self.streams[shard].news.pop_front()
    }
}
