//! Where profiles and data lie on each system.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use sha2::{Digest as _, Sha256};

use super::Stop;
use crate::net::random;
use crate::record::Profile;
use crate::store::{ProfileError, ProfileStore};
use crate::terminal::exit::Exit;
use crate::terminal::words::{Language, Say};
use crate::text::name::name_key;

/// Opens the profile at `given`, or the one that belongs to this user at this server.
pub(super) fn open(
    given: Option<&Path>,
    server: SocketAddr,
    user: &str,
    language: Language,
) -> Result<(ProfileStore, Profile), Stop> {
    let dir = match given {
        Some(dir) => dir.to_owned(),
        None => data_dir(language, "--profile")?.join("profiles").join(directory_name(server, user)),
    };
    ProfileStore::open(&dir, random::small_seed()).map_err(|error| match error {
        ProfileError::InUse => Stop::new(Exit::InUse, Say::ProfileInUse.text(language)),
        error => Stop::failed(error),
    })
}

/// Where this program keeps things; `option` is what to give where the system has no such place.
pub(super) fn data_dir(language: Language, option: &str) -> Result<PathBuf, Stop> {
    let dirs = ProjectDirs::from("", "", "preau").ok_or_else(|| Stop::usage(Say::Missing(option).text(language)))?;
    Ok(dirs.data_local_dir().to_owned())
}

/// Longest directory name used as it is; file systems allow 255 bytes.
const NAME: usize = 120;

fn directory_name(server: SocketAddr, user: &str) -> String {
    let plain = |text: &str| {
        let mut name = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => name.push(char::from(byte)),
                byte => name.push_str(&format!("%{byte:02x}")),
            }
        }
        name
    };
    let name = format!("{}_{}", plain(&name_key(user)), plain(&server.to_string()));
    if name.len() <= NAME {
        return name;
    }
    let hash = Sha256::digest(name.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_at_each_server_has_a_directory_of_their_own() {
        let server: SocketAddr = "[::1]:26262".parse().unwrap();
        let other: SocketAddr = "[::1]:26263".parse().unwrap();
        let name = directory_name(server, "amina");
        assert_eq!(name, directory_name(server, "AMINA"));
        assert_ne!(name, directory_name(other, "amina"));
        assert_ne!(name, directory_name(server, "zoé"));
        for user in ["..", "../x", "a/b", "a\\b", "山田".repeat(16).as_str(), "con"] {
            let name = directory_name(server, user);
            assert!(name.len() <= NAME && name.len() > 20, "{name}");
            assert!(!name.contains(['/', '\\', ':']), "{name}");
        }
    }
}
