//! Feeds the store with durable groups and answers the shards' questions.
//!
//! Owns the store. One turn: take questions, *then* apply every group that is there, then answer. A shard asks after it
//! has heard that something is durable, and the log hands the group over before it tells: so the group is there.

use tidegate_storage::embedded::log::DurableGroup;
use tidegate_storage::store::StoreError;
use tidegate_storage::{Query, Store};

use crate::links::StoreLink;
use crate::mesh::Receiver;

/// Questions of one shard answered per turn.
const QUERIES_PER_TURN: usize = 64;

#[derive(Debug)]
pub struct StoreWorker<S> {
    store: S,
    groups: Receiver<DurableGroup>,
    links: Vec<StoreLink>,
    asked: Vec<(usize, u64, Query)>,
    pub queries: u64,
}

impl<S: Store> StoreWorker<S> {
    pub fn new(store: S, groups: Receiver<DurableGroup>, links: Vec<StoreLink>) -> Self {
        Self { store, groups, links, asked: Vec::new(), queries: 0 }
    }

    /// True if there was something to do.
    pub fn turn(&mut self) -> Result<bool, StoreError> {
        let Self { links, asked, .. } = self;
        for (index, link) in links.iter_mut().enumerate() {
            // A shard that does not take its answers is not asked for more questions.
            if link.answers.is_clogged() {
                continue;
            }
            let queries = std::iter::from_fn(|| link.queries.try_take()).take(QUERIES_PER_TURN);
            asked.extend(queries.map(|(ticket, query)| (index, ticket, query)));
        }
        let mut worked = !self.asked.is_empty();
        while let Some(group) = self.groups.try_take() {
            for (lsn, append) in group.records() {
                self.store.apply(lsn, &append.rows)?;
            }
            worked = true;
        }
        for (index, ticket, query) in self.asked.drain(..) {
            let answer = self.store.query(&query);
            self.queries += 1;
            self.links[index].answers.send((ticket, answer));
        }
        for link in &mut self.links {
            link.answers.flush();
        }
        Ok(worked)
    }

    pub fn is_idle(&self) -> bool {
        self.groups.is_empty()
            && self.links.iter().all(|link| link.queries.is_empty() && !link.answers.is_clogged())
    }

    pub fn is_clogged(&self) -> bool {
        self.links.iter().any(|link| link.answers.is_clogged())
    }

    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }
}
