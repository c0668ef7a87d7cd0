//! Standard output, written by a thread of its own, so that a reader who is slow does not hold up the network.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Lines that wait to be written; beyond it whoever writes waits. Some 10 MB.
const WAITING: usize = 65_536;

/// Takes lines. Dropping it writes what it was given.
#[derive(Debug)]
pub(super) struct Output {
    lines: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    closed: Arc<AtomicBool>,
}

impl Output {
    /// Writes to standard output from now on.
    pub(super) fn start() -> io::Result<Output> {
        let (lines, from) = sync_channel(WAITING);
        let closed = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&closed);
        let thread = thread::Builder::new().name("output".into()).spawn(move || {
            if write(from, BufWriter::new(io::stdout())).is_err() {
                ended.store(true, Ordering::Relaxed);
            }
        })?;
        Ok(Output { lines: Some(lines), thread: Some(thread), closed })
    }

    /// Writes a line.
    pub(super) fn line(&self, line: String) {
        // Fails only when the thread ended, which `is_closed` tells.
        let _ = self.lines.as_ref().map(|lines| lines.send(line));
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Writes line after line, and flushes whenever there is none waiting.
fn write(lines: Receiver<String>, mut to: impl Write) -> io::Result<()> {
    while let Ok(line) = lines.recv() {
        writeln!(to, "{line}")?;
        while let Ok(line) = lines.try_recv() {
            writeln!(to, "{line}")?;
        }
        to.flush()?;
    }
    Ok(())
}
