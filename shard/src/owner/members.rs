//! The members of a conversation, as the owner needs them: to check one, and to address all by their home shards.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tidegate_wire::UserId;
use tidegate_wire::frames::ConversationKind;

use crate::contract::ShardId;
use crate::placement::home_of;

/// Who belongs, grouped by home shard; each group is shared with the envelopes that are under way.
#[derive(Debug, Default)]
pub struct Members {
    homes: Vec<(ShardId, Arc<[UserId]>)>,
}

impl Members {
    pub fn new(members: impl IntoIterator<Item = UserId>, shards: u16) -> Self {
        let mut placed: Vec<_> = members.into_iter().map(|user| (home_of(user, shards), user)).collect();
        placed.sort_unstable();
        placed.dedup();
        let homes = placed
            .chunk_by(|a, b| a.0 == b.0)
            .map(|chunk| (chunk[0].0, chunk.iter().map(|(_, user)| *user).collect()))
            .collect();
        Self { homes }
    }

    #[must_use]
    pub fn contains(&self, user: UserId) -> bool {
        self.homes.iter().any(|(_, users)| users.binary_search(&user).is_ok())
    }

    pub fn by_home(&self) -> impl Iterator<Item = (ShardId, &Arc<[UserId]>)> {
        self.homes.iter().map(|(home, users)| (*home, users))
    }
}

/// What the store keeps about a conversation beside its members.
///
/// ```text
///  0       1      2         10            18
///  | v = 1 | kind | creator | created ms  | name, UTF-8 ...
/// ```
/// Numbers little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub kind: ConversationKind,
    pub creator: UserId,
    pub created: u64,
    pub name: Box<str>,
}

impl Meta {
    const VERSION: u8 = 1;

    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(18 + self.name.len());
        bytes.put_u8(Self::VERSION);
        bytes.put_u8(self.kind as u8);
        bytes.put_u64_le(self.creator.0);
        bytes.put_u64_le(self.created);
        bytes.put_slice(self.name.as_bytes());
        bytes.freeze()
    }

    /// `None` if the bytes are of another version or damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, name) = bytes.split_first_chunk::<18>()?;
        let [Self::VERSION, kind, numbers @ ..] = head else { return None };
        let (creator, created) = numbers.split_first_chunk::<8>()?;
        Some(Self {
            kind: ConversationKind::try_from(*kind).ok()?,
            creator: UserId(u64::from_le_bytes(*creator)),
            created: u64::from_le_bytes(created.try_into().ok()?),
            name: std::str::from_utf8(name).ok()?.into(),
        })
    }
}

/// What the store keeps about a membership: version 1, role (1 member, 2 admin, 3 owner).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    Member = 1,
    Owner = 3,
}

impl Role {
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&[1, self as u8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_addressed_once_each() {
        let members = Members::new([3, 1, 2, 3, 99].map(UserId), 4);
        assert!(members.contains(UserId(99)) && !members.contains(UserId(4)));
        let mut all: Vec<_> = members.by_home().flat_map(|(_, users)| users.iter().copied()).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 99].map(UserId));
        for (home, users) in members.by_home() {
            assert!(users.iter().all(|user| home_of(*user, 4) == home));
        }
    }

    #[test]
    fn meta_keeps_its_bytes() {
        let meta =
            Meta { kind: ConversationKind::Group, creator: UserId(7), created: 9, name: "Zoë".into() };
        let bytes = meta.to_bytes();
        assert_eq!(&bytes[..], b"\x01\x02\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0Zo\xc3\xab");
        assert_eq!(Meta::from_bytes(&bytes), Some(meta));
        assert_eq!(Meta::from_bytes(&bytes[..17]), None);
        assert_eq!(Meta::from_bytes(b"\x02\x02\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0"), None);
    }
}
