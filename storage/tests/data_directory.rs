//! Proves: a data directory that cannot be used says why and what to do, and one that can be used is held alone.
//! Guards against: two gateways in one directory, and errors that leave the operator guessing.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::RwLock;

use support::{commit_all, numbered};
use tidegate_storage::embedded::directory::DirectoryError;
use tidegate_storage::embedded::disk::{Disk, SegmentNumber};
use tidegate_storage::embedded::log::{DamageReason, LogOptions};
use tidegate_storage::embedded::{self, OpenError, Options, inspect};
use tidegate_storage::{Lsn, Store};

const HOLD: &str = "TIDEGATE_TEST_HOLD";

/// A child shares our locks from its fork to its exec: tests that start one (`write`) run without the others (`read`).
static FORKS: RwLock<()> = RwLock::new(());

fn options() -> Options {
    let log = LogOptions { segment_bytes: 256 * 1024, group_bytes_max: 64 * 1024, ..LogOptions::default() };
    Options { log, ..Options::default() }
}

fn refusal(directory: &Path) -> DirectoryError {
    match embedded::open(directory, &options()) {
        Err(OpenError::Directory(error)) => error,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The body of the other process: opens the directory that it is told, says so, writes until it is killed.
#[test]
fn helper_process_that_holds_a_directory() {
    let Some(directory) = std::env::var_os(HOLD).map(PathBuf::from) else { return };
    let (mut log, mut store, _) = embedded::open(&directory, &options()).unwrap();
    println!("\nHOLDING");
    for ticket in 1.. {
        let durable = commit_all(&mut log, &[numbered(2 * ticket, 3000), numbered(2 * ticket + 1, 10)]);
        for (lsn, append) in durable {
            store.apply(lsn, &append.rows).unwrap();
            println!("DURABLE {lsn}");
        }
        if ticket % 50 == 0 {
            // On a full disk this fails, and may be tried again: the log has every record.
            if let Err(error) = store.flush() {
                println!("NOT FLUSHED {error}");
            }
            log.persisted(store.persisted_lsn());
        }
        support::prepare(&mut log);
    }
}

fn hold(directory: &Path) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["helper_process_that_holds_a_directory", "--exact", "--nocapture"])
        .env(HOLD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("HOLDING") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the helper ended before it held the directory");
    }
    (child, lines)
}

#[test]
fn held_by_another_process_and_free_after_its_death() {
    let _forks = FORKS.write();
    let directory = tempfile::tempdir().unwrap();
    let (mut child, _lines) = hold(directory.path());
    let text = refusal(directory.path()).to_string();
    assert!(text.contains(&format!("in use by process {}", child.id())), "{text}");
    assert!(text.contains("--data-dir"), "{text}");
    let report = inspect::verify(directory.path()).unwrap();
    assert_eq!(report.holder, Some(child.id().to_string()));
    child.kill().unwrap();
    child.wait().unwrap();
    embedded::open(directory.path(), &options()).unwrap();
}

#[test]
fn killed_at_any_moment_everything_reported_is_there() {
    let _forks = FORKS.write();
    let directory = tempfile::tempdir().unwrap();
    let mut reported = Lsn::ZERO;
    for round in 1..=6 {
        let (mut child, mut lines) = hold(directory.path());
        let mut line = String::new();
        for _ in 0..round * 17 {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died, read after its death.
        for rest in std::iter::once(line).chain(lines.lines().map(Result::unwrap)) {
            // The last line may be cut in the middle of the number; a cut number is smaller.
            if let Some(lsn) = rest.trim().strip_prefix("DURABLE ").and_then(|lsn| lsn.parse().ok()) {
                reported = reported.max(Lsn(lsn));
            }
        }
        let (log, store, _) = embedded::open(directory.path(), &options()).unwrap();
        assert!(log.durable_lsn() >= reported, "{} is gone, {reported} was reported", log.durable_lsn());
        assert_eq!(store.applied_lsn(), log.durable_lsn());
    }
    assert!(reported > Lsn(100), "the helper got to work: {reported}");
}

#[test]
fn held_by_this_process_until_log_and_store_are_dropped() {
    let _forks = FORKS.read();
    let directory = tempfile::tempdir().unwrap();
    let (log, store, _) = embedded::open(directory.path(), &options()).unwrap();
    assert!(matches!(refusal(directory.path()), DirectoryError::Held { .. }));
    drop(log);
    assert!(matches!(refusal(directory.path()), DirectoryError::Held { .. }), "the store still holds it");
    drop(store);
    embedded::open(directory.path(), &options()).unwrap();
}

#[test]
fn another_format_is_named() {
    let _forks = FORKS.read();
    let directory = tempfile::tempdir().unwrap();
    drop(embedded::open(directory.path(), &options()).unwrap());
    let path = directory.path().join("FORMAT");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("format 1", "format 7")).unwrap();
    let refused = refusal(directory.path());
    assert!(matches!(refused, DirectoryError::OtherFormat { found: 7, .. }));
    assert!(refused.to_string().contains("has format 7, this program reads format 1"), "{refused}");
    for nonsense in
        ["", "something else\n", "tidegate data directory\n", "tidegate data directory\nformat 1\nlog xyz\n"]
    {
        fs::write(&path, nonsense).unwrap();
        assert!(matches!(refusal(directory.path()), DirectoryError::NotOurs { .. }), "{nonsense:?}");
    }
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let _forks = FORKS.read();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("log")).unwrap();
    fs::write(directory.path().join("log/0000000000000001.segment"), b"precious").unwrap();
    let refused = refusal(directory.path());
    assert!(refused.to_string().contains("it has a `log` but no FORMAT file"), "{refused}");
    assert_eq!(fs::read(directory.path().join("log/0000000000000001.segment")).unwrap(), b"precious");
    // Files that others keep beside ours are no reason to refuse.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), b"0123").unwrap();
    embedded::open(directory.path(), &options()).unwrap();
}

