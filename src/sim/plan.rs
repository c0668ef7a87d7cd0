//! What is going to be tried in a run: who takes part, what they do, what is done to them. Drawn from the seed.

use std::time::Duration;

use super::dice::Dice;
use super::network::{Way, Weather};
use crate::now::Instant;

/// A client installation of a member's.
#[derive(Clone, Debug)]
pub(crate) struct DevicePlan {
    /// Whose, counted from 0.
    pub(crate) member: usize,
    /// Behind one address with others.
    pub(crate) shared_address: bool,
    /// Holds a token from an earlier day.
    pub(crate) token: bool,
}

/// Something that is done from outside at a drawn time. Devices are counted from 0.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// The device's program is started, if it does not run.
    Start(usize),
    /// It dies.
    Crash(usize),
    /// It is closed properly, and started again later.
    Leave(usize),
    /// Its network gives it another address.
    Move(usize),
    /// Its user writes.
    Say(usize),
    /// Its user takes another name.
    Rename(usize),
    /// Its user looks something up.
    LookUp(usize),
    /// The server dies.
    CrashServer,
    /// It is closed properly.
    StopServer,
    /// It is started again.
    StartServer,
    /// The server's disk fails until then.
    DiskFails(Instant),
    /// The device's own disk fails until then.
    ProfileFails(usize, Instant),
    /// The weather of one direction changes.
    Weather(usize, Way, Weather),
    /// One direction is cut, or whole again.
    Cut(usize, Way, bool),
    /// All is well from now on, and everybody comes back.
    ClearUp,
}

/// A whole run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many accounts there will be.
    pub(crate) members: usize,
    /// How many of them, the last ones, are not registered yet.
    pub(crate) newcomers: usize,
    pub(crate) devices: Vec<DevicePlan>,
    pub(crate) weather: Vec<(Weather, Weather)>,
    pub(crate) script: Vec<(Instant, Act)>,
    /// The room is sealed.
    pub(crate) sealed: bool,
    /// Messages a second a member may send after a burst of 200.
    pub(crate) rate: Option<u32>,
    /// How long a commit takes, in microseconds.
    pub(crate) commit_us: (u64, u64),
}

const fn ms(ms: u64) -> Instant {
    Instant(ms * 1000)
}

/// Until then members come; from then on they write.
const TALK: u64 = 2_000;
/// Until then things go wrong.
const TROUBLE_ENDS: u64 = 27_000;
/// A run goes on at least so long, in virtual time.
pub(crate) const SHORTEST: Instant = ms(30_000);
/// What is not delivered by then never will be.
pub(crate) const LATEST: Instant = ms(90_000);
/// Messages of a run, at least.
pub(crate) const MESSAGES: usize = 200;

impl Plan {
    pub(crate) fn draw(dice: &mut Dice) -> Plan {
        let members = match dice.below(100) {
            0..8 => dice.within(2..=5),
            8..36 => dice.within(6..=9),
            36..85 => dice.within(10..=13),
            85..97 => dice.within(14..=24),
            _ => dice.within(25..=50),
        } as usize;
        let newcomers = if dice.per_mille(200) { 1 + dice.below(members as u64 / 2) as usize } else { 0 };
        let mut devices: Vec<DevicePlan> = (0..members).map(|member| device(member, dice)).collect();
        let second = |dice: &mut Dice| dice.per_mille(80);
        let seconds: Vec<usize> = (0..members - newcomers).filter(|_| second(dice)).collect();
        devices.extend(seconds.into_iter().map(|member| device(member, dice)));
        let common = (Weather::draw(dice), Weather::draw(dice));
        let weather = devices
            .iter()
            .map(|_| if dice.per_mille(600) { common } else { (Weather::draw(dice), Weather::draw(dice)) })
            .collect();
        let slow_disk = dice.per_mille(150);
        let mut plan = Plan {
            members,
            newcomers,
            devices,
            weather,
            script: Vec::new(),
            sealed: dice.per_mille(150),
            rate: dice.per_mille(300).then_some(20),
            commit_us: if slow_disk { (10_000, 400_000) } else { (200, 6_000) },
        };
        plan.draw_script(dice);
        plan
    }

