//! The loop of one core. Turns outputs of its shard into operations of its driver and of the rings, and what comes
//! back into inputs. No rule of chat is decided here.
//!
//! One turn, in this order:
//! 1. wait (or not) and feed what the driver brings;
//! 2. take a bounded batch from the rings of the other shards, of the log, of the store;
//! 3. tick; turn outputs into operations;
//! 4. finish handshakes, answer pings, close;
//! 5. let the shard work on fan-outs; turn outputs into operations;
//! 6. pass on what rings had no room for, ring the bells of peers that sleep;
//! 7. if nothing is left: publish "asleep", look at the rings once more; the next turn waits.
//!
//! Every step is bounded, so a turn is.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidegate_shard::contract::{Input, Output};
use tidegate_shard::{Envelope, Login, Now, Shard, ShardId, limits, placement};
use tidegate_wire::websocket::{self, CloseCode};

use crate::connections::Connections;
use crate::driver::{Driver, Wait};
use crate::inbound::{Action, Inbound, Upgraded};
use crate::links::{LogNotice, ShardLinks};
use crate::mesh::{Port, Sleeper};
use crate::supervision::{Phase, Supervision, WorkerCounters};
use crate::translate;

/// Envelopes, notices and answers taken per turn, each.
const BATCH: usize = 512;
/// A ring that was full is tried again after this.
const CLOGGED_RETRY: Duration = Duration::from_micros(200);
/// How long a socket gets to take its close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What goes from worker to worker.
#[derive(Debug)]
pub enum Crossing<S> {
    Envelope(Envelope),
    /// A connection moves to the home shard of its user.
    Moved {
        socket: S,
        upgraded: Upgraded,
    },
}

#[derive(Debug)]
pub struct Worker<D: Driver> {
    driver: D,
    inbound: Inbound,
    port: Port<Crossing<D::Socket>>,
    sleeper: Arc<Sleeper>,
    links: ShardLinks,
    supervision: Arc<Supervision>,
    me: ShardId,
    shards: u16,
    /// Crossings that found their ring full, by peer. Bounded by the requests in flight of all shards.
    delayed: Vec<VecDeque<Crossing<D::Socket>>>,
    next_tick: Duration,
    /// Something is left to do without a new event.
    work_left: bool,
    reading: bool,
    life: Life,
    counters: WorkerCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// No new work is read; answers under way go out.
    Answering {
        until: Duration,
    },
    /// Clients have been told; sockets drain.
    Closing {
        until: Duration,
    },
    Drained,
}

impl<D: Driver> Worker<D> {
    pub fn new(
        driver: D,
        inbound: Inbound,
        port: Port<Crossing<D::Socket>>,
        links: ShardLinks,
        supervision: Arc<Supervision>,
        me: ShardId,
    ) -> Self {
        let shards = port.ports();
        Self {
            driver,
            inbound,
            sleeper: port.sleeper(),
            port,
            links,
            supervision,
            me,
            shards: shards as u16,
            delayed: (0..shards).map(|_| VecDeque::new()).collect(),
            next_tick: Duration::ZERO,
            work_left: true,
            reading: true,
            life: Life::Running,
            counters: WorkerCounters::default(),
        }
    }

    /// Runs until the gateway stops.
    pub fn run(mut self) -> io::Result<()> {
        while self.supervision.phase() != Phase::Stopped {
            self.turn()?;
        }
        Ok(())
    }

    pub fn turn(&mut self) -> io::Result<()> {
        let wait = self.wait();
        self.turn_after(wait)
    }

    /// The turn that follows [`Worker::wait`]. Between the two a worker sleeps; a simulator lets others run there.
    pub fn turn_after(&mut self, wait: Wait) -> io::Result<()> {
        let inbound = &mut self.inbound;
        let now = self.driver.turn(wait, &mut |now, event| inbound.on_event(now, event))?;
        // Without an event it would stay at the last one, and a clogged worker would wait until a moment in the past.
        self.inbound.now = now;
        if wait != Wait::No {
            self.sleeper.woke();
            self.counters.sleeps += 1;
        }
        self.counters.turns += 1;
        self.work_left = false;

        self.take_crossings(now);
        self.take_news(now);
        self.tick(now);
        self.drain_outputs(now);
        self.settle(now);
        self.work_left |= self.inbound.shard.work(now);
        self.drain_outputs(now);
        self.pass_on();
        Ok(())
    }

