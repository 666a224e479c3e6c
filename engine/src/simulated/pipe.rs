//! One direction of a connection: bytes under way, bytes that have arrived, a bound on both together.

use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug)]
enum Parcel {
    Bytes(Vec<u8>),
    End,
}

#[derive(Debug)]
pub struct Pipe {
    under_way: VecDeque<(Duration, Parcel)>,
    arrived: VecDeque<u8>,
    /// Bytes under way and arrived.
    used: usize,
    capacity: usize,
    /// The writer has shut its end.
    shut: bool,
    /// The reader has everything, and the end.
    ended: bool,
}

impl Pipe {
    pub fn new(capacity: usize) -> Self {
        Self {
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            used: 0,
            capacity,
            shut: false,
            ended: false,
        }
    }

    pub fn room(&self) -> usize {
        if self.shut { 0 } else { self.capacity - self.used }
    }

    pub fn is_shut(&self) -> bool {
        self.shut
    }

    /// Takes as much as there is room for; it arrives at `at`, or after what was written before.
    pub fn write(&mut self, bytes: &[u8], at: Duration) -> (usize, Duration) {
        let count = bytes.len().min(self.room());
        let at = self.not_before(at);
        if count > 0 {
            self.used += count;
            self.under_way.push_back((at, Parcel::Bytes(bytes[..count].to_vec())));
        }
        (count, at)
    }

    pub fn shut(&mut self, at: Duration) -> Duration {
        let at = self.not_before(at);
        if !std::mem::replace(&mut self.shut, true) {
            self.under_way.push_back((at, Parcel::End));
        }
        at
    }

    fn not_before(&self, at: Duration) -> Duration {
        self.under_way.back().map_or(at, |(last, _)| at.max(*last))
    }

    /// Lets arrive what is due.
    pub fn arrive(&mut self, now: Duration) {
        while self.under_way.front().is_some_and(|(at, _)| *at <= now) {
            match self.under_way.pop_front() {
                Some((_, Parcel::Bytes(bytes))) => self.arrived.extend(bytes),
                Some((_, Parcel::End)) => self.ended = true,
                None => {}
            }
        }
    }

    pub fn read(&mut self, most: usize) -> Vec<u8> {
        let bytes: Vec<u8> = self.arrived.drain(..most.min(self.arrived.len())).collect();
        self.used -= bytes.len();
        bytes
    }

    pub fn has_bytes(&self) -> bool {
        !self.arrived.is_empty()
    }

    pub fn is_at_end(&self) -> bool {
        self.ended && self.arrived.is_empty()
    }

    /// There is something to read, be it the end.
    pub fn is_readable(&self) -> bool {
        self.ended || !self.arrived.is_empty()
    }

    /// A broken connection: what is under way never arrives.
    pub fn lose_everything(&mut self) {
        *self = Self { shut: true, ended: true, ..Self::new(self.capacity) };
    }
}
