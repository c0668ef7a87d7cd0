//! A client's profile, modelled: what is durable, and what a batch does to it.

use crate::id::Instance;
use crate::record::{Keep, Profile, Queued};

/// What a device keeps when its program dies.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Profile);

impl Kept {
    /// As made at the first start.
    pub(crate) fn new(instance: Instance) -> Kept {
        Kept(Profile::fresh(instance))
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.0
    }

    /// Planted: the texts of the first two messages that wait change places.
    pub(super) fn turned(&self) -> Profile {
        let mut profile = self.0.clone();
        if let [one, two, ..] = &mut profile.outbox[..] {
            std::mem::swap(&mut one.text, &mut two.text);
            std::mem::swap(&mut one.to, &mut two.to);
        }
        profile
    }

    /// A token that was given before the run.
    pub(crate) fn set_token(&mut self, token: [u8; 32], expires: crate::now::WallMs) {
        self.0.token = Some((token, expires));
    }

    /// Applies a batch whole, in order.
    ///
    /// # Errors
    /// In words: a number that this instance used before, or a row that is not there.
    pub(crate) fn apply(&mut self, batch: &[Keep]) -> Result<(), String> {
        let profile = &mut self.0;
        for keep in batch {
            match keep {
                Keep::Pin(pin) => profile.pin = Some(*pin),
                Keep::Queue(queued) => queue(profile, queued)?,
                Keep::Settle(n) => profile.outbox.retain(|queued| queued.n != *n),
                Keep::RoomCursor { epoch, seq } => profile.room_cursor = Some((*epoch, *seq)),
                Keep::Tip(tip) => profile.tip = Some(tip.clone()),
                Keep::InboxCursor { epoch, seq } => profile.inbox_cursor = Some((*epoch, *seq)),
                Keep::Token(token) => profile.token = *token,
                Keep::Device(device) => profile.device = Some(*device),
                Keep::User { id, username } => profile.user = Some((*id, username.clone())),
            }
        }
        Ok(())
    }
}

fn queue(profile: &mut Profile, queued: &Queued) -> Result<(), String> {
    if queued.n < profile.next {
        return Err(format!("submission {} was numbered before", queued.n));
    }
    profile.next = queued.n.next();
    profile.outbox.push(queued.clone());
    Ok(())
}
