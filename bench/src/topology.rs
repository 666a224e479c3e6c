//! Who is a member of what, and who sends where. Follows from four numbers, so that `load` and `floor` do the same
//! work and a run can be repeated.

use std::collections::HashSet;

/// Users `0..users`, of whom `0..senders` send, each in turn to every conversation it is a member of.
#[derive(Debug)]
pub struct Topology {
    users: u32,
    senders: u32,
    members: Vec<Vec<u32>>,
    conversations: Vec<Vec<u32>>,
}

/// The four numbers. `users` is as many as give every member of every conversation its own session where the
/// senders allow it, unless said.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub senders: u32,
    pub conversations: u32,
    pub members: u32,
    pub users: Option<u32>,
}

impl Topology {
    /// Errors say which number does not fit the others, and what to change.
    pub fn new(shape: Shape) -> Result<Self, String> {
        let Shape { senders, conversations, members, users } = shape;
        for (name, value) in
            [("--senders", senders), ("--conversations", conversations), ("--members", members)]
        {
            if value == 0 {
                return Err(format!("{name} is 0; give at least 1"));
            }
        }
        let spread = u64::from(members) * u64::from(conversations.min(senders));
        let users = users.unwrap_or(u32::try_from(spread).unwrap_or(u32::MAX).max(senders).max(members));
        if users < members || users < senders {
            return Err(format!(
                "--users {users} is less than --members {members} or --senders {senders}; raise --users"
            ));
        }
        let members: Vec<Vec<u32>> =
            (0..conversations).map(|index| members_of(index, senders, members, users)).collect();
        let mut conversations = vec![Vec::new(); users as usize];
        for (index, members) in (0_u32..).zip(&members) {
            for &user in members {
                conversations[user as usize].push(index);
            }
        }
        if let Some(idle) = conversations[..senders as usize].iter().position(Vec::is_empty) {
            return Err(format!(
                "sender {idle} is a member of no conversation; raise --conversations or --members, or lower --senders"
            ));
        }
        Ok(Self { users, senders, members, conversations })
    }

    #[must_use]
    pub fn users(&self) -> u32 {
        self.users
    }

    #[must_use]
    pub fn senders(&self) -> u32 {
        self.senders
    }

    /// Members of each conversation; the first one creates it.
    #[must_use]
    pub fn members(&self) -> &[Vec<u32>] {
        &self.members
    }

    /// Conversations of a user, ascending.
    #[must_use]
    pub fn conversations_of(&self, user: u32) -> &[u32] {
        &self.conversations[user as usize]
    }

    /// The conversation that message `count` (from 0) of a sender goes to.
    #[must_use]
    pub fn target(&self, sender: u32, count: u64) -> u32 {
        let conversations = self.conversations_of(sender);
        let turn = count % conversations.len() as u64;
        conversations[usize::try_from(turn).expect("less than the number of conversations")]
    }

    /// Two conversations with the same two members; as direct conversations they would be one.
    #[must_use]
    pub fn repeated_pair(&self) -> Option<(u32, u32)> {
        let mut pairs = HashSet::new();
        self.members.iter().find_map(|members| {
            let (low, high) = (*members.iter().min()?, *members.iter().max()?);
            (!pairs.insert((low, high))).then_some((low, high))
        })
    }
}

/// The first member is a sender; the others lie a stride apart, shifted by one for each time round the senders, so
/// that members of a conversation are distinct and conversations of one sender reach different users.
fn members_of(conversation: u32, senders: u32, members: u32, users: u32) -> Vec<u32> {
    let stride = users / members;
    let first = conversation % senders;
    let shift = (conversation / senders) % stride;
    let other = |place: u32| (u64::from(first) + u64::from(place * stride + shift)) % u64::from(users);
    std::iter::once(first)
        .chain((1..members).map(|place| u32::try_from(other(place)).expect("less than users")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(senders: u32, conversations: u32, members: u32) -> Shape {
        Shape { senders, conversations, members, users: None }
    }

    #[test]
    fn groups_of_fifty_cover_a_thousand_sessions() {
        let topology = Topology::new(shape(20, 20, 50)).unwrap();
        assert_eq!(topology.users(), 1000);
        assert!((0..1000).all(|user| topology.conversations_of(user).len() == 1));
    }

    #[test]
    fn pairs_of_direct_conversations_differ() {
        let topology = Topology::new(shape(1000, 1000, 2)).unwrap();
        assert_eq!(topology.users(), 2000);
        assert_eq!(topology.repeated_pair(), None);
        let cramped = Topology::new(Shape { users: Some(1000), ..shape(1000, 1000, 2) }).unwrap();
        assert_eq!(cramped.repeated_pair(), Some((0, 500)));
    }

    #[test]
    fn a_sender_without_a_conversation_is_refused() {
        let error = Topology::new(Shape { users: Some(10), ..shape(3, 1, 2) }).unwrap_err();
        assert!(error.starts_with("sender 1 is a member of no conversation"), "{error}");
    }

    proptest! {
        #[test]
        fn members_are_distinct_and_lists_agree(senders in 1_u32..40, conversations in 1_u32..80,
                                                members in 1_u32..20, extra in 0_u32..50) {
            let users = senders.max(members) + extra;
            let shape = Shape { senders, conversations, members, users: Some(users) };
            let Ok(topology) = Topology::new(shape) else { return Ok(()) };
            for (index, list) in (0_u32..).zip(topology.members()) {
                let distinct: HashSet<_> = list.iter().collect();
                prop_assert_eq!(distinct.len(), members as usize);
                prop_assert!(list[0] < senders);
                prop_assert!(list.iter().all(|&user| topology.conversations_of(user).contains(&index)));
            }
            for sender in 0..senders {
                prop_assert!(topology.members()[topology.target(sender, 7) as usize].contains(&sender));
            }
        }
    }
}
