//! A socket with an impairer in each direction: where a driver's datagrams come from and go to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::clock::Clock;
use crate::impair::{Impairer, Impairment};
use crate::now::Instant;

/// Datagrams taken off the socket before the core's answers leave: acks are then made for all of them at once, and a
/// flood cannot keep a loop from sending.
const BATCH: usize = 64;
/// Room for a datagram; one that is longer than any of ours is cut here and dropped by the core.
const BUFFER: usize = 2048;
/// How long the system may have no room for a datagram before it is given up: as if it were lost.
const SEND_PATIENCE: Duration = Duration::from_millis(100);

/// One socket of one node.
#[derive(Debug)]
pub struct Link {
    socket: UdpSocket,
    /// Bound to an IPv6 address, so that IPv4 addresses are written as IPv6 ones.
    v6: bool,
    outward: Impairer,
    inward: Impairer,
    buffer: Box<[u8; BUFFER]>,
    not_sent: u64,
}

/// How a link is made worse, and the seed; each direction draws for itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worse {
    /// What is done in each direction.
    pub impairment: Impairment,
    /// What the draws follow from.
    pub seed: u64,
}

impl Link {
    /// Takes a socket over.
    ///
    /// # Errors
    /// When the system does not know the socket's own address.
    pub fn new(socket: UdpSocket, worse: Worse) -> io::Result<Link> {
        Ok(Link {
            v6: socket.local_addr()?.is_ipv6(),
            socket,
            outward: Impairer::new(worse.impairment, worse.seed),
            inward: Impairer::new(worse.impairment, !worse.seed),
            buffer: Box::new([0; BUFFER]),
            not_sent: 0,
        })
    }

    /// Where the socket is bound.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// How many datagrams the system did not take.
    pub fn not_sent(&self) -> u64 {
        self.not_sent
    }

    /// Waits until there is something to receive or an impaired datagram is due. Loses nothing when it is dropped.
    pub async fn ready(&self, clock: &Clock) {
        let due = [self.outward.poll_timeout(), self.inward.poll_timeout()].into_iter().flatten().min();
        tokio::select! {
            readable = self.socket.readable() => if readable.is_err() {
                // No reason is known for which this could happen; a loop that spins would be worse than one that waits.
                tokio::time::sleep(Duration::from_millis(10)).await;
            },
            () = clock.sleep_until(due) => {}
        }
    }

    /// Gives what has arrived to `handle`, up to 64 datagrams, and says how many it gave.
    pub fn receive(&mut self, now: Instant, mut handle: impl FnMut(SocketAddr, &mut [u8])) -> usize {
        let mut given = 0;
        for _ in 0..BATCH {
            match self.socket.try_recv_from(&mut self.buffer[..]) {
                Ok((len, from)) if self.inward.is_off() => {
                    handle(from_system(from), &mut self.buffer[..len]);
                    given += 1;
                }
                Ok((len, from)) => self.inward.push(now, self.buffer[..len].to_vec(), from_system(from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Windows tells on receiving that an earlier datagram met a closed port or was too long: neither is this
                // socket's trouble.
                Err(error) => tracing::trace!(%error, "receiving"),
            }
        }
        while let Some((mut datagram, from)) = self.inward.poll(now) {
            handle(from, &mut datagram);
            given += 1;
        }
        given
    }

    /// Sends a datagram, or hands it to the impairer.
    pub async fn send(&mut self, now: Instant, to: SocketAddr, datagram: &[u8]) {
        if self.outward.is_off() {
            self.put(to, datagram).await;
        } else {
            self.outward.push(now, datagram.to_vec(), to);
        }
    }

    /// Sends what the impairer held back until now.
    pub async fn send_due(&mut self, now: Instant) {
        while let Some((datagram, to)) = self.outward.poll(now) {
            self.put(to, &datagram).await;
        }
    }

    async fn put(&mut self, to: SocketAddr, datagram: &[u8]) {
        let to = if self.v6 { to_v6(to) } else { to };
        match self.socket.try_send_to(datagram, to) {
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let later = tokio::time::timeout(SEND_PATIENCE, self.socket.send_to(datagram, to)).await;
                if matches!(later, Ok(Ok(_))) {
                    return;
                }
            }
            // No route, a firewall, a cable pulled: to the core a datagram lost like any other.
            Err(error) => tracing::trace!(%error, "sending"),
        }
        self.not_sent += 1;
    }
}

/// IPv4 as IPv4, whatever the socket: the cores compare addresses.
fn from_system(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, addr.port())),
        IpAddr::V6(_) => addr,
    }
}

fn to_v6(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        SocketAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::{bind_client, bind_server};
    use super::*;

    async fn pair(bind: &str, server: &str, worse: Worse) -> (Link, Link, SocketAddr) {
        let receiver = Link::new(bind_server(bind.parse().unwrap()).unwrap(), Worse::default()).unwrap();
        let to: SocketAddr = SocketAddr::new(server.parse().unwrap(), receiver.local_addr().unwrap().port());
        let sender = Link::new(bind_client(to).unwrap(), worse).unwrap();
        (sender, receiver, to)
    }

    async fn receive_some(link: &mut Link, clock: &Clock, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut got = Vec::new();
        while got.len() < count {
            tokio::time::timeout(Duration::from_secs(10), link.ready(clock)).await.expect("something arrives");
            link.receive(clock.now().mono, |from, datagram| got.push((from, datagram.to_vec())));
        }
        got
    }

    #[tokio::test]
    async fn a_wildcard_server_sees_ipv4_addresses_as_such_and_answers_them() {
        let clock = Clock::start();
        let (mut client, mut server, to) = pair("[::]:0", "127.0.0.1", Worse::default()).await;
        client.send(clock.now().mono, to, b"one").await;
        let got = receive_some(&mut server, &clock, 1).await;
        assert!(got[0].0.is_ipv4(), "{}", got[0].0);
        server.send(clock.now().mono, got[0].0, b"two").await;
        assert_eq!(receive_some(&mut client, &clock, 1).await[0], (to, b"two".to_vec()));
    }

    #[tokio::test]
    async fn a_vanished_peer_is_no_trouble() {
        let clock = Clock::start();
        let (mut client, server, to) = pair("127.0.0.1:0", "127.0.0.1", Worse::default()).await;
        let port = server.local_addr().unwrap();
        drop(server);
        for _ in 0..10 {
            client.send(clock.now().mono, to, b"nobody").await;
            client.receive(clock.now().mono, |_, _| panic!("nobody answers"));
        }
        let mut server = Link::new(bind_server(port).unwrap(), Worse::default()).unwrap();
        client.send(clock.now().mono, to, b"somebody").await;
        assert_eq!(receive_some(&mut server, &clock, 1).await[0].1, b"somebody");
    }

    #[tokio::test]
    async fn impairment_holds_back_what_is_sent() {
        let clock = Clock::start();
        let impairment = Impairment { delay_ms: 30, duplicate_percent: 100.0, ..Default::default() };
        let (mut client, mut server, to) = pair("127.0.0.1:0", "127.0.0.1", Worse { impairment, seed: 1 }).await;
        let sent = clock.now().mono;
        client.send(sent, to, b"late").await;
        assert_eq!(server.receive(clock.now().mono, |_, _| {}), 0);
        client.ready(&clock).await;
        client.send_due(clock.now().mono).await;
        assert_eq!(receive_some(&mut server, &clock, 2).await.len(), 2);
        assert!(clock.now().mono.since(sent) >= Duration::from_millis(30));
    }
}
