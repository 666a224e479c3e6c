//! What every part of a shard may use: the time of the input, the way out, counters, bounds.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::contract::{ConnectionId, Envelope, Now, Output, Query, ShardId};
use crate::counters::Counters;
use crate::limits::Limits;
use crate::placement::mix;

#[derive(Debug)]
pub struct Context {
    pub me: ShardId,
    pub shards: u16,
    pub node: u16,
    pub limits: Limits,
    pub now: Now,
    pub counters: Counters,
    pub out: VecDeque<Output>,
    /// Envelopes of this shard to itself; as ordered as a ring.
    pub local: VecDeque<Envelope>,
    queries: u64,
    random: u64,
}

impl Context {
    pub fn new(me: ShardId, shards: u16, node: u16, limits: Limits, seed: u64, now: Now) -> Self {
        Self {
            me,
            shards,
            node,
            limits,
            now,
            counters: Counters::default(),
            out: VecDeque::new(),
            local: VecDeque::new(),
            queries: 0,
            random: seed,
        }
    }

    pub fn envelope(&mut self, to: ShardId, envelope: Envelope) {
        if to == self.me {
            self.local.push_back(envelope);
        } else {
            self.out.push_back(Output::Envelope { to, envelope });
        }
    }

    pub fn send(&mut self, connection: ConnectionId, message: Bytes) {
        self.out.push_back(Output::Send { connection, message });
    }

    /// Asks the store; the answer comes with the returned ticket.
    pub fn query(&mut self, query: Query) -> u64 {
        self.queries += 1;
        self.out.push_back(Output::Query { ticket: self.queries, query });
        self.queries
    }

    /// SplitMix64; for ids only.
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }
}
