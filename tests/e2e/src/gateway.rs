//! The gateway as its users see it: a process with a data directory.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::mount::Mount;

/// A running gateway; killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    /// `host:port` of the WebSocket listener.
    pub ws: String,
    /// `host:port` of the HTTP listener.
    pub http: String,
    /// The whole ready line.
    pub ready: Value,
    data_dir: PathBuf,
    log: Log,
    mount: Option<Mount>,
    /// Only when nobody else owns the directory.
    _own_data_dir: Option<TempDir>,
}

/// How to start one.
#[derive(Debug, Default, Clone)]
pub struct Start {
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    arguments: Vec<String>,
    mount: Option<Mount>,
}

/// A gateway that did not start.
#[derive(Debug)]
pub struct Refused {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Gateway {
    /// With an empty data directory and two shards.
    #[must_use]
    pub fn start() -> Self {
        Start::default().start()
    }

    /// On a data directory that outlives it.
    #[must_use]
    pub fn on(data_dir: &Path) -> Self {
        Start::default().data_dir(data_dir).start()
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.ws)
    }

    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// An access token as `tidegate token` signs it.
    #[must_use]
    pub fn token(&self, user: u64, device: u64) -> String {
        self.token_for(user, device, "1h")
    }

    /// The same with a chosen life.
    ///
    /// # Panics
    /// If the command fails.
    #[must_use]
    pub fn token_for(&self, user: u64, device: u64, ttl: &str) -> String {
        let mut command = command(self.mount.as_ref());
        command.args(["token", "--user", &user.to_string(), "--device", &device.to_string(), "--ttl", ttl]);
        let output = command.arg("--data-dir").arg(&self.data_dir).output().expect("the gateway binary runs");
        assert!(output.status.success(), "token: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a token is ASCII").trim().to_owned()
    }

    #[must_use]
    pub fn pid(&self) -> Pid {
        let pid = self.ready["pid"].as_i64().expect("the ready line has the pid");
        Pid::from_raw(i32::try_from(pid).expect("pids fit")).expect("pids are not zero")
    }

    /// `kill -9`: no chance to write anything more.
    ///
    /// # Panics
    /// If there is nothing to kill.
    pub fn kill_hard(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("the gateway can be waited for");
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the gateway runs");
    }

    /// Waits for the end of a gateway that was told to go.
    ///
    /// # Panics
    /// If it does not go.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("the gateway can be waited for") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the gateway still runs {patience:?} after it was told to go:\n{}", self.log.tail());
    }

    /// Still there, and has not panicked.
    ///
    /// # Panics
    /// If not.
    pub fn assert_sound(&mut self) {
        let ended = self.child.try_wait().expect("the gateway can be asked");
        assert_eq!(ended, None, "the gateway ended:\n{}", self.log.tail());
        let log = self.log.read();
        assert!(!log.contains("panicked at"), "the gateway panicked:\n{log}");
    }

    /// What it has said on stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.log.read()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the gateway's stderr, last lines ----\n{}", self.log.tail());
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Gone in the meantime is as good.
            kill_process(self.pid(), Signal::KILL).unwrap_or_default();
            if let Err(error) = self.child.wait() {
                eprintln!("the gateway cannot be waited for: {error}");
            }
        }
    }
}

impl Start {
    #[must_use]
    pub fn data_dir(mut self, data_dir: &Path) -> Self {
        self.data_dir = Some(data_dir.to_owned());
        self
    }

