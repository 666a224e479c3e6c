//! Which shard owns a conversation, which one is a user's home, and the ids that follow from users.

use sha2::{Digest, Sha256};
use tidegate_wire::{ConversationId, UserId};

use crate::contract::ShardId;

/// The shard that orders this conversation.
#[must_use]
pub fn owner_of(conversation: ConversationId, shards: u16) -> ShardId {
    pick(mix(conversation.0 as u64 ^ mix((conversation.0 >> 64) as u64)), shards)
}

/// The shard where all sessions of this user live.
#[must_use]
pub fn home_of(user: UserId, shards: u16) -> ShardId {
    pick(mix(user.0 ^ 0x9e37_79b9_7f4a_7c15), shards)
}

/// The conversation of two users (or of one with itself): the same from both sides, different for all others.
///
/// UUID version 8 (RFC 9562 section 5.8) over SHA-256 of `tidegate.direct`, the smaller and the greater user id, as
/// big-endian 64-bit numbers.
#[must_use]
pub fn direct_conversation(a: UserId, b: UserId) -> ConversationId {
    let mut hash = Sha256::new();
    hash.update(b"tidegate.direct");
    hash.update(a.min(b).0.to_be_bytes());
    hash.update(a.max(b).0.to_be_bytes());
    let digest = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    ConversationId(with_version(u128::from_be_bytes(id), 8))
}

/// UUID version 7 (RFC 9562 section 5.7): time, then 74 random bits.
#[must_use]
pub fn new_conversation(wall_ms: u64, random: u128) -> ConversationId {
    ConversationId(with_version(u128::from(wall_ms) << 80 | random & ((1 << 80) - 1), 7))
}

fn with_version(bits: u128, version: u128) -> u128 {
    bits & !(0xf << 76) & !(0b11 << 62) | version << 76 | 0b10 << 62
}

/// Finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every output bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Maps a hash to 0..shards without a division (Lemire 2019).
fn pick(hash: u64, shards: u16) -> ShardId {
    ShardId(((u128::from(hash) * u128::from(shards)) >> 64) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_conversation_is_the_same_from_both_sides() {
        let id = direct_conversation(UserId(1), UserId(2));
        assert_eq!(id, direct_conversation(UserId(2), UserId(1)));
        assert_ne!(id, direct_conversation(UserId(1), UserId(3)));
        assert_ne!(id, direct_conversation(UserId(1), UserId(1)));
        assert_eq!(id.to_string().as_bytes()[14], b'8', "{id}");
    }

    #[test]
    fn users_and_conversations_spread_evenly() {
        let shards = 7;
        let mut homes = [0u32; 7];
        let mut owners = [0u32; 7];
        for n in 1..=7000 {
            homes[home_of(UserId(n), shards).0 as usize] += 1;
            owners[owner_of(direct_conversation(UserId(n), UserId(n + 1)), shards).0 as usize] += 1;
        }
        for count in homes.into_iter().chain(owners) {
            assert!((800..1200).contains(&count), "{homes:?} {owners:?}");
        }
    }
}
