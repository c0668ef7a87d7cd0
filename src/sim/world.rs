//! One run: the server, the devices, the network between them and the disks under them, in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng as _;
use sha2::{Digest as _, Sha256};

use super::device::{Device, PASSWORD, WayIn};
use super::dice::Dice;
use super::disk::Disk;
use super::network::{Network, SERVER, Way};
use super::plan::{Act, Plan};
use super::queue::Queue;
use super::script::{key_of, name_of};
use super::watch::{Broken, Secrets};
use super::{Bug, Report};
use crate::id::{Seq, UserId};
use crate::now::{Instant, Now, WallMs};
use crate::proto::handshake::Stretch;
use crate::proto::keys::ServerKeys;
use crate::proto::opaque;
use crate::proto::rng::Rng;
use crate::proto::suite::Suite;
use crate::record::{Account, Fetch, Op, Role, Token};
use crate::server::event::FetchId;
use crate::server::{self, Server};
use crate::wire::limits::TOKEN_LIFETIME;

/// Everything of a run.
pub(crate) struct World {
    pub(super) bug: Option<Bug>,
    pub(super) dice: Dice,
    pub(super) now: Instant,
    /// The server's clock is wrong by so much, in milliseconds; it is set anew at each start.
    pub(super) skew_ms: u64,
    pub(super) queue: Queue<Happening>,
    pub(super) network: Network,
    /// Datagrams' buffers, to be used again.
    pub(super) pool: Vec<Vec<u8>>,
    pub(super) disk: Disk,
    pub(super) keys: ServerKeys,
    pub(super) config: server::Config,
    pub(super) commit_us: (u64, u64),
    pub(super) server: ServerNode,
    pub(super) devices: Vec<Device>,
    pub(super) secrets: Secrets,
    pub(super) written: u32,
    pub(super) renames: u32,
    pub(super) trace: Trace,
    pub(super) happenings: u64,
    /// Timers that fired in a row without time going on.
    pub(super) spins: u32,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Things go wrong.
    Trouble,
    /// Everything is to become well.
    Mending,
    /// Everybody leaves.
    Closing,
    Over,
}

pub(super) struct ServerNode {
    pub(super) core: Option<Server>,
    pub(super) run: u32,
    pub(super) armed: Option<Instant>,
    /// Handed over and not on disk yet, oldest first; more than one only where that bug is planted.
    pub(super) writing: VecDeque<Vec<Op>>,
    pub(super) disk_fails_until: Instant,
    /// A batch is on disk of which the server could not be told: its next one may not fit.
    pub(super) unseen: bool,
    pub(super) closing: bool,
}

pub(super) enum Happening {
    ToServer {
        from: SocketAddr,
        datagram: Vec<u8>,
    },
    ToDevice {
        device: usize,
        to: SocketAddr,
        datagram: Vec<u8>,
    },
    ServerTimer,
    DeviceTimer(usize),
    Committed {
        run: u32,
    },
    Fetched {
        run: u32,
        id: FetchId,
        fetch: Fetch,
    },
    Kept {
        device: usize,
        run: u32,
    },
    Stretched {
        device: usize,
        run: u32,
        stretch: Box<Stretch>,
    },
    ComeIn {
        device: usize,
        run: u32,
    },
    /// A closed program is to have nothing left to do.
    Gone {
        device: usize,
        run: u32,
    },
    ServerGone {
        run: u32,
    },
    Act(Act),
    Look,
    /// Nothing was missing a moment ago.
    Confirm,
    Close(usize),
    CloseServer,
    End,
}

/// A mix of everything that happened: two runs with the same one did the same.
pub(super) struct Trace(u64);

