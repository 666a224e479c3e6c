//! What can be asked of `load`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::work::{Work, positive};

/// Loads a gateway and checks every message: acknowledged ones arrive once, in order, at every other member's session.
///
/// Open loop by default: messages are due at fixed times, and latency counts from them. With --window, closed loop:
/// every sender keeps that many messages unacknowledged.
#[derive(Clone, Debug, Parser)]
#[command(name = "load", version)]
pub struct Options {
    /// Start a gateway for this run, on free ports, in a data directory that is removed afterwards.
    #[arg(long)]
    pub spawn: bool,
    /// Where the gateway's WebSocket port is (without --spawn).
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub gateway: SocketAddr,
    /// Process id of the gateway, to read its CPU time (without --spawn); by default what its data directory's lock says,
    /// if it is on this machine.
    #[arg(long)]
    pub pid: Option<u32>,
    /// File with the gateway's HS256 secret; by default that of the data directory.
    #[arg(long)]
    pub secret_file: Option<PathBuf>,
    /// The gateway's data directory, by default ./tidegate-data as the gateway's; with --spawn it is used, and kept, instead
    /// of a temporary one.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The gateway's program for --spawn; by default `tidegate` beside this one.
    #[arg(long)]
    pub gateway_program: Option<PathBuf>,
    /// Shards of the gateway for --spawn; by default one per core.
    #[arg(long)]
    pub shards: Option<u32>,
    /// Driver of the gateway for --spawn: auto, uring or epoll.
    #[arg(long, default_value = "auto")]
    pub driver: String,
    /// CPUs the gateway may use with --spawn, such as 0 or 0,1.
    #[arg(long, value_delimiter = ',')]
    pub gateway_cpus: Vec<usize>,
    /// CPUs the load's threads may use.
    #[arg(long, value_delimiter = ',')]
    pub client_cpus: Vec<usize>,
    /// Threads of the load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,

    #[command(flatten)]
    pub work: Work,
    /// Every so many milliseconds each session says what it has received; 0: never.
    #[arg(long, default_value_t = 0)]
    pub received_ms: u64,
    /// Seconds without any progress after which what is missing counts as lost.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub patience: f64,
    /// Write the result here; without it, to standard output.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_make_no_run_are_refused() {
        for wrong in
            ["--rate=0", "--rate=nan", "--seconds=-1", "--window=0", "--body-bytes=4001", "--threads=0"]
        {
            assert!(Options::try_parse_from(["load", wrong]).is_err(), "{wrong}");
        }
        assert!(
            Options::try_parse_from(["load", "--warmup=0", "--group-size=50", "--gateway-cpus=0,1"]).is_ok()
        );
    }
}
