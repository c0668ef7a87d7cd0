//! What the standard library of Debian's compiler does not have yet, written by what it has. tests/windows puts this
//! file into its copy of the sources and lets them call it; the product's own sources never see it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

/// `std::fs::TryLockError` of Rust 1.89.
pub(crate) enum TryLockError {
    WouldBlock,
    Error(io::Error),
}

/// `File::try_lock` as Rust 1.89 has it: the same call to the system, told in another type.
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    match file.try_lock() {
        Ok(true) => Ok(()),
        Ok(false) => Err(TryLockError::WouldBlock),
        Err(error) => Err(TryLockError::Error(error)),
    }
}

/// `VecDeque::pop_front_if` of Rust 1.93.
pub(crate) fn pop_front_if<T>(deque: &mut VecDeque<T>, holds: impl FnOnce(&mut T) -> bool) -> Option<T> {
    if deque.front_mut().is_some_and(holds) { deque.pop_front() } else { None }
}
