//! CPU time of processes and threads as the kernel accounts it, and where threads run.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// User and system time of all threads of a process, ended ones included. Resolution: one tick, 10 ms as a rule.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    let ticks = ticks_of_stat(&stat).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{path}: no utime and stime in {stat:?}"))
    })?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// CPU time of the calling thread.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    let nanoseconds = u32::try_from(time.tv_nsec).expect("below one second");
    Duration::new(seconds, nanoseconds)
}

/// What one thread of a process has used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThreadCpu {
    pub name: String,
    pub seconds: f64,
}

/// CPU time of each living thread of a process, threads of the same name together.
pub fn cpu_time_by_thread(pid: u32) -> io::Result<Vec<ThreadCpu>> {
    let mut threads: Vec<ThreadCpu> = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        // A thread may end between the listing and the reading.
        let (Ok(name), Ok(schedstat)) =
            (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        let nanoseconds =
            schedstat.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0);
        let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
        match threads.iter_mut().find(|thread| thread.name == name.trim()) {
            Some(thread) => thread.seconds += seconds,
            None => threads.push(ThreadCpu { name: name.trim().to_owned(), seconds }),
        }
    }
    Ok(threads)
}

/// What each thread used between two readings, to the millisecond, most first; those that used less are left out.
#[must_use]
pub fn thread_difference(before: &[ThreadCpu], after: &[ThreadCpu]) -> Vec<ThreadCpu> {
    let used = |thread: &ThreadCpu| {
        let earlier = before.iter().find(|earlier| earlier.name == thread.name);
        let seconds = thread.seconds - earlier.map_or(0.0, |earlier| earlier.seconds);
        ThreadCpu { name: thread.name.clone(), seconds: (seconds * 1e3).round() / 1e3 }
    };
    let mut threads: Vec<_> = after.iter().map(used).filter(|thread| thread.seconds > 0.0).collect();
    threads.sort_by(|left, right| right.seconds.total_cmp(&left.seconds));
    threads
}

/// Runs `body` with the calling thread, and every process it starts, on these CPUs, then lets it run anywhere again.
pub fn on_cpus<T>(cpus: &[usize], body: impl FnOnce() -> T) -> io::Result<T> {
    let before = rustix::thread::sched_getaffinity(None)?;
    pin(cpus)?;
    let result = body();
    sched_setaffinity(None, &before)?;
    Ok(result)
}

/// Keeps the calling thread on these CPUs; on all it has when the list is empty.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(io::Error::other(format!("CPU {cpu} does not exist; CPUs count from 0")));
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot run on CPUs {cpus:?}: {error}; `nproc` says how many there are"),
        )
    })
}

/// Raises the soft limit of open files to the hard one, and refuses if `needed` do not fit.
pub fn allow_files(needed: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < needed {
        return Err(format!(
            "{needed} files are needed, RLIMIT_NOFILE allows {most}; raise it with `ulimit -Hn {needed}`"
        ));
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|error| format!("cannot raise the soft RLIMIT_NOFILE to {most}: {error}"))
}

/// Fields 14 and 15 of `/proc/PID/stat` (proc_pid_stat(5)); the name in field 2 may hold spaces and parentheses.
fn ticks_of_stat(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 0 0 0 17 5 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks_of_stat(stat), Some(22));
        assert_eq!(ticks_of_stat("42 (short) S 1"), None);
    }

    #[test]
    fn own_cpu_time_grows_with_work() {
        let before = thread_cpu_time();
        let mut sum = 0_u64;
        while thread_cpu_time() - before < Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_time(std::process::id()).unwrap() >= Duration::from_millis(10));
        assert!(cpu_time_by_thread(std::process::id()).unwrap().iter().any(|thread| thread.seconds >= 0.02));
    }

    #[test]
    fn the_difference_counts_new_threads_and_leaves_out_idle_ones() {
        let threads = |list: &[(&str, f64)]| -> Vec<ThreadCpu> {
            list.iter().map(|&(name, seconds)| ThreadCpu { name: name.to_owned(), seconds }).collect()
        };
        let before = threads(&[("shard-0", 1.0), ("log", 2.0)]);
        let after = threads(&[("shard-0", 1.5), ("log", 2.0), ("store", 0.75)]);
        assert_eq!(thread_difference(&before, &after), threads(&[("store", 0.75), ("shard-0", 0.5)]));
    }

    #[test]
    fn a_missing_process_is_an_error_that_names_the_file() {
        let error = cpu_time(u32::MAX).unwrap_err();
        assert!(error.to_string().contains("/proc/4294967295/stat"), "{error}");
    }

    #[test]
    fn pinning_lasts_for_the_body_only() {
        let before = rustix::thread::sched_getaffinity(None).unwrap();
        let count = on_cpus(&[0], || rustix::thread::sched_getaffinity(None).unwrap().count()).unwrap();
        assert_eq!(count, 1);
        assert_eq!(rustix::thread::sched_getaffinity(None).unwrap(), before);
        assert!(pin(&[5000]).is_err());
    }
}