#[test]
fn a_missing_directory_is_made_for_its_owner_only() {
    let _forks = FORKS.read();
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new/data");
    embedded::open(&directory, &options()).unwrap();
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn missing_permission_says_what_to_do() {
    let _forks = FORKS.read();
    // In a thread of its own that is not root, if we are: permissions are a matter of the thread on Linux.
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let closed = parent.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let inside = closed.join("data");
    let refused = std::thread::spawn(move || {
        if rustix::process::getuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        [refusal(&inside), refusal(&closed)]
    });
    for error in refused.join().unwrap() {
        assert!(matches!(error, DirectoryError::NotPermitted { .. }), "{error:?}");
        assert!(error.to_string().contains("chmod"), "{error}");
    }
}

#[test]
fn a_file_in_place_of_the_directory_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(refusal(file.path()), DirectoryError::Io { .. }));
}

#[test]
fn verify_and_dump_read_a_log_and_report_its_damage() {
    let _forks = FORKS.read();
    let directory = tempfile::tempdir().unwrap();
    let (mut log, store, _) = embedded::open(directory.path(), &options()).unwrap();
    for ticket in 1..=10 {
        commit_all(
            &mut log,
            &[numbered(ticket, 5000), numbered(100 + ticket, 10)]
                .map(|record| tidegate_storage::Append { stream: (record.ticket > 100).into(), ..record }),
        );
    }
    let segment = log.disk().path(SegmentNumber(1));
    assert_eq!(log.disk().segments().unwrap().len(), 1);
    drop((log, store));

    let mut text = Vec::new();
    let report = inspect::dump(directory.path(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!((report.groups, report.records, report.lsns), (10, 20, Some((Lsn(1), Lsn(20)))));
    assert_eq!((report.holder.as_deref(), &report.damage, report.torn), (None, &None, None));
    assert_eq!(text.lines().filter(|line| line.starts_with("group ")).count(), 10);
    assert!(text.contains("record lsn=20 stream=1 ticket=110 epoch=0 rows=1"), "{text}");
    assert!(text.contains("seq=110 frame_bytes=10 sender=7"), "{text}");
    assert!(report.to_string().contains("10 groups, 20 records, 1 to 20\nno damage"), "{report}");

    let mut bytes = fs::read(&segment).unwrap();
    bytes[3 * 8192 + 200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let report = inspect::verify(directory.path()).unwrap();
    let damage = report.damage.clone().unwrap();
    assert_eq!((damage.place.offset, damage.lsn, damage.groups_behind), (3 * 8192, Lsn(7), 6));
    assert!(matches!(damage.reason, DamageReason::Group(_)));
    assert!(report.to_string().contains("DAMAGED at byte 24576"), "{report}");
    let text = embedded::open(directory.path(), &options()).unwrap_err().to_string();
    assert!(
        text.contains("6 later groups with 12 records") && text.contains("--truncate-damaged-log"),
        "{text}"
    );
    let mut cut = options();
    cut.log.truncate_damaged = true;
    let (_, _, recovered) = embedded::open(directory.path(), &cut).unwrap();
    assert_eq!(recovered.next_lsn, Lsn(7));
    assert!(inspect::verify(directory.path()).unwrap().damage.is_none());
}

#[test]
fn a_directory_without_a_log_cannot_be_verified() {
    let directory = tempfile::tempdir().unwrap();
    let text = inspect::verify(directory.path()).unwrap_err().to_string();
    assert!(text.contains("not a tidegate data directory"), "{text}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "looking leaves nothing behind");
}
