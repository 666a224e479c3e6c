//! Promise: `kill -9` under load, again and again: every acknowledged message is there, everything unacknowledged that is
//! sent again appears once, sequences go on without a gap, and clients catch up in order.
//! Guards against: an acknowledgement before the sync, a sequence given twice, a client that loses its place.
//!
//! In the middle it is also stopped for some seconds and goes on: time has passed for everybody else, the kernel has gone on
//! filling its queues, and nobody may notice more than a delay.
//!
//! `TIDEGATE_CRASH_ROUNDS` sets how often the gateway is killed, `TIDEGATE_CRASH_STOP_SECONDS` how long it is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidegate_client::{
    Client, ClientMessageId, Config, Content, ConversationId, Event, Events, Outgoing, Sequence, Start,
    connect,
};
use tidegate_e2e::fleet::{Plan, client_id};
use tidegate_e2e::gateway::{self, free_address};
use tidegate_e2e::{BinarySession, Gateway, PATIENCE};
use tidegate_wire::request::HistoryRange::After;
use tokio::sync::watch;
use tokio::time::timeout;

const USERS: u64 = 40;
const CONVERSATIONS: u64 = 60;
const SENDS_PER_USER_AND_ROUND: u64 = 120;
const ROUNDS_DEFAULT: u64 = 4;
const STOP_SECONDS_DEFAULT: u64 = 3;
/// How long a user hears nothing at all, besides a stop: a client that found the gateway down seven times in a row waits up
/// to 30 s, and then up to 10 s for a connection.
const SILENCE: Duration = PATIENCE.saturating_mul(2);

