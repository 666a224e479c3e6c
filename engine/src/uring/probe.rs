//! Whether io_uring, as this driver uses it, works here.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{Options, UringDriver};
use crate::doorbell::EventBell;
use crate::driver::{Driver, Event, Wait};

/// Tries everything the driver needs, on a pair of sockets: ring, table, buffers, poll, receive, send.
///
/// # Errors
/// What failed, and what it means. The `epoll` driver does without.
pub fn probe() -> Result<(), String> {
    let small = Options {
        connections_max: 8,
        submission_entries: 16,
        completion_entries: 64,
        receive_buffers: 2,
        receive_buffer_bytes: 64,
        events_per_turn_max: 8,
    };
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        format!(
            "io_uring does not work here: {what}: {error}. Use the epoll driver, or permit io_uring (Linux 6.1 or newer)"
        )
    };
    let bell = EventBell::new().map_err(|error| failed("eventfd", &error))?;
    let mut driver =
        UringDriver::new(small, None, Arc::new(bell)).map_err(|error| failed("setting up a ring", &error))?;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed("socketpair", &error))?;
    rustix::io::write(&near, b"probe").map_err(|error| failed("write", &error))?;
    let connection =
        driver.attach(far).map_err(|_| failed("direct descriptors", &"a socket could not be installed"))?;
    let deadline = crate::driver::read_clocks().monotonic + PATIENCE;
    let mut received = Vec::new();
    while received.len() < 5 {
        let now = driver
            .turn(Wait::Until(deadline), &mut |_, event| {
                if let Event::Received { bytes, .. } = event {
                    received.extend_from_slice(bytes);
                }
            })
            .map_err(|error| failed("io_uring_enter", &error))?;
        if now.monotonic >= deadline {
            return Err(failed(
                "multishot poll and provided buffers",
                &"bytes on a socket were not reported",
            ));
        }
    }
    driver.send(connection, received.into());
    driver.turn(Wait::No, &mut |_, _| {}).map_err(|error| failed("io_uring_enter", &error))?;
    read_back(&near).map_err(|error| failed("send", &error))
}

fn read_back(near: &OwnedFd) -> std::io::Result<()> {
    rustix::io::ioctl_fionbio(near, true)?;
    let mut echoed = [0; 5];
    let count = rustix::io::read(near, &mut echoed)?;
    if &echoed[..count] != b"probe" {
        return Err(std::io::Error::other(format!("descriptor {} got other bytes back", near.as_raw_fd())));
    }
    Ok(())
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
