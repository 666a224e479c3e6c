//! Listening sockets, made outside the drivers so that tests and workers agree on their options.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen as start_listening, socket_with, sockopt,
};

/// Whether several listeners may share the address, the kernel spreading connections over them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// `SO_REUSEPORT`: one listener per worker on one address.
    ReusePort,
    Exclusive,
}

/// A listening socket on `address` (port 0: any free port). Accepted sockets inherit `TCP_NODELAY`.
///
/// An address in use is tried again for a moment: the ring of a killed process is torn down asynchronously and
/// holds its listener until then.
///
/// # Errors
/// Those of socket(2), bind(2), listen(2).
pub fn listen(address: SocketAddr, sharing: Sharing) -> io::Result<OwnedFd> {
    let mut attempts_left = ADDRESS_IN_USE_ATTEMPTS;
    loop {
        match listen_once(address, sharing) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts_left > 0 => {
                attempts_left -= 1;
                std::thread::sleep(ADDRESS_IN_USE_PAUSE);
            }
            result => return result,
        }
    }
}

/// The address a listener is bound to (the port, when it was asked for as 0).
pub fn local_address(listener: &OwnedFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(listener)?;
    address.try_into().map_err(|_| io::Error::other("the listener is not an IPv4 or IPv6 socket"))
}

/// As [`listen`], without trying again.
pub fn listen_once(address: SocketAddr, sharing: Sharing) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, sharing == Sharing::ReusePort)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    start_listening(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connections that may wait for accept. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 8192;

const ADDRESS_IN_USE_ATTEMPTS: u32 = 40;
const ADDRESS_IN_USE_PAUSE: Duration = Duration::from_millis(50);
