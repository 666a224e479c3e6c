//! CPU time of a measuring thread itself.

use std::time::Duration;

use crate::process;
use crate::schedule::Window;

/// CPU time of the calling thread within the window, as near as its turns allow.
#[derive(Debug)]
pub struct Meter {
    window: Window,
    at_start: Option<Duration>,
    at_end: Option<Duration>,
}

impl Meter {
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, at_start: None, at_end: None }
    }

    /// Call at each turn.
    pub fn look(&mut self, now_ns: u64) {
        if now_ns >= self.window.start_ns {
            self.at_start.get_or_insert_with(process::thread_cpu_time);
        }
        if now_ns >= self.window.end_ns {
            self.at_end.get_or_insert_with(process::thread_cpu_time);
        }
    }

    /// Until the end of the window, or until now if it has not ended.
    #[must_use]
    pub fn used(&self) -> Duration {
        let end = self.at_end.unwrap_or_else(process::thread_cpu_time);
        end.saturating_sub(self.at_start.unwrap_or(end))
    }
}