/// What one user knows at the end.
#[derive(Debug, Default)]
struct Known {
    /// Client ids in sequence order, as the events brought them.
    messages: BTreeMap<ConversationId, Vec<ClientMessageId>>,
    acknowledged: BTreeMap<ClientMessageId, (ConversationId, Sequence)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_nothing_acknowledged_is_lost_and_nothing_doubled() {
    let setting = |name: &str, default| std::env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let rounds = setting("TIDEGATE_CRASH_ROUNDS", ROUNDS_DEFAULT);
    let stop = Duration::from_secs(setting("TIDEGATE_CRASH_STOP_SECONDS", STOP_SECONDS_DEFAULT));
    let plan = Plan {
        users: USERS,
        conversations: CONVERSATIONS,
        sends_per_user: SENDS_PER_USER_AND_ROUND * (rounds + 1),
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let address = free_address();
    let start = || gateway::Start::default().data_dir(directory.path()).listen(&address).start();
    let mut gateway = start();
    let conversations = Arc::new(plan.create(&gateway).await);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (lives, life) = watch::channel(0_u64);

    let mut tasks = Vec::new();
    for user in 1..=USERS {
        let config = Config::new(gateway.url(), gateway.token(user, 1)).start(Start::First);
        let work = User {
            superseded: false,
            silence: SILENCE + stop,
            connection: ("not yet connected".to_owned(), Instant::now()),
            plan,
            user,
            conversations: Arc::clone(&conversations),
            acknowledged: Arc::clone(&acknowledged),
            known: Known::default(),
        };
        let restarts = work.is_forgetful().then(|| life.clone());
        tasks.push((user, tokio::spawn(work.run(config, restarts))));
    }
    for round in 1..=rounds {
        let goal = USERS * plan.sends_per_user * round / (rounds + 1);
        wait_for(&acknowledged, goal).await;
        if round == rounds.div_ceil(2) {
            stop_and_continue(&mut gateway, stop, &acknowledged).await;
        }
        eprintln!(
            "round {round} of {rounds}: killed after {} acknowledgements",
            acknowledged.load(Ordering::Relaxed)
        );
        gateway.kill_hard();
        gateway = start();
        lives.send_replace(round);
    }

    let mut truth = read_everything(&gateway, &plan, &conversations).await;
    for (user, task) in tasks {
        let known = task.await.expect("the user's work went well");
        for index in plan.of(user) {
            let conversation = ConversationId(conversations[usize::try_from(index).expect("small")]);
            // Others were still sending when the truth was read for the first time.
            if truth[&conversation].len() as u64 != plan.messages_in(index) {
                truth = read_everything(&gateway, &plan, &conversations).await;
            }
            assert_eq!(known.messages[&conversation], truth[&conversation], "user {user}, {conversation}");
        }
        assert_eq!(known.acknowledged.len() as u64, plan.sends_per_user);
        for (client_id, (conversation, seq)) in &known.acknowledged {
            let at = usize::try_from(seq.0 - 1).expect("small");
            assert_eq!(
                truth[conversation].get(at),
                Some(client_id),
                "user {user}: acknowledged as {seq}, and not there"
            );
        }
    }
    for (conversation, messages) in &truth {
        let different: BTreeSet<_> = messages.iter().collect();
        assert_eq!(different.len(), messages.len(), "{conversation}: a message is there twice");
    }
    gateway.assert_sound();
}

/// For the process no time passes; for its clients, its timers and the kernel it does.
async fn stop_and_continue(gateway: &mut Gateway, stop: Duration, acknowledged: &AtomicU64) {
    gateway.signal(Signal::STOP);
    tokio::time::sleep(stop).await;
    let before = acknowledged.load(Ordering::Relaxed);
    gateway.signal(Signal::CONT);
    wait_for(acknowledged, before + USERS).await;
    gateway.assert_sound();
    eprintln!("stopped for {stop:?} after {before} acknowledgements, and goes on");
}

async fn wait_for(acknowledged: &AtomicU64, goal: u64) {
    let mut last = 0;
    loop {
        let now = acknowledged.load(Ordering::Relaxed);
        if now >= goal {
            return;
        }
        let moved = timeout(PATIENCE, async {
            while acknowledged.load(Ordering::Relaxed) == last {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        moved
            .await
            .unwrap_or_else(|_| panic!("{last} of {goal} acknowledgements, and no more for {PATIENCE:?}"));
        last = now.max(acknowledged.load(Ordering::Relaxed));
    }
}

/// Every conversation from the first message to the last, over the raw protocol.
async fn read_everything(
    gateway: &Gateway,
    plan: &Plan,
    conversations: &[u128],
) -> BTreeMap<ConversationId, Vec<ClientMessageId>> {
    let mut truth = BTreeMap::new();
    for (index, conversation) in (0..).zip(conversations) {
        let mut reader = BinarySession::connect(gateway, plan.members(index)[0], 2_000 + index).await;
        let mut messages = Vec::new();
        loop {
            let (page, has_more) =
                reader.history(*conversation, After(Sequence(messages.len() as u64)), 100).await;
            for message in page {
                assert_eq!(message.seq, messages.len() as u64 + 1, "a gap in {conversation:032x}");
                messages.push(ClientMessageId(message.client_id));
            }
            if !has_more {
                break;
            }
        }
        truth.insert(ConversationId(*conversation), messages);
    }
    truth
}

struct User {
    /// A connection that its former client had just asked for reached the gateway after that of its present one.
    superseded: bool,
    /// Longer without an event, and something is wrong.
    silence: Duration,
    /// What its client last said of its connection, and when.
    connection: (String, Instant),
    plan: Plan,
    user: u64,
    conversations: Arc<Vec<u128>>,
    acknowledged: Arc<AtomicU64>,
    known: Known,
}

impl User {
    async fn run(mut self, config: Config, mut restarts: Option<watch::Receiver<u64>>) -> Known {
        let (mut client, mut events) = connect(config.clone());
        let mut submitting = self.submit(client.clone());
        loop {
            if self.is_done() {
                submitting.await.expect("submitted");
                client.close().await;
                return self.known;
            }
            tokio::select! {
                biased;
                () = restarted(&mut restarts, self.superseded) => {
                    submitting.abort();
                    let cursors = self.take_rest(client, &mut events).await;
                    self.superseded = false;
                    (client, events) = connect(config.clone().cursors(cursors));
                    submitting = self.submit(client.clone());
                }
                event = timeout(self.silence, events.next()) => {
                    let event = event.unwrap_or_else(|_| panic!("user {}: nothing for {:?}: {}", self.user, self.silence, self.progress()));
                    self.on_event(event.expect("the client runs"));
                }
            }
        }
    }

    /// Ends a client: what it still hands out counts, what it has not acknowledged is sent again by the next one.
    async fn take_rest(&mut self, client: Client, events: &mut Events) -> BTreeMap<ConversationId, Sequence> {
        drop(client);
        while let Some(event) = events.try_next() {
            self.on_event(event);
        }
        events.close();
        while let Some(event) = events.next().await {
            self.on_event(event);
        }
        self.known.messages.iter().map(|(id, messages)| (*id, Sequence(messages.len() as u64))).collect()
    }

    /// Hands in whatever has no answer.
    fn submit(&self, client: Client) -> tokio::task::JoinHandle<()> {
        let numbers = self.unanswered();
        let (plan, user, conversations) = (self.plan, self.user, Arc::clone(&self.conversations));
        tokio::spawn(async move {
            for number in numbers {
                let conversation = conversations[usize::try_from(plan.target(user, number)).expect("small")];
                let content = Content::Text(format!("message {number} of user {user}"));
                let outgoing = Outgoing {
                    client_id: ClientMessageId(client_id(user, number)),
                    ..Outgoing::new(ConversationId(conversation), content)
                };
                if client.submit(outgoing).await.is_err() {
                    return;
                }
            }
        })
    }

    fn unanswered(&self) -> Vec<u64> {
        let is_answered = |number: &u64| {
            self.known.acknowledged.contains_key(&ClientMessageId(client_id(self.user, *number)))
        };
        (0..self.plan.sends_per_user).filter(|number| !is_answered(number)).collect()
    }

    fn on_event(&mut self, event: Event) {
        if matches!(event, Event::Connected { .. } | Event::Disconnected { .. } | Event::Stopped { .. }) {
            self.connection = (format!("{event:?}"), Instant::now());
        }
        match event {
            Event::Message(message) => {
                let messages = self.known.messages.entry(message.conversation).or_default();
                assert_eq!(
                    message.seq.0,
                    messages.len() as u64 + 1,
                    "user {}, {}",
                    self.user,
                    message.conversation
                );
                messages.push(message.client_id);
            }
            Event::Ack(ack) => {
                let before = self.known.acknowledged.insert(ack.client_id, (ack.conversation, ack.seq));
                assert!(
                    before.is_none_or(|before| before == (ack.conversation, ack.seq)),
                    "{before:?}, then {ack:?}"
                );
                self.acknowledged.fetch_add(u64::from(before.is_none()), Ordering::Relaxed);
            }
            Event::Missing { .. } => panic!("user {}: {event:?}", self.user),
            Event::Refused { client_id, error } => {
                assert!(matches!(error, tidegate_client::SendError::Stopped(_)), "{client_id}: {error}");
            }
            Event::Stopped { reason } if self.is_forgetful() && reason.contains("4409") => {
                self.superseded = true
            }
            Event::Stopped { reason } => {
                assert!(reason.contains("application"), "user {}: {reason}", self.user)
            }
            _ => {}
        }
    }

    /// Every eighth user ends its client at each crash and begins a new one from its cursors.
    fn is_forgetful(&self) -> bool {
        self.user.is_multiple_of(8)
    }

    fn is_done(&self) -> bool {
        let has_all = |index: &u64| {
            let conversation = ConversationId(self.conversations[usize::try_from(*index).expect("small")]);
            let have = self.known.messages.get(&conversation).map_or(0, Vec::len);
            have as u64 == self.plan.messages_in(*index)
        };
        self.known.acknowledged.len() as u64 == self.plan.sends_per_user
            && self.plan.of(self.user).iter().all(has_all)
    }

    fn progress(&self) -> String {
        let seen: usize = self.known.messages.values().map(Vec::len).sum();
        let all: u64 = self.plan.of(self.user).iter().map(|index| self.plan.messages_in(*index)).sum();
        format!(
            "{} of {} acknowledged, {seen} of {all} seen; {:?} ago: {}",
            self.known.acknowledged.len(),
            self.plan.sends_per_user,
            self.connection.1.elapsed(),
            self.connection.0
        )
    }
}

async fn restarted(restarts: &mut Option<watch::Receiver<u64>>, superseded: bool) {
    if superseded {
        return;
    }
    let changed = match restarts {
        Some(restarts) => restarts.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending().await
    }
}
