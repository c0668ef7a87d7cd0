//! Clients and a server with its real store in memory, on a network that loses, delays and repeats, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use preau::client::event::{Connection, Event, Message, Notice, OwnState};
use preau::client::{Client, Config, Registration, Replacement, Trust};
use preau::id::{Instance, Ordinal, UserId};
use preau::now::{Instant, Now, WallMs};
use preau::proto::keys::ServerKeys;
use preau::proto::rng::Rng;
use preau::proto::suite::Suite;
use preau::record::{CredentialKind, Fetch, Fetched, Keep, Profile, Stored};
use preau::server::Server;
use preau::server::event::Event as ServerEvent;
use preau::store::{Reader, ServerStore};
use preau::wire::call::{Call, Reply};
use preau::wire::entrance::Refusal;
use rand::{Rng as _, SeedableRng};
use zeroize::Zeroizing;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 26262);

fn address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// One client, its disk, and what it told.
struct Node {
    client: Client,
    profile: Profile,
    /// What was shown in the room and in the inbox: seq, text.
    shown: Vec<(bool, u64, String)>,
    own: BTreeMap<Ordinal, OwnState>,
    told: Vec<String>,
    disk_fails: bool,
}

struct World {
    now: Now,
    rng: Rng,
    suite: Suite,
    sealed: bool,
    rate: Option<u32>,
    keys: ServerKeys,
    store: ServerStore,
    reader: Reader,
    server: Option<Server>,
    nodes: BTreeMap<u16, Node>,
    /// By arrival: from, to, bytes.
    air: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
    loss: f64,
    duplicates: f64,
    /// Batches are committed and said to have failed, as when a disk dies between the two.
    commits_unseen: bool,
}

impl World {
    fn new(suite: Suite, seed: u64) -> World {
        let mut rng = Rng::seed_from_u64(seed);
        let (store, _) = ServerStore::in_memory().unwrap();
        let mut world = World {
            now: Now { mono: Instant(1_000_000), wall: WallMs(1_700_000_000_000) },
            keys: ServerKeys::generate(suite, &mut rng),
            rng,
            suite,
            sealed: false,
            rate: None,
            reader: store.reader().unwrap(),
            store,
            server: None,
            nodes: BTreeMap::new(),
            air: BTreeMap::new(),
            sent: 0,
            loss: 0.0,
            duplicates: 0.0,
            commits_unseen: false,
        };
        world.start_server();
        world
    }

