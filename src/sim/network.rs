//! The simulated LAN: a link between the server and each device, and the weather on it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::dice::Dice;
use crate::now::Instant;

/// What one direction of a link does to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Lost, of a thousand.
    pub(crate) loss: u16,
    /// Delivered twice, of a thousand.
    pub(crate) duplicate: u16,
    /// Held back so that what follows overtakes it, of a thousand.
    pub(crate) reorder: u16,
    /// The least delay, in microseconds.
    pub(crate) delay_us: u64,
    /// Up to so much more, in microseconds.
    pub(crate) jitter_us: u64,
}

impl Weather {
    /// A good cable: how every run ends, so that it can end.
    pub(crate) const FINE: Weather = Weather { loss: 10, duplicate: 2, reorder: 5, delay_us: 200, jitter_us: 400 };

    /// Anything from a cable to a Wi-Fi at the far end of the building.
    pub(crate) fn draw(dice: &mut Dice) -> Weather {
        let loss = match dice.below(10) {
            0..2 => 0,
            2..5 => dice.within(1..=50),
            5..8 => dice.within(50..=300),
            _ => dice.within(300..=500),
        };
        let rare = |dice: &mut Dice, most| if dice.per_mille(500) { dice.within(0..=most) as u16 } else { 0 };
        Weather {
            loss: loss as u16,
            duplicate: rare(dice, 100),
            reorder: rare(dice, 200),
            delay_us: dice.pick(&[100, 500, 2_000, 10_000, 50_000]),
            jitter_us: dice.pick(&[0, 200, 2_000, 10_000, 60_000]),
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

#[derive(Clone, Debug, Default)]
struct Direction {
    weather: Weather,
    cut: bool,
    /// When the last of those that kept their order arrives.
    in_order: Instant,
}

/// A device's link.
#[derive(Clone, Debug, Default)]
struct Link {
    up: Direction,
    down: Direction,
}

/// All links.
pub(crate) struct Network {
    links: Vec<Link>,
    dice: Dice,
    /// Datagrams that were sent, lost and doubled ones included.
    pub(crate) sent: u64,
    /// Datagrams the weather took.
    pub(crate) lost: u64,
}

/// Where the server is, before and after its restarts.
pub(crate) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 26262);

/// Ports a device has for itself; it comes from another one after each restart or move.
const PORTS: usize = 512;

/// Where a device is after `moves` moves. `shared`: behind one address with the others that are so, as behind a NAT.
pub(crate) fn address(device: usize, moves: usize, shared: bool) -> SocketAddr {
    let host = if shared { 2 } else { 10 + device as u8 };
    let port = 1024 + device * PORTS + moves % PORTS;
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, host)), port as u16)
}

/// Which device an address is of.
pub(crate) fn device_of(address: SocketAddr) -> usize {
    usize::from(address.port()).saturating_sub(1024) / PORTS
}

/// Held back at least and at most: a burst passes it, and sometimes a probe timeout.
const HELD_US: (u64, u64) = (500, 80_000);

impl Network {
    pub(crate) fn new(devices: usize, dice: Dice) -> Network {
        Network { links: vec![Link::default(); devices], dice, sent: 0, lost: 0 }
    }

    fn direction(&mut self, device: usize, way: Way) -> &mut Direction {
        let link = &mut self.links[device];
        match way {
            Way::Up => &mut link.up,
            Way::Down => &mut link.down,
        }
    }

    pub(crate) fn set_weather(&mut self, device: usize, way: Way, weather: Weather) {
        self.direction(device, way).weather = weather;
    }

    pub(crate) fn cut(&mut self, device: usize, way: Way, cut: bool) {
        self.direction(device, way).cut = cut;
    }

    /// Everything is whole and fine from now on.
    pub(crate) fn clear_up(&mut self) {
        for link in &mut self.links {
            for direction in [&mut link.up, &mut link.down] {
                (direction.weather, direction.cut) = (Weather::FINE, false);
            }
        }
    }

    /// When a datagram that is sent now arrives: not at all, once or twice.
    pub(crate) fn send(&mut self, now: Instant, device: usize, way: Way) -> [Option<Instant>; 2] {
        self.sent += 1;
        let link = &mut self.links[device];
        let direction = match way {
            Way::Up => &mut link.up,
            Way::Down => &mut link.down,
        };
        let (weather, dice) = (direction.weather, &mut self.dice);
        if direction.cut || dice.per_mille(weather.loss) {
            self.lost += 1;
            return [None, None];
        }
        let plain = now + Duration::from_micros(weather.delay_us + dice.below(weather.jitter_us + 1));
        let arrival = if dice.per_mille(weather.reorder) {
            plain + dice.micros(HELD_US.0..=HELD_US.1)
        } else {
            direction.in_order = plain.max(direction.in_order);
            direction.in_order
        };
        let second = dice.per_mille(weather.duplicate).then(|| arrival + dice.micros(1..=HELD_US.1));
        [Some(arrival), second]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weather_loses_doubles_and_reorders_its_share() {
        let mut network = Network::new(2, Dice::new(1));
        let bad = Weather { loss: 300, duplicate: 100, reorder: 100, delay_us: 1000, jitter_us: 100 };
        network.set_weather(1, Way::Up, bad);
        let arrivals: Vec<_> = (0..10_000).map(|n| network.send(Instant(n), 1, Way::Up)).collect();
        let came: Vec<_> = arrivals.iter().filter_map(|[first, _]| *first).collect();
        let twice = arrivals.iter().filter(|[_, second]| second.is_some()).count();
        assert!((6_800..7_200).contains(&came.len()), "{}", came.len());
        assert!((600..800).contains(&twice), "{twice}");
        assert!(!came.is_sorted());
        let undisturbed: Vec<_> = (0..100).map(|n| network.send(Instant(n), 0, Way::Up)).collect();
        assert!(undisturbed.iter().enumerate().all(|(n, arrival)| *arrival == [Some(Instant(n as u64)), None]));
    }

    #[test]
    fn a_cut_loses_everything_one_way_until_it_heals() {
        let mut network = Network::new(1, Dice::new(1));
        network.cut(0, Way::Down, true);
        assert_eq!(network.send(Instant(0), 0, Way::Down), [None, None]);
        assert_eq!(network.send(Instant(0), 0, Way::Up), [Some(Instant(0)), None]);
        network.clear_up();
        assert!((0..100).filter(|n| network.send(Instant(*n), 0, Way::Down)[0].is_some()).count() > 90);
    }

    #[test]
    fn an_address_tells_its_device() {
        for device in 0..100 {
            for moves in [0, 1, 700] {
                assert_eq!(device_of(address(device, moves, device % 2 == 0)), device);
            }
        }
    }
}
