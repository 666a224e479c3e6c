//! One thread of the load: its sessions, its senders, its loop.
//!
//! The loop: send what is due, flush each session once, publish counters, wait, read each ready session once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{self, ConversationKind, MessageKind};

use super::account::{Account, Counts};
use super::inbox::{Inbox, Running, Setup};
use crate::gateway::Tokens;
use crate::meter::Meter;
use crate::outgoing::{Outgoing, Pace};
use crate::poller::{Poller, Ready};
use crate::process;
use crate::schedule::{Clock, MessageTag, Window, nanoseconds};
use crate::session::{Received, Session};
use crate::topology::Topology;

/// How long the gateway may take to welcome the sessions and create the conversations.
const SETUP_MAX: Duration = Duration::from_secs(60);
/// One read: as much as a socket holds at the default `tcp_rmem` when coalesced frames pile up.
const READ_BYTES: usize = 256 * 1024;

/// What a worker is made for.
#[derive(Debug)]
pub struct Job {
    /// This worker of so many: it has the users with `user % workers == index`.
    pub index: u32,
    pub workers: u32,
    pub cpus: Vec<usize>,
    pub gateway: SocketAddr,
    pub tokens: Tokens,
    pub topology: Arc<Topology>,
    pub clock: Clock,
    /// Id of user 0 of the run; others follow.
    pub first_user: u64,
    pub body: Vec<u8>,
    pub received_every: Option<Duration>,
}

/// What a worker shares with the main thread.
#[derive(Debug)]
pub struct Link {
    /// The conversations that this worker's users created, once: `(index, id)`.
    pub created: Sender<Vec<(u32, u128)>>,
    /// What to send, once every worker is ready.
    pub orders: Receiver<Plan>,
    pub shared: Arc<Shared>,
}

/// For the progress, and to know when everything has arrived. Published once per turn.
#[derive(Debug, Default)]
pub struct Shared {
    pub connected: AtomicU64,
    pub sent: AtomicU64,
    pub acked: AtomicU64,
    pub refused: AtomicU64,
    pub delivered: AtomicU64,
    pub stop: AtomicBool,
}

#[derive(Clone, Debug)]
pub struct Plan {
    /// Ids by index.
    pub conversations: Arc<Vec<u128>>,
    pub pace: Pace,
    pub window: Window,
}

/// What a worker leaves behind.
#[derive(Debug)]
pub struct Finished {
    pub account: Account,
    /// CPU time of the thread within the measured window.
    pub cpu: Duration,
}

struct Worker {
    job: Job,
    poller: Poller,
    /// By place: user `place * workers + index`. `None` once ended.
    sessions: Vec<Option<Session>>,
    /// Sessions with something to flush.
    unflushed: Vec<u32>,
    ready: Vec<Ready>,
    scratch: Vec<u8>,
    inbox: Inbox,
}

/// The whole life of a worker, on its thread.
pub fn work(job: Job, link: &Link) -> Result<Finished, String> {
    process::pin(&job.cpus).map_err(|error| error.to_string())?;
    let mut worker = Worker::connect(job, &link.shared)?;
    let created = worker.create_conversations()?;
    let gone = |_| "another thread of the load failed".to_owned();
    link.created.send(created).map_err(|_| gone(std::sync::mpsc::RecvError))?;
    let plan = link.orders.recv().map_err(gone)?;
    worker.run(&plan, &link.shared)
}

impl Worker {
    fn connect(job: Job, shared: &Shared) -> Result<Self, String> {
        let poller = Poller::new().map_err(|error| format!("cannot make an epoll set: {error}"))?;
        let mut sessions = Vec::new();
        for user in (job.index..job.topology.users()).step_by(job.workers as usize) {
            let token = job.tokens.token(job.first_user + u64::from(user))?;
            let mut session = Session::connect(job.gateway, &token)?;
            session.send(
                &ClientFrame::Hello(frames::Hello { cursors: Vec::new(), client: "load".to_owned() }),
                0,
            );
            let place = place_number(sessions.len());
            poller.add(&session, place).map_err(|error| format!("cannot watch a session: {error}"))?;
            sessions.push(Some(session));
            shared.connected.fetch_add(1, Relaxed);
        }
        let unflushed = (0..).take(sessions.len()).collect();
        let scratch = vec![0; READ_BYTES];
        Ok(Self {
            job,
            poller,
            sessions,
            unflushed,
            ready: Vec::new(),
            scratch,
            inbox: Inbox::Setup(Setup::default()),
        })
    }