    fn draw_script(&mut self, dice: &mut Dice) {
        for device in 0..self.devices.len() {
            let late = dice.per_mille(150);
            let at = if late { dice.within(TALK..=20_000) } else { dice.within(0..=TALK) };
            self.at(at, Act::Start(device));
        }
        self.draw_talk(dice);
        let times = |dice: &mut Dice, most: u64| 0..dice.within(0..=most);
        for _ in times(dice, 2) {
            let down = dice.within(5_000..=TROUBLE_ENDS - 4_000);
            let crash = dice.per_mille(700);
            self.at(down, if crash { Act::CrashServer } else { Act::StopServer });
            self.at(down + if crash { dice.within(50..=3_500) } else { dice.within(700..=3_500) }, Act::StartServer);
        }
        let some = 1 + self.devices.len() as u64 / 4;
        for _ in times(dice, some) {
            let (device, down) = (self.any(dice), dice.within(1_000..=TROUBLE_ENDS - 1_000));
            self.at(down, if dice.per_mille(700) { Act::Crash(device) } else { Act::Leave(device) });
            self.at(down + dice.within(1_000..=6_000), Act::Start(device));
        }
        for _ in times(dice, 2) {
            let act = Act::Move(self.any(dice));
            self.at(dice.within(3_000..=TROUBLE_ENDS), act);
        }
        for _ in times(dice, 4) {
            let act = if dice.per_mille(300) { Act::Rename(self.any(dice)) } else { Act::LookUp(self.any(dice)) };
            self.at(dice.within(3_000..=TROUBLE_ENDS), act);
        }
        for _ in times(dice, 6) {
            let way = dice.pick(&[Way::Up, Way::Down]);
            let act = Act::Weather(self.any(dice), way, Weather::draw(dice));
            self.at(dice.within(0..=TROUBLE_ENDS), act);
        }
        for _ in times(dice, 2) {
            self.draw_partition(dice);
        }
        if dice.per_mille(150) {
            let from = dice.within(3_000..=20_000);
            self.at(from, Act::DiskFails(ms(from + dice.within(100..=5_000))));
        }
        if dice.per_mille(150) {
            let (device, from) = (self.any(dice), dice.within(3_000..=20_000));
            self.at(from, Act::ProfileFails(device, ms(from + dice.within(100..=5_000))));
        }
        self.at(TROUBLE_ENDS, Act::ClearUp);
    }

    /// Bursts, as people write: somebody asks and several answer, somebody pastes a poem.
    fn draw_talk(&mut self, dice: &mut Dice) {
        let mut left = MESSAGES as u64 + dice.below(40);
        // One member in a few runs writes more than the rate allows.
        if self.rate.is_some() && dice.per_mille(100) {
            let device = self.any(dice);
            let from = dice.within(TALK..=10_000);
            (0..260).for_each(|n| self.at(from + n * 4, Act::Say(device)));
        }
        while left > 0 {
            let burst = dice.within(1..=24).min(left);
            let within = dice.pick(&[1, 50, 500]);
            let from = dice.within(TALK..=TROUBLE_ENDS - 2_000);
            let writers: Vec<usize> = (0..dice.within(1..=4)).map(|_| self.any(dice)).collect();
            for _ in 0..burst {
                self.at(from + dice.below(within), Act::Say(dice.pick(&writers)));
            }
            left -= burst;
        }
    }

