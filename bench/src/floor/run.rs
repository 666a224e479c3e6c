//! One run of the floor.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::options::Options;
use super::result::FloorResult;
use super::server::Server;
use super::sizes::Sizes;
use crate::environment::Environment;
use crate::process;
use crate::progress;
use crate::schedule::{Clock, nanoseconds};
use crate::topology::Topology;

const LEAD: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Errors are sentences that say what to do.
pub fn run(options: &Options) -> Result<FloorResult, String> {
    let environment = Environment::read();
    let topology = Arc::new(Topology::new(options.work.shape())?);
    process::allow_files(2 * u64::from(topology.users()) + 100)?;
    let sizes = Sizes::of(options.work.body_bytes);
    let said = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let (clients, servers) = connect(topology.users()).map_err(said("cannot connect over loopback"))?;
    let gather = Duration::from_micros(options.gather_us);

    let clock = Clock::start();
    let start_ns = clock.now_ns() + nanoseconds(LEAD);
    let (pace, window) = (options.work.pace(start_ns), options.work.measured(start_ns));
    let stop = AtomicBool::new(false);
    let (used, seen) = thread::scope(|scope| {
        let server = scope.spawn(|| {
            process::pin(&options.server_cpus)?;
            Server::new(Arc::clone(&topology), sizes, gather, &servers)?.run(clock, window, &stop)
        });
        let client = scope.spawn(|| {
            process::pin(&options.client_cpus)?;
            Client::new(sizes, &clients)?.run(clock, pace, window, topology.senders(), &stop)
        });
        let bar = progress::bar("floor", (window.end_ns - start_ns) / 1_000_000_000);
        while clock.now_ns() < window.end_ns + nanoseconds(LOOK_EVERY) {
            if server.is_finished() || client.is_finished() {
                break;
            }
            bar.set_position(clock.now_ns().saturating_sub(start_ns) / 1_000_000_000);
            thread::sleep(LOOK_EVERY);
        }
        stop.store(true, Relaxed);
        bar.finish_and_clear();
        (server.join(), client.join())
    });
    let panicked = |_| "a thread of the floor panicked; its message stands above".to_owned();
    let used = used.map_err(panicked)?.map_err(said("the server failed"))?;
    let seen = seen.map_err(panicked)?.map_err(said("the client failed"))?;
    Ok(FloorResult::of(options, topology.users(), window, used, &seen, environment))
}

/// Both ends of each user's connection. One after the other, so that they are accepted in the order of connecting.
fn connect(users: u32) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    (0..users).map(|_| Ok((TcpStream::connect(address)?, listener.accept()?.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// Every request is answered to every member, and the closed loop keeps going.
    #[test]
    fn answers_reach_all_members() {
        let arguments =
            "floor --senders 4 --conversations 4 --members 5 --window 2 --seconds 0.3 --warmup 0.1";
        let result = run(&Options::parse_from(arguments.split(' '))).unwrap();
        assert_eq!(result.sessions, 20);
        assert!(result.acked > 0);
        assert_eq!(result.delivered, result.acked * 4);
        assert!(result.floor_cpu_us_per_delivered.is_some());
    }
}
