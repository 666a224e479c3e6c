//! Promise: 100 000 messages of 50 senders in 200 conversations of 4 members: nothing lost, nothing twice, and every
//! member's socket has every conversation as 1..n.
//! Guards against: lost wake-ups, rings that drop, fan-out that overtakes itself, members that disagree.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_e2e::fleet::{Member, Seen, check_whole, members_of};
use tidegate_e2e::{BinarySession, Gateway};

const USERS: u64 = 50;
const CONVERSATIONS: u64 = 200;
const SENDS_PER_USER: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_arrive_once_and_in_order() {
    let gateway = Gateway::start();
    let conversations = create_conversations(&gateway).await;
    let tokens: Vec<String> = (1..=USERS).map(|user| gateway.token(user, 1)).collect();
    let shared = Arc::new(gateway);
    let mut tasks = Vec::new();
    for (user, token) in (1..=USERS).zip(tokens) {
        let own: Vec<u128> = conversations.iter().filter(|(_, m)| m.contains(&user)).map(|(id, _)| *id).collect();
        let expected = expected_for(user, &conversations);
        let member = Member { user, conversations: own, sends: SENDS_PER_USER, expected };
        let gateway = Arc::clone(&shared);
        tasks.push((user, tokio::spawn(async move { member.run(&gateway, &token).await })));
    }
    let mut agreed: BTreeMap<u128, Vec<u128>> = BTreeMap::new();
    for (user, task) in tasks {
        let seen: BTreeMap<u128, Seen> = task.await.expect("the user's session went well");
        for (conversation, seen) in seen {
            let order = check_whole(user, conversation, &seen);
            let others = agreed.entry(conversation).or_insert_with(|| order.clone());
            assert_eq!(*others, order, "user {user} has another order of {conversation:032x}");
        }
    }
    assert_eq!(agreed.len() as u64, CONVERSATIONS);
    assert_eq!(agreed.values().map(Vec::len).sum::<usize>() as u64, USERS * SENDS_PER_USER);
    Arc::into_inner(shared).expect("every session has ended").assert_sound();
}

/// By devices that are gone before the load begins.
async fn create_conversations(gateway: &Gateway) -> Vec<(u128, [u64; 4])> {
    let mut conversations = Vec::new();
    for creator in 1..=USERS {
        let mut session = BinarySession::online(gateway, creator, 1_000).await;
        for index in (0..CONVERSATIONS).filter(|index| members_of(*index, USERS)[0] == creator) {
            let members = members_of(index, USERS);
            conversations.push((session.create_group(&members).await, members));
        }
    }
    conversations
}

/// Messages that others send into the user's conversations: everybody goes round robin over the own ones.
fn expected_for(user: u64, conversations: &[(u128, [u64; 4])]) -> u64 {
    let others = (1..=USERS).filter(|other| *other != user);
    let into_mine = |other: u64| {
        let theirs: Vec<_> = conversations.iter().filter(|(_, members)| members.contains(&other)).collect();
        let count = theirs.len() as u64;
        let shared = theirs.iter().enumerate().filter(|(_, (_, members))| members.contains(&user));
        shared.map(|(at, _)| SENDS_PER_USER / count + u64::from((at as u64) < SENDS_PER_USER % count)).sum::<u64>()
    };
    others.map(into_mine).sum()
}