impl Trace {
    fn note(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// 2026-09-01, a morning.
const WALL: u64 = 1_788_242_400_000;
/// Happenings of a run, at most: the largest real ones have a tenth.
const HAPPENINGS: u64 = 5_000_000;
/// A core whose timer has fired so often in one moment will never be done.
const SPINS: u32 = 10_000;

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> World {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let mut rng = Rng::from_seed(dice.bytes());
        let keys = ServerKeys::generate(Suite::Null, &mut rng);
        let mut network = Network::new(plan.devices.len(), dice.fork());
        for (device, (up, down)) in plan.weather.iter().enumerate() {
            network.set_weather(device, Way::Up, *up);
            network.set_weather(device, Way::Down, *down);
        }
        let mut disk = Disk::new();
        disk.lax = bug == Some(Bug::StoreTwice);
        let registered = plan.members - plan.newcomers;
        let accounts = (0..registered).map(|member| Op::Register(Box::new(account(member, &keys, &mut rng))));
        disk.apply(&accounts.collect::<Vec<_>>()).expect("new accounts fit an empty store");
        let mut queue = Queue::new();
        let mut devices = Vec::new();
        for device in plan.devices {
            let user = (device.member < registered).then(|| user_of(device.member));
            let mut device = Device::new(device, user, &mut dice);
            if let Some(user) = user.filter(|_| device.way_in == WayIn::Token) {
                give_token(&mut device, user, &mut disk, dice.bytes());
            }
            devices.push(device);
        }
        queue.push(Instant(0), Happening::Act(Act::StartServer));
        plan.script.into_iter().for_each(|(at, act)| queue.push(at, Happening::Act(act)));
        let config = server::Config { name: "Salle 12".into(), sealed: plan.sealed, rate: plan.rate, key_log: false };
        let server = ServerNode {
            core: None,
            run: 0,
            armed: None,
            writing: VecDeque::new(),
            disk_fails_until: Instant(0),
            unseen: false,
            closing: false,
        };
        World {
            bug,
            dice,
            now: Instant(0),
            skew_ms: 10_000,
            queue,
            network,
            pool: Vec::new(),
            disk,
            keys,
            config,
            commit_us: plan.commit_us,
            server,
            devices,
            secrets: Secrets::default(),
            written: 0,
            renames: 0,
            trace: Trace(seed),
            happenings: 0,
            spins: 0,
            phase: Phase::Trouble,
        }
    }

    /// Runs to the end, and says when a promise was broken and how.
    pub(crate) fn run(mut self) -> Result<Report, (Instant, Broken)> {
        while let Some((at, happening)) = self.queue.pop() {
            self.spins = if at > self.now { 0 } else { self.spins };
            self.now = at;
            self.happenings += 1;
            self.trace.note(at.0);
            self.on(happening).map_err(|broken| (at, broken))?;
            if self.happenings > HAPPENINGS {
                return Err((at, "the run does not come to an end".into()));
            }
            if self.phase == Phase::Over {
                break;
            }
        }
        if self.phase != Phase::Over {
            return Err((self.now, "nothing happens any more".into()));
        }
        Ok(Report {
            members: self.disk.accounts().len(),
            messages: self.written as usize,
            virtual_ms: self.now.0 / 1000,
            datagrams: self.network.sent,
            lost: self.network.lost,
            trace: self.trace.0,
        })
    }

    pub(super) fn clock(&self) -> Now {
        Now { mono: self.now, wall: WallMs(WALL + self.now.0 / 1000) }
    }

    pub(super) fn server_clock(&self) -> Now {
        Now { mono: self.now, wall: WallMs(WALL + self.skew_ms + self.now.0 / 1000) }
    }

    pub(super) fn after(&mut self, wait: Duration, happening: Happening) {
        self.queue.push(self.now + wait, happening);
    }

    fn on(&mut self, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::ToServer { from, mut datagram } => {
                self.note_datagram(&datagram);
                let now = self.server_clock();
                if let Some(core) = &mut self.server.core {
                    core.handle_datagram(now, from, &mut datagram);
                }
                self.pool.push(datagram);
                self.drain_server()
            }
            Happening::ToDevice { device, to, mut datagram } => {
                self.note_datagram(&datagram);
                let now = self.clock();
                let node = &mut self.devices[device];
                if node.address(device) == to
                    && let Some(core) = &mut node.core
                {
                    if let Some(user) = node.user.or(node.watch.user()) {
                        self.secrets.check_datagram(user, &datagram)?;
                    }
                    core.handle_datagram(now, SERVER, &mut datagram);
                }
                self.pool.push(datagram);
                self.drain_device(device)
            }
            Happening::ServerTimer => self.on_server_timer(),
            Happening::DeviceTimer(device) => self.on_device_timer(device),
            Happening::Committed { run } => self.on_committed(run),
            Happening::Fetched { run, id, fetch } => self.on_fetched(run, id, &fetch),
            Happening::Kept { device, run } => self.on_kept(device, run),
            Happening::Stretched { device, run, stretch } => {
                let now = self.clock();
                let node = &mut self.devices[device];
                if let Some(core) = node.core.as_mut().filter(|_| node.run == run) {
                    core.handle_stretched(now, stretch.run());
                }
                self.drain_device(device)
            }
            Happening::ComeIn { device, run } => {
                if self.devices[device].run == run && !self.devices[device].closing {
                    self.come_in(device);
                }
                self.drain_device(device)
            }
            Happening::Gone { device, run } => self.on_gone(device, run),
            Happening::ServerGone { run } => self.on_server_gone(run),
            Happening::Act(act) => self.act(act),
            Happening::Look => self.look(),
            Happening::Confirm => self.confirm(),
            Happening::Close(device) => self.close(device),
            Happening::CloseServer => self.close_server(),
            Happening::End => self.end(),
        }
    }