    /// The first member creates; conversations are told from each other by the request number.
    fn create_conversations(&mut self) -> Result<Vec<(u32, u128)>, String> {
        for place in 0..self.sessions.len() {
            if self.sessions[place].as_ref().is_some_and(Session::has_early_bytes) {
                self.read(place_number(place));
            }
        }
        let everyone = self.sessions.len();
        self.set_up("a welcome for each session", |setup| setup.welcomed >= everyone)?;
        let topology = Arc::clone(&self.job.topology);
        let mut expected = 0;
        for (index, members) in (0_u32..).zip(topology.members()) {
            let Some(place) = self.place_of(members[0]) else { continue };
            let others = members[1..].iter().map(|&user| self.job.first_user + u64::from(user)).collect();
            let kind = if members.len() == 2 { ConversationKind::Direct } else { ConversationKind::Group };
            let create = frames::Create { members: others, kind: kind as u8, name: String::new() };
            self.send(place, &ClientFrame::Create(create), u64::from(index) + 1);
            expected += 1;
        }
        let setup = self.set_up("an answer to each create", |setup| setup.created.len() >= expected)?;
        Ok(std::mem::take(&mut setup.created))
    }

    /// Turns until the set-up has come so far.
    fn set_up(&mut self, what: &str, is_done: impl Fn(&Setup) -> bool) -> Result<&mut Setup, String> {
        let deadline_ns = self.job.clock.now_ns() + nanoseconds(SETUP_MAX);
        loop {
            let Inbox::Setup(setup) = &self.inbox else { unreachable!("the load has not begun") };
            if let Some(why) = &setup.failure {
                return Err(format!("waiting for {what}: {why}"));
            }
            if is_done(setup) {
                break;
            }
            if self.job.clock.now_ns() > deadline_ns {
                return Err(format!("the gateway did not give {what} within {SETUP_MAX:?}; look at its log"));
            }
            self.turn(u64::MAX)?;
        }
        let Inbox::Setup(setup) = &mut self.inbox else { unreachable!("the load has not begun") };
        Ok(setup)
    }

    fn run(mut self, plan: &Plan, shared: &Shared) -> Result<Finished, String> {
        let account = self.account(plan);
        self.inbox = Inbox::Running(Box::new(Running { account, answered: Vec::new() }));
        let own =
            (0..self.job.topology.senders()).filter(|&sender| self.place_of(sender).is_some()).collect();
        let mut outgoing = Outgoing::new(plan.pace, plan.window.end_ns, own);
        let mut message = self.message_template();
        let (workers, own_index) = (self.job.workers, self.job.index);
        let mut meter = Meter::new(plan.window);
        let mut published = Counts::default();
        let every_ns = self.job.received_every.map_or(u64::MAX, nanoseconds);
        let mut report_ns = self.job.clock.now_ns().saturating_add(every_ns);

        while !shared.stop.load(Relaxed) {
            let now_ns = self.job.clock.now_ns();
            meter.look(now_ns);
            for place in self.running().answered.drain(..) {
                outgoing.answered(place * workers + own_index);
            }
            for tag in outgoing.take(now_ns) {
                self.send_message(&mut message, plan, tag);
            }
            if now_ns >= report_ns {
                self.report_received();
                report_ns += every_ns;
            }
            publish(&self.running().account.counts, &mut published, shared);
            self.turn(outgoing.next_ns().min(report_ns))?;
        }
        let Inbox::Running(running) = self.inbox else { unreachable!("the load has begun") };
        Ok(Finished { account: running.account, cpu: meter.used() })
    }

    fn account(&self, plan: &Plan) -> Account {
        let mut account =
            Account::new(self.job.clock, plan.window, self.job.body.clone(), self.sessions.len());
        for place in 0..self.sessions.len() {
            let user = place_number(place) * self.job.workers + self.job.index;
            for &index in self.job.topology.conversations_of(user) {
                account.join(place, plan.conversations[index as usize], index);
            }
        }
        account
    }

    fn message_template(&self) -> ClientFrame {
        ClientFrame::Send(frames::Send {
            conversation: 0,
            client_id: 0,
            client_time: 0,
            reply_to: 0,
            kind: MessageKind::Text as u8,
            body: self.job.body.clone(),
            client_ref: String::new(),
        })
    }

