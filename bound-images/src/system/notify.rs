//! What systemd is told while a unit of ours works (sd_notify(3)): the status line, and that there is
//! progress. Never blocks and never fails: a message that cannot be sent is not.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The longest status line, in bytes.
const MAX_STATUS: usize = 200;

/// The socket that systemd listens on.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// For the value of `$NOTIFY_SOCKET`: a path, or `@` and the name of an abstract socket. None
    /// when nobody listens there, or in another way (`vsock:`, which is for whole machines).
    #[must_use]
    pub fn open(address: Option<&OsString>) -> Option<Self> {
        let opened = Self::connect(address?.as_os_str());
        if let Err(error) = &opened {
            log::debug!("systemd is told nothing: {error}");
        }
        opened.ok()
    }

    fn connect(address: &OsStr) -> io::Result<Self> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::Error::other("no socket of this kind is known")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Shows one line in `systemctl status`.
    pub fn status(&self, line: &str) {
        self.send(&status(line));
    }

    /// Asks for this much more time from now on, instead of the timeout that the unit has.
    pub fn extend(&self, by: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}\n", by.as_micros()));
    }

    fn send(&self, message: &str) {
        if let Err(error) = self.socket.send_to_addr(message.as_bytes(), &self.to) {
            log::debug!("systemd is not told {}: {error}", message.trim_end());
        }
    }
}

/// A newline would begin another assignment.
fn status(line: &str) -> String {
    let plain: String =
        line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let end = plain.char_indices().map(|(at, _)| at).take_while(|at| *at <= MAX_STATUS).last();
    let short = if plain.len() <= MAX_STATUS {
        Some(plain.as_str())
    } else {
        plain.get(..end.unwrap_or(0))
    };
    format!("STATUS={}\n", short.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn both_kinds_of_socket_are_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("bound-images-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_one = UnixDatagram::bind_addr(&address).unwrap();
        for (address, socket) in [
            (path.clone().into_os_string(), by_path),
            (OsString::from(format!("@{name}")), abstract_one),
        ] {
            let notifier = Notifier::open(Some(&address)).unwrap();
            notifier.status("one\nREADY=1");
            assert_eq!(receive(&socket), "STATUS=one READY=1\n");
            notifier.extend(Duration::from_secs(600));
            assert_eq!(receive(&socket), "EXTEND_TIMEOUT_USEC=600000000\n");
        }
    }

    #[test]
    fn nobody_who_reads_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let nobody = Notifier::open(Some(&path.clone().into_os_string())).unwrap();
        nobody.status("no socket there");
        let socket = UnixDatagram::bind(&path).unwrap();
        // More than the queue of a socket takes (net.unix.max_dgram_qlen).
        for number in 0..5000 {
            nobody.status(&number.to_string());
        }
        assert_eq!(receive(&socket), "STATUS=0\n");
        assert!(Notifier::open(None).is_none());
        assert!(Notifier::open(Some(&OsString::from("vsock:2:1"))).is_none());
        assert!(Notifier::open(Some(&OsString::from(format!("/{}", "x".repeat(200))))).is_none());
    }

    #[test]
    fn a_line_is_short_and_whole_letters() {
        let long = status(&"ä".repeat(400));
        assert!(long.len() <= MAX_STATUS + "STATUS=\n".len(), "{}", long.len());
        assert!(long.ends_with("ä\n"));
    }
}
