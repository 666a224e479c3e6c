//! The engine's `sync`, with loom underneath. Fences can be taken out, to see that the model finds what they are for.

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::{Mutex, PoisonError};

pub use loom::sync::atomic::Ordering;

/// loom's, whose `swap` of a value for itself is a new store that may come anywhere in the modification order. In the
/// memory model it comes right behind the store that it read, which makes no difference to anybody: so it is left out.
#[derive(Debug, Default)]
pub struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub fn new(value: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(value))
    }

    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub fn store(&self, value: bool, order: Ordering) {
        self.0.store(value, order);
    }

    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.compare_exchange(!value, value, order, order).unwrap_or_else(|same| same)
    }
}

/// A fence, unless [`without`] has taken it out.
#[track_caller]
pub fn fence(order: Ordering) {
    let here = Location::caller();
    let mut fences = FENCES.lock().unwrap_or_else(PoisonError::into_inner);
    fences.seen.insert((here.file(), here.line()));
    if fences.without != Some((here.file(), here.line())) {
        drop(fences);
        loom::sync::atomic::fence(order);
    }
}

/// File and line.
pub type Site = (&'static str, u32);

/// The fences that have been executed so far.
pub fn fences() -> BTreeSet<Site> {
    FENCES.lock().unwrap_or_else(PoisonError::into_inner).seen.clone()
}

/// Takes the fence at `site` out, or none.
pub fn without(site: Option<Site>) {
    FENCES.lock().unwrap_or_else(PoisonError::into_inner).without = site;
}

struct Fences {
    seen: BTreeSet<Site>,
    without: Option<Site>,
}

static FENCES: Mutex<Fences> = Mutex::new(Fences { seen: BTreeSet::new(), without: None });

/// loom has none. Only one thread initializes ours, so the value needs no lock: what counts is the order in which
/// others see that it is there, and that is loom's.
#[derive(Debug)]
pub struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    is_set: AtomicBool,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self { value: std::sync::OnceLock::new(), is_set: AtomicBool::new(false) }
    }
}

impl<T> OnceLock<T> {
    pub fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(make);
        self.is_set.store(true, Ordering::Release);
        value
    }
}

pub mod thread {
    pub use loom::thread::{Thread, current, park};

    /// loom has no time, and a wait that may end by itself hides a lost wake-up: this one does not.
    pub fn park_timeout(_: std::time::Duration) {
        park();
    }
}
