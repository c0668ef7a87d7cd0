//! What a server counts: above all what it drops, by reason. A peer's mistake shows here and nowhere else.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the start; they only grow.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// Every counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Datagrams that came.
    datagrams_in,
    /// Datagrams that left.
    datagrams_out,
    /// Bytes that came.
    bytes_in,
    /// Bytes that left.
    bytes_out,
    /// Dropped: not this protocol, not this version, an unknown type, a wrong length.
    dropped_header,
    /// Dropped: a type that only servers send.
    dropped_direction,
    /// Dropped: a session that is not known here.
    dropped_unknown_session,
    /// Dropped: a known session from another address.
    dropped_address,
    /// Dropped: seen before, or too old to tell.
    dropped_replay,
    /// Dropped: the tag does not verify.
    dropped_tag,
    /// Dropped: a body that is not whole frames within their bounds.
    dropped_malformed,
    /// Dropped: a frame that must travel otherwise.
    dropped_protection,
    /// Dropped: a frame that only servers send.
    dropped_frame_direction,
    /// Dropped: a cookie that is forged, expired or another address's.
    dropped_cookie,
    /// Dropped: an initiate that does not open, or a confirm that does not.
    dropped_handshake,
    /// Dropped: too many initiates wait.
    dropped_busy,
    /// Dropped: an ack of what was never sent, or of another epoch.
    dropped_ack,
    /// Dropped: a submission under another outbox than the session's.
    dropped_instance,
    /// Dropped: a submission too far beyond the last decided one.
    dropped_window,
    /// Dropped: a want or a call out of bounds.
    dropped_request,
    /// Submissions put off because their author is too fast.
    rate_limited,
    /// Hints sent.
    hints,
    /// Handshakes answered.
    handshakes,
    /// OPAQUE 3 or a confirm that proved wrong.
    wrong_proofs,
    /// Sign-ins refused because of too many tries.
    throttled,
    /// Sessions begun.
    sessions,
    /// Batches on disk.
    batches,
    /// Batches that failed.
    batches_failed,
    /// Messages on disk, private ones too.
    messages,
    /// Pages sent for the first time.
    pages_sent,
    /// Pages, letters and roster frames sent again.
    resends,
    /// Pages and letters sent because they were asked for.
    pages_asked,
}