    /// How long this worker may sleep: publishes "asleep" unless there is work left.
    pub fn wait(&mut self) -> Wait {
        if self.work_left {
            return Wait::No;
        }
        if !self.sleeper.prepare_sleep(|| self.has_nothing_to_take()) {
            return Wait::No;
        }
        Wait::Until(if self.is_clogged() {
            self.inbound.now.monotonic + CLOGGED_RETRY
        } else {
            self.next_tick
        })
    }

    /// The rings that lead here are empty.
    pub fn has_nothing_to_take(&self) -> bool {
        self.port.depth() == 0 && self.links.notices.is_empty() && self.links.answers.is_empty()
    }

    fn take_crossings(&mut self, now: Now) {
        // Full rings slow down the owners that send faster than this shard fans out.
        if self.inbound.shard.is_backlogged() {
            return;
        }
        let Self { driver, inbound, port, counters, .. } = self;
        let taken = port.take(BATCH, |_, crossing| match crossing {
            Crossing::Envelope(envelope) => inbound.shard.handle(now, Input::Envelope(envelope)),
            Crossing::Moved { socket, upgraded } => {
                counters.moved_in += 1;
                adopt(driver, inbound, counters, now, socket, upgraded);
            }
        });
        self.work_left |= taken == BATCH;
    }

    fn take_news(&mut self, now: Now) {
        let shard = &mut self.inbound.shard;
        for _ in 0..BATCH {
            let Some(notice) = self.links.notices.try_take() else { break };
            shard.handle(
                now,
                match notice {
                    LogNotice::Durable { up_to } => Input::Durable { up_to },
                    LogNotice::Refused { from, epoch, reason } => Input::Refused { from, epoch, reason },
                },
            );
        }
        let mut taken = 0;
        while taken < BATCH
            && let Some((ticket, answer)) = self.links.answers.try_take()
        {
            shard.handle(now, Input::Answer { ticket, answer: translate::answer(answer) });
            taken += 1;
        }
        self.work_left |= taken == BATCH;
    }

    fn tick(&mut self, now: Now) {
        if now.monotonic < self.next_tick {
            return;
        }
        self.next_tick = now.monotonic + limits::TICK;
        self.inbound.shard.handle(now, Input::Tick);
        while let Some(late) = self.inbound.connections.pop_late_handshake(now.monotonic) {
            self.inbound.refuse_late_handshake(late);
        }
        self.live(now);
        self.counters.connections = self.driver.connections() as u64;
        self.counters.ring_depth = self.port.depth() as u64;
        let (counters, driver, shard) =
            (self.counters, self.driver.counters(), self.inbound.shard.counters());
        self.supervision.report(self.me.0.into(), |report| {
            report.shard.clone_from(shard);
            report.driver = driver;
            report.worker = counters;
        });
    }

    fn drain_outputs(&mut self, now: Now) {
        while let Some(output) = self.inbound.shard.poll_output() {
            match output {
                Output::Send { connection, message } => self.driver.send(connection, message),
                Output::Close { connection, code, reason } => {
                    self.inbound.connections.remove(connection);
                    self.driver.send(connection, websocket::close(CloseCode(code), &reason));
                    self.driver.close(connection, now.monotonic + CLOSE_TIMEOUT);
                }
                Output::SetReading { connection, reading } => self.driver.set_reading(connection, reading),
                Output::Envelope { to, envelope } => self.cross(to, Crossing::Envelope(envelope)),
                Output::Append(append) => self.links.appends.send(translate::append(self.me, append)),
                Output::CheckToken { connection, request, token } => {
                    self.inbound.check_token(now, connection, request, &token);
                }
                Output::Query { ticket, query } => self.links.queries.send((ticket, translate::query(query))),
            }
        }
    }

