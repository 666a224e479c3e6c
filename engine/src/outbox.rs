//! Unsent bytes of the connections of one driver: chains of shared buffers in one arena.
//!
//! Owns what was sent and not yet taken by the kernel. Never copies except into the caller's scratch. A connection
//! with nothing unsent costs the four bytes of its [`Queue`]; a queued buffer costs one node of 40 bytes. Bounded
//! by what the worker sends: it hears [`crate::driver::Event::Blocked`] and stops.

use bytes::{Buf, Bytes};

/// The unsent bytes of one connection, as an index into its [`Outbox`]. Copies mean the same queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue(u32);

impl Queue {
    pub const EMPTY: Self = Self(NONE);

    pub fn is_empty(self) -> bool {
        self.0 == NONE
    }
}

/// The arena.
#[derive(Debug)]
pub struct Outbox {
    queues: Vec<Chain>,
    queues_free: u32,
    nodes: Vec<Node>,
    nodes_free: u32,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { queues: Vec::new(), queues_free: NONE, nodes: Vec::new(), nodes_free: NONE }
    }
}

impl Outbox {
    /// Appends `bytes`; empty buffers leave the queue as it is.
    pub fn push(&mut self, queue: &mut Queue, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let unsent = bytes.len();
        let node = self.new_node(bytes);
        if queue.is_empty() {
            *queue = self.new_queue(Chain { head: node, tail: node, unsent });
            return;
        }
        let chain = &mut self.queues[queue.0 as usize];
        let last = std::mem::replace(&mut chain.tail, node);
        chain.unsent += unsent;
        self.nodes[last as usize].next = node;
    }

    /// Bytes not yet taken.
    pub fn unsent(&self, queue: Queue) -> usize {
        if queue.is_empty() { 0 } else { self.queues[queue.0 as usize].unsent }
    }

    /// The buffers of a queue, in order.
    pub fn chunks(&self, queue: Queue) -> impl Iterator<Item = &[u8]> {
        let mut next = if queue.is_empty() { NONE } else { self.queues[queue.0 as usize].head };
        std::iter::from_fn(move || {
            let node = self.nodes.get(next as usize)?;
            next = node.next;
            Some(&node.bytes[..])
        })
    }

    /// Forgets the first `count` bytes: the kernel has taken them.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, queue: &mut Queue, mut count: usize) {
        assert!(count <= self.unsent(*queue), "{count} bytes taken of {}", self.unsent(*queue));
        while count > 0 {
            let chain = &mut self.queues[queue.0 as usize];
            let node = &mut self.nodes[chain.head as usize];
            let taken = count.min(node.bytes.len());
            count -= taken;
            chain.unsent -= taken;
            if taken < node.bytes.len() {
                node.bytes.advance(taken);
            } else {
                let head = std::mem::replace(&mut chain.head, node.next);
                let emptied = chain.unsent == 0;
                self.free_node(head);
                if emptied {
                    self.free_queue(std::mem::replace(queue, Queue::EMPTY));
                }
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self, queue: &mut Queue) {
        self.advance(queue, self.unsent(*queue));
    }

    /// Whether no connection has anything unsent.
    pub fn is_empty(&self) -> bool {
        let mut free = 0;
        let mut next = self.queues_free;
        while let Some(chain) = self.queues.get(next as usize) {
            next = chain.head;
            free += 1;
        }
        free == self.queues.len()
    }

    fn new_node(&mut self, bytes: Bytes) -> u32 {
        let node = Node { bytes, next: NONE };
        let index = self.nodes_free;
        match self.nodes.get_mut(index as usize) {
            Some(free) => {
                self.nodes_free = free.next;
                *free = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    fn free_node(&mut self, index: u32) {
        self.nodes[index as usize] = Node { bytes: Bytes::new(), next: self.nodes_free };
        self.nodes_free = index;
    }

    fn new_queue(&mut self, chain: Chain) -> Queue {
        let index = self.queues_free;
        match self.queues.get_mut(index as usize) {
            Some(free) => {
                self.queues_free = free.head;
                *free = chain;
                Queue(index)
            }
            None => {
                self.queues.push(chain);
                Queue(self.queues.len() as u32 - 1)
            }
        }
    }

    fn free_queue(&mut self, queue: Queue) {
        self.queues[queue.0 as usize] = Chain { head: self.queues_free, tail: NONE, unsent: 0 };
        self.queues_free = queue.0;
    }
}

/// A queue in use; when free, `head` is the next free one.
#[derive(Debug)]
struct Chain {
    head: u32,
    tail: u32,
    unsent: usize,
}

#[derive(Debug)]
struct Node {
    bytes: Bytes,
    next: u32,
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push { queue: usize, length: usize },
        Advance { queue: usize, share: usize },
        Clear { queue: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4usize, 0..20usize).prop_map(|(queue, length)| Step::Push { queue, length }),
            3 => (0..4usize, 0..=100usize).prop_map(|(queue, share)| Step::Advance { queue, share }),
            1 => (0..4usize).prop_map(|queue| Step::Clear { queue }),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_byte_queue_per_connection(steps in prop::collection::vec(step(), 1..200)) {
            let mut outbox = Outbox::default();
            let mut queues = [Queue::EMPTY; 4];
            let mut model: [VecDeque<u8>; 4] = Default::default();
            let mut next_byte = 0u8;
            for step in steps {
                match step {
                    Step::Push { queue, length } => {
                        let bytes: Vec<u8> = (0..length).map(|i| next_byte.wrapping_add(i as u8)).collect();
                        next_byte = next_byte.wrapping_add(length as u8);
                        model[queue].extend(&bytes);
                        outbox.push(&mut queues[queue], bytes.into());
                    }
                    Step::Advance { queue, share } => {
                        let count = model[queue].len() * share / 100;
                        model[queue].drain(..count);
                        outbox.advance(&mut queues[queue], count);
                    }
                    Step::Clear { queue } => {
                        model[queue].clear();
                        outbox.clear(&mut queues[queue]);
                    }
                }
                for (queue, model) in queues.iter().zip(&model) {
                    let bytes: Vec<u8> = outbox.chunks(*queue).flatten().copied().collect();
                    prop_assert_eq!(&bytes, &Vec::from(model.clone()));
                    prop_assert_eq!(outbox.unsent(*queue), model.len());
                    prop_assert_eq!(queue.is_empty(), model.is_empty());
                }
                prop_assert_eq!(outbox.is_empty(), model.iter().all(VecDeque::is_empty));
            }
        }
    }
}
