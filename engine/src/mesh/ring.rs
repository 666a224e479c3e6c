//! The bounded ring between two threads. The only file that names the queue underneath, so that a bench can swap it.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;

/// A ring for `capacity` items, from one thread to another.
///
/// # Panics
/// If `capacity` is 0.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a ring without slots refuses everything; give it a capacity of at least 1");
    let queue = Arc::new(CachePadded::new(ArrayQueue::new(capacity)));
    (Sender { queue: Arc::clone(&queue) }, Receiver { queue })
}

/// The end that puts in. Sending wakes nobody: the owner of the sender decides when to call
/// [`super::Sleeper::wake`], once per batch.
#[derive(Debug)]
pub struct Sender<T> {
    queue: Arc<CachePadded<ArrayQueue<T>>>,
}

impl<T> Sender<T> {
    /// Gives the item back when the ring is full.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        self.queue.push(item)
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

/// The end that takes out.
#[derive(Debug)]
pub struct Receiver<T> {
    queue: Arc<CachePadded<ArrayQueue<T>>>,
}

impl<T> Receiver<T> {
    pub fn try_take(&self) -> Option<T> {
        self.queue.pop()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
