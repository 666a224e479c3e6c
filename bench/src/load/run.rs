//! One run from the first connection to the result.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::options::Options;
use super::result::{Around, GatewayCpu, LoadResult};
use super::worker::{self, Finished, Job, Link, Plan, Shared};
use crate::environment::{Environment, file_system};
use crate::gateway::{self, Gateway, Start, Tokens};
use crate::process;
use crate::progress;
use crate::schedule::{Clock, nanoseconds};
use crate::topology::Topology;

/// Between the last worker's being ready and the first message.
const LEAD: Duration = Duration::from_millis(200);
/// After everything has arrived: time for a duplicate to show up.
const AFTERMATH: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Files besides sockets: epoll sets, timers, standard streams, the gateway's pipe.
const FILES_BESIDES_SESSIONS: u64 = 100;

/// What is loaded.
struct Target {
    address: SocketAddr,
    pid: Option<u32>,
    tokens: Tokens,
    started: Option<Gateway>,
}

/// Errors are sentences that say what to do.
pub fn run(options: &Options) -> Result<LoadResult, String> {
    let environment = Environment::read();
    let topology = Arc::new(Topology::new(options.work.shape())?);
    if options.work.members == 2
        && let Some((low, high)) = topology.repeated_pair()
    {
        return Err(format!(
            "users {low} and {high} would have two direct conversations, which are one; raise --users or lower --conversations"
        ));
    }
    process::allow_files(u64::from(topology.users()) + FILES_BESIDES_SESSIONS)?;
    let target = Target::of(options)?;
    measure(options, environment, &topology, &target).map_err(|why| match &target.started {
        Some(gateway) => format!("{why}\nthe gateway's log ends with:\n{}", gateway.log_tail()),
        None => why,
    })
}

fn measure(
    options: &Options,
    environment: Environment,
    topology: &Arc<Topology>,
    target: &Target,
) -> Result<LoadResult, String> {
    let clock = Clock::start();
    let mut crew = Crew::start(options, topology, target, clock)?;
    let conversations = crew.wait_until_ready(topology)?;
    let start_ns = clock.now_ns() + nanoseconds(LEAD);
    let (pace, window) = (options.work.pace(start_ns), options.work.measured(start_ns));
    crew.order(&Plan { conversations: Arc::new(conversations), pace, window })?;

    let bar = progress::bar("load", (window.end_ns - start_ns) / 1_000_000_000);
    crew.watch(&bar, || clock.now_ns() >= window.start_ns)?;
    let before = target.cpu()?;
    crew.watch(&bar, || clock.now_ns() >= window.end_ns)?;
    let cpu = target.cpu()?.zip(before).map(|(after, before)| GatewayCpu {
        used: after.used.saturating_sub(before.used),
        threads: process::thread_difference(&before.threads, &after.threads),
    });
    crew.settle(options, &bar)?;
    bar.finish_and_clear();
    let finished = crew.stop()?;

    let data_dir = target.started.as_ref().map(Gateway::data_dir).or(options.data_dir.as_deref());
    let around = Around {
        sessions: topology.users(),
        window,
        cpu,
        gateway: target.started.as_ref().map(|gateway| gateway.ready().clone()),
        data_dir_file_system: data_dir.and_then(file_system),
        environment,
    };
    Ok(LoadResult::of(options, &finished, around))
}

impl Target {
    fn of(options: &Options) -> Result<Self, String> {
        let started = if options.spawn {
            Some(Gateway::start(&Start {
                program: options.gateway_program.clone(),
                data_dir: options.data_dir.clone(),
                shards: options.shards,
                driver: options.driver.clone(),
                cpus: options.gateway_cpus.clone(),
            })?)
        } else {
            None
        };
        let data_dir = match (&started, &options.data_dir) {
            (Some(gateway), _) => gateway.data_dir(),
            (None, Some(given)) => given,
            (None, None) => Path::new(gateway::DATA_DIR),
        };
        let secret_file = options.secret_file.clone().unwrap_or_else(|| data_dir.join(gateway::SECRET_FILE));
        let (address, pid) = match &started {
            Some(gateway) => (gateway.ready().ws, Some(gateway.ready().pid)),
            None if options.gateway.ip().is_loopback() => {
                (options.gateway, options.pid.or_else(|| gateway::holder(data_dir)))
            }
            None => (options.gateway, options.pid),
        };
        Ok(Self { address, pid, tokens: Tokens::from_secret_file(&secret_file)?, started })
    }

    fn cpu(&self) -> Result<Option<GatewayCpu>, String> {
        let read = |pid| -> std::io::Result<GatewayCpu> {
            Ok(GatewayCpu { used: process::cpu_time(pid)?, threads: process::cpu_time_by_thread(pid)? })
        };
        let gone = |error| format!("the gateway's CPU time cannot be read, it seems to have ended: {error}");
        self.pid.map(read).transpose().map_err(gone)
    }
}

/// The workers, seen from the main thread.
struct Crew {
    handles: Vec<JoinHandle<Result<Finished, String>>>,
    created: mpsc::Receiver<Vec<(u32, u128)>>,
    orders: Vec<mpsc::Sender<Plan>>,
    shared: Arc<Shared>,
    members: u64,
}

