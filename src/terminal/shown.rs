//! What is shown, as values: written as they stand, one JSON object a line, for scripts; `plain` writes them for
//! people.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::id::Seq;
use crate::now::WallMs;
use crate::terminal::words::submit_code;
use crate::text::show::is_invisible;
use crate::wire::frame::SubmitRefusal;

/// One line of output. Fields that do not apply are null, so that each kind always has the same ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Shown {
    /// One is in, for the first time in this run.
    Welcome {
        /// One's username.
        user: String,
        /// The room's display name.
        room: String,
        /// The six words of its key.
        words: Vec<String>,
        /// The room is sealed.
        sealed: bool,
        /// The server writes a key log.
        key_log: bool,
    },
    /// A message.
    Message(Message),
    /// What became of one's own message.
    State(State),
    /// Somebody came or went.
    Presence {
        /// Who.
        user: String,
        /// Here or gone.
        online: bool,
    },
    /// Somebody has another name.
    Renamed {
        /// The name before.
        from: String,
        /// The name now.
        to: String,
    },
    /// The answer to `/members` and `/online`.
    Members {
        /// Everybody, or those who are here, by name.
        members: Vec<Member>,
        /// The line that asked.
        line: u64,
    },
    /// Something to know.
    Notice(Notice),
    /// The link changed.
    Connection {
        /// `connecting`, `connected`, `away` or `ended`.
        state: &'static str,
    },
    /// Everything that `/history` or `/search` found was shown.
    End {
        /// The line that asked.
        line: u64,
    },
}

/// See [`Shown::Message`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Where.
    pub log: Log,
    /// Its place there.
    pub seq: u64,
    /// See [`id`].
    pub id: String,
    /// Who wrote it, by the name they have now.
    pub from: String,
    /// To whom, where private.
    pub to: Option<Vec<String>>,
    /// The text, as it was sent.
    pub text: String,
    /// When it was stored, RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    pub time: WallMs,
    /// It was asked for by `/history` or `/search`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub history: bool,
}

/// A log, as it is named in output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// The room.
    Room,
    /// One's own private messages.
    Inbox,
}

/// See [`Shown::State`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// Of a message that is stored as [`id`]; before, the submission's.
    pub id: String,
    /// The submission's name, the same in all its states: `n-`, the instance in hexadecimal, `-`, its number.
    pub submission: String,
    /// The input line it was typed in; null for one left from an earlier run.
    pub line: Option<u64>,
    /// `queued`, `sent`, `stored`, `received` or `failed`.
    pub state: &'static str,
    /// Where it is stored.
    pub log: Option<Log>,
    /// Its place there.
    pub seq: Option<u64>,
    /// How many have it.
    pub received: Option<u32>,
    /// Of how many.
    pub of: Option<u32>,
    /// Why it failed.
    #[serde(serialize_with = "reason")]
    pub reason: Option<SubmitRefusal>,
}

/// See [`Shown::Members`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Member {
    /// Username.
    pub user: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Is here.
    pub online: bool,
}

/// See [`Shown::Notice`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// For scripts.
    pub code: &'static str,
    /// For people, in their language.
    pub text: String,
    /// The input line it is about.
    pub line: Option<u64>,
}

/// What a message is known by, in `message` and in the `state`s of its author from `stored` on: its log and its place
/// there. It is the same for every member, in history and in search.
pub fn id(log: Log, seq: Seq) -> String {
    match log {
        Log::Room => format!("room-{seq}"),
        Log::Inbox => format!("inbox-{seq}"),
    }
}

impl Shown {
    /// As one line of JSON, without its end. What is unseen or would be obeyed by a terminal is escaped.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self).expect("strings, numbers and lists are always JSON");
        let harmless = |c: char| !c.is_control() && !is_invisible(c);
        if json.chars().all(harmless) {
            return json;
        }
        // Outside of strings JSON is ASCII, so that any such character stands within one.
        let mut escaped = String::with_capacity(json.len() + 16);
        for c in json.chars() {
            if harmless(c) {
                escaped.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        escaped
    }
}

fn reason<S: serde::Serializer>(reason: &Option<SubmitRefusal>, to: S) -> Result<S::Ok, S::Error> {
    reason.map(submit_code).serialize(to)
}

fn rfc3339<S: serde::Serializer>(time: &WallMs, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&civil(*time).format(&Rfc3339).unwrap_or_default())
}

/// A time as date and clock, in UTC; beyond the year 9999 as its end.
pub fn civil(time: WallMs) -> OffsetDateTime {
    let nanoseconds = i128::from(time.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .unwrap_or(time::PrimitiveDateTime::new(time::Date::MAX, time::Time::MIDNIGHT).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_fields_of_the_contract() {
        let message = Message {
            log: Log::Inbox,
            seq: 7,
            id: id(Log::Inbox, Seq(7)),
            from: "zoé".into(),
            to: Some(vec!["bob".into()]),
            text: "a\n\"b\"\u{202e}".into(),
            time: WallMs(1_700_000_000_120),
            history: false,
        };
        assert_eq!(
            Shown::Message(message.clone()).to_json(),
            "{\"event\":\"message\",\"log\":\"inbox\",\"seq\":7,\"id\":\"inbox-7\",\"from\":\"zoé\",\"to\":[\"bob\"],\
             \"text\":\"a\\n\\\"b\\\"\\u202e\",\"time\":\"2023-11-14T22:13:20.12Z\"}"
        );
        let shown = Shown::Message(Message { history: true, to: None, log: Log::Room, ..message }).to_json();
        assert!(shown.contains(r#""to":null"#) && shown.contains(r#""history":true"#), "{shown}");
        let state = State {
            id: "n-1-1".into(),
            submission: "n-1-1".into(),
            line: Some(3),
            state: "queued",
            log: None,
            seq: None,
            received: None,
            of: None,
            reason: None,
        };
        assert_eq!(
            Shown::State(state).to_json(),
            r#"{"event":"state","id":"n-1-1","submission":"n-1-1","line":3,"state":"queued","log":null,"seq":null,"received":null,"of":null,"reason":null}"#
        );
        assert_eq!(Shown::End { line: 2 }.to_json(), r#"{"event":"end","line":2}"#);
    }

    #[test]
    fn any_time_can_be_written() {
        for time in [0, 1, 1_700_000_000_123, u64::MAX] {
            assert!(civil(WallMs(time)).format(&Rfc3339).is_ok(), "{time}");
        }
        assert_eq!(civil(WallMs(0)).format(&Rfc3339).unwrap(), "1970-01-01T00:00:00Z");
    }
}
