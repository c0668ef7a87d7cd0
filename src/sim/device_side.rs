//! The members' hosts in a run: what their programs ask for, and what surrounds them.

use std::time::Duration;

use super::Bug;
use super::device::WayIn;
use super::network::SERVER;
use super::plan::AGAIN;
use super::script::name_of;
use super::watch::Broken;
use super::world::{Happening, World};
use crate::client::event::{Connection, Event, Notice};
use crate::client::{self, Client, Trust};
use crate::proto::suite::Suite;
use crate::wire::frame::ByeReason;

/// A program asks a disk that failed again after a second.
const DISK_RETRY: Duration = Duration::from_millis(1_500);

impl World {
    pub(super) fn drain_device(&mut self, device: usize) -> Result<(), Broken> {
        let now = self.clock();
        loop {
            let Some(core) = &mut self.devices[device].core else { return Ok(()) };
            if let Some(event) = core.poll_event() {
                self.on_client_event(device, event)?;
                continue;
            }
            let mut datagram = self.pool.pop().unwrap_or_default();
            let Some(to) = core.poll_transmit(now, &mut datagram) else {
                self.pool.push(datagram);
                break;
            };
            if to != SERVER {
                return Err(format!("a datagram to {to}"));
            }
            self.send_up(device, datagram);
        }
        let core = self.devices[device].core.as_mut();
        // Sending may have made events.
        if let Some(event) = core.and_then(Client::poll_event) {
            self.on_client_event(device, event)?;
            return self.drain_device(device);
        }
        let node = &self.devices[device];
        let due = node.core.as_ref().and_then(Client::poll_timeout);
        if let Some(at) = self.earlier(due, node.armed) {
            self.devices[device].armed = Some(at);
            self.queue.push(at, Happening::DeviceTimer(device));
        }
        Ok(())
    }

    pub(super) fn on_device_timer(&mut self, device: usize) -> Result<(), Broken> {
        let now = self.clock();
        let node = &mut self.devices[device];
        if node.armed != Some(now.mono) {
            return Ok(());
        }
        node.armed = None;
        if let Some(core) = &mut node.core
            && core.poll_timeout().is_some_and(|due| due <= now.mono)
        {
            core.handle_timeout(now);
            self.spin("a client")?;
        }
        self.drain_device(device)
    }

    pub(super) fn on_client_event(&mut self, device: usize, event: Event) -> Result<(), Broken> {
        let run = self.devices[device].run;
        let node = &mut self.devices[device];
        let user = node.watch.user();
        let whose = |broken: Broken| format!("device {device} (account {user:?}): {broken}");
        match event {
            Event::Stretch(stretch) => {
                let wait = self.dice.millis(10..=120);
                self.after(wait, Happening::Stretched { device, run, stretch });
            }
            Event::Keep(batch) => {
                if node.keeping.replace(batch).is_some() {
                    return Err(whose("a batch before the one before it was answered".into()));
                }
                let wait = self.dice.micros(100..=10_000);
                self.after(wait, Happening::Kept { device, run });
            }
            Event::KeyLog(_) => {}
            Event::ConfirmPin { pin, .. } => {
                let now = self.clock();
                let right = pin == self.keys.public().pin();
                if let Some(core) = &mut self.devices[device].core {
                    core.confirm_pin(now, right);
                }
            }
            Event::PinChanged { .. } => return Err(whose("takes the room for another one".into())),
            Event::Entered(entered) => {
                (node.wrong, node.way_in) = (0, WayIn::Token);
                if entered.first == node.entered {
                    return Err(whose(format!("first entry: {}", entered.first)));
                }
                node.entered = true;
                if entered.first {
                    node.watch.on_entered(entered.user, entered.head, &self.disk).map_err(whose)?;
                }
            }
            Event::Refused { refusal, wait_ms } => {
                node.entered = false;
                let wait = node.on_refused(refusal, wait_ms).map_err(|broken| format!("device {device}: {broken}"))?;
                self.after(wait, Happening::ComeIn { device, run });
            }
            Event::Outcome { .. } => {
                node.way_in = WayIn::Password;
                self.after(AGAIN, Happening::ComeIn { device, run });
            }
            Event::Connection(Connection::Ended(reason)) => {
                if reason != ByeReason::Closing && reason != ByeReason::Left {
                    return Err(whose(format!("thrown out: {reason:?}")));
                }
            }
            Event::Message(message) => {
                let letter = node.watch.on_message(&message, &self.disk).map_err(whose)?;
                if let (Some(user), Some(index)) = (node.watch.user(), letter) {
                    self.secrets.on_shown(user, index);
                }
            }
            Event::Own { n, state } => node.watch.on_own(n, &state, &self.disk).map_err(whose)?,
            Event::Replied { ticket, reply } => {
                node.watch.on_replied(ticket, &reply, &self.disk).map_err(whose)?;
            }
            Event::Notice(Notice::HistoryRestored { since }) => {
                return Err(whose(format!("the history goes on from #{since}, though nothing was restored")));
            }
            Event::Connection(_)
            | Event::Presence { .. }
            | Event::Renamed { .. }
            | Event::RosterComplete
            | Event::Notice(_) => {}
        }
        Ok(())
    }

