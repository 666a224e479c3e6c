//! Connections on their way from one driver to another.

use std::os::fd::OwnedFd;
use std::sync::mpsc;

use tidegate::driver::{Driver, Wait};

use super::world::*;

pub fn an_idle_connection_moves_to_another_driver<R: Rig>() {
    let mut from = World::<R>::new();
    let mut to = World::<R>::deaf();
    let (mut client, old) = from.connect();
    from.settle();
    let socket = from.driver.detach(old).unwrap();
    let new = to.driver.attach(socket).unwrap();
    to.turn(Wait::No);
    write(&mut client, b"hello over there");
    to.until("received", |to| to.bytes(new) == b"hello over there");
    from.until("slot freed", |from| from.driver.connections() == 0);
    assert!(from.received.is_empty() && from.gone.is_empty());
    to.send(new, &b"hello back"[..]);
    to.turn(Wait::No);
    assert_eq!(read_exactly(&mut client, 10), b"hello back");
    // No request of the old driver keeps the socket open.
    to.close(new, LONG);
    let reader = read_to_end(client);
    to.until("closed", |to| to.driver.connections() == 0);
    assert_eq!(reader.join().unwrap().unwrap(), b"");
}

pub fn no_byte_is_lost_when_a_connection_moves_in_mid_stream<R: Rig>() {
    const CLIENTS: usize = 30;
    const BYTES: usize = 400_000;
    let (sockets, arriving) = mpsc::channel::<(usize, Vec<u8>, OwnedFd)>();
    let mut from = World::<R>::new();
    let address = from.address;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut to = World::<R>::deaf();
            let mut heads = Vec::new();
            to.until("everything", |to| {
                while let Ok((index, head, socket)) = arriving.try_recv() {
                    let connection = to.driver.attach(socket).unwrap();
                    heads.push((index, head, connection));
                }
                heads.len() == CLIENTS && heads.iter().all(|(_, _, id)| to.gone.contains(id))
            });
            for (index, mut head, connection) in heads {
                head.extend_from_slice(to.bytes(connection));
                assert_eq!(usize::from(head[0]), index);
                assert_same(&head[1..], &pattern(index as u64, BYTES));
            }
        });
        for index in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = std::net::TcpStream::connect(address).unwrap();
                write(&mut client, &[index as u8]);
                for chunk in pattern(index as u64, BYTES).chunks(1777) {
                    write(&mut client, chunk);
                }
            });
        }
        let mut moved = 0;
        from.until("all moved", |from| {
            // Each moves after a different number of bytes.
            let due: Vec<_> = from
                .received
                .iter()
                .filter(|(connection, bytes)| bytes.len() > connection.slot as usize * 5000)
                .map(|(connection, _)| *connection)
                .collect();
            for connection in due {
                let head = from.received.remove(&connection).unwrap();
                let socket = from.driver.detach(connection).expect("fresh, nothing unsent");
                sockets.send((usize::from(head[0]), head, socket)).unwrap();
                moved += 1;
            }
            moved == CLIENTS
        });
        from.until("slots freed", |from| from.driver.connections() == 0);
        assert!(from.received.is_empty() && from.gone.is_empty());
        receiver.join().unwrap();
    });
}

pub fn only_fresh_connections_with_nothing_unsent_can_move<R: Rig>() {
    let mut world = World::<R>::new();
    let (mut client, connection) = world.connect();
    world.send(connection, &b"unsent"[..]);
    assert!(world.driver.detach(connection).is_none(), "unsent bytes would be lost");
    world.turn(Wait::No);
    assert_eq!(read_exactly(&mut client, 6), b"unsent");
    let socket = world.driver.detach(connection).unwrap();
    assert!(world.driver.detach(connection).is_none(), "it has left");
    world.driver.attach(socket).unwrap();
}
