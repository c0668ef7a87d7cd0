//! What is shown, as people read it in a terminal: a line each, with nothing in it that a terminal would obey.

use time::UtcOffset;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::shown::{Log, Message, Shown, civil};
use super::words::{Language, Say};
use crate::text::show::visible_line;

const CLOCK: &[FormatItem<'_>] = format_description!("[hour]:[minute]");
const DATE_AND_CLOCK: &[FormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]");

/// Writes for people. It remembers only whether the link was ever away, so as not to say "connected" at first.
#[derive(Debug)]
pub struct Plain {
    language: Language,
    offset: UtcOffset,
    away: bool,
}

impl Plain {
    /// In this language and at this distance from UTC.
    pub fn new(language: Language, offset: UtcOffset) -> Plain {
        Plain { language, offset, away: false }
    }

    /// One or several lines without the last one's end; None where people need not read it.
    pub fn write(&mut self, shown: &Shown) -> Option<String> {
        let say = |say: Say<'_>| Some(format!("* {}", say.text(self.language)));
        match shown {
            Shown::Welcome { user, room, .. } => say(Say::Welcome(&visible_line(room), &visible_line(user))),
            Shown::Message(message) => Some(self.message(message)),
            Shown::State(state) => {
                let why = Say::Failed(state.reason?).text(self.language);
                say(Say::MessageFailed(state.line, &why))
            }
            Shown::Presence { user, online: true } => say(Say::Came(&visible_line(user))),
            Shown::Presence { user, online: false } => say(Say::Went(&visible_line(user))),
            Shown::Renamed { from, to } => say(Say::Renamed(&visible_line(from), &visible_line(to))),
            Shown::Members { members, .. } => Some(
                members
                    .iter()
                    .map(|member| {
                        let here = if member.online { '●' } else { '○' };
                        let (first, last) = (visible_line(&member.first_name), visible_line(&member.last_name));
                        format!("{here} {} ({first} {last})", visible_line(&member.user))
                    })
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
            Shown::Notice(notice) => Some(format!("* {}", visible_line(&notice.text))),
            Shown::Connection { state } => {
                let before = std::mem::replace(&mut self.away, *state == "away");
                match *state {
                    "connecting" => say(Say::Connecting),
                    "away" => say(Say::Away),
                    "connected" if before => say(Say::Connected),
                    _ => None,
                }
            }
            Shown::End { .. } => say(Say::EndOfHistory),
        }
    }

    fn message(&self, message: &Message) -> String {
        let utc = civil(message.time);
        let time = utc.checked_to_offset(self.offset).unwrap_or(utc);
        let time = time.format(if message.history { DATE_AND_CLOCK } else { CLOCK }).unwrap_or_default();
        let from = visible_line(&message.from);
        let text = visible_line(&message.text);
        match (&message.to, message.log) {
            (Some(to), Log::Inbox) => format!("{time} {from} → {}: {text}", visible_line(&to.join(", "))),
            _ => format!("{time} {from}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::now::WallMs;

    #[test]
    fn messages_are_lines_that_a_terminal_does_not_obey() {
        let mut plain = Plain::new(Language::English, UtcOffset::from_hms(1, 0, 0).unwrap());
        let message = Message {
            log: Log::Room,
            seq: 1,
            id: "room-1".into(),
            from: "amina".into(),
            to: None,
            text: "salut\n\x1b[2J\u{202e}".into(),
            time: WallMs(1_700_000_000_000),
            history: false,
        };
        assert_eq!(plain.write(&Shown::Message(message.clone())).unwrap(), "23:13 amina: salut⏎␛[2J‹U+202E›");
        let letter =
            Message { log: Log::Inbox, to: Some(vec!["zoé".into(), "bob".into()]), text: "x".into(), ..message };
        assert_eq!(plain.write(&Shown::Message(letter.clone())).unwrap(), "23:13 amina → zoé, bob: x");
        let old = Message { history: true, ..letter };
        assert_eq!(plain.write(&Shown::Message(old)).unwrap(), "2023-11-14 23:13 amina → zoé, bob: x");
    }

    #[test]
    fn the_link_is_told_when_it_was_away() {
        let mut plain = Plain::new(Language::French, UtcOffset::UTC);
        assert_eq!(plain.write(&Shown::Connection { state: "connected" }), None);
        assert!(plain.write(&Shown::Connection { state: "away" }).unwrap().contains("ne répond pas"));
        assert_eq!(plain.write(&Shown::Connection { state: "connected" }).unwrap(), "* connecté");
    }
}
