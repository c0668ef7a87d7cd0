//! What a client has counted since it began: how much came and left, and why what was dropped was dropped.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Named counts, all from 0 and only growing.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Every count with its name, in the order of the source.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Datagrams handed in.
    datagrams_received,
    /// Datagrams handed out.
    datagrams_sent,
    /// From another address than the server's.
    dropped_source,
    /// Not this protocol, or not as its type asks.
    dropped_malformed,
    /// Of a type that a client never gets.
    dropped_type,
    /// Of a session that is not ours.
    dropped_session,
    /// Of another attempt to come in than the one under way, or not awaited.
    dropped_attempt,
    /// A tag that does not verify, or a counter that was seen or is too old.
    dropped_forged,
    /// A body with a frame that is malformed or that travelled in the wrong protection.
    dropped_frames,
    /// A frame that a client never gets, or one that makes no sense in this state.
    dropped_unexpected,
    /// A page or letters whose entries are not what its frame says.
    dropped_entries,
    /// A sealed page whose room key is not known yet.
    dropped_unknown_key,
    /// A sealed page that its room key does not open.
    dropped_page_seal,
    /// Pages, letters or roster frames beyond the bound of what waits for a gap to be filled.
    dropped_overfull,
    /// Answers to submissions that are not ours.
    dropped_foreign_answer,
    /// Rooms with another key than the one we know answered.
    foreign_keys,
    /// Hints taken in.
    hints,
    /// Pages that brought something new.
    pages,
    /// Pages that brought nothing new.
    pages_again,
    /// Letters frames that brought something new.
    letters,
    /// Letters frames that brought nothing new.
    letters_again,
    /// Roster frames that brought something new.
    roster,
    /// Roster frames that brought nothing new.
    roster_again,
    /// Ranges asked for.
    wants,
    /// Submissions sent for the first time.
    submissions,
    /// Submissions sent again.
    submissions_again,
    /// Calls sent, repeats included.
    calls,
    /// Pings sent.
    pings,
    /// Attempts to come in, resumes included.
    attempts,
    /// Sessions that began.
    sessions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_its_name() {
        let counters = Counters { pages: 3, ..Counters::default() };
        let named: Vec<_> = counters.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(named, [("pages", 3)]);
    }
}