impl Crew {
    fn start(
        options: &Options,
        topology: &Arc<Topology>,
        target: &Target,
        clock: Clock,
    ) -> Result<Self, String> {
        let shared = Arc::new(Shared::default());
        let (created_sender, created) = mpsc::channel();
        let mut crew = Self {
            handles: Vec::new(),
            created,
            orders: Vec::new(),
            shared,
            members: u64::from(options.work.members),
        };
        // Fresh users each run, so that direct conversations are fresh as well: their ids follow from the users.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for index in 0..options.threads {
            let (order, orders) = mpsc::channel();
            crew.orders.push(order);
            let job = Job {
                index,
                workers: options.threads,
                cpus: options.client_cpus.clone(),
                gateway: target.address,
                tokens: target.tokens.clone(),
                topology: Arc::clone(topology),
                clock,
                first_user: now << 24,
                body: vec![b'm'; options.work.body_bytes as usize],
                received_every: (options.received_ms > 0).then(|| Duration::from_millis(options.received_ms)),
            };
            let link = Link { created: created_sender.clone(), orders, shared: Arc::clone(&crew.shared) };
            let named = thread::Builder::new().name(format!("load-{index}"));
            let handle = named.spawn(move || worker::work(job, &link));
            crew.handles.push(handle.map_err(|error| format!("cannot start a thread: {error}"))?);
        }
        Ok(crew)
    }

    /// Ids of all conversations, by index.
    fn wait_until_ready(&mut self, topology: &Topology) -> Result<Vec<u128>, String> {
        let bar = progress::bar("connect", u64::from(topology.users()));
        let mut ids = vec![None; topology.members().len()];
        for _ in 0..self.handles.len() {
            let created = loop {
                match self.created.recv_timeout(LOOK_EVERY) {
                    Ok(created) => break created,
                    Err(_) => self.check()?,
                }
                bar.set_position(self.shared.connected.load(Relaxed));
            };
            for (index, id) in created {
                match ids.get_mut(index as usize) {
                    Some(slot) => *slot = Some(id),
                    None => {
                        return Err(format!(
                            "the gateway answered a create that was not asked, number {index}"
                        ));
                    }
                }
            }
        }
        bar.finish_and_clear();
        ids.into_iter()
            .enumerate()
            .map(|(index, id)| {
                id.ok_or_else(|| format!("the gateway answered another create twice instead of {index}"))
            })
            .collect()
    }

    fn order(&self, plan: &Plan) -> Result<(), String> {
        self.orders
            .iter()
            .try_for_each(|order| order.send(plan.clone()))
            .map_err(|_| "a thread ended early".to_owned())
    }

    /// Waits, shows the progress, and notices a worker that failed.
    fn watch(&mut self, bar: &indicatif::ProgressBar, is_over: impl Fn() -> bool) -> Result<(), String> {
        let from = Instant::now();
        let position = bar.position();
        while !is_over() {
            self.check()?;
            let (acked, delivered) = (self.shared.acked.load(Relaxed), self.shared.delivered.load(Relaxed));
            bar.set_position(position + from.elapsed().as_secs());
            bar.set_message(format!("s  {acked} acked  {delivered} delivered"));
            // Short, so that the ends of the window are hit well within a tick of the CPU clock.
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Until everything that was acknowledged has arrived, or nothing has for as long as the options say.
    fn settle(&mut self, options: &Options, bar: &indicatif::ProgressBar) -> Result<(), String> {
        bar.set_message("waiting for the rest");
        let patience = Duration::from_secs_f64(options.patience);
        let mut last = (self.state(), Instant::now());
        while last.1.elapsed() < patience {
            self.check()?;
            let state = self.state();
            if state != last.0 {
                last = (state, Instant::now());
            }
            let [sent, acked, refused, delivered] = state;
            let is_complete = sent == acked + refused && delivered >= acked * (self.members - 1);
            if is_complete && last.1.elapsed() >= AFTERMATH {
                return Ok(());
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn state(&self) -> [u64; 4] {
        let shared = &self.shared;
        [&shared.sent, &shared.acked, &shared.refused, &shared.delivered].map(|count| count.load(Relaxed))
    }

    fn stop(self) -> Result<Vec<Finished>, String> {
        self.shared.stop.store(true, Relaxed);
        self.handles.into_iter().map(finish).collect()
    }

    /// No worker ends by itself unless it failed.
    fn check(&mut self) -> Result<(), String> {
        let Some(ended) = self.handles.iter().position(JoinHandle::is_finished) else { return Ok(()) };
        let result = finish(self.handles.swap_remove(ended));
        self.shared.stop.store(true, Relaxed);
        Err(result.err().unwrap_or_else(|| "a thread ended before it was told to".to_owned()))
    }
}

fn finish(handle: JoinHandle<Result<Finished, String>>) -> Result<Finished, String> {
    handle
        .join()
        .unwrap_or_else(|_| Err("a thread of the load panicked; its message stands above".to_owned()))
}
