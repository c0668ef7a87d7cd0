//! The two threads that keep the disk away from the core: one commits, one answers questions.
//!
//! The core has one batch outstanding at a time and hears of it by [`StoreEvent::Stored`]. Both threads tell what
//! they have to tell through one callback, one at a time.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use super::{Reader, ServerStore, StoreError};
use crate::record::{Batch, Fetch, Fetched, Loaded, Stored};

/// How long the writer is idle before it looks for changes made by `preau admin`.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Names a question, so that its answer finds whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// What the store's threads tell.
#[derive(Debug)]
pub enum StoreEvent {
    /// What became of the outstanding batch.
    Stored(Stored),
    /// The answer to a question.
    Fetched(FetchId, Fetched),
    /// Another process changed the database. What is loaded holds every batch told of by an earlier
    /// [`Stored`](StoreEvent::Stored) and none sent since.
    Changed(Box<Loaded>),
}

/// Why the threads could not start.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The reader's connection could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no thread to give.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] io::Error),
}

/// The store at work. Dropping it commits what was sent, answers what was asked, and leaves a clean database.
#[derive(Debug)]
pub struct Writer {
    batches: Option<Sender<Batch>>,
    questions: Option<Sender<(FetchId, Fetch)>>,
    writer: Option<JoinHandle<()>>,
    reader: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts both threads. `on_event` is called from either, never from both at once; it should only pass on.
    pub fn spawn(store: ServerStore, on_event: impl FnMut(StoreEvent) + Send + 'static) -> Result<Writer, SpawnError> {
        let on_event = Arc::new(Mutex::new(on_event));
        let tell = move |event| (on_event.lock().unwrap_or_else(PoisonError::into_inner))(event);
        let reader = store.reader()?;
        let (batches, batches_in) = mpsc::channel();
        let (questions, questions_in) = mpsc::channel();
        let mut started = Writer { batches: Some(batches), questions: Some(questions), writer: None, reader: None };
        let named = |name: &str| thread::Builder::new().name(name.into());
        let reader_tells = tell.clone();
        started.reader = Some(named("store-reader").spawn(move || read(reader, questions_in, reader_tells))?);
        started.writer = Some(named("store-writer").spawn(move || write(store, batches_in, tell))?);
        Ok(started)
    }

    /// Commits a batch; [`StoreEvent::Stored`] tells what became of it.
    pub fn store(&self, batch: Batch) {
        // A thread that is gone was ended by a panic, which its own thread reported.
        let _ = self.batches.as_ref().map(|batches| batches.send(batch));
    }

    /// Asks a question; [`StoreEvent::Fetched`] brings the answer, in the order of asking. How many are
    /// asked at once is the core's to bound.
    pub fn fetch(&self, id: FetchId, fetch: Fetch) {
        let _ = self.questions.as_ref().map(|questions| questions.send((id, fetch)));
    }

    /// Ends both threads once they have done what they were given.
    pub fn close(self) {}
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.questions = None;
        self.batches = None;
        // The reader first: the writer's last checkpoint is whole only when nobody reads.
        for thread in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

fn read(mut reader: Reader, questions: Receiver<(FetchId, Fetch)>, mut tell: impl FnMut(StoreEvent)) {
    for (id, question) in questions {
        tell(StoreEvent::Fetched(id, reader.fetch(&question)));
    }
}

fn write(mut store: ServerStore, batches: Receiver<Batch>, mut tell: impl FnMut(StoreEvent)) {
    loop {
        match batches.recv_timeout(LOOK_EVERY) {
            Ok(batch) => tell(StoreEvent::Stored(store.commit(&batch))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // After each commit too, since a busy server is never idle; where it fails, the next look finds it again.
        if let Ok(true) = store.changed_by_others()
            && let Ok(loaded) = store.load()
        {
            tell(StoreEvent::Changed(Box::new(loaded)));
        }
    }
    if let Err(error) = store.close() {
        tracing::warn!(%error, "the database was not closed cleanly; nothing stored is lost");
    }
}
