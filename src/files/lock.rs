//! An advisory lock between agents of one user (the daemon and one-shot children): whoever holds it refreshes.
//!
//! A lock file in the state folder, never removed (a removed one could be locked twice), released by the kernel when
//! its holder ends. Tools of others do not know it; against them the protocol re-reads ([`super::refresh`]).

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A held lock; dropping it releases it.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// Another process (or another part of this one) holds it.
    Busy,
    /// The lock file cannot be made or locked.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock, trying once and once more after each pause.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(path: &Path, pauses: &[Duration]) -> Result<Self, LockError> {
        let file = open(path).map_err(LockError::Io)?;
        let mut pauses = pauses.iter();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(e)) => return Err(LockError::Io(e)),
                Err(TryLockError::WouldBlock) => super::pause(*pauses.next().ok_or(LockError::Busy)?),
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_next_after_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("l.lock");
        let first = Lock::acquire(&path, &[]).unwrap();
        assert!(matches!(Lock::acquire(&path, &[Duration::ZERO; 3]), Err(LockError::Busy)));
        drop(first);
        let _second = Lock::acquire(&path, &[]).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_waiting_one_gets_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("l.lock");
        let first = Lock::acquire(&path, &[]).unwrap();
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || Lock::acquire(&path, &[Duration::from_millis(5); 2000]).map(drop))
        };
        drop(first);
        assert!(waiting.join().unwrap().is_ok());
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(Lock::acquire(&root.path().join("no/l"), &[]), Err(LockError::Io(_))));
    }
}
