//! What every part of a shard may use: the time of the input, the way out, counters, bounds.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;

use bytes::Bytes;
use foldhash::quality::FixedState;
use sha2::{Digest, Sha256};

use crate::Map;
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
    hash_seed: u64,
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
            random: derive(seed, b"ids"),
            hash_seed: derive(seed, b"hashes"),
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

    /// An empty map whose hashes peers cannot aim at.
    pub fn map<K, V>(&self) -> Map<K, V> {
        Map::with_hasher(self.hasher())
    }

    pub fn hasher(&self) -> FixedState {
        FixedState::with_seed(self.hash_seed)
    }

    /// Names a session in logs, and tells a client that it is still the same one.
    pub fn session_number(&self, connection: ConnectionId) -> u64 {
        self.hasher().hash_one((self.me, connection))
    }

    /// SplitMix64; for ids only.
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }
}

/// One seed for each purpose. SplitMix64 can be run backwards, and clients see its output as ids: without a one-way step
/// in between they would know the seed of the hashes.
fn derive(seed: u64, purpose: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"tidegate.seed.");
    hash.update(purpose);
    hash.update(seed.to_be_bytes());
    let digest = hash.finalize();
    let first: &[u8; 8] = digest.first_chunk().expect("SHA-256 has 32 bytes");
    u64::from_be_bytes(*first)
}