    fn send_message(&mut self, message: &mut ClientFrame, plan: &Plan, tag: MessageTag) {
        let ClientFrame::Send(send) = message else { unreachable!("the template is a send") };
        let target = self.job.topology.target(tag.sender, tag.count);
        send.conversation = plan.conversations[target as usize];
        send.client_id = tag.to_client_id(&self.job.clock);
        send.client_time = self.job.clock.wall_ms(tag.intended_ns);
        let place = self.place_of(tag.sender).expect("a worker sends for its own users");
        if self.sessions[place].is_some() {
            let now_ns = self.job.clock.now_ns();
            self.running().account.sent(tag.intended_ns, now_ns);
            self.send(place, message, tag.count + 1);
        }
    }

    fn report_received(&mut self) {
        for place in 0..self.sessions.len() {
            let news: Vec<_> = self.running().account.unreported(place).collect();
            for up_to in news {
                self.send(place, &ClientFrame::Received(up_to), 0);
            }
        }
    }

    fn send(&mut self, place: usize, frame: &ClientFrame, request: u64) {
        let Some(session) = &mut self.sessions[place] else { return };
        if !session.has_unsent() {
            self.unflushed.push(place_number(place));
        }
        session.send(frame, request);
    }

    /// Flushes, waits (until `until_ns` at most), reads.
    fn turn(&mut self, until_ns: u64) -> Result<(), String> {
        for place in std::mem::take(&mut self.unflushed) {
            self.flush(place);
        }
        let timeout = self.job.clock.until(until_ns);
        self.ready.clear();
        let ready = &mut self.ready;
        self.poller
            .wait(timeout, |event| ready.push(event))
            .map_err(|error| format!("epoll failed: {error}"))?;
        for index in 0..self.ready.len() {
            let event = self.ready[index];
            if event.write {
                self.flush(event.source);
            }
            if event.read {
                self.read(event.source);
            }
        }
        Ok(())
    }

    fn flush(&mut self, place: u32) {
        let Some(session) = &mut self.sessions[place as usize] else { return };
        let outcome = session.flush().and_then(|changed| match changed {
            Some(interest) => self.poller.change(&*session, place, interest),
            None => Ok(()),
        });
        if let Err(error) = outcome {
            self.end(place, &error.to_string());
        }
    }

    fn read(&mut self, place: u32) {
        let Some(session) = &mut self.sessions[place as usize] else { return };
        let (clock, inbox) = (self.job.clock, &mut self.inbox);
        let had_unsent = session.has_unsent();
        let outcome = session.receive(
            &mut self.scratch,
            || clock.now_ns(),
            |&now_ns, header, frame| inbox.on_frame(place, now_ns, &header, frame),
        );
        if let Inbox::Running(running) = inbox {
            running.account.read(clock.now_ns());
        }
        if !had_unsent && session.has_unsent() {
            self.unflushed.push(place);
        }
        match outcome {
            Ok(Received::Open) => {}
            Ok(Received::Ended(why)) => self.end(place, &why),
            Err(error) => self.end(place, &error.to_string()),
        }
    }

    /// The socket leaves the epoll set as it is closed.
    fn end(&mut self, place: u32, why: &str) {
        self.sessions[place as usize] = None;
        self.inbox.on_end(why);
    }

    fn running(&mut self) -> &mut Running {
        match &mut self.inbox {
            Inbox::Running(running) => running,
            Inbox::Setup(_) => unreachable!("the load has begun"),
        }
    }

    fn place_of(&self, user: u32) -> Option<usize> {
        (user % self.job.workers == self.job.index).then_some((user / self.job.workers) as usize)
    }
}

/// Adds what is new since the last time.
fn publish(counts: &Counts, published: &mut Counts, shared: &Shared) {
    shared.sent.fetch_add(counts.sent - published.sent, Relaxed);
    shared.acked.fetch_add(counts.acked - published.acked, Relaxed);
    shared.refused.fetch_add(counts.refused - published.refused, Relaxed);
    shared.delivered.fetch_add(counts.delivered - published.delivered, Relaxed);
    *published = *counts;
}

fn place_number(place: usize) -> u32 {
    u32::try_from(place).expect("users are counted in 32 bits")
}
