//! `tidegate doctor`: can this machine hold so many connections, and what has to change if not?
//!
//! [`Facts::read`] looks, [`checks`] decides from facts alone, [`Check`] is printed. `kernel-tuning/profile.sh` computes
//! the same numbers; a test compares them.

mod facts;

use std::fmt;

pub use facts::Facts;

/// Bytes of kernel memory per idle session: a TCP socket with inode and file, its direct descriptor, the armed poll.
/// Found by slab counts of 2 million bare sockets on Linux 6.18.
pub const KERNEL_BYTES_PER_SESSION: u64 = 4200;
/// Bytes of our own per idle session: slots of driver, worker and shard (16 + 32 + 48) and the user's entry, doubled
/// because tables grow by doubling.
pub const USER_BYTES_PER_SESSION: u64 = 272;
/// Bytes for everything that does not grow with connections: store, log buffers, conversations, the system.
const MEMORY_BESIDE: u64 = 2 << 30;
/// What one direct descriptor table holds (`IORING_MAX_FIXED_FILES`).
const TABLE_MAX: u64 = 1 << 20;
/// Files of the process beside sessions: tables of the store, log segments, sockets in their handshake.
const FILES_BESIDE: u64 = 16 * 1024;
/// What the listeners ask for; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: u64 = 8192;
/// Established connections per bucket above which looking one up costs noticeably more.
const BUCKET_CONNECTIONS_MAX: u64 = 4;
/// `serve` starts at most this many.
const SHARDS_MAX: u64 = 128;

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    Fine,
    /// It works, and could be better.
    Improvable,
    /// So many connections are not possible.
    Blocks,
}

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub what: &'static str,
    pub found: String,
    pub wanted: String,
    pub verdict: Verdict,
    pub why: &'static str,
    /// The command that mends it; empty when nothing is to be done.
    pub mend: String,
}

/// What `connections` need of a machine with so many shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Connections of the fullest shard: users spread by hash, and a tenth is far more than they differ.
    pub per_shard: u64,
    /// `RLIMIT_NOFILE`.
    pub open_files: u64,
    pub file_max: u64,
    pub memory: u64,
    pub tcp_ehash_entries: u64,
}

impl Needs {
    /// `direct`: sessions live in direct descriptor tables, one per shard, instead of among the files of the process.
    #[must_use]
    pub fn new(connections: u64, shards: u64, direct: bool) -> Self {
        let share = connections.div_ceil(shards);
        let per_shard = share + share / 10;
        Self {
            per_shard,
            open_files: if direct {
                per_shard.clamp(FILES_BESIDE, TABLE_MAX)
            } else {
                connections + FILES_BESIDE
            },
            file_max: connections + connections / 10 + 65536,
            memory: connections * (KERNEL_BYTES_PER_SESSION + USER_BYTES_PER_SESSION) + MEMORY_BESIDE,
            tcp_ehash_entries: connections.div_ceil(BUCKET_CONNECTIONS_MAX).next_power_of_two(),
        }
    }
}

