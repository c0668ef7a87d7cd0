//! What users and fate do in a run, and how it ends: the acts of the plan, carried out.

use std::time::Duration;

use super::plan::{AGAIN, Act, LATEST, SHORTEST, text};
use super::watch::{Broken, check_disk};
use super::world::{Happening, Phase, World};
use crate::id::UserId;
use crate::now::Instant;
use crate::text::name::name_key;
use crate::wire::call::Call;
use crate::wire::frame::MEMBER_ONLINE;

/// How often it is looked whether anything is still missing.
const LOOK: Duration = Duration::from_millis(250);
/// So long nothing more may be shown once nothing was missing.
const STILL: Duration = Duration::from_millis(1_000);

impl World {
    pub(super) fn act(&mut self, act: Act) -> Result<(), Broken> {
        let troubled = self.phase == Phase::Trouble;
        match act {
            Act::Start(device) if troubled => self.start_device(device)?,
            Act::Crash(device) if troubled && self.devices[device].core.is_some() => {
                self.devices[device].die(&mut self.dice)?;
            }
            Act::Leave(device) if troubled => self.close(device)?,
            Act::Move(device) => self.devices[device].moves += 1,
            Act::Say(device) => self.say(device)?,
            Act::Rename(device) => {
                self.renames += 1;
                let name = format!("{}x{}", name_of(self.devices[device].plan.member), self.renames);
                self.call(device, Call::Rename(name))?;
            }
            Act::LookUp(device) => self.look_up(device)?,
            Act::CrashServer if troubled && self.server.core.is_some() => self.crash_server()?,
            Act::StopServer if troubled => self.close_server()?,
            Act::StartServer if troubled => self.start_server()?,
            Act::DiskFails(until) => self.server.disk_fails_until = until,
            Act::ProfileFails(device, until) => self.devices[device].disk_fails_until = until,
            Act::Weather(device, way, weather) if troubled => self.network.set_weather(device, way, weather),
            Act::Cut(device, way, cut) if troubled => self.network.cut(device, way, cut),
            Act::ClearUp => self.clear_up()?,
            // Everything is to stay well, or is over.
            _ => {}
        }
        self.check_bounds()
    }

    /// Nobody may hold more than the protocol lets them.
    fn check_bounds(&self) -> Result<(), Broken> {
        let held = self.server.core.as_ref().map(crate::server::Server::held).unwrap_or_default();
        match held.iter().find(|(what, count)| *count > bound(what, self.devices.len())) {
            Some((what, count)) => Err(format!("the server holds {count} {what}")),
            None => Ok(()),
        }
    }

    fn say(&mut self, device: usize) -> Result<(), Broken> {
        let now = self.clock();
        let accounts = self.disk.accounts().len() as u32;
        let node = &mut self.devices[device];
        let author = node.watch.user();
        let (Some(author), Some(core)) = (author, node.core.as_mut().filter(|_| node.entered && !node.closing)) else {
            self.after(AGAIN, Happening::Act(Act::Say(device)));
            return Ok(());
        };
        let mut to: Vec<UserId> = Vec::new();
        if self.dice.per_mille(250) {
            let some = 1 + self.dice.below(3);
            to = (0..some).map(|_| UserId(1 + self.dice.below(u64::from(accounts)) as u32)).collect();
            to.sort_unstable();
            to.dedup();
        }
        self.written += 1;
        let text = text(self.written, !to.is_empty(), &mut self.dice);
        if !to.is_empty() {
            self.secrets.on_written(self.written, author, &to);
        }
        let n =
            core.send(now, to.clone(), text.clone()).map_err(|refusal| format!("a text is refused: {refusal:?}"))?;
        node.watch.on_submitted(n, to, text).map_err(|broken| format!("device {device}: {broken}"))?;
        self.drain_device(device)
    }

    fn look_up(&mut self, device: usize) -> Result<(), Broken> {
        let limit = self.dice.within(1..=200) as u16;
        let seq = crate::id::Seq(self.dice.within(1..=200));
        let before = self.dice.per_mille(500).then_some(seq);
        let call = match self.dice.below(4) {
            0 => Call::RoomHistory { room: crate::id::RoomId::MAIN, before, limit },
            1 => Call::InboxHistory { with: None, before, limit },
            2 => Call::InboxHistory { with: Some(UserId(1)), before, limit },
            _ => Call::Search { words: "demain".into(), limit },
        };
        self.call(device, call)
    }

    fn call(&mut self, device: usize, call: Call) -> Result<(), Broken> {
        let now = self.clock();
        let node = &mut self.devices[device];
        if let Some(core) = node.core.as_mut().filter(|_| node.entered && !node.closing) {
            let ticket = core.call(now, call.clone());
            node.watch.on_called(ticket, call);
        }
        self.drain_device(device)
    }

