//! Where and how a figure was measured: a figure without this is a rumour.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use serde::Serialize;

/// Written into every result.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// The command line, as it can be repeated.
    pub command: String,
    /// Commit of the source tree the tool ran in, `-dirty` if it had changes; `unknown` outside of one.
    pub commit: String,
    /// Seconds since 1970.
    pub finished_at: u64,
    pub kernel: String,
    pub cpu: String,
    pub cpus: usize,
    pub memory_mib: u64,
    /// Runnable threads when the run began (1-minute average): others measured along if this is not near 0.
    pub load_before: f64,
}

impl Environment {
    /// Call before the run.
    #[must_use]
    pub fn read() -> Self {
        Self {
            command: env::args().collect::<Vec<_>>().join(" "),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            finished_at: 0,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_mib().unwrap_or(0),
            load_before: load().unwrap_or(f64::NAN),
        }
    }

    /// Call after the run.
    #[must_use]
    pub fn finished(mut self) -> Self {
        self.finished_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self
    }
}

/// Type of the file system that holds `path`, from the longest mount point above it; `None` if none is known.
#[must_use]
pub fn file_system(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let above = fields.filter(|fields| fields.len() > 2 && path.starts_with(fields[1]));
    above.max_by_key(|fields| fields[1].len()).map(|fields| fields[2].to_owned())
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let hash = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { hash } else { format!("{hash}-dirty") })
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_mib() -> Option<u64> {
    let kib: u64 = field("/proc/meminfo", "MemTotal")?.split(' ').next()?.parse().ok()?;
    Some(kib / 1024)
}

fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_on_linux() {
        let environment = Environment::read().finished();
        assert!(
            environment.cpus > 0 && environment.memory_mib > 0 && environment.finished_at > 1_700_000_000
        );
        assert!(environment.load_before >= 0.0 && !environment.kernel.is_empty());
    }

    #[test]
    fn the_file_system_is_that_of_the_longest_mount_point() {
        assert_eq!(file_system(Path::new("/proc/self")).as_deref(), Some("proc"));
        assert_eq!(file_system(Path::new("/no/such/path")), None);
    }
}
