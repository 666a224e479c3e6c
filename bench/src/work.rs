//! The work that `load` and `floor` both do: who sends how much to whom, how fast, how long.

use std::time::Duration;

use clap::Args;

use crate::outgoing::Pace;
use crate::schedule::{Schedule, Window};
use crate::topology::Shape;

#[derive(Clone, Debug, Args)]
pub struct Work {
    /// Users who send; each sends in turn to all its conversations.
    #[arg(long, default_value_t = 50)]
    pub senders: u32,
    #[arg(long, default_value_t = 200)]
    pub conversations: u32,
    /// Members of each conversation; 2 makes direct conversations, other numbers groups.
    #[arg(long, visible_alias = "group-size", default_value_t = 4)]
    pub members: u32,
    /// Sessions, one per user; by default as many as the conversations need to overlap little.
    #[arg(long)]
    pub users: Option<u32>,
    /// Messages per second of all senders together (open loop).
    #[arg(long, default_value_t = 2000.0, value_parser = positive)]
    pub rate: f64,
    /// Closed loop: unacknowledged messages that each sender keeps under way. --rate is not used.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: Option<u32>,
    /// Bytes of each message's text.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=4000))]
    pub body_bytes: u32,
    /// Seconds that count.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub seconds: f64,
    /// Seconds before them that do not.
    #[arg(long, default_value_t = 2.0, value_parser = not_negative)]
    pub warmup: f64,
}

impl Work {
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            senders: self.senders,
            conversations: self.conversations,
            members: self.members,
            users: self.users,
        }
    }

    #[must_use]
    pub fn pace(&self, start_ns: u64) -> Pace {
        match self.window {
            Some(window) => Pace::Closed { start_ns, window },
            None => Pace::Open(Schedule { start_ns, senders: self.senders, rate: self.rate }),
        }
    }

    #[must_use]
    pub fn measured(&self, start_ns: u64) -> Window {
        let (warmup, length) = (Duration::from_secs_f64(self.warmup), Duration::from_secs_f64(self.seconds));
        Window::after(start_ns, warmup, length)
    }

    /// `open` or `closed`, for results.
    #[must_use]
    pub fn loop_kind(&self) -> &'static str {
        if self.window.is_some() { "closed" } else { "open" }
    }
}

/// For clap: a finite number above 0, small enough for a duration.
pub fn positive(text: &str) -> Result<f64, String> {
    not_negative(text)
        .and_then(|number| if number > 0.0 { Ok(number) } else { Err("must be above 0".to_owned()) })
}

/// For clap: a finite number, 0 or more, small enough for a duration.
pub fn not_negative(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..1e12).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is not between 0 and 1e12"))
    }
}