    /// Does what connections outside of sessions need: answers to handshakes, pongs, echoes, closes.
    fn settle(&mut self, now: Now) {
        while let Some(action) = self.inbound.actions.pop_front() {
            match action {
                Action::Send { connection, message } => self.driver.send(connection, message),
                Action::Pong { connection, message } => {
                    if self.inbound.connections.takes_pong(connection) {
                        self.driver.send(connection, message);
                    }
                }
                Action::SetReading { connection, reading } => self.driver.set_reading(connection, reading),
                Action::End { connection, last } => {
                    self.driver.send(connection, last);
                    self.driver.close(connection, now.monotonic + CLOSE_TIMEOUT);
                }
                Action::Refuse { connection, response } => {
                    self.counters.upgrades_refused += 1;
                    self.driver.send(connection, response);
                    self.driver.close(connection, now.monotonic + CLOSE_TIMEOUT);
                }
                Action::Upgrade { connection, upgraded } => {
                    let Some(socket) = self.driver.detach(connection) else { continue };
                    let home = upgraded.login.map_or(self.me, |login| self.home_of(login));
                    if home == self.me {
                        let Self { driver, inbound, counters, .. } = self;
                        adopt(driver, inbound, counters, now, socket, upgraded);
                    } else {
                        self.cross(home, Crossing::Moved { socket, upgraded });
                    }
                }
            }
        }
    }

    fn home_of(&self, login: Login) -> ShardId {
        placement::home_of(login.user, self.shards)
    }

    fn cross(&mut self, to: ShardId, crossing: Crossing<D::Socket>) {
        let to = usize::from(to.0);
        let refused =
            if self.delayed[to].is_empty() { self.port.try_send(to, crossing).err() } else { Some(crossing) };
        if let Some(crossing) = refused {
            self.counters.envelopes_delayed += 1;
            self.delayed[to].push_back(crossing);
        }
    }

    fn pass_on(&mut self) {
        for (to, delayed) in self.delayed.iter_mut().enumerate() {
            while let Some(crossing) = delayed.pop_front() {
                if let Err(crossing) = self.port.try_send(to, crossing) {
                    delayed.push_front(crossing);
                    break;
                }
            }
        }
        self.port.ring_bells();
        self.links.appends.flush();
        self.links.queries.flush();
        let reads = self.life == Life::Running && !self.is_clogged() && !self.inbound.shard.is_congested();
        if reads != self.reading {
            self.reading = reads;
            self.driver.set_reading_all(reads);
        }
    }

    /// Some ring had no room: take no new work from sockets until it has.
    fn is_clogged(&self) -> bool {
        self.links.appends.is_clogged()
            || self.links.queries.is_clogged()
            || self.delayed.iter().any(|delayed| !delayed.is_empty())
    }

    /// One step of the drain, if there is one to do.
    fn live(&mut self, now: Now) {
        let plan = self.supervision.drain;
        match self.life {
            Life::Running if self.supervision.phase() != Phase::Running => {
                self.driver.set_accepting(false);
                self.life = Life::Answering { until: now.monotonic + plan.answers };
            }
            Life::Answering { until } => {
                let counters = self.inbound.shard.counters();
                let answered = counters.requests_in_flight == 0 && counters.appends_in_flight == 0;
                if answered || now.monotonic >= until {
                    let reconnect_after_ms = plan.reconnect_after.as_millis() as u32;
                    let window_ms = plan.window.as_millis() as u32;
                    self.inbound.shard.handle(now, Input::Drain { reconnect_after_ms, window_ms });
                    self.inbound.close_the_rest();
                    self.life = Life::Closing { until: now.monotonic + plan.closing };
                }
            }
            Life::Closing { until } if self.driver.connections() == 0 || now.monotonic >= until => {
                self.life = Life::Drained;
                self.supervision.report_drained();
            }
            Life::Running | Life::Closing { .. } | Life::Drained => {}
        }
    }

    pub fn shard(&self) -> &Shard {
        &self.inbound.shard
    }

    pub fn connections(&mut self) -> &mut Connections {
        &mut self.inbound.connections
    }

    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }
}

/// Takes a connection in for good: it leaves its handshake here.
fn adopt<D: Driver>(
    driver: &mut D,
    inbound: &mut Inbound,
    counters: &mut WorkerCounters,
    now: Now,
    socket: D::Socket,
    upgraded: Upgraded,
) {
    let Ok(connection) = driver.attach(socket) else {
        counters.upgrades_without_slot += 1;
        return;
    };
    counters.upgrades += 1;
    let Upgraded { login, response, rest } = upgraded;
    driver.send(connection, response);
    inbound.open(now, connection, login);
    if !rest.is_empty() {
        let mut rest = Vec::from(rest);
        inbound.on_bytes(now, connection, &mut rest);
    }
}
