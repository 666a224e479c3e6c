//! Promise: 100 000 messages of 50 senders in 200 conversations of 4 members: nothing lost, nothing twice, and every
//! member's socket has every conversation as 1..n.
//! The same on both drivers.
//! Guards against: lost wake-ups, rings that drop, fan-out that overtakes itself, members that disagree.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_e2e::fleet::{Plan, Seen, check_whole};
use tidegate_e2e::{Gateway, gateway};

const PLAN: Plan = Plan { users: 50, conversations: 200, sends_per_user: 2_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_arrive_once_and_in_order() {
    arrive_once_and_in_order(Gateway::start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_over_epoll() {
    let gateway = gateway::Start::default().arguments(&["--driver", "epoll"]).start();
    assert_eq!(gateway.ready["driver"], "epoll");
    arrive_once_and_in_order(gateway).await;
}

async fn arrive_once_and_in_order(gateway: Gateway) {
    let gateway = Arc::new(gateway);
    let conversations = PLAN.create(&gateway).await;
    let mut tasks = Vec::new();
    for user in 1..=PLAN.users {
        let (member, token) = (PLAN.member(user, &conversations), gateway.token(user, 1));
        let gateway = Arc::clone(&gateway);
        tasks.push((user, async move { member.run(&gateway, &token).await }));
    }
    // All tokens are there: everybody starts at once.
    let tasks: Vec<_> = tasks.into_iter().map(|(user, task)| (user, tokio::spawn(task))).collect();
    let mut agreed: BTreeMap<u128, Vec<u128>> = BTreeMap::new();
    for (user, task) in tasks {
        let seen: BTreeMap<u128, Seen> = task.await.expect("the user's session went well");
        for (conversation, seen) in seen {
            let order = check_whole(user, conversation, &seen);
            let others = agreed.entry(conversation).or_insert_with(|| order.clone());
            assert_eq!(*others, order, "user {user} has another order of {conversation:032x}");
        }
    }
    assert_eq!(agreed.len() as u64, PLAN.conversations);
    assert_eq!(agreed.values().map(Vec::len).sum::<usize>() as u64, PLAN.users * PLAN.sends_per_user);
    Arc::into_inner(gateway).expect("every session has ended").assert_sound();
}