    fn start_server(&mut self) {
        let loaded = self.store.load().unwrap();
        let config =
            preau::server::Config { name: "Salle 12".into(), sealed: self.sealed, rate: self.rate, key_log: false };
        self.server = Some(Server::new(config, self.keys.clone(), loaded, self.rng.r#gen(), self.now));
    }

    fn add(&mut self, port: u16) {
        let profile = Profile::fresh(Instance(self.rng.r#gen()));
        self.start(port, profile);
    }

    fn start(&mut self, port: u16, profile: Profile) {
        let config = Config { suite: self.suite, server: SERVER, trust: Trust::FirstUse, present: true, token: true };
        let client = Client::new(config, profile.clone(), self.rng.r#gen(), self.now);
        let (shown, own, told) = (vec![], BTreeMap::new(), vec![]);
        self.nodes.insert(port, Node { client, profile, shown, own, told, disk_fails: false });
    }

    fn node(&mut self, port: u16) -> &mut Node {
        self.nodes.get_mut(&port).unwrap()
    }

    fn client(&mut self, port: u16) -> &mut Client {
        &mut self.nodes.get_mut(&port).unwrap().client
    }

    /// A registered member with a session.
    fn member(&mut self, port: u16) {
        self.add(port);
        self.register(port, &format!("member{port}"));
        self.sign_in(port, &format!("member{port}"), "sésame");
        self.run(Duration::from_secs(if self.loss > 0.0 { 10 } else { 1 }));
        let told = &self.nodes[&port].told;
        assert!(told.contains(&"entered true".to_owned()), "{told:?}");
    }

    fn register(&mut self, port: u16, username: &str) {
        let now = self.now;
        let registration = Registration {
            username: username.into(),
            first_name: "Prénom".into(),
            last_name: "Nom".into(),
            password: Zeroizing::new("sésame".into()),
        };
        self.client(port).register(now, registration);
        self.run(Duration::from_secs(if self.loss > 0.0 { 10 } else { 1 }));
        assert!(self.nodes[&port].told.iter().any(|told| told.starts_with("outcome")), "{:?}", self.nodes[&port].told);
    }

    fn sign_in(&mut self, port: u16, username: &str, password: &str) {
        let now = self.now;
        self.client(port).sign_in(now, username, password);
    }

    fn say(&mut self, port: u16, to: Vec<UserId>, text: &str) -> Ordinal {
        let now = self.now;
        self.client(port).send(now, to, text.into()).unwrap()
    }

    fn user(&self, port: u16) -> UserId {
        self.nodes[&port].client.model().me.unwrap()
    }

    fn put_on_air(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let copies = 1 + u64::from(self.rng.gen_bool(self.duplicates));
        for _ in 0..copies {
            if self.rng.gen_bool(self.loss) {
                continue;
            }
            self.sent += 1;
            let delay = Duration::from_micros(self.rng.gen_range(300..3_000));
            self.air.insert((self.now.mono + delay, self.sent), (from, to, bytes.to_vec()));
        }
    }

    fn drain(&mut self) {
        loop {
            let mut idle = self.drain_server();
            for port in self.nodes.keys().copied().collect::<Vec<_>>() {
                idle &= self.drain_node(port);
            }
            if idle {
                return;
            }
        }
    }

    fn drain_server(&mut self) -> bool {
        let Some(mut server) = self.server.take() else { return true };
        let (mut idle, mut buf) = (true, Vec::new());
        while let Some(event) = server.poll_event() {
            idle = false;
            match event {
                ServerEvent::Store(batch) => {
                    let mut stored = self.store.commit(&batch);
                    if self.commits_unseen {
                        let loaded = Some(Box::new(self.store.load().unwrap()));
                        stored = Stored::Failed { reason: "gone".into(), loaded };
                    }
                    server.handle_stored(self.now, stored);
                }
                ServerEvent::Fetch(id, fetch) => server.handle_fetched(self.now, id, self.reader.fetch(&fetch)),
                ServerEvent::KeyLog(_) => {}
            }
        }
        while let Some(to) = server.poll_transmit(self.now, &mut buf) {
            idle = false;
            self.put_on_air(SERVER, to, &buf);
        }
        self.server = Some(server);
        idle
    }

    fn drain_node(&mut self, port: u16) -> bool {
        let Some(mut node) = self.nodes.remove(&port) else { return true };
        let (mut idle, mut buf) = (true, Vec::new());
        while let Some(event) = node.client.poll_event() {
            idle = false;
            node.on_event(self.now, event);
        }
        while let Some(to) = node.client.poll_transmit(self.now, &mut buf) {
            idle = false;
            self.put_on_air(address(port), to, &buf);
        }
        self.nodes.insert(port, node);
        idle
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.mono + time;
        let origin = self.now;
        let mut steps = 0;
        loop {
            self.drain();
            let timers = self.nodes.values().filter_map(|node| node.client.poll_timeout());
            let timers = timers.chain(self.server.as_ref().and_then(Server::poll_timeout));
            let next = timers.chain(self.air.keys().map(|key| key.0).next()).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            steps += usize::from(next <= self.now.mono);
            assert!(steps < 100_000, "a timer that is due again and again");
            self.set(next.max(self.now.mono), origin);
            while self.air.first_key_value().is_some_and(|(key, _)| key.0 <= self.now.mono) {
                let (_, (from, to, mut bytes)) = self.air.pop_first().unwrap();
                if to == SERVER {
                    if let Some(server) = &mut self.server {
                        server.handle_datagram(self.now, from, &mut bytes);
                    }
                } else if let Some(node) = self.nodes.get_mut(&to.port()) {
                    node.client.handle_datagram(self.now, from, &mut bytes);
                }
                self.drain();
            }
            let now = self.now;
            if let Some(server) = self.server.as_mut().filter(|server| server.poll_timeout() <= Some(now.mono)) {
                server.handle_timeout(now);
            }
            for node in self.nodes.values_mut() {
                if node.client.poll_timeout().is_some_and(|at| at <= now.mono) {
                    node.client.handle_timeout(now);
                }
            }
        }
        self.set(end, origin);
    }

    fn set(&mut self, mono: Instant, origin: Now) {
        self.now = Now { mono, wall: WallMs(origin.wall.0 + mono.since(origin.mono).as_millis() as u64) };
    }

    fn room(&self, port: u16) -> Vec<String> {
        self.nodes[&port].shown.iter().filter(|shown| shown.0).map(|shown| shown.2.clone()).collect()
    }

    fn inbox(&self, port: u16) -> Vec<String> {
        self.nodes[&port].shown.iter().filter(|shown| !shown.0).map(|shown| shown.2.clone()).collect()
    }
}

impl Node {
    fn on_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Stretch(stretch) => self.client.handle_stretched(now, stretch.run()),
            Event::Keep(batch) if self.disk_fails => {
                drop(batch);
                self.client.handle_kept(now, Err("disk full".into()));
            }
            Event::Keep(batch) => {
                batch.into_iter().for_each(|keep| self.keep(keep));
                self.client.handle_kept(now, Ok(()));
            }
            Event::Message(Message { room, seq, text, .. }) => {
                let last = self.shown.iter().rfind(|shown| shown.0 == room.is_some());
                assert!(last.is_none_or(|last| last.1 < seq.0), "each once and in order");
                self.shown.push((room.is_some(), seq.0, text));
            }
            Event::Own { n, state } => {
                self.own.insert(n, state);
            }
            Event::Presence { user, online } => self.told.push(format!("{user} {online}")),
            Event::Renamed { from, to, .. } => self.told.push(format!("{from} is {to}")),
            Event::Refused { refusal, .. } => self.told.push(format!("refused {refusal:?}")),
            Event::Outcome { recovery_code } => self.told.push(format!("outcome {recovery_code}")),
            Event::Notice(notice) => self.told.push(format!("{notice:?}")),
            Event::Connection(connection) => self.told.push(format!("{connection:?}")),
            Event::Replied { reply, .. } => self.told.push(match reply {
                Reply::Messages(found) => found.into_iter().map(|found| found.text).collect::<Vec<_>>().join(","),
                other => format!("{other:?}"),
            }),
            Event::PinChanged { .. } => self.told.push("pin changed".into()),
            Event::ConfirmPin { name, .. } => self.told.push(format!("confirm {name}")),
            Event::Entered(entered) => self.told.push(format!("entered {}", entered.first)),
            Event::KeyLog(_) | Event::RosterComplete => {}
        }
    }

    fn keep(&mut self, keep: Keep) {
        let profile = &mut self.profile;
        match keep {
            Keep::Pin(pin) => profile.pin = Some(pin),
            Keep::Queue(queued) => {
                assert!(queued.n >= profile.next, "a number is used once");
                profile.next = queued.n.next();
                profile.outbox.push(queued);
            }
            Keep::Settle(n) => profile.outbox.retain(|queued| queued.n != n),
            Keep::RoomCursor { epoch, seq } => profile.room_cursor = Some((epoch, seq)),
            Keep::Tip(tip) => profile.tip = Some(tip),
            Keep::InboxCursor { epoch, seq } => profile.inbox_cursor = Some((epoch, seq)),
            Keep::Token(token) => profile.token = token,
            Keep::Device(device) => profile.device = Some(device),
            Keep::User { id, username } => profile.user = Some((id, username)),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_members_chat() {
    for sealed in [false, true] {
        let mut world = World::new(Suite::Real, 1);
        world.sealed = sealed;
        world.start_server();
        world.member(1);
        world.member(2);
        let n = world.say(1, vec![], "bonjour");
        let long = "é".repeat(2000);
        world.say(1, vec![], &long);
        let (one, two) = (world.user(1), world.user(2));
        let told = world.say(1, vec![two], "psst");
        world.run(SECOND);
        for port in [1, 2] {
            assert_eq!(world.room(port), ["bonjour", &long]);
            assert_eq!(world.inbox(port), ["psst"]);
        }
        assert!(matches!(world.nodes[&1].own[&n], OwnState::Received { received: 1, of: 1, .. }));
        assert!(matches!(world.nodes[&1].own[&told], OwnState::Received { room: None, received: 1, of: 1, .. }));
        assert!(world.nodes[&1].told.contains(&format!("{two} true")));
        assert!(!world.nodes[&2].told.contains(&format!("{one} true")), "who is there was there");
        assert_eq!(world.client(1).model().undecided(), 0);
        assert_eq!(world.client(1).model().online(), 2);
        world.run(Duration::from_secs(60));
        let counters = *world.client(1).counters();
        let dropped: Vec<_> = counters.iter().filter(|(name, n)| name.starts_with("dropped") && *n > 0).collect();
        assert_eq!(dropped, []);
    }
}

#[test]
fn through_loss_and_duplicates_everything_arrives_once_and_in_order() {
    for seed in 0..20 {
        let mut world = World::new(Suite::Null, seed);
        (world.loss, world.duplicates) = (0.3, 0.1);
        (1..=4).for_each(|port| world.member(port));
        for i in 0..50 {
            for port in 1..=4 {
                world.say(port, vec![], &format!("{port} says {i}"));
                if i % 10 == 0 {
                    let to = world.user(port % 4 + 1);
                    world.say(port, vec![to], &format!("{port} whispers {i}"));
                }
            }
            world.run(Duration::from_millis(50));
        }
        world.run(Duration::from_secs(20));
        let all = world.room(1);
        assert_eq!(all.len(), 200, "seed {seed}");
        for port in 1..=4 {
            assert_eq!(world.room(port), all, "seed {seed}");
            let said: Vec<_> = all.iter().filter(|text| text.starts_with(&format!("{port} "))).collect();
            assert_eq!(
                said,
                (0..50).map(|i| format!("{port} says {i}")).collect::<Vec<_>>().iter().collect::<Vec<_>>()
            );
            assert_eq!(world.inbox(port).len(), 10, "seed {seed}");
            assert_eq!(world.client(port).model().undecided(), 0);
        }
    }
}

#[test]
fn a_killed_server_has_everybody_back_within_3_s() {
    for seed in 0..10 {
        let mut world = World::new(Suite::Null, seed);
        (1..=5).for_each(|port| world.member(port));
        world.say(1, vec![], "before");
        world.run(SECOND);
        world.server = None;
        world.run(Duration::from_secs(10));
        assert_eq!(world.client(1).model().connection, Connection::Away);
        world.say(1, vec![], "queued");
        world.run(Duration::from_secs(5));
        world.start_server();
        world.run(Duration::from_secs(3));
        for port in 1..=5 {
            assert_eq!(world.client(port).model().connection, Connection::Connected);
            assert_eq!(world.room(port), ["before", "queued"]);
        }
    }
}

#[test]
fn a_restart_that_nobody_noticed_is_found_by_a_hint() {
    let mut world = World::new(Suite::Null, 3);
    (1..=3).for_each(|port| world.member(port));
    world.server = None;
    world.start_server();
    world.say(1, vec![], "after");
    world.run(Duration::from_secs(3));
    (1..=3).for_each(|port| assert_eq!(world.room(port), ["after"]));
    assert!(!world.nodes[&1].told.contains(&"Away".to_owned()));
}

#[test]
fn a_closing_server_has_everybody_back_too() {
    let mut world = World::new(Suite::Null, 4);
    (1..=3).for_each(|port| world.member(port));
    let now = world.now;
    world.server.as_mut().unwrap().close(now);
    world.run(Duration::from_millis(100));
    assert_eq!(world.client(2).model().connection, Connection::Away);
    world.server = None;
    world.run(SECOND);
    world.start_server();
    world.run(Duration::from_secs(3));
    (1..=3).for_each(|port| assert_eq!(world.client(port).model().connection, Connection::Connected));
}

#[test]
fn a_returning_profile_gets_what_it_missed_and_a_fresh_one_does_not() {
    let mut world = World::new(Suite::Null, 5);
    world.member(1);
    world.member(2);
    world.say(1, vec![], "first");
    world.run(SECOND);
    let now = world.now;
    world.client(2).close(now);
    world.run(SECOND);
    assert_eq!(world.client(2).poll_timeout(), None, "no timer is left");
    let left = world.nodes.remove(&2).unwrap();
    let two = left.client.model().me.unwrap();
    for i in 0..300 {
        world.say(1, vec![], &format!("missed {i}"));
        if i % 50 == 0 {
            world.say(1, vec![two], "for you");
        }
    }
    world.run(Duration::from_secs(5));
    world.start(2, left.profile);
    let now = world.now;
    assert!(world.client(2).resume(now));
    world.run(Duration::from_secs(2));
    assert_eq!(world.room(2), (0..300).map(|i| format!("missed {i}")).collect::<Vec<_>>());
    assert_eq!(world.inbox(2).len(), 6);

    world.add(3);
    world.sign_in(3, "member2", "sésame");
    world.run(Duration::from_secs(2));
    assert_eq!(world.room(3), [""; 0]);
    assert_eq!(world.inbox(3), [""; 0], "another device has them");
    world.client(3).call(now, Call::Search { words: "missed 299".into(), limit: 5 });
    world.run(SECOND);
    assert_eq!(world.nodes[&3].told.last().unwrap(), "missed 299");
}

#[test]
fn nobody_comes_in_by_a_wrong_password_and_a_code_replaces_a_lost_one() {
    let mut world = World::new(Suite::Real, 6);
    world.add(1);
    world.register(1, "amina");
    let code = world.nodes[&1].told.iter().find_map(|told| told.strip_prefix("outcome ")).unwrap().to_owned();
    world.sign_in(1, "amina", "sesame");
    world.run(SECOND);
    assert_eq!(world.nodes[&1].told.last().unwrap(), &format!("refused {:?}", Refusal::WrongCredentials));
    assert_eq!(world.client(1).poll_timeout(), None);
    let (kind, secret) = (CredentialKind::Recovery, Zeroizing::new(code.to_lowercase()));
    let new_password = Zeroizing::new("neuf".to_owned());
    let now = world.now;
    world.client(1).replace(now, Replacement { username: "amina".into(), kind, secret, new_password });
    world.run(SECOND);
    assert!(world.nodes[&1].told.last().unwrap().starts_with("outcome"), "{:?}", world.nodes[&1].told);
    world.sign_in(1, "Amina", "neuf");
    world.run(SECOND);
    assert_eq!(world.client(1).model().connection, Connection::Connected);
    let now = world.now;
    world.client(1).call(now, Call::Rename("zoé".into()));
    world.run(SECOND);
    assert!(world.nodes[&1].told.contains(&"amina is zoé".to_owned()), "{:?}", world.nodes[&1].told);
    assert_eq!(world.nodes[&1].profile.user.as_ref().unwrap().1, "zoé");
}

#[test]
fn asked_to_slow_down_a_client_loses_nothing_and_says_so_once() {
    let mut world = World::new(Suite::Null, 7);
    world.rate = Some(20);
    world.start_server();
    world.member(1);
    for i in 0..300 {
        world.say(1, vec![], &i.to_string());
    }
    world.run(Duration::from_secs(10));
    assert_eq!(world.room(1), (0..300).map(|i| i.to_string()).collect::<Vec<_>>());
    let notices = world.nodes[&1].told.iter().filter(|told| told.contains("RateLimited")).count();
    assert_eq!(notices, 1);
}

#[test]
fn a_disk_that_refuses_holds_messages_back_and_loses_none() {
    let mut world = World::new(Suite::Null, 8);
    world.member(1);
    world.node(1).disk_fails = true;
    world.say(1, vec![], "kept later");
    world.run(Duration::from_secs(5));
    assert_eq!(world.room(1), [""; 0]);
    let failed = format!("{:?}", Notice::ProfileFailed("disk full".into()));
    assert_eq!(world.nodes[&1].told.iter().filter(|told| **told == failed).count(), 1);
    world.node(1).disk_fails = false;
    world.run(Duration::from_secs(3));
    assert_eq!(world.room(1), ["kept later"]);
}

#[test]
fn letters_of_a_commit_that_nobody_saw_arrive_too() {
    let mut world = World::new(Suite::Null, 12);
    world.member(1);
    world.member(2);
    let recipient = world.user(2);
    world.commits_unseen = true;
    world.say(1, vec![recipient], "pour toi");
    world.run(SECOND / 100);
    world.commits_unseen = false;
    world.run(SECOND * 10);
    assert_eq!(world.inbox(2), ["pour toi"], "the server learnt of it by reading its store");
    assert_eq!(world.inbox(1), ["pour toi"]);
}

#[test]
fn a_clock_set_back_dates_no_letter_before_an_earlier_one() {
    let mut world = World::new(Suite::Null, 13);
    world.member(1);
    let me = world.user(1);
    world.say(1, vec![me], "un");
    world.run(SECOND);
    world.now.wall.0 -= 3_600_000;
    world.start_server();
    world.run(SECOND * 5);
    world.say(1, vec![me], "deux");
    world.run(SECOND);
    let asked = Fetch::InboxHistory { user: me, with: None, before: None, limit: 9 };
    let Fetched::Found(found) = world.reader.fetch(&asked) else { panic!("not found") };
    assert_eq!(found.iter().map(|found| &found.text[..]).collect::<Vec<_>>(), ["un", "deux"]);
    assert!(found[0].time <= found[1].time);
}

#[test]
fn an_idle_client_wakes_about_once_a_second() {
    let mut world = World::new(Suite::Null, 9);
    world.member(1);
    world.run(Duration::from_secs(5));
    let before = *world.client(1).counters();
    world.run(Duration::from_secs(60));
    let after = *world.client(1).counters();
    assert!(after.datagrams_received - before.datagrams_received <= 80);
    assert!(after.datagrams_sent - before.datagrams_sent <= 20, "{}", after.datagrams_sent - before.datagrams_sent);
    let ports: BTreeSet<u16> = world.nodes.keys().copied().collect();
    assert_eq!(ports.len(), 1);
}

#[test]
fn through_kills_of_server_and_clients_what_was_stored_is_everywhere_once() {
    for seed in 0..10 {
        let mut world = World::new(Suite::Null, seed);
        (1..=4).for_each(|port| world.member(port));
        (world.loss, world.duplicates) = (0.2, 0.1);
        for i in 0..60 {
            for port in 1..=3 {
                world.say(port, vec![], &format!("{port} says {i}"));
            }
            world.run(Duration::from_millis(50));
            if i % 20 == 10 {
                world.server = None;
                world.run(Duration::from_millis(700));
                world.start_server();
            }
            if i % 20 == 15 {
                let port = world.rng.gen_range(1..=3);
                let killed = world.nodes.remove(&port).unwrap();
                let now = world.now;
                world.start(port, killed.profile);
                assert!(world.client(port).resume(now));
            }
        }
        world.run(Duration::from_secs(30));
        let all = world.room(4);
        let said: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!((all.len(), said.len()), (180, 180), "seed {seed}: each once");
        for port in 1..=3 {
            assert_eq!(world.client(port).model().undecided(), 0, "seed {seed}");
            let room = world.room(port);
            assert!(all.ends_with(&room), "seed {seed}: from where it was killed on, the same");
            let own = all.iter().filter(|text| text.starts_with(&format!("{port} "))).cloned();
            assert_eq!(own.collect::<Vec<_>>(), (0..60).map(|i| format!("{port} says {i}")).collect::<Vec<_>>());
        }
    }
}
