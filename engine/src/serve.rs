//! Puts a gateway together, runs it, takes it apart.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tidegate_shard::{Identity, Limits, Shard, ShardId};
use tidegate_storage::embedded;

use crate::access::{Keys, secret_of};
use crate::config::{Config, DriverChoice};
use crate::control::{self, Control};
use crate::doorbell::{Doorbell, EventBell};
use crate::driver::{Driver, read_clocks};
use crate::epoll::{self, EpollDriver};
use crate::inbound::{Gate, Inbound};
use crate::links::{ShardLinks, links};
use crate::listen::{Sharing, listen, local_address};
use crate::mesh::{Port, mesh};
use crate::metrics::{self, Gathering};
use crate::storage_threads::{Bells, StorageThreads};
use crate::supervision::{DrainPlan, Phase, Supervision};
use crate::uring::{self, UringDriver};
use crate::worker::{Crossing, Worker};

/// Envelopes in each ring between two shards. Cost: 200 bytes each, for every ordered pair of shards.
const RING_SLOTS: usize = 1024;

/// Runs a gateway until SIGTERM or SIGINT has drained it.
pub fn serve(config: Config) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let driver = choose(config.driver)?;
    let (secret, made) = match config.token_secret.clone() {
        Some(secret) => (secret, false),
        None => secret_of(&config.data_dir).with_context(|| {
            format!("no token secret is configured, and none can be kept in {}", config.data_dir.display())
        })?,
    };
    if made {
        tracing::warn!(
            "no token secret is configured: made a random one in {}. Print tokens with `tidegate token --user N`",
            config.data_dir.join(crate::access::SECRET_FILE).display()
        );
    }
    let mut options = embedded::Options::default();
    options.log.truncate_damaged = config.truncate_damaged_log;
    let (log, store, recovered) = embedded::open(&config.data_dir, &options)?;
    tracing::info!(
        replayed = recovered.replayed,
        next_lsn = recovered.next_lsn.0,
        torn = ?recovered.torn,
        truncated = ?recovered.truncated,
        "the log is open"
    );

    let listeners = listeners(&config)?;
    let websocket = local_address(&listeners[0])?;
    let http = TcpListener::bind(config.http).with_context(|| {
        format!("the HTTP address {} cannot be used; choose another with --http", config.http)
    })?;
    http.set_nonblocking(true)?;
    let http_address = http.local_addr()?;

    let supervision = Arc::new(Supervision::new(config.shards, DrainPlan::default()));
    let gate = Arc::new(Gate { keys: Keys::hs256(secret.as_bytes()), echo: config.echo });
    let bells = (0..config.shards).map(|_| EventBell::new().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let doorbells = bells.iter().map(|bell| bell.clone() as Arc<dyn Doorbell>).collect();
    let ports: Vec<Port<Crossing<OwnedFd>>> = mesh(config.shards.into(), RING_SLOTS, doorbells);
    let storage_bells = Bells::default();
    let (mut log_links, mut store_links, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for (index, ((port, listener), bell)) in ports.into_iter().zip(listeners).zip(&bells).enumerate() {
        let me = ShardId(index as u16);
        let (shard_links, log_link, store_link) =
            links(me, &port.sleeper(), &storage_bells.log, &storage_bells.store);
        log_links.push(log_link);
        store_links.push(store_link);
        let bell = bell.clone();
        let (gate, supervision) = (gate.clone(), supervision.clone());
        parts.push(Parts { me, port, listener, bell, links: shard_links, gate, supervision });
    }
    let storage = StorageThreads::start(log, store, log_links, store_links, storage_bells)?;

    let created_floor = recovered.created_ms_max;
    let (ready, readies) = mpsc::channel();
    let mut workers = Vec::new();
    for parts in parts {
        let (config, ready) = (config.clone(), ready.clone());
        let name = format!("shard-{}", parts.me.0);
        workers.push(std::thread::Builder::new().name(name).spawn(move || {
            let ended = work(parts, &config, driver, created_floor, &ready);
            if let Err(error) = &ended {
                tracing::error!(%error, "a worker has ended");
                let _already_up = ready.send(Err(anyhow::anyhow!("{error:#}")));
            }
            ended
        })?);
    }
    for _ in 0..config.shards {
        readies.recv()??;
    }

    let registry =
        metrics::registry(Gathering { supervision: supervision.clone(), storage: storage.report.clone() });
    let local = websocket.ip().is_loopback() && http_address.ip().is_loopback();
    let page_keys = (local && config.token_secret.is_none()).then(|| Keys::hs256(secret.as_bytes()));
    let control = Arc::new(Control { registry, supervision: supervision.clone(), websocket, page_keys });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()?;
    // Signals are caught before anybody can know our pid from the ready line.
    let signals = runtime.block_on(async { Signals::new() })?;
    runtime.spawn(async move {
        if let Err(error) = control::serve(http, control).await {
            tracing::error!(%error, "the HTTP side has ended");
        }
    });
    announce(&config, websocket, http_address, driver)?;

    let stops = Stops { supervision, bells };
    let ended = runtime.block_on(watch(signals, &stops, &workers));
    stops.everyone(Phase::Stopped);
    for worker in workers {
        match worker.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    storage.stop();
    ended
}

/// The one line on stdout that scripts wait for, and two for people.
fn announce(
    config: &Config,
    websocket: std::net::SocketAddr,
    http: std::net::SocketAddr,
    driver: DriverChoice,
) -> anyhow::Result<()> {
    tracing::info!("clients connect to ws://{websocket}/ws");
    tracing::info!("the chat page is at http://{http}/, the metrics are at http://{http}/metrics");
    let driver = match driver {
        DriverChoice::Epoll => "epoll",
        DriverChoice::Auto | DriverChoice::Uring => "uring",
    };
    let line = serde_json::json!({
        "ready": true,
        "ws": websocket.to_string(),
        "http": http.to_string(),
        "pid": std::process::id(),
        "driver": driver,
        "shards": config.shards,
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}

/// The soft limit is for programs that use select(2); a table of direct descriptors may be as large as the hard one allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, "the limit of open files could not be raised to its maximum");
    }
}

fn choose(wanted: DriverChoice) -> anyhow::Result<DriverChoice> {
    if wanted == DriverChoice::Epoll {
        return Ok(DriverChoice::Epoll);
    }
    match uring::probe() {
        Ok(()) => Ok(DriverChoice::Uring),
        Err(problem) if wanted == DriverChoice::Auto => {
            tracing::warn!("io_uring cannot be used here, going on with epoll: {problem}");
            Ok(DriverChoice::Epoll)
        }
        Err(problem) => {
            anyhow::bail!("io_uring cannot be used here: {problem}; --driver auto goes on with epoll")
        }
    }
}

/// One per shard on the same address; the kernel spreads connections over them.
fn listeners(config: &Config) -> anyhow::Result<Vec<OwnedFd>> {
    let context =
        || format!("the address {} cannot be used by clients; choose another with --listen", config.listen);
    let first = listen(config.listen, Sharing::ReusePort).with_context(context)?;
    let address = local_address(&first)?;
    let mut listeners = vec![first];
    while listeners.len() < config.shards.into() {
        listeners.push(listen(address, Sharing::ReusePort).with_context(context)?);
    }
    Ok(listeners)
}

struct Parts {
    me: ShardId,
    port: Port<Crossing<OwnedFd>>,
    listener: OwnedFd,
    bell: Arc<EventBell>,
    links: ShardLinks,
    gate: Arc<Gate>,
    supervision: Arc<Supervision>,
}

/// The life of one worker thread.
fn work(
    parts: Parts,
    config: &Config,
    driver: DriverChoice,
    created_floor: u64,
    ready: &mpsc::Sender<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    pin(parts.me);
    let connections_max = config.connections_per_shard_max;
    let (listener, bell) = (Some(parts.listener.try_clone()?), parts.bell.clone());
    match driver {
        DriverChoice::Auto | DriverChoice::Uring => {
            let options = uring::Options { connections_max, ..uring::Options::default() };
            let driver =
                UringDriver::new(options, listener, bell).context("the kernel refused an io_uring")?;
            run(driver, parts, config, created_floor, ready)
        }
        DriverChoice::Epoll => {
            let options = epoll::Options { connections_max, ..epoll::Options::default() };
            let driver = EpollDriver::new(options, listener, bell).context("the kernel refused an epoll")?;
            run(driver, parts, config, created_floor, ready)
        }
    }
}

fn run<D: Driver<Socket = OwnedFd>>(
    driver: D,
    parts: Parts,
    config: &Config,
    created_floor: u64,
    ready: &mpsc::Sender<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Parts { me, port, listener, links, gate, supervision, .. } = parts;
    // The driver has its own.
    drop(listener);
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let identity = Identity {
        me,
        shards: config.shards,
        node: config.node,
        seed: u64::from_le_bytes(seed),
        created_floor,
    };
    let limits = Limits { group_members_max: config.group_members_max, ..Limits::default() };
    let now = read_clocks();
    let inbound = Inbound::new(Shard::new(&identity, limits, now), gate, now);
    let worker = Worker::new(driver, inbound, port, links, supervision, me);
    ready.send(Ok(())).context("the main thread has gone")?;
    Ok(worker.run()?)
}

/// One shard per core; with more shards than cores they share, round robin.
fn pin(me: ShardId) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if !cores.is_empty() && !core_affinity::set_for_current(cores[usize::from(me.0) % cores.len()]) {
        tracing::warn!(shard = me.0, "the thread could not be pinned to its core");
    }
}

struct Stops {
    supervision: Arc<Supervision>,
    bells: Vec<Arc<EventBell>>,
}

impl Stops {
    fn everyone(&self, phase: Phase) {
        self.supervision.advance(phase);
        for bell in &self.bells {
            bell.ring();
        }
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for a signal, then for the drain (or a second signal). An error if a worker ends by itself.
async fn watch(
    mut signals: Signals,
    stops: &Stops,
    workers: &[JoinHandle<anyhow::Result<()>>],
) -> anyhow::Result<()> {
    let mut look = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = look.tick() => {
                anyhow::ensure!(!workers.iter().any(JoinHandle::is_finished), "a worker has ended");
            }
        }
    }
    tracing::info!("draining");
    stops.everyone(Phase::Draining);
    while !stops.supervision.all_drained() {
        tokio::select! {
            () = signals.next() => {
                tracing::warn!("a second signal: not waiting for the drain any longer");
                break;
            }
            _ = look.tick() => {
                anyhow::ensure!(!workers.iter().any(JoinHandle::is_finished), "a worker has ended");
            }
        }
    }
    Ok(())
}