    /// Whatever was wrong is no longer: from now on everything must come to its end.
    fn clear_up(&mut self) -> Result<(), Broken> {
        self.phase = Phase::Mending;
        self.network.clear_up();
        self.server.disk_fails_until = self.now;
        self.start_server()?;
        for device in 0..self.devices.len() {
            self.devices[device].disk_fails_until = self.now;
            self.start_device(device)?;
        }
        self.queue.push(Instant(SHORTEST.0 - STILL.as_micros() as u64), Happening::Look);
        Ok(())
    }

    pub(super) fn look(&mut self) -> Result<(), Broken> {
        match self.missing() {
            None => self.after(STILL, Happening::Confirm),
            Some(missing) if self.now > LATEST => return Err(format!("nothing is in the way, and yet {missing}")),
            Some(_) => {
                self.restart_the_closed()?;
                self.after(LOOK, Happening::Look);
            }
        }
        Ok(())
    }

    /// What was being closed when everything became well comes back too.
    fn restart_the_closed(&mut self) -> Result<(), Broken> {
        self.start_server()?;
        (0..self.devices.len()).try_for_each(|device| self.start_device(device))
    }

    /// What is still to come, in words, if anything is.
    fn missing(&self) -> Option<String> {
        if self.server.core.is_none() || !self.server.writing.is_empty() {
            return Some("the server is at work".into());
        }
        let lacking = self.devices.iter().enumerate().find_map(|(device, node)| {
            let core = node.core.as_ref().filter(|_| !node.closing);
            let Some(core) = core else { return Some(format!("device {device} does not run")) };
            let undecided = core.model().undecided();
            if undecided > 0 {
                return Some(format!("device {device} has {undecided} submissions undecided"));
            }
            let lacks = node.watch.lacks(&self.disk).or_else(|| self.roster_differs(device));
            lacks.map(|lacks| format!("device {device} {lacks}"))
        });
        lacking.or_else(|| {
            let unseen = |user: &UserId| self.secrets.unseen(*user, &self.disk);
            let (user, index) = self.disk.accounts().keys().find_map(|user| unseen(user).map(|index| (user, index)))?;
            Some(format!("no device of account {user} was shown its letter {index}"))
        })
    }

    /// Everybody is known by their name, and everybody is here.
    fn roster_differs(&self, device: usize) -> Option<String> {
        let members = &self.devices[device].core.as_ref()?.model().members;
        if members.len() != self.disk.accounts().len() {
            return Some(format!("knows {} of {} members", members.len(), self.disk.accounts().len()));
        }
        let strange = self.disk.accounts().values().find(|account| {
            members
                .get(&account.id)
                .is_none_or(|member| member.username != account.username || member.flags & MEMBER_ONLINE == 0)
        });
        strange.map(|account| format!("takes account {} for {:?}", account.id, members.get(&account.id)))
    }

    /// Nothing more came: now the whole is checked, and everybody leaves.
    pub(super) fn confirm(&mut self) -> Result<(), Broken> {
        if let Some(missing) = self.missing() {
            // Somebody fell silent for a while in fine weather: it may not last.
            self.after(LOOK, Happening::Look);
            return if self.now > LATEST { Err(format!("nothing was in the way, and yet {missing}")) } else { Ok(()) };
        }
        check_disk(&self.disk, self.devices.iter().map(|node| &node.watch))?;
        self.phase = Phase::Closing;
        let window = self.dice.pick(&[1, 100, 400]);
        for device in 0..self.devices.len() {
            let wait = self.dice.millis(0..=window);
            self.after(wait, Happening::Close(device));
        }
        let wait = self.dice.millis(0..=window);
        self.after(wait, Happening::CloseServer);
        self.after(Duration::from_secs(2), Happening::End);
        Ok(())
    }

    /// Everybody has left, and each was found without a timer.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        let running = self.devices.iter().position(|node| node.core.is_some());
        match running {
            Some(device) => Err(format!("device {device} still runs at the end")),
            None if self.server.core.is_some() => Err("the server still runs at the end".into()),
            None => {
                self.phase = Phase::Over;
                Ok(())
            }
        }
    }
}

/// The username of a member before any renaming.
pub(super) fn name_of(member: usize) -> String {
    format!("m{member:02}")
}

/// The same, folded.
pub(super) fn key_of(member: usize) -> String {
    name_key(&name_of(member))
}

/// How much of something the server may hold for so many devices.
fn bound(what: &str, devices: usize) -> usize {
    use crate::wire::limits;
    match what {
        "sessions" => devices * limits::SESSIONS_PER_ACCOUNT,
        "handshakes" => limits::HANDSHAKES,
        "submissions" => devices * limits::UNDECIDED_KEPT as usize,
        // Calls, one answer to a want of each log, one for an outbox.
        "fetches" => devices * (limits::CALLS_REMEMBERED + 3),
        _ => devices * (limits::UNDECIDED_KEPT as usize + limits::CALLS_REMEMBERED),
    }
}
