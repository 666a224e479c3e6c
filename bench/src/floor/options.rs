//! What can be asked of `floor`.

use std::path::PathBuf;

use clap::Parser;

use crate::work::Work;

/// CPU time of sending the same bytes to as many loopback sockets without a gateway. Compare it with `load` in the same
/// minutes: figures of one machine drift by half between hours.
#[derive(Clone, Debug, Parser)]
#[command(name = "floor", version)]
pub struct Options {
    #[command(flatten)]
    pub work: Work,
    /// Microseconds for which requests are held and then answered together, as a group commit does. Choose it so that
    /// `frames_per_read` is that of the load it is compared with.
    #[arg(long, default_value_t = 0)]
    pub gather_us: u64,
    /// CPUs the server thread may use.
    #[arg(long, value_delimiter = ',')]
    pub server_cpus: Vec<usize>,
    /// CPUs the client thread may use.
    #[arg(long, value_delimiter = ',')]
    pub client_cpus: Vec<usize>,
    /// Write the result here; without it, to standard output.
    #[arg(long)]
    pub json: Option<PathBuf>,
}
