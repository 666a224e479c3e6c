//! One thread's epoll set and its timer: the leanest wait there is, so that the client is not what gets measured.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Events taken per wait; bounds how long sends that are due may be held up by reading.
const EVENTS_PER_WAIT_MAX: usize = 256;
/// Closer than this, setting a timer and sleeping would come back late: look again at once.
const SLEEP_MIN: Duration = Duration::from_micros(20);
/// Longer waits end here, early, by the timeout of epoll_wait: the caller looks again, and no timer is set while nothing
/// is due soon.
const COARSE: Duration = Duration::from_millis(10);
const TIMER: u64 = u64::MAX;

/// What a source is watched for, besides the end of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    ReadAndWrite,
}

/// What a source is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub source: u32,
    pub read: bool,
    pub write: bool,
}

/// Stays on the thread that made it.
pub struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // A timer descriptor, because the timeout of epoll_wait has whole milliseconds: too coarse to send on time.
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, events: Vec::with_capacity(EVENTS_PER_WAIT_MAX) })
    }

    /// Watches a source under the number it will be reported with.
    pub fn add(&self, fd: impl AsFd, source: u32) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(u64::from(source)), flags(Interest::Read))?)
    }

    pub fn change(&self, fd: impl AsFd, source: u32, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(u64::from(source)), flags(interest))?)
    }

    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits until a source is ready, at most `timeout`, perhaps less, and hands out what is ready (level-triggered).
    pub fn wait(&mut self, timeout: Duration, mut on_ready: impl FnMut(Ready)) -> io::Result<()> {
        let timespec = if timeout < SLEEP_MIN {
            Some(Timespec::default())
        } else if timeout <= COARSE {
            self.arm(timeout)?;
            None
        } else {
            Some(timespec(COARSE)?)
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timespec.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let (data, flags) = (event.data.u64(), event.flags);
            if let Ok(source) = u32::try_from(data) {
                let ended = flags.intersects(EventFlags::ERR | EventFlags::HUP);
                on_ready(Ready {
                    source,
                    read: ended || flags.contains(EventFlags::IN),
                    write: flags.contains(EventFlags::OUT),
                });
            }
        }
        Ok(())
    }

    fn arm(&self, timeout: Duration) -> io::Result<()> {
        let once = Itimerspec { it_interval: Timespec::default(), it_value: timespec(timeout)? };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller")
            .field("epoll", &self.epoll)
            .field("timer", &self.timer)
            .finish_non_exhaustive()
    }
}

fn timespec(duration: Duration) -> io::Result<Timespec> {
    Timespec::try_from(duration).map_err(|_| io::Error::other(format!("{duration:?} is too long to wait")))
}

fn flags(interest: Interest) -> EventFlags {
    match interest {
        Interest::Read => EventFlags::IN,
        Interest::ReadAndWrite => EventFlags::IN | EventFlags::OUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn reports_what_is_ready_and_wakes_for_the_timer() {
        let (mut left, right) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&right, 7).unwrap();
        let mut ready = Vec::new();
        poller.wait(Duration::from_millis(1), |event| ready.push(event.source)).unwrap();
        assert!(ready.is_empty());

        left.write_all(b"x").unwrap();
        poller.wait(Duration::from_secs(60), |event| ready.push(event.source)).unwrap();
        assert_eq!(ready, [7]);
        poller.wait(Duration::from_millis(5), |event| ready.push(event.source)).unwrap();
        assert_eq!(ready, [7, 7], "level-triggered");

        poller.change(&right, 7, Interest::ReadAndWrite).unwrap();
        let mut writable = false;
        poller.wait(Duration::ZERO, |event| writable = event.write && event.read).unwrap();
        assert!(writable);

        poller.remove(&right).unwrap();
        poller.wait(Duration::ZERO, |event| ready.push(event.source)).unwrap();
        assert_eq!(ready, [7, 7]);
    }
}
