//! The lock of a store's list (containers/storage `pkg/lockfile`): a POSIX lock of the whole file,
//! shared by readers.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// How long to sleep before the lock is asked for again.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the lock for reading; it is released when the file is closed. None when there is no lock
/// file: then nobody has ever written there with a lock, and we never make one.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when a writer keeps it for longer than `wait`.
pub(super) fn shared(store: &OwnedFd, path: &[u8], wait: Duration) -> io::Result<Option<File>> {
    let file = match super::open_file(store, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let begin = Instant::now();
    loop {
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::AGAIN | Errno::ACCESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if begin.elapsed() >= wait {
            let why = format!("another program keeps changing it ({} s)", wait.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        std::thread::sleep(PAUSE);
    }
}
