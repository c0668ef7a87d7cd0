//! What the server's tests share.

use rand::SeedableRng;

use crate::id::{Seq, UserId};
use crate::proto::keys::ServerKeys;
use crate::proto::rng::Rng;
use crate::proto::suite::Suite;
use crate::record::{Account, Credential, Role};
use crate::text::name::name_key;

/// Keys of a server without cryptography.
pub(crate) fn null_keys() -> ServerKeys {
    ServerKeys::generate(Suite::Null, &mut Rng::seed_from_u64(1))
}

/// An account named after its number.
pub(crate) fn account(id: u32) -> Account {
    let username = format!("member{id}");
    Account {
        id: UserId(id),
        name_key: name_key(&username),
        username,
        first_name: "First".into(),
        last_name: "Last".into(),
        former: None,
        role: Role::Member,
        removed: false,
        password: Credential { identifier: [0; 16], upload: vec![0; 192] },
        recovery: None,
        reset: None,
        inbox_head: Seq(0),
        inbox_received: Seq(0),
        revocations: 0,
        devices: vec![],
    }
}