/// The findings for this many connections, in the order in which they are best mended.
#[must_use]
pub fn checks(facts: &Facts, connections: u64) -> Vec<Check> {
    let needs = Needs::new(connections, facts.shards, facts.io_uring.is_ok());
    let mut checks = vec![kernel(facts), io_uring(facts), open_files(facts, &needs, connections)];
    checks.extend(facts.nr_open.map(|nr_open| Check {
        what: "fs.nr_open",
        found: nr_open.to_string(),
        wanted: needs.open_files.to_string(),
        verdict: unless(nr_open >= needs.open_files, Verdict::Blocks),
        why: "No process may raise its limit of open files above this.",
        mend: set("fs.nr_open", needs.open_files),
    }));
    checks.extend(facts.file_max.map(|file_max| {
        let used = facts.files_in_use.unwrap_or(0);
        let fits = file_max >= used.saturating_add(connections);
        Check {
            what: "fs.file-max",
            found: format!("{file_max} ({used} in use)"),
            wanted: needs.file_max.to_string(),
            verdict: if fits { unless(file_max >= needs.file_max, Verdict::Improvable) } else { Verdict::Blocks },
            why: "Every socket is a file of the machine, in a direct table too; at the end of them accept fails.",
            mend: set("fs.file-max", needs.file_max),
        }
    }));
    checks.extend(facts.memory.map(|memory| self::memory(facts, memory, &needs, connections)));
    checks.extend(conntrack(facts, connections));
    checks.extend(facts.somaxconn.map(|found| {
        let why = "Clients that wait for accept. When many come back at once and the queue is full, the kernel drops \
                   their handshakes and they try again a second later.";
        at_least("net.core.somaxconn", found, BACKLOG, why)
    }));
    checks.extend(facts.tcp_max_syn_backlog.map(|found| {
        let why =
            "Handshakes half done. Past it the kernel answers with SYN cookies, which forget TCP options.";
        at_least("net.ipv4.tcp_max_syn_backlog", found, BACKLOG, why)
    }));
    checks.extend(facts.tcp_ehash_entries.map(|found| ehash(found, &needs)));
    checks.extend(facts.local_ports.map(|(first, last)| Check {
        what: "net.ipv4.ip_local_port_range",
        found: format!("{first} to {last}"),
        wanted: "any".to_owned(),
        verdict: Verdict::Fine,
        why: "Matters to load generators only: one client address has so many ports to one address of the gateway.",
        mend: String::new(),
    }));
    checks
}

fn kernel(facts: &Facts) -> Check {
    let mut numbers = facts.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let version = numbers.next().and_then(Result::ok).zip(numbers.next().and_then(Result::ok));
    Check {
        what: "kernel",
        found: facts.kernel.clone(),
        wanted: "6.1 or newer".to_owned(),
        verdict: unless(version.is_some_and(|version| version >= (6, 1)), Verdict::Improvable),
        why: "The io_uring driver uses what came with 6.1. On older kernels the epoll driver runs.",
        mend: "boot a newer kernel".to_owned(),
    }
}

fn io_uring(facts: &Facts) -> Check {
    Check {
        what: "io_uring",
        found: facts.io_uring.clone().map_or_else(|problem| problem, |()| "works".to_owned()),
        wanted: "works".to_owned(),
        verdict: unless(facts.io_uring.is_ok(), Verdict::Improvable),
        why: "Without it the epoll driver runs: every session is a file of the process, every send a system call.",
        mend: match facts.io_uring_disabled {
            Some(disabled) if disabled > 0 => set("kernel.io_uring_disabled", 0),
            _ => "permit io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
                .to_owned(),
        },
    }
}

fn open_files(facts: &Facts, needs: &Needs, connections: u64) -> Check {
    let direct = facts.io_uring.is_ok();
    let (least, why) = if direct {
        let why = "Bounds the direct descriptor table of each shard, and of the process: handshakes, tables, segments.";
        (needs.per_shard, why)
    } else {
        (needs.open_files, "With epoll every session of every shard is a file of the process.")
    };
    let fits = facts.open_files >= least && (!direct || needs.per_shard <= TABLE_MAX);
    let raise = if facts.open_files_hard >= needs.open_files {
        format!("ulimit -n {}", needs.open_files)
    } else {
        format!("LimitNOFILE={} in the systemd unit, or `nofile` in limits.conf", needs.open_files)
    };
    Check {
        what: "open files (ulimit -n)",
        found: if facts.open_files == u64::MAX {
            "unlimited".to_owned()
        } else {
            facts.open_files.to_string()
        },
        wanted: format!("{} with {} shards", needs.open_files, facts.shards),
        verdict: if fits {
            unless(facts.open_files >= needs.open_files, Verdict::Improvable)
        } else {
            Verdict::Blocks
        },
        why,
        mend: if direct && !fits {
            format!("{}{raise}", more_shards(facts, needs, connections))
        } else {
            raise
        },
    }
}

