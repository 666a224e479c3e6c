//! The kernel's ring: safe wrappers for the few operations the driver uses.
//!
//! Everything unsafe about submitting is here. Operations without memory are safe to submit; a send names memory,
//! and its caller promises that it stays until [`Ring::enter`] has returned. That suffices because every send is
//! `MSG_DONTWAIT`: the kernel executes it during the submit and never keeps it.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode};

use super::buffers::Buffers;
use super::token::Token;

/// A socket as the kernel finds it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Plain(Fd),
    Direct(Fixed),
}

/// A completion, copied out of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub token: Token,
    /// The value of the operation, or a negated errno.
    pub result: i32,
    /// A provided buffer that was picked; it must be given back.
    pub buffer: Option<u16>,
    /// The request stays armed.
    pub more: bool,
}

/// A ring of the calling thread. May be used on this thread only (`SINGLE_ISSUER`).
pub(super) struct Ring {
    /// Borrows from `ring`; carries the index of the registered ring descriptor.
    submitter: Submitter<'static>,
    /// Owned: made by `Box::into_raw`, given back in `drop`. Only shared references to it ever exist.
    ring: *mut IoUring,
    /// Early submits because the queue was full.
    pub submission_fulls: u64,
    /// Enters that found completions waiting in the kernel for room in the queue.
    pub completion_overflows: u64,
}

