//! Server message ids: 64 bits that sort by time.
//!
//! ```text
//!  63            23 22     16 15    9 8         0
//!  | ms since 2025 |  node   | shard |  counter  |
//!     41 bits         7         7        9
//! ```
//! More than 512 ids in one millisecond borrow from the next one: ids stay unique and rising, and run ahead of the
//! clock by 1 ms per 512 surplus ids. A clock that jumps back is ignored until it has caught up.

use tidegate_wire::MessageId;

/// 2025-01-01T00:00:00Z in milliseconds since 1970.
const EPOCH_MS: u64 = 1_735_689_600_000;
const COUNTER_BITS: u32 = 9;
const SHARD_BITS: u32 = 7;
const NODE_BITS: u32 = 7;

/// Shards an id can tell apart.
pub const SHARDS_MAX: u16 = 1 << SHARD_BITS;
/// Nodes an id can tell apart.
pub const NODES_MAX: u16 = 1 << NODE_BITS;

#[derive(Debug)]
pub struct Snowflake {
    place: u64,
    /// Milliseconds and counter of the last id, as one number.
    last: u64,
}

impl Snowflake {
    /// `floor_ms`: no id is of an earlier time, whatever the clock says (from the log's newest record).
    #[must_use]
    pub fn new(node: u16, shard: u16, floor_ms: u64) -> Self {
        assert!(node < NODES_MAX, "node {node} does not fit {NODE_BITS} bits");
        assert!(shard < SHARDS_MAX, "shard {shard} does not fit {SHARD_BITS} bits");
        let place = (u64::from(node) << SHARD_BITS | u64::from(shard)) << COUNTER_BITS;
        Self { place, last: floor_ms.saturating_sub(EPOCH_MS).saturating_add(1) << COUNTER_BITS }
    }

    pub fn next(&mut self, wall_ms: u64) -> MessageId {
        let time = wall_ms.saturating_sub(EPOCH_MS) << COUNTER_BITS;
        self.last = time.max(self.last + 1);
        let counter = self.last & ((1 << COUNTER_BITS) - 1);
        let time = self.last >> COUNTER_BITS;
        MessageId(time << (COUNTER_BITS + SHARD_BITS + NODE_BITS) | self.place | counter)
    }
}

/// The time in an id, in milliseconds since 1970.
#[must_use]
pub fn time_of(id: MessageId) -> u64 {
    (id.0 >> (COUNTER_BITS + SHARD_BITS + NODE_BITS)) + EPOCH_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = EPOCH_MS + 1_000_000;

    #[test]
    fn ids_rise_through_bursts_and_clock_jumps() {
        let mut ids = Snowflake::new(3, 5, 0);
        let mut last = MessageId(0);
        for ms in [NOON; 2000].into_iter().chain([NOON - 5000, NOON + 1, NOON + 10_000, 0]) {
            let id = ids.next(ms);
            assert!(id > last, "{id} after {last}");
            assert_eq!(id.0 >> 9 & 0x7f, 5);
            assert_eq!(id.0 >> 16 & 0x7f, 3);
            last = id;
        }
    }

    #[test]
    fn no_id_is_older_than_the_log() {
        let newest_in_log = Snowflake::new(0, 0, 0).next(NOON);
        assert!(Snowflake::new(0, 0, NOON).next(NOON - 60_000) > newest_in_log);
    }
}