/// More shards make smaller tables: the way where the limit cannot be raised, or one table would be too large.
fn more_shards(facts: &Facts, needs: &Needs, connections: u64) -> String {
    let shards = (connections + connections / 10).div_ceil(facts.open_files.clamp(1, TABLE_MAX));
    if shards <= SHARDS_MAX {
        format!("tidegate serve --shards {shards}, or ")
    } else if needs.per_shard > TABLE_MAX {
        format!("{SHARDS_MAX} shards hold at most {} connections; ", SHARDS_MAX * TABLE_MAX)
    } else {
        String::new()
    }
}

fn memory(facts: &Facts, memory: u64, needs: &Needs, connections: u64) -> Check {
    let gigabytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let available = facts.memory_available.unwrap_or(memory).min(memory);
    let fits = memory >= needs.memory;
    Check {
        what: "memory",
        found: format!("{} ({} free)", gigabytes(memory), gigabytes(available)),
        wanted: gigabytes(needs.memory),
        verdict: if fits { unless(available >= needs.memory, Verdict::Improvable) } else { Verdict::Blocks },
        why: "An idle session takes about 4.2 KB of the kernel and 0.3 KB of ours, estimated; traffic comes on top.",
        mend: if fits {
            "stop what else runs here".to_owned()
        } else {
            let most =
                memory.saturating_sub(MEMORY_BESIDE) / (KERNEL_BYTES_PER_SESSION + USER_BYTES_PER_SESSION);
            format!("more memory, or fewer than {connections} connections: this machine holds about {most}")
        },
    }
}

fn conntrack(facts: &Facts, connections: u64) -> Option<Check> {
    let most = facts.conntrack_max?;
    let tracked = facts.conntrack_count.unwrap_or(0);
    let wanted = connections + connections / 4;
    let fits = most >= wanted;
    // The module may be loaded and track nothing.
    let verdict = if fits || tracked == 0 { Verdict::Fine } else { Verdict::Blocks };
    Some(Check {
        what: "nf_conntrack",
        found: format!("{tracked} of {most}"),
        wanted: if fits || tracked > 0 { format!("off, or {wanted}") } else { "off".to_owned() },
        verdict,
        why: "A firewall that tracks connections drops new ones when its table is full.",
        mend: format!(
            "do not track the gateway's port (nft: `tcp dport 9000 notrack`), or {}",
            set("net.netfilter.nf_conntrack_max", wanted)
        ),
    })
}

fn ehash(found: i64, needs: &Needs) -> Check {
    let wanted = needs.tcp_ehash_entries;
    Check {
        what: "net.ipv4.tcp_ehash_entries",
        found: if found < 0 { "that of the host".to_owned() } else { found.to_string() },
        wanted: wanted.to_string(),
        verdict: unless(found < 0 || found.unsigned_abs() >= wanted, Verdict::Improvable),
        why: "Buckets of the kernel's connection table: long chains make every packet and every connect dearer.",
        mend: format!("kernel command line: thash_entries={wanted}, then boot"),
    }
}

fn at_least(what: &'static str, found: u64, wanted: u64, why: &'static str) -> Check {
    Check {
        what,
        found: found.to_string(),
        wanted: wanted.to_string(),
        verdict: unless(found >= wanted, Verdict::Improvable),
        why,
        mend: set(what, wanted),
    }
}

fn unless(fine: bool, otherwise: Verdict) -> Verdict {
    if fine { Verdict::Fine } else { otherwise }
}

fn set(name: &str, value: u64) -> String {
    format!("sysctl -w {name}={value}")
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, found, wanted, verdict, why, mend } = self;
        let mark = match verdict {
            Verdict::Fine => "ok",
            Verdict::Improvable => "better",
            Verdict::Blocks => "BLOCKS",
        };
        write!(f, "{mark:<7} {what:<29} {found:<26} {wanted}\n        {why}")?;
        if *verdict != Verdict::Fine {
            write!(f, "\n        mend: {mend}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