impl Ring {
    /// # Errors
    /// Those of io_uring_setup(2), with what they usually mean.
    pub fn new(submission_entries: u32, completion_entries: u32) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(completion_entries);
        // The indirection array is optional since 6.6; older kernels refuse the flag.
        let ring = match builder.clone().setup_no_sqarray().build(submission_entries) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(submission_entries),
            built => built,
        };
        let raw = Box::into_raw(Box::new(ring.map_err(explain_setup)?));
        // SAFETY: `raw` comes from a Box and is freed only in `drop`, after the last use of this reference.
        let ring: &'static IoUring = unsafe { &*raw };
        let mut ring =
            Self { submitter: ring.submitter(), ring: raw, submission_fulls: 0, completion_overflows: 0 };
        // Saves a descriptor look-up per enter; refused before 5.18 or with 16 rings on one thread: do without.
        if let Err(error) = ring.submitter.register_ring_fd() {
            tracing::debug!(%error, "the ring descriptor is not registered");
        }
        // Only shutdowns run on kernel threads, and they are short: one thread instead of four per processor.
        ring.submitter.register_iowq_max_workers(&mut [1, 0])?;
        Ok(ring)
    }

    /// An empty table of direct descriptors.
    pub fn register_table(&self, slots: u32) -> io::Result<()> {
        self.submitter.register_files_sparse(slots)
    }

    /// Puts a socket into the table; the table then holds its own reference.
    pub fn install(&self, slot: u32, socket: RawFd) -> io::Result<()> {
        self.submitter.register_files_update(slot, &[socket]).map(drop)
    }

    /// # Safety
    /// `buffers` must outlive this ring.
    pub unsafe fn register_buffers(&self, buffers: &Buffers) -> io::Result<()> {
        let (address, count) = buffers.registration();
        // SAFETY: page-aligned descriptors of `count` entries; the caller keeps them until the ring is gone.
        unsafe { self.submitter.register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0) }
    }

    pub fn poll_readable(&mut self, target: Target, token: Token) -> io::Result<()> {
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        self.push_safe(
            match target {
                Target::Plain(fd) => opcode::PollAdd::new(fd, events).multi(true).build(),
                Target::Direct(fd) => opcode::PollAdd::new(fd, events).multi(true).build(),
            },
            token,
        )
    }

    pub fn poll_writable(&mut self, target: Target, repeats: Repeats, token: Token) -> io::Result<()> {
        let events = libc::POLLOUT as u32;
        let multishot = repeats == Repeats::Multishot;
        self.push_safe(
            match target {
                Target::Plain(fd) => opcode::PollAdd::new(fd, events).multi(multishot).build(),
                Target::Direct(fd) => opcode::PollAdd::new(fd, events).multi(multishot).build(),
            },
            token,
        )
    }

    pub fn poll_bell(&mut self, bell: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let bell = Fd(std::os::fd::AsRawFd::as_raw_fd(&bell));
        self.push_safe(opcode::PollAdd::new(bell, libc::POLLIN as u32).multi(true).build(), token)
    }

    /// Receives what is there into a provided buffer, without waiting.
    pub fn receive(&mut self, target: Target, bytes: u32, token: Token) -> io::Result<()> {
        let build = |receive: opcode::Recv| {
            receive.flags(libc::MSG_DONTWAIT).buf_group(BUFFER_GROUP).build().flags(Flags::BUFFER_SELECT)
        };
        self.push_safe(
            match target {
                Target::Plain(fd) => build(opcode::Recv::new(fd, std::ptr::null_mut(), bytes)),
                Target::Direct(fd) => build(opcode::Recv::new(fd, std::ptr::null_mut(), bytes)),
            },
            token,
        )
    }

    /// Sends without waiting. `MSG_WAITALL` makes the kernel report a short send; without it, one that is not
    /// awaited would vanish.
    ///
    /// # Safety
    /// The memory must stay as it is until the next [`Ring::enter`] has returned.
    pub unsafe fn send(
        &mut self,
        target: Target,
        memory: *const u8,
        length: u32,
        completes: SendCompletes,
        token: Token,
    ) -> io::Result<()> {
        let build = |send: opcode::Send| {
            let entry = send.flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build();
            match completes {
                SendCompletes::UnlessWhole => entry.flags(Flags::SKIP_SUCCESS),
                SendCompletes::Always => entry,
            }
        };
        let entry = match target {
            Target::Plain(fd) => build(opcode::Send::new(fd, memory, length)),
            Target::Direct(fd) => build(opcode::Send::new(fd, memory, length)),
        };
        // SAFETY: the caller keeps the memory until the kernel has executed the send.
        unsafe { self.push(entry, token) }
    }

    pub fn shut_sending(&mut self, target: Target, token: Token) -> io::Result<()> {
        self.push_safe(
            match target {
                Target::Plain(fd) => opcode::Shutdown::new(fd, libc::SHUT_WR).build(),
                Target::Direct(fd) => opcode::Shutdown::new(fd, libc::SHUT_WR).build(),
            },
            token,
        )
    }

    /// Cancels the request with this user data; completes only when there is none.
    pub fn cancel(&mut self, request: Token, token: Token) -> io::Result<()> {
        self.push_safe(opcode::AsyncCancel::new(request.pack()).build().flags(Flags::SKIP_SUCCESS), token)
    }

    /// Empties a slot of the table.
    pub fn close(&mut self, slot: u32, token: Token) -> io::Result<()> {
        self.push_safe(opcode::Close::new(Fixed(slot)).build(), token)
    }

    /// Accepts onto process descriptors until it fails or is cancelled.
    pub fn accept(&mut self, listener: RawFd, token: Token) -> io::Result<()> {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        self.push_safe(opcode::AcceptMulti::new(Fd(listener)).flags(flags).build(), token)
    }

    /// Submits everything, runs what the kernel has put off until we ask, waits for `want` completions or until
    /// `timeout` has passed, and moves every completion into `batch`. An interrupted or timed-out wait is no error.
    ///
    /// # Errors
    /// Those of io_uring_enter(2) that a repetition does not cure. The ring is of no use then.
    pub fn enter(
        &mut self,
        want: u32,
        timeout: Option<Duration>,
        batch: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.enter_once(want, timeout)?;
        self.reap(batch);
        for _ in 0..SUBMIT_ATTEMPTS {
            let overflown = self.has_overflown();
            if !overflown && self.unsubmitted() == 0 {
                return Ok(());
            }
            self.completion_overflows += u64::from(overflown);
            self.enter_once(0, None)?;
            self.reap(batch);
        }
        let left = self.unsubmitted();
        Err(io::Error::other(format!("the kernel does not take {left} operations; it is out of memory")))
    }

    /// Cancels everything, for the end of the driver: what the kernel holds would otherwise be let go some time
    /// after the process has closed the ring, its listener included.
    pub fn cancel_all(&mut self, batch: &mut Vec<Completion>) {
        // Fails on another thread than the ring's, or with nothing to cancel: no harm, only later.
        self.submitter.register_sync_cancel(None, CancelBuilder::any()).ok();
        self.enter_once(0, None).ok();
        self.reap(batch);
    }

    fn enter_once(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        let timespec = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        let submitting = self.unsubmitted() as u32;
        // SAFETY: the flags say that the argument is the extended one, and it lives through the call.
        match unsafe { self.submitter.enter(submitting, want, flags, Some(&arguments)) } {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // EBUSY, EAGAIN: the completion queue or memory is short; what was not submitted stays queued.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Operations that the kernel has not taken yet.
    fn unsubmitted(&self) -> usize {
        // SAFETY: one submission queue handle exists at a time: it is gone at the end of this expression.
        unsafe { self.shared().submission_shared() }.len()
    }

    /// Whether completions wait in the kernel for room in the queue.
    fn has_overflown(&self) -> bool {
        // SAFETY: as in `unsubmitted`.
        unsafe { self.shared().submission_shared() }.cq_overflow()
    }

    fn reap(&mut self, batch: &mut Vec<Completion>) {
        // SAFETY: one completion queue handle exists at a time: it is gone when this function returns.
        let queue = unsafe { self.shared().completion_shared() };
        batch.extend(queue.map(|entry| Completion {
            token: Token::unpack(entry.user_data()),
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        }));
    }

    fn push_safe(&mut self, entry: Entry, token: Token) -> io::Result<()> {
        // SAFETY: the callers' operations name no memory of ours: a receive writes into a provided buffer, an accept
        // asks for no address. Descriptors that have been closed make the operation fail, nothing worse.
        unsafe { self.push(entry, token) }
    }

    /// # Safety
    /// Memory that `entry` names must stay until the kernel has executed it.
    unsafe fn push(&mut self, entry: Entry, token: Token) -> io::Result<()> {
        let entry = entry.user_data(token.pack());
        for _ in 0..SUBMIT_ATTEMPTS {
            // SAFETY: one submission queue handle exists at a time: it is gone at the end of the statement.
            let mut queue = unsafe { self.shared().submission_shared() };
            // SAFETY: promised by the caller.
            if unsafe { queue.push(&entry) }.is_ok() {
                return Ok(());
            }
            drop(queue);
            self.submission_fulls += 1;
            match self.submitter.submit() {
                Ok(_) => {}
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("the kernel takes nothing from a full submission queue; it is out of memory"))
    }

    fn shared(&self) -> &IoUring {
        // SAFETY: made by `Box::into_raw` in `new`, freed only in `drop`, never borrowed mutably.
        unsafe { &*self.ring }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A registered descriptor holds the ring until the thread ends. Fails when it was not registered.
        self.submitter.unregister_ring_fd().ok();
        // SAFETY: made by `Box::into_raw` in `new`; the submitter, the only other holder, is not used again and has
        // nothing to drop.
        drop(unsafe { Box::from_raw(self.ring) });
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("submission_fulls", &self.submission_fulls).finish_non_exhaustive()
    }
}

/// Whether a poll is gone after its first completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeats {
    Once,
    Multishot,
}

/// Whether a send completes when the kernel took all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SendCompletes {
    UnlessWhole,
    Always,
}

/// Takes possession of a descriptor that an accept has made.
pub(super) fn adopt(descriptor: i32) -> OwnedFd {
    assert!(descriptor >= 0, "{descriptor} is an error, not a descriptor");
    // SAFETY: an accept without a direct slot returns a new descriptor of this process, which nobody else knows.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn explain_setup(error: io::Error) -> io::Error {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM) => {
            "not permitted: a seccomp profile (containers) or kernel.io_uring_disabled refuses it"
        }
        Some(libc::ENOSYS) => "this kernel has no io_uring",
        Some(libc::EINVAL) => "this kernel lacks SINGLE_ISSUER or DEFER_TASKRUN; Linux 6.1 has them",
        Some(libc::ENOMEM) => "out of locked memory: raise `ulimit -l`",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("io_uring_setup: {error} ({hint})"))
}

const BUFFER_GROUP: u16 = 0;
const SUBMIT_ATTEMPTS: u32 = 1000;