    /// A datagram is in the trace by its length, header and beginning.
    fn note_datagram(&mut self, datagram: &[u8]) {
        let (words, _) = datagram[..datagram.len().min(24)].as_chunks::<8>();
        words.iter().for_each(|word| self.trace.note(u64::from_le_bytes(*word)));
        self.trace.note(datagram.len() as u64);
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_default()
    }

    /// When a timer is to be put into the queue for `due`, if none is there that fires before: systems wake a program
    /// at the next millisecond.
    pub(super) fn earlier(&self, due: Option<Instant>, armed: Option<Instant>) -> Option<Instant> {
        let due = due?;
        let at = if due <= self.now { self.now } else { Instant(due.0.div_ceil(1000) * 1000) };
        armed.is_none_or(|armed| at < armed).then_some(at)
    }

    pub(super) fn spin(&mut self, whose: &str) -> Result<(), Broken> {
        self.spins += 1;
        if self.spins > SPINS { Err(format!("the timers fire without end, {whose}'s among them")) } else { Ok(()) }
    }

    pub(super) fn send_up(&mut self, device: usize, datagram: Vec<u8>) {
        let from = self.devices[device].address(device);
        let [first, second] = self.network.send(self.now, device, Way::Up);
        if let Some(at) = second {
            let mut again = self.buffer();
            again.clone_from(&datagram);
            self.queue.push(at, Happening::ToServer { from, datagram: again });
        }
        match first {
            Some(at) => self.queue.push(at, Happening::ToServer { from, datagram }),
            None => self.pool.push(datagram),
        }
    }

    pub(super) fn send_down(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        let device = super::network::device_of(to);
        if device >= self.devices.len() {
            return self.pool.push(datagram);
        }
        let [first, second] = self.network.send(self.now, device, Way::Down);
        if let Some(at) = second {
            let mut again = self.buffer();
            again.clone_from(&datagram);
            self.queue.push(at, Happening::ToDevice { device, to, datagram: again });
        }
        match first {
            Some(at) => self.queue.push(at, Happening::ToDevice { device, to, datagram }),
            None => self.pool.push(datagram),
        }
    }
}

/// An account that was registered before the run.
fn account(member: usize, keys: &ServerKeys, rng: &mut Rng) -> Account {
    let mut identifier = [0; 16];
    identifier[0] = member as u8;
    Account {
        id: user_of(member),
        username: name_of(member),
        name_key: key_of(member),
        first_name: "Prénom".into(),
        last_name: format!("Nom {member}"),
        former: None,
        role: if member == 0 { Role::Teacher } else { Role::Member },
        removed: false,
        password: opaque::register_code(keys, rng, PASSWORD, identifier),
        recovery: None,
        reset: None,
        inbox_head: Seq(0),
        inbox_received: Seq(0),
        revocations: 0,
        devices: Vec::new(),
    }
}

fn user_of(member: usize) -> UserId {
    UserId(member as u32 + 1)
}

/// The device was signed in with an hour ago.
fn give_token(device: &mut Device, user: UserId, disk: &mut Disk, token: [u8; 32]) {
    let expires = WallMs(WALL + TOKEN_LIFETIME.as_millis() as u64);
    let hash = Sha256::digest(token).into();
    disk.apply(&[Op::Token(Token { hash, user, expires })]).expect("a token fits any store");
    device.kept.set_token(token, expires);
}
