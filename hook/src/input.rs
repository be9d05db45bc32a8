//! The container's state on stdin.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Largest state that is read, in bytes. A state has a few hundred; annotations may add to it.
pub(crate) const MAX_STATE: usize = 1 << 20;

/// All of `input` up to its end, which must come before `deadline`.
pub(crate) fn read(input: &impl AsFd, deadline: Instant) -> Result<Vec<u8>, String> {
    let fd = input.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| format!("cannot read the container's state on stdin: {error}"))?;
    let mut file = File::from(fd);
    let mut bytes = Vec::new();
    let mut piece = [0; 8192];
    loop {
        wait(&file, deadline)?;
        let count = match file.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(format!("cannot read the container's state on stdin: {error}"));
            }
        };
        bytes.extend(piece.iter().take(count));
        if bytes.len() > MAX_STATE {
            return Err(format!("the container's state on stdin is larger than {MAX_STATE} bytes"));
        }
    }
}

fn wait(file: &File, deadline: Instant) -> Result<(), String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // One more than the whole milliseconds, so that the last fraction is not spent spinning.
        let left = u16::try_from(left.as_millis() + u128::from(!left.is_zero()));
        let left = PollTimeout::from(left.unwrap_or(u16::MAX));
        match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => {
                return Err("the container's state on stdin did not end in time".to_owned());
            }
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => {
                return Err(format!("cannot wait for the container's state on stdin: {error}"));
            }
        }
    }
}