    /// Some devices, or all, are cut off for a while, both ways or one.
    fn draw_partition(&mut self, dice: &mut Dice) {
        let from = dice.within(2_000..=TROUBLE_ENDS - 5_000);
        let until = from + dice.pick(&[200, 1_000, 3_000, 8_000, 17_000]);
        let share = dice.pick(&[100, 300, 1_000]);
        let both = dice.per_mille(700);
        for device in (0..self.devices.len()).filter(|_| dice.per_mille(share)).collect::<Vec<_>>() {
            let ways = if both { &[Way::Up, Way::Down][..] } else { &[Way::Down][..] };
            for way in ways {
                self.at(from, Act::Cut(device, *way, true));
                self.at(until, Act::Cut(device, *way, false));
            }
        }
    }

    fn any(&self, dice: &mut Dice) -> usize {
        dice.below(self.devices.len() as u64) as usize
    }

    fn at(&mut self, at_ms: u64, act: Act) {
        self.script.push((ms(at_ms), act));
    }
}

fn device(member: usize, dice: &mut Dice) -> DevicePlan {
    DevicePlan { member, shared_address: dice.per_mille(300), token: dice.per_mille(300) }
}

/// What a person writes, `id` telling it from everything else that is written in the run.
pub(crate) fn text(id: u32, private: bool, dice: &mut Dice) -> String {
    let mark = if private { SECRET_MARK } else { "#" };
    let once = format!("{mark}{id:06x} ");
    let length = if dice.per_mille(30) { dice.within(400..=4096) as usize } else { dice.below(60) as usize };
    let mut text = once.clone();
    while text.len() < length {
        // A private text repeats its mark, so that any part of it can be known wherever it turns up.
        text.push_str(if private { &once } else { dice.pick(&["demain ", "éàü ", "🎒 ", "où ? "]) });
    }
    text.truncate(text.floor_char_boundary(4096));
    text
}

/// How private texts begin: what a public text never holds.
pub(crate) const SECRET_MARK: &str = "\u{2709}p";

/// The number of a private text some part of which stands in `bytes`.
pub(crate) fn secret_in(bytes: &[u8]) -> Option<u32> {
    let mark = SECRET_MARK.as_bytes();
    let mut rest = bytes;
    // `contains` is vectorized for bytes, and most datagrams hold no such byte.
    while rest.contains(&mark[0]) {
        let at = rest.iter().position(|byte| *byte == mark[0])?;
        rest = &rest[at..];
        if let Some(digits) = rest.strip_prefix(mark).and_then(|after| after.get(..6))
            && let Some(id) = str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok())
        {
            return Some(id);
        }
        rest = &rest[1..];
    }
    None
}

/// A wait before something is tried again.
pub(crate) const AGAIN: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    /// A mark, its number and a space.
    const MARK: usize = SECRET_MARK.len() + 7;

    #[test]
    fn a_run_is_as_large_as_was_asked() {
        let plans: Vec<Plan> = (0..400).map(|seed| Plan::draw(&mut Dice::new(seed))).collect();
        let mut members: Vec<usize> = plans.iter().map(|plan| plan.members).collect();
        members.sort_unstable();
        assert!(members[0] >= 2 && members[399] <= 50);
        assert!(members[200] >= 10, "the median is {}", members[200]);
        for plan in plans {
            let said = plan.script.iter().filter(|(_, act)| matches!(act, Act::Say(_))).count();
            assert!(said >= MESSAGES);
            assert!(plan.newcomers < plan.members);
        }
    }

    #[test]
    fn any_part_of_a_private_text_is_known_for_what_it_is() {
        let mut dice = Dice::new(1);
        for id in 0..200 {
            let private = text(id, true, &mut dice);
            let mut parts = crate::wire::entry::parts(&private).into_iter().filter(|part| part.len() > 2 * MARK);
            assert!(parts.all(|part| secret_in(part.as_bytes()) == Some(id)));
            assert_eq!(secret_in(text(id, false, &mut dice).as_bytes()), None);
        }
        assert_eq!(secret_in("\u{2709} \u{2709}p12".as_bytes()), None);
    }
}
