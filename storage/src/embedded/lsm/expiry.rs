//! Forgets idempotency keys while compacting. Time is the newest message's creation time: no clock is read, and a
//! gateway that stood still for a week forgets nothing before it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_tree::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};

use super::keys::{IDEMPOTENCY, IDEMPOTENCY_VALUE_BYTES};

pub struct Expiry {
    pub created_ms_max: Arc<AtomicU64>,
    pub window_ms: u64,
}

impl Factory for Expiry {
    fn name(&self) -> &str {
        "idempotency"
    }

    fn make_filter(&self, _ctx: &Context) -> Box<dyn CompactionFilter> {
        let newest = self.created_ms_max.load(Ordering::Relaxed);
        Box::new(Filter { oldest_kept_ms: newest.saturating_sub(self.window_ms) })
    }
}

struct Filter {
    oldest_kept_ms: u64,
}

impl CompactionFilter for Filter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _ctx: &Context) -> lsm_tree::Result<Verdict> {
        if item.key().first() != Some(&IDEMPOTENCY) {
            return Ok(Verdict::Keep);
        }
        let value = item.value()?;
        let expired = value.len() == IDEMPOTENCY_VALUE_BYTES
            && value.last_chunk().is_some_and(|created| u64::from_le_bytes(*created) < self.oldest_kept_ms);
        // Without a tombstone: an older version that reappears from a lower level has expired as well.
        Ok(if expired { Verdict::Destroy } else { Verdict::Keep })
    }
}
