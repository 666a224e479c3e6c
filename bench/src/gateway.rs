//! The gateway under load: one that runs already, or one started for the run and ended with it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::environment::file_system;
use crate::process;

/// How long a gateway may take until it accepts clients: recovery of a large log included.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a gateway may take to drain. Past it, it is killed.
const STOP_MAX: Duration = Duration::from_secs(15);
/// Where a gateway keeps its data, unless told otherwise.
pub const DATA_DIR: &str = "tidegate-data";
/// Where a gateway keeps the secret it made, in its data directory.
pub const SECRET_FILE: &str = "token.secret";
/// Tokens outlive every run.
const TOKEN_SECONDS: u64 = 24 * 3600;

/// What a gateway prints when it accepts clients.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReadyLine {
    pub ready: bool,
    pub ws: SocketAddr,
    pub http: SocketAddr,
    pub pid: u32,
    pub driver: String,
    pub shards: u32,
}

/// How to start one.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program; `None`: `tidegate` beside the running one.
    pub program: Option<PathBuf>,
    /// `None`: a temporary one beside the running program, because temporary directories are often in memory,
    /// where a sync costs nothing and means nothing.
    pub data_dir: Option<PathBuf>,
    pub shards: Option<u32>,
    pub driver: String,
    /// CPUs it may use; all when empty.
    pub cpus: Vec<usize>,
}

/// A gateway that was started here; drained (SIGTERM) when dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    ready: ReadyLine,
    data_dir: PathBuf,
    log: PathBuf,
    _temporary: Option<TempDir>,
}

impl Gateway {
    pub fn start(start: &Start) -> Result<Self, String> {
        let here =
            std::env::current_exe().map_err(|error| format!("cannot find the running program: {error}"))?;
        let beside = here.parent().expect("a program lies in a directory");
        let program = start.program.clone().unwrap_or_else(|| beside.join("tidegate"));
        let temporary =
            match &start.data_dir {
                Some(_) => None,
                None => Some(tempfile::Builder::new().prefix("load-data-").tempdir_in(beside).map_err(
                    |error| format!("cannot make a data directory in {}: {error}", beside.display()),
                )?),
            };
        let data_dir = match (&start.data_dir, &temporary) {
            (Some(given), _) => given.clone(),
            (None, Some(made)) => made.path().join("data"),
            (None, None) => unreachable!("one was made when none was given"),
        };
        let log = data_dir.with_extension("log");
        let log_file =
            File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let mut command = Command::new(&program);
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--driver",
            &start.driver,
        ]);
        command.arg("--data-dir").arg(&data_dir);
        if let Some(shards) = start.shards {
            command.args(["--shards", &shards.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
        let spawned = process::on_cpus(&start.cpus, || command.spawn()).map_err(|error| error.to_string())?;
        let mut child = spawned.map_err(|error| {
            format!(
                "cannot start {}: {error}; build it with `cargo build --release -p tidegate`",
                program.display()
            )
        })?;
        let ready = match wait_until_ready(&mut child) {
            Ok(ready) => ready,
            Err(why) => {
                let why = format!("{why}; its log ends with:\n{}", tail(&log));
                stop(&mut child);
                return Err(why);
            }
        };
        Ok(Self { child, ready, data_dir, log, _temporary: temporary })
    }

    #[must_use]
    pub fn ready(&self) -> &ReadyLine {
        &self.ready
    }

    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The last lines of its log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Type of the file system under the log: figures on `tmpfs` are not durable ones.
    #[must_use]
    pub fn data_dir_file_system(&self) -> Option<String> {
        file_system(&self.data_dir)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Signs access tokens as the gateway would.
#[derive(Clone)]
pub struct Tokens {
    key: EncodingKey,
    expires_at: u64,
}

#[derive(Serialize)]
struct Claims {
    sub: String,
    device: String,
    exp: u64,
}

impl Tokens {
    /// Reads the HS256 secret from a file.
    pub fn from_secret_file(path: &Path) -> Result<Self, String> {
        let secret = fs::read_to_string(path).map_err(|error| {
            format!(
                "cannot read the secret {}: {error}; --data-dir or --secret-file says where it is",
                path.display()
            )
        })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Self { key: EncodingKey::from_secret(secret.trim().as_bytes()), expires_at: now + TOKEN_SECONDS })
    }

    /// A token for device 1 of a user.
    pub fn token(&self, user: u64) -> Result<String, String> {
        let claims = Claims { sub: user.to_string(), device: "1".to_owned(), exp: self.expires_at };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .map_err(|error| format!("cannot sign a token for user {user}: {error}"))
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// The process that holds a data directory, if it lives.
#[must_use]
pub fn holder(data_dir: &Path) -> Option<u32> {
    let pid = fs::read_to_string(data_dir.join("LOCK")).ok()?.trim().parse().ok()?;
    process::cpu_time(pid).is_ok().then_some(pid)
}

/// Reads the first line a gateway prints, on a thread of its own because a pipe cannot be read with a deadline.
fn wait_until_ready(child: &mut Child) -> Result<ReadyLine, String> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let (line_sender, line) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = BufReader::new(stdout).read_line(&mut text);
        // Nobody listens any more if the deadline has passed: then the line is of no use.
        drop(line_sender.send(read.map(|_| text)));
    });
    let text = match line.recv_timeout(START_MAX) {
        Ok(Ok(text)) if !text.is_empty() => text,
        Ok(Ok(_)) => return Err("the gateway ended before it was ready".to_owned()),
        Ok(Err(error)) => return Err(format!("cannot read what the gateway prints: {error}")),
        Err(_) => return Err(format!("the gateway was not ready within {START_MAX:?}")),
    };
    serde_json::from_str(&text)
        .map_err(|error| format!("the gateway printed {text:?} instead of a ready line: {error}"))
}

fn stop(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    let asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let deadline = Instant::now() + STOP_MAX;
    while asked.is_ok() && Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    // Either fails only if the process has ended already.
    drop(child.kill());
    drop(child.wait());
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn start_script(text: &str) -> Result<Gateway, String> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("gateway");
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let data_dir = Some(directory.path().join("data"));
        Gateway::start(&Start {
            program: Some(program),
            data_dir,
            shards: Some(2),
            driver: "auto".into(),
            cpus: vec![],
        })
    }

    #[test]
    fn reads_the_ready_line_and_ends_the_process() {
        let line = r#"{"ready":true,"ws":"127.0.0.1:9000","http":"127.0.0.1:9001","pid":1,"driver":"uring","shards":2}"#;
        let gateway = start_script(&format!("echo '{line}'; exec sleep 1000")).unwrap();
        assert_eq!((gateway.ready().shards, gateway.ready().ws.port()), (2, 9000));
        let pid = gateway.child.id();
        drop(gateway);
        assert!(process::cpu_time(pid).is_err(), "process {pid} is still there");
    }

    #[test]
    fn the_holder_of_a_directory_is_a_living_process_or_nobody() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(holder(directory.path()), None);
        let own = std::process::id();
        for (text, pid) in [(format!("{own}\n"), Some(own)), ("4194305\n".to_owned(), None)] {
            fs::write(directory.path().join("LOCK"), text).unwrap();
            assert_eq!(holder(directory.path()), pid);
        }
    }

    #[test]
    fn a_gateway_that_does_not_start_shows_its_log() {
        let error = start_script("echo 'data directory is locked' >&2; exit 1").unwrap_err();
        assert!(error.contains("ended before it was ready") && error.contains("is locked"), "{error}");
        let error = start_script("echo hello").unwrap_err();
        assert!(error.contains("\"hello\\n\""), "{error}");
    }
}
