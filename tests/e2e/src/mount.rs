//! Small and read-only file systems, without leaving a trace: a tmpfs in a mount namespace of its own, which goes with
//! the process that holds it. Needs root, or user namespaces that unprivileged users may make.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A tmpfs that only the commands of [`Mount::command`] see. Clones share it; it goes with the last one.
#[derive(Debug, Clone)]
pub struct Mount {
    holder: Arc<Mutex<Holder>>,
    path: PathBuf,
    pid: u32,
    /// The namespace of users as well: we are not root.
    unprivileged: bool,
}

#[derive(Debug)]
struct Holder {
    child: Child,
    /// The holder ends when this closes, so it cannot outlive us.
    stdin: Option<ChildStdin>,
    _directory: tempfile::TempDir,
}

impl Mount {
    /// An empty file system of this size.
    ///
    /// # Panics
    /// If the machine allows neither root nor user namespaces.
    #[must_use]
    pub fn new(megabytes: u32) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().to_owned();
        let unprivileged = !rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        if unprivileged {
            command.args(["--user", "--map-root-user"]);
        }
        let script = "mount -t tmpfs -o size=\"$1\"m,mode=0777 tmpfs \"$2\" && echo mounted && exec cat";
        let mut child = command
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", &megabytes.to_string()])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped above"))
            .read_line(&mut line)
            .expect("the holder answers");
        assert_eq!(line.trim(), "mounted", "no tmpfs: run as root, or allow user namespaces for users");
        let (pid, stdin) = (child.id(), child.stdin.take());
        let holder = Arc::new(Mutex::new(Holder { child, stdin, _directory: directory }));
        Self { holder, path, pid, unprivileged }
    }

    /// Where it is, for commands inside.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that sees it.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        if self.unprivileged {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--mount", "--target", &self.pid.to_string(), "--"]).arg(program);
        command
    }

    /// Runs a shell line inside and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn shell(&self, line: &str) -> String {
        let output = self.command(Path::new("sh")).args(["-c", line]).output().expect("sh runs");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// From here on nobody writes to it.
    pub fn make_read_only(&self) {
        self.shell(&format!("mount -o remount,ro '{}'", self.path.display()));
    }

    pub fn make_writable(&self) {
        self.shell(&format!("mount -o remount,rw '{}'", self.path.display()));
    }

    /// A gateway of another process id namespace would not be found: we share that one.
    #[must_use]
    pub fn holder_pid(&self) -> u32 {
        self.holder.lock().expect("nobody panics with it").child.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}
