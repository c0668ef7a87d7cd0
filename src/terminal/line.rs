//! What a typed line asks for: a message, or one of the commands that begin with a slash.

use crate::wire::limits::CALL_MESSAGES;

/// Messages that `/history` shows unless told otherwise: a screen.
pub const HISTORY_DEFAULT: usize = 20;
/// Messages that `/history` shows at most: an afternoon; fetched by [`CALL_MESSAGES`] at a time.
pub const HISTORY_MAX: usize = 10_000;
/// Messages that `/search` shows at most: what one call gives.
pub const SEARCH_MAX: usize = CALL_MESSAGES;

/// A line, understood as far as it can be without knowing the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// To be composed and sent; a doubled slash at its beginning is already one.
    Text(String),
    /// `/online`
    Online,
    /// `/members`
    Members,
    /// `/history [n] [@name]`
    History {
        /// How many messages.
        count: usize,
        /// The private ones with this member, as typed.
        with: Option<String>,
    },
    /// `/search words`
    Search(String),
    /// `/name NEW`
    Name(String),
    /// `/help`
    Help,
    /// `/quit`
    Quit,
    /// A slash and something else.
    Unknown(String),
}

/// Reads a line without its line break.
pub fn read(line: &str) -> Typed {
    let trimmed = line.trim();
    if let Some(literal) = trimmed.strip_prefix("//") {
        return Typed::Text(format!("/{literal}"));
    }
    let Some(command) = trimmed.strip_prefix('/') else {
        return Typed::Text(line.to_owned());
    };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let understood = match (word, rest) {
        ("online", "") => Some(Typed::Online),
        ("members", "") => Some(Typed::Members),
        ("history", rest) => history(rest),
        ("search", words) if !words.is_empty() => Some(Typed::Search(words.to_owned())),
        ("name", name) if !name.is_empty() => Some(Typed::Name(name.to_owned())),
        ("help", "") => Some(Typed::Help),
        ("quit", "") => Some(Typed::Quit),
        _ => None,
    };
    understood.unwrap_or_else(|| Typed::Unknown(trimmed.to_owned()))
}

impl Typed {
    /// Whether members' names are needed to do it, so that it must wait until they are known.
    pub fn needs_names(&self) -> bool {
        match self {
            Typed::Text(text) => text.contains(['@', '＠', '﹫']),
            Typed::Online | Typed::Members => true,
            Typed::History { .. } | Typed::Search(_) => true,
            Typed::Name(_) | Typed::Help | Typed::Quit | Typed::Unknown(_) => false,
        }
    }
}

fn history(rest: &str) -> Option<Typed> {
    let (mut count, mut with) = (None, None);
    for word in rest.split_whitespace() {
        match word.strip_prefix('@') {
            Some(name) if !name.is_empty() && with.is_none() => with = Some(name.to_owned()),
            None if count.is_none() => count = Some(word.parse::<usize>().ok().filter(|count| *count > 0)?),
            _ => return None,
        }
    }
    Some(Typed::History { count: count.unwrap_or(HISTORY_DEFAULT).min(HISTORY_MAX), with })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_meant() {
        let text = |text: &str| Typed::Text(text.into());
        let unknown = |text: &str| Typed::Unknown(text.into());
        let history = |count, with: Option<&str>| Typed::History { count, with: with.map(str::to_owned) };
        for (line, typed) in [
            ("bonjour", text("bonjour")),
            ("  a / b", text("  a / b")),
            ("//quit", text("/quit")),
            ("///", text("//")),
            ("", text("")),
            ("/online", Typed::Online),
            (" /online ", Typed::Online),
            ("/members", Typed::Members),
            ("/history", history(20, None)),
            ("/history 7", history(7, None)),
            ("/history @zoé", history(20, Some("zoé"))),
            ("/history 7 @zoé", history(7, Some("zoé"))),
            ("/history @zoé 7", history(7, Some("zoé"))),
            ("/history 99999999", history(HISTORY_MAX, None)),
            ("/history zoé", unknown("/history zoé")),
            ("/history 0", unknown("/history 0")),
            ("/history 1 2", unknown("/history 1 2")),
            ("/history @", unknown("/history @")),
            ("/search  deux mots ", Typed::Search("deux mots".into())),
            ("/search", unknown("/search")),
            ("/name Bob2", Typed::Name("Bob2".into())),
            ("/name", unknown("/name")),
            ("/quit", Typed::Quit),
            ("/quit now", unknown("/quit now")),
            ("/quitter", unknown("/quitter")),
            ("/", unknown("/")),
        ] {
            assert_eq!(read(line), typed, "{line:?}");
        }
    }
}
