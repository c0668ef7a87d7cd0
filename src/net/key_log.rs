//! The key log's file (proto.md, section 15): a line a secret, readable by its owner alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// An open key log. Once it fails it says so and keeps no more.
#[derive(Debug)]
pub struct KeyLog {
    file: Option<File>,
}

impl KeyLog {
    /// Opens the file to append to it; makes it, private, where absent.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(path: &Path) -> io::Result<KeyLog> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(KeyLog { file: Some(options.open(path)?) })
    }

    /// Appends a line, in one write, so that several processes may share the file.
    pub fn write(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            tracing::warn!(%error, "the key log cannot be written: keys are no longer logged");
            self.file = None;
        }
    }
}
