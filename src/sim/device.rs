//! A client and what surrounds it on its host: its disk, its timer, its way in, its user.

use std::time::Duration;

use super::dice::Dice;
use super::network::address;
use super::plan::{AGAIN, DevicePlan};
use super::profile::Kept;
use super::watch::{Broken, Watch};
use crate::client::Client;
use crate::id::{Instance, UserId};
use crate::now::{Instant, Now};
use crate::record::Keep;
use crate::wire::entrance::Refusal;

/// How a program is to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WayIn {
    Register,
    Password,
    Token,
}

/// One client installation, running or not.
pub(crate) struct Device {
    pub(crate) plan: DevicePlan,
    /// The account's id where it was registered before the run.
    pub(crate) user: Option<UserId>,
    /// None while the program does not run.
    pub(crate) core: Option<Client>,
    /// Grows with each start and end: what was asked by an earlier run of the program is of no interest.
    pub(crate) run: u32,
    /// The time of the timer that stands in the queue.
    pub(crate) armed: Option<Instant>,
    pub(crate) kept: Kept,
    /// On its way to the disk.
    pub(crate) keeping: Option<Vec<Keep>>,
    pub(crate) disk_fails_until: Instant,
    pub(crate) moves: usize,
    pub(crate) way_in: WayIn,
    /// Was let in, in this run of the program.
    pub(crate) entered: bool,
    /// Sign-ins that were refused for a wrong name or password since the last entry: the name may just have changed.
    pub(crate) wrong: u32,
    pub(crate) closing: bool,
    pub(crate) watch: Watch,
}

impl Device {
    pub(crate) fn new(plan: DevicePlan, user: Option<UserId>, dice: &mut Dice) -> Device {
        let instance = Instance(dice.next());
        let way_in = match user {
            None => WayIn::Register,
            Some(_) if plan.token => WayIn::Token,
            Some(_) => WayIn::Password,
        };
        Device {
            plan,
            user,
            core: None,
            run: 0,
            armed: None,
            kept: Kept::new(instance),
            keeping: None,
            disk_fails_until: Instant(0),
            moves: 0,
            way_in,
            entered: false,
            wrong: 0,
            closing: false,
            watch: Watch::new(instance),
        }
    }

    pub(crate) fn address(&self, device: usize) -> std::net::SocketAddr {
        address(device, self.moves, self.plan.shared_address)
    }

    /// The program is gone; what was on its way to the disk is there or not.
    pub(crate) fn die(&mut self, dice: &mut Dice) -> Result<(), Broken> {
        if let Some(batch) = self.keeping.take().filter(|_| dice.per_mille(500)) {
            self.kept.apply(&batch)?;
        }
        (self.core, self.armed, self.entered, self.closing) = (None, None, false, false);
        self.run += 1;
        Ok(())
    }

    /// Starts the chosen way in. `username` is what the user knows themself by.
    pub(crate) fn come_in(&mut self, now: Now, username: &str) {
        let Some(core) = &mut self.core else { return };
        if self.way_in == WayIn::Token && core.resume(now) {
            return;
        }
        if self.way_in == WayIn::Register {
            let names = ("Prénom".to_owned(), format!("Nom {}", self.plan.member));
            return core.register(now, registration(username, names));
        }
        core.sign_in(now, username, PASSWORD);
    }

    /// It was not let in. How long its user waits before the next try, which is by another way perhaps.
    pub(crate) fn on_refused(&mut self, refusal: Refusal, wait_ms: u32) -> Result<Duration, Broken> {
        match refusal {
            Refusal::TokenInvalid => self.way_in = WayIn::Password,
            // An earlier try went through and its answer was lost.
            Refusal::NameTaken if self.way_in == WayIn::Register => self.way_in = WayIn::Password,
            Refusal::WrongCredentials if self.wrong < 5 => self.wrong += 1,
            Refusal::Throttled | Refusal::Busy | Refusal::StoreFailed | Refusal::TooManySessions => {}
            other => return Err(format!("refused with {other:?} by {:?}", self.way_in)),
        }
        Ok(AGAIN.max(Duration::from_millis(u64::from(wait_ms))))
    }
}

fn registration(username: &str, (first_name, last_name): (String, String)) -> crate::client::Registration {
    crate::client::Registration {
        username: username.to_owned(),
        first_name,
        last_name,
        password: PASSWORD.to_owned().into(),
    }
}

/// Everybody's. In the alphabet of codes, so that `opaque::register_code` makes a record of it.
pub(crate) const PASSWORD: &str = "SESAMES";
