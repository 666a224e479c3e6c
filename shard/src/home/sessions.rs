//! The sessions of this shard and which user they belong to. One slot per connection slot of the driver; nothing is
//! allocated for a session while it is idle.

use tidegate_wire::{DeviceId, Encoding, UserId};

use super::catch_up::CatchUp;
use crate::Map;
use crate::contract::{ConnectionId, Login};

/// One authenticated device on a connection.
#[derive(Debug)]
pub struct Session {
    pub user: UserId,
    pub device: DeviceId,
    /// Present while the session is behind: after hello, after a sync, after reading too slowly.
    pub catch_up: Option<Box<CatchUp>>,
    generation: u32,
    /// Slot of the user's next session; `NONE` at the end.
    next_of_user: u32,
    /// Seconds since 1970, to 2106.
    pub expires_at: u32,
    /// Bytes the socket did not take, and what was sent since; 0 while it takes everything.
    pub unsent: u32,
    /// Requests that wait for their answer.
    pub requests: u16,
    pub encoding: Encoding,
    /// Has said hello, or was treated as if.
    pub greeted: bool,
    /// Not read from, because of its requests or of what it does not read.
    pub paused: bool,
}

/// One byte more per session is 10 MB on a full box.
const _: () = assert!(size_of::<Option<Session>>() <= 48);

const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub struct Sessions {
    slots: Vec<Option<Session>>,
    /// First of a user's sessions; the others are chained.
    by_user: Map<UserId, u32>,
    count: usize,
}

impl Sessions {
    /// `by_user`: an empty map.
    pub fn new(by_user: Map<UserId, u32>) -> Self {
        Self { slots: Vec::new(), by_user, count: 0 }
    }

    pub fn open(&mut self, connection: ConnectionId, login: Login) {
        let slot = connection.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        assert!(self.slots[slot].is_none(), "{connection:?} already carries a session");
        let next_of_user = self.by_user.insert(login.user, connection.slot).unwrap_or(NONE);
        self.slots[slot] = Some(Session {
            user: login.user,
            device: login.device,
            catch_up: None,
            generation: connection.generation,
            next_of_user,
            expires_at: u32::try_from(login.expires_at).unwrap_or(u32::MAX),
            unsent: 0,
            requests: 0,
            encoding: login.encoding,
            greeted: false,
            paused: false,
        });
        self.count += 1;
    }

    /// `None` when the connection is gone, or was never logged in.
    pub fn get(&mut self, connection: ConnectionId) -> Option<&mut Session> {
        let session = self.slots.get_mut(connection.slot as usize)?.as_mut()?;
        (session.generation == connection.generation).then_some(session)
    }

    pub fn close(&mut self, connection: ConnectionId) -> Option<Session> {
        self.get(connection)?;
        let session = self.slots[connection.slot as usize].take()?;
        self.count -= 1;
        let first = self.by_user.get_mut(&session.user).expect("an open session is in its user's chain");
        if *first == connection.slot {
            if session.next_of_user == NONE {
                self.by_user.remove(&session.user);
            } else {
                *first = session.next_of_user;
            }
        } else {
            let mut slot = *first;
            loop {
                let other = self.slots[slot as usize].as_mut().expect("a chain holds open sessions");
                if other.next_of_user == connection.slot {
                    other.next_of_user = session.next_of_user;
                    break;
                }
                slot = other.next_of_user;
            }
        }
        Some(session)
    }

    /// Calls with each session of a user.
    pub fn each_of(&mut self, user: UserId, mut visit: impl FnMut(ConnectionId, &mut Session)) {
        let mut slot = self.by_user.get(&user).copied().unwrap_or(NONE);
        while slot != NONE {
            let session = self.slots[slot as usize].as_mut().expect("a chain holds open sessions");
            slot = {
                let next = session.next_of_user;
                visit(ConnectionId { slot, generation: session.generation }, session);
                next
            };
        }
    }

    /// The session of this device, if it has one.
    pub fn of_device(&mut self, user: UserId, device: DeviceId) -> Option<ConnectionId> {
        let mut found = None;
        self.each_of(user, |connection, session| {
            if session.device == device {
                found = Some(connection);
            }
        });
        found
    }

    /// Sessions in a range of slots.
    pub fn range(&self, slots: std::ops::Range<usize>) -> impl Iterator<Item = (ConnectionId, &Session)> {
        let end = slots.end.min(self.slots.len());
        let start = slots.start.min(end);
        self.slots[start..end].iter().zip(start..).filter_map(|(session, slot)| {
            let session = session.as_ref()?;
            Some((ConnectionId { slot: slot as u32, generation: session.generation }, session))
        })
    }

    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn login(user: u64, device: u64) -> Login {
        Login { user: UserId(user), device: DeviceId(device), encoding: Encoding::Json, expires_at: 1 }
    }

    #[test]
    fn the_chains_agree_with_a_map() {
        let mut sessions = Sessions::new(Map::default());
        let mut model = BTreeMap::new();
        let mut random = 1u64;
        for step in 0..20_000u32 {
            random = crate::placement::mix(random.wrapping_add(step.into()));
            let slot = (random % 16) as u32;
            if let Some((connection, _)) = model.remove(&slot) {
                assert!(sessions.close(connection).is_some());
                assert!(sessions.close(connection).is_none());
            } else {
                let connection = ConnectionId { slot, generation: step };
                let user = random >> 32 & 3;
                sessions.open(connection, login(user, u64::from(step)));
                model.insert(slot, (connection, user));
            }
            for user in 0..4 {
                let mut seen = Vec::new();
                sessions.each_of(UserId(user), |connection, _| seen.push(connection));
                seen.sort_unstable();
                let expected: Vec<_> =
                    model.values().filter(|(_, of)| *of == user).map(|(connection, _)| *connection).collect();
                assert_eq!(seen, expected);
            }
            assert_eq!(sessions.count(), model.len());
        }
    }

    #[test]
    fn a_reused_slot_is_not_the_connection_that_had_it_before() {
        let mut sessions = Sessions::new(Map::default());
        let old = ConnectionId { slot: 3, generation: 1 };
        sessions.open(old, login(1, 1));
        sessions.close(old);
        sessions.open(ConnectionId { slot: 3, generation: 2 }, login(2, 1));
        assert!(sessions.get(old).is_none());
        assert!(sessions.close(old).is_none());
    }
}
