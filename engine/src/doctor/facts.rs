//! What the machine says about itself. Reads; decides nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::uring;

/// Everything the checks look at. `None`: this kernel (or this container) does not show it.
#[derive(Clone, Debug)]
pub struct Facts {
    pub kernel: String,
    /// What the probe said; see [`uring::probe`].
    pub io_uring: Result<(), String>,
    /// `kernel.io_uring_disabled`: 0 for everyone, 1 for a group, 2 for nobody.
    pub io_uring_disabled: Option<u64>,
    /// What `serve` starts by default: one per core.
    pub shards: u64,
    /// `RLIMIT_NOFILE`: the soft limit counts, the hard one is how far it may be raised. `u64::MAX`: none.
    pub open_files: u64,
    pub open_files_hard: u64,
    pub nr_open: Option<u64>,
    pub file_max: Option<u64>,
    /// Open files of the whole machine.
    pub files_in_use: Option<u64>,
    pub somaxconn: Option<u64>,
    pub tcp_max_syn_backlog: Option<u64>,
    /// Buckets of the kernel's table of established connections; negative where it is borrowed from the host.
    pub tcp_ehash_entries: Option<i64>,
    pub local_ports: Option<(u64, u64)>,
    /// Bytes: of the machine, or of the control group if that has less.
    pub memory: Option<u64>,
    pub memory_available: Option<u64>,
    pub conntrack_count: Option<u64>,
    pub conntrack_max: Option<u64>,
}

impl Facts {
    #[must_use]
    pub fn read() -> Self {
        let open_files = getrlimit(Resource::Nofile);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo_bytes(&meminfo, "MemTotal");
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            io_uring: uring::probe(),
            io_uring_disabled: sysctl("kernel/io_uring_disabled"),
            shards: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            open_files: open_files.current.unwrap_or(u64::MAX),
            open_files_hard: open_files.maximum.unwrap_or(u64::MAX),
            nr_open: sysctl("fs/nr_open"),
            file_max: sysctl("fs/file-max"),
            files_in_use: sysctl("fs/file-nr"),
            somaxconn: sysctl("net/core/somaxconn"),
            tcp_max_syn_backlog: sysctl("net/ipv4/tcp_max_syn_backlog"),
            tcp_ehash_entries: sysctl("net/ipv4/tcp_ehash_entries"),
            local_ports: local_ports(),
            memory: [total, control_group_bytes()].into_iter().flatten().min(),
            memory_available: meminfo_bytes(&meminfo, "MemAvailable"),
            conntrack_count: sysctl("net/netfilter/nf_conntrack_count"),
            conntrack_max: sysctl("net/netfilter/nf_conntrack_max"),
        }
    }
}

/// The first number of a file below `/proc/sys`.
fn sysctl<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn local_ports() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The lowest `memory.max` of our control group (version 2) and those around it: kernel memory of sockets counts there.
fn control_group_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = PathBuf::from("/sys/fs/cgroup").join(path);
    let limits = own
        .ancestors()
        .take_while(|group| group.starts_with("/sys/fs/cgroup"))
        .filter_map(|group| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse::<u64>().ok());
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kilobytes() {
        let text = "MemTotal:       24684084 kB\nMemFree:        18647944 kB\nMemAvailable:   22802872 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal"), Some(24_684_084 * 1024));
        assert_eq!(meminfo_bytes(text, "MemAvailable"), Some(22_802_872 * 1024));
        assert_eq!(meminfo_bytes(text, "Mem"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let facts = Facts::read();
        assert!(!facts.kernel.is_empty());
        assert!(facts.shards >= 1);
        assert!(facts.open_files <= facts.open_files_hard);
        assert!(facts.memory.is_some_and(|bytes| bytes > 1 << 20));
    }
}