    pub(super) fn on_kept(&mut self, device: usize, run: u32) -> Result<(), Broken> {
        let now = self.clock();
        let node = &mut self.devices[device];
        if node.run != run {
            return Ok(());
        }
        let Some(batch) = node.keeping.take() else { return Ok(()) };
        let result = if now.mono < node.disk_fails_until {
            Err("the disk is full".into())
        } else {
            node.kept.apply(&batch)?;
            Ok(())
        };
        if let Some(core) = &mut node.core {
            core.handle_kept(now, result);
        }
        self.drain_device(device)
    }

    pub(super) fn start_device(&mut self, device: usize) -> Result<(), Broken> {
        if self.devices[device].core.is_some() {
            return Ok(());
        }
        let now = self.clock();
        let seed = self.dice.bytes();
        let words = self.keys.public().pin().words().join(" ");
        let trust = self.dice.pick(&[0, 1, 2]);
        let node = &mut self.devices[device];
        let trust = [Trust::Ask, Trust::FirstUse, Trust::Words(words)][trust].clone();
        node.moves += 1;
        node.watch.on_start(node.kept.profile(), &self.disk).map_err(|broken| format!("device {device}: {broken}"))?;
        let config = client::Config { suite: Suite::Null, server: SERVER, trust, present: true, token: true };
        let profile = match self.bug {
            Some(Bug::TurnOrder) => node.kept.turned(),
            _ => node.kept.profile().clone(),
        };
        node.core = Some(Client::new(config, profile, seed, now));
        if node.way_in == WayIn::Token && (node.kept.profile().token.is_none() || self.dice.per_mille(200)) {
            self.devices[device].way_in = WayIn::Password;
        }
        self.come_in(device);
        self.drain_device(device)
    }

    pub(super) fn come_in(&mut self, device: usize) {
        let now = self.clock();
        let node = &mut self.devices[device];
        let user = node.user.or(node.watch.user());
        let account = user.and_then(|user| self.disk.accounts().get(&user));
        let username = account.map_or_else(|| name_of(node.plan.member), |account| account.username.clone());
        node.come_in(now, &username);
    }

    pub(super) fn close(&mut self, device: usize) -> Result<(), Broken> {
        let now = self.clock();
        let node = &mut self.devices[device];
        if let Some(core) = node.core.as_mut().filter(|_| !node.closing) {
            core.close(now);
            node.closing = true;
            let run = node.run;
            // Its goodbyes, and what its disk has still to answer.
            self.after(Duration::from_millis(300), Happening::Gone { device, run });
        }
        self.drain_device(device)
    }

    pub(super) fn on_gone(&mut self, device: usize, run: u32) -> Result<(), Broken> {
        let node = &mut self.devices[device];
        if node.run != run {
            return Ok(());
        }
        if let Some(due) = node.core.as_ref().and_then(Client::poll_timeout) {
            if self.now < node.disk_fails_until + DISK_RETRY {
                self.after(DISK_RETRY, Happening::Gone { device, run });
                return Ok(());
            }
            return Err(format!("device {device} is closed and still has a timer, for {due:?}"));
        }
        node.die(&mut self.dice)
    }
}
