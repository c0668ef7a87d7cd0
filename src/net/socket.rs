//! UDP sockets, set up as a node needs them on each system, and addresses as people write them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::wire::limits::SERVER_PORT;

/// What a server asks the system to hold for it in each direction: 3,000 datagrams, what a full class sends at once
/// while the loop waits for a processor. The system may grant less (on Linux `net.core.rmem_max`).
const SERVER_BUFFER: usize = 4 << 20;
/// What a client asks for: 256 pages in flight in each of three logs.
const CLIENT_BUFFER: usize = 1 << 20;

/// A server's socket. Bound to `[::]` it also takes IPv4, unless the system has no IPv6: then it is bound to 0.0.0.0.
///
/// # Errors
/// When the address is not this machine's or its port is taken.
pub fn bind_server(addr: SocketAddr) -> io::Result<UdpSocket> {
    let everywhere = addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match bind(addr, SERVER_BUFFER, everywhere) {
        Err(error) if everywhere && error.kind() != io::ErrorKind::AddrInUse => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())), SERVER_BUFFER, false)
        }
        result => result,
    }
}

/// A client's socket, on any port. It is not connected: the system may choose another source address when the
/// machine's changes, and ICMP errors stay away.
///
/// # Errors
/// When the system has no sockets left, or not of the server's address family.
pub fn bind_client(server: SocketAddr) -> io::Result<UdpSocket> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    bind(any, CLIENT_BUFFER, false)
}

fn bind(addr: SocketAddr, buffer: usize, both_families: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!both_families)?;
    }
    never_shared(&socket)?;
    // Fewer bytes than asked for are no reason not to start.
    let _ = socket.set_recv_buffer_size(buffer);
    let _ = socket.set_send_buffer_size(buffer);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// Elsewhere than on Windows a UDP port is one socket's unless both ask to share it. On Windows a later socket that
/// sets `SO_REUSEADDR` could still take the port; `SO_EXCLUSIVEADDRUSE`, which forbids that, has no safe name in socket2.
fn never_shared(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(false)
}

/// Reads `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address; the port is [`SERVER_PORT`] unless given. A name is
/// looked up (this may take a while); of its addresses an IPv4 one is preferred, since classroom LANs route it.
///
/// # Errors
/// In words: what is wrong with it, or that the name is not known.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(addr);
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, SERVER_PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("{port:?} is not a port"))?),
        None => (text, SERVER_PORT),
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?.collect();
    let best = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    best.copied().ok_or_else(|| format!("{host} has no address"))
}

/// The address to tell people for a socket bound to `bound`: itself, or for a wildcard this machine's address on the
/// LAN; loopback where there is no LAN.
pub fn reachable(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    // Connecting a UDP socket sends nothing: it only asks the routing table which address would be used.
    let anywhere = ["192.0.2.1:9", "192.168.0.1:9", "10.0.0.1:9", "172.16.0.1:9", "224.0.0.1:9"];
    let routed = anywhere.into_iter().find_map(|target| {
        let probe = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
        probe.connect(target).ok()?;
        let ip = probe.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    });
    SocketAddr::new(routed.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let addr = |text: &str| resolve(text).map(|addr| addr.to_string());
        assert_eq!(addr("10.0.0.7"), Ok("10.0.0.7:26262".into()));
        assert_eq!(addr("10.0.0.7:99"), Ok("10.0.0.7:99".into()));
        assert_eq!(addr("::1"), Ok("[::1]:26262".into()));
        assert_eq!(addr("[::1]"), Ok("[::1]:26262".into()));
        assert_eq!(addr("[::1]:99"), Ok("[::1]:99".into()));
        assert_eq!(addr("localhost:99"), Ok("127.0.0.1:99".into()));
        assert!(addr("localhost:nine").is_err());
        assert!(addr(":99").is_err());
        assert!(addr("").is_err());
    }

    #[tokio::test]
    async fn a_servers_port_is_not_shared() {
        let first = bind_server("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = bind_server(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_wildcard_is_told_as_an_address() {
        let socket = bind_server("[::]:0".parse().unwrap()).unwrap();
        let told = reachable(socket.local_addr().unwrap());
        assert!(!told.ip().is_unspecified());
        assert_eq!(told.port(), socket.local_addr().unwrap().port());
    }
}