    /// A port of its own, so that clients find the gateway again after a restart.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.to_owned());
        self
    }

    /// More arguments of `tidegate serve`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Inside a file system of its own.
    #[must_use]
    pub fn mount(mut self, mount: &Mount) -> Self {
        self.mount = Some(mount.clone());
        self
    }

    /// # Panics
    /// If it does not come up, with what it said.
    #[must_use]
    pub fn start(self) -> Gateway {
        match self.try_start() {
            Ok(gateway) => gateway,
            Err(Refused { status, stderr }) => panic!("the gateway did not start ({status}):\n{stderr}"),
        }
    }

    /// # Errors
    /// [`Refused`] if it ends before it is ready.
    ///
    /// # Panics
    /// If it neither ends nor gets ready.
    pub fn try_start(self) -> Result<Gateway, Refused> {
        let own_data_dir =
            self.data_dir.is_none().then(|| tempfile::tempdir().expect("a temporary directory"));
        let data_dir = match (&self.data_dir, &own_data_dir) {
            (Some(given), _) => given.clone(),
            (None, Some(own)) => own.path().join("data"),
            (None, None) => unreachable!("made above"),
        };
        let log = Log::new();
        let mut command = command(self.mount.as_ref());
        command.args([
            "serve",
            "--http",
            "127.0.0.1:0",
            "--listen",
            self.listen.as_deref().unwrap_or("127.0.0.1:0"),
        ]);
        if !self.arguments.iter().any(|argument| argument == "--shards") {
            command.args(["--shards", "2"]);
        }
        command.arg("--data-dir").arg(&data_dir).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.file());
        let mut child = command.spawn().expect("the gateway binary runs");
        let stdout = child.stdout.take().expect("piped above");
        match ready_line(stdout) {
            Some(line) => {
                let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
                let address =
                    |key: &str| ready[key].as_str().expect("the ready line has the addresses").to_owned();
                let (ws, http) = (address("ws"), address("http"));
                let mount = self.mount;
                Ok(Gateway { child, ws, http, ready, data_dir, log, mount, _own_data_dir: own_data_dir })
            }
            None => {
                let status = child.wait().expect("the gateway can be waited for");
                Err(Refused { status, stderr: log.read() })
            }
        }
    }
}

/// The first line of stdout; `None` at its end. The rest is read and dropped, so that the gateway never blocks on it.
fn ready_line(stdout: impl Read + Send + 'static) -> Option<String> {
    let (lines, line) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Later lines have no receiver.
            drop(lines.send(line));
        }
    });
    match line.recv_timeout(START_PATIENCE) {
        Ok(line) => Some(line),
        Err(mpsc::RecvTimeoutError::Disconnected) => None,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the gateway was not ready after {START_PATIENCE:?}"),
    }
}

fn command(mount: Option<&Mount>) -> Command {
    let mut command = match mount {
        Some(mount) => mount.command(binary_path()),
        None => Command::new(binary_path()),
    };
    // `TIDEGATE_*` configures a gateway; ours are configured by their arguments alone.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"TIDEGATE_"))
    {
        command.env_remove(name);
    }
    command
}

/// `TIDEGATE_BIN`, or the release binary of this workspace, built if it has to be.
///
/// # Panics
/// If it cannot be built.
pub fn binary_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(given) = std::env::var_os("TIDEGATE_BIN") {
            return given.into();
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--package", "tidegate", "--bin", "tidegate"])
            .current_dir(&workspace)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the gateway does not build: run `cargo build --release` to see why");
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        target.join("release/tidegate").canonicalize().expect("the build made the binary")
    })
}

/// A free port of this machine, for a gateway that has to come back at the same place.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound above").to_string()
}

/// Stderr of a gateway.
#[derive(Debug)]
struct Log(tempfile::NamedTempFile);

impl Log {
    fn new() -> Self {
        Self(tempfile::NamedTempFile::new().expect("a temporary file"))
    }

    fn file(&self) -> std::fs::File {
        self.0.reopen().expect("the temporary file is there")
    }

    fn read(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.0.path()).unwrap_or_default()).into_owned()
    }

    fn tail(&self) -> String {
        let text = self.read();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

const TAIL_LINES: usize = 60;

/// Making the first log segments writes some hundred megabytes, on a machine that runs other tests beside.
const START_PATIENCE: Duration = Duration::from_secs(120);
