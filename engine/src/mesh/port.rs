//! One worker's end of the mesh.

use std::sync::Arc;

use super::{Receiver, Sender, Sleeper, channel};
use crate::doorbell::Doorbell;

/// `n` ports, every one connected to every one, itself included. `bells[k]` wakes the worker that holds port `k`.
///
/// # Panics
/// If there is not one bell per port, or `capacity` is 0.
pub fn mesh<T: Send>(n: usize, capacity: usize, bells: Vec<Arc<dyn Doorbell>>) -> Vec<Port<T>> {
    assert_eq!(bells.len(), n, "one bell per port");
    let sleepers: Vec<Arc<Sleeper>> = bells.into_iter().map(|bell| Arc::new(Sleeper::new(bell))).collect();
    let mut ports: Vec<Port<T>> = (0..n)
        .map(|index| Port {
            peers: Vec::with_capacity(n),
            inbound: Vec::with_capacity(n),
            sleeper: Arc::clone(&sleepers[index]),
            take_first: 0,
        })
        .collect();
    for from in 0..n {
        for (to, sleeper) in sleepers.iter().enumerate() {
            let (sender, receiver) = channel(capacity);
            ports[from].peers.push(Peer {
                sender,
                sleeper: Arc::clone(sleeper),
                got_something: false,
                refusals: 0,
            });
            ports[to].inbound.push(receiver);
        }
    }
    ports
}

/// One worker's end: a ring to every peer, a ring from every peer, and its own [`Sleeper`].
#[derive(Debug)]
pub struct Port<T> {
    peers: Vec<Peer<T>>,
    inbound: Vec<Receiver<T>>,
    sleeper: Arc<Sleeper>,
    /// The peer whose turn it is to be served first.
    take_first: usize,
}

impl<T: Send> Port<T> {
    /// Gives the item back when the ring to `to` is full, and counts that.
    ///
    /// # Panics
    /// If there is no port `to`.
    pub fn try_send(&mut self, to: usize, item: T) -> Result<(), T> {
        let peer = &mut self.peers[to];
        let sent = peer.sender.try_send(item);
        match sent {
            Ok(()) => peer.got_something = true,
            Err(_) => peer.refusals += 1,
        }
        sent
    }

    /// Takes up to `budget` items, one from each peer in turn; the next call begins where this one ended. Returns
    /// how many it took.
    pub fn take(&mut self, budget: usize, mut on_item: impl FnMut(usize, T)) -> usize {
        let peers = self.inbound.len();
        let (mut taken, mut found_empty) = (0, 0);
        while taken < budget && found_empty < peers {
            let from = self.take_first;
            self.take_first = (from + 1) % peers;
            match self.inbound[from].try_take() {
                Some(item) => {
                    on_item(from, item);
                    taken += 1;
                    found_empty = 0;
                }
                None => found_empty += 1,
            }
        }
        taken
    }

    /// End of turn: rings every peer that got something since the last call and sleeps. Returns how many it rang.
    pub fn ring_bells(&mut self) -> usize {
        let rung = |peer: &mut Peer<T>| std::mem::take(&mut peer.got_something) && peer.sleeper.wake();
        self.peers.iter_mut().map(rung).filter(|rung| *rung).count()
    }

    /// Publishes that this worker sleeps, then looks at every ring once more. `false`: there is work, do not wait.
    pub fn prepare_sleep(&self) -> bool {
        self.sleeper.prepare_sleep(|| self.inbound.iter().all(Receiver::is_empty))
    }

    /// After the wait, whatever ended it.
    pub fn woke(&self) {
        self.sleeper.woke();
    }

    /// This worker's sleeper, for rings that reach it from outside the mesh (log, store, control).
    pub fn sleeper(&self) -> Arc<Sleeper> {
        Arc::clone(&self.sleeper)
    }

    /// Items that wait for this worker, over all peers.
    pub fn depth(&self) -> usize {
        self.inbound.iter().map(Receiver::len).sum()
    }

    /// Items given back because the ring to `to` was full.
    pub fn refusals(&self, to: usize) -> u64 {
        self.peers[to].refusals
    }

    /// Ports of the mesh, this one included.
    pub fn ports(&self) -> usize {
        self.peers.len()
    }
}

#[derive(Debug)]
struct Peer<T> {
    sender: Sender<T>,
    sleeper: Arc<Sleeper>,
    got_something: bool,
    refusals: u64,
}
