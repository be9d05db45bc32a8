//! One line in the journal.
//!
//! systemd's native protocol (systemd, "Native Journal Protocol"): one datagram of `NAME=value`
//! lines. It is 30 lines here rather than a logger with its dependencies, since the hook runs at
//! every start of a container.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use crate::verdict::{Outcome, Report};

/// Where journald listens.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// The message id of a refusal, which `units/bound-images.catalog` explains.
const REFUSED: &str = "c39bceb39b164e6c8108a5cdd28004f9";

/// Longest value of a field, in bytes: what is longer was never meant for people.
const MAX_VALUE: usize = 4096;

/// Tells the journal at `socket`. A refusal, and all that the journal does not take, goes to
/// stderr, where some runtimes pick it up.
pub(crate) fn tell(report: &Report, socket: &Path) {
    let sent = send(&datagram(report), socket);
    if sent.is_err() || report.outcome == Outcome::Refused {
        // Nobody is left to tell that stderr is closed.
        drop(writeln!(std::io::stderr(), "bound-images-hook: {}", line(&report.message)));
    }
}

fn send(datagram: &[u8], socket: &Path) -> std::io::Result<usize> {
    let sender = UnixDatagram::unbound()?;
    // A journal that does not read must not hold the container.
    sender.set_write_timeout(Some(Duration::from_millis(200)))?;
    sender.send_to(datagram, socket)
}

fn datagram(report: &Report) -> Vec<u8> {
    let (priority, result) = match report.outcome {
        Outcome::Accepted => ("6", "accepted"),
        Outcome::Warned => ("4", "warned"),
        Outcome::Refused => ("3", "refused"),
    };
    let mut text = format!(
        "MESSAGE={}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=bound-images-hook\n\
         BOUND_IMAGES_RESULT={result}\n",
        line(&report.message)
    );
    if report.outcome == Outcome::Refused {
        text.push_str(&format!("MESSAGE_ID={REFUSED}\n"));
    }
    for (name, value) in &report.fields {
        text.push_str(&format!("{name}={}\n", line(value)));
    }
    text.into_bytes()
}

/// `text` as one line of bounded length: a line break would start another field, which the
/// container could then choose.
fn line(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if line.len() > MAX_VALUE {
        let end = (0..=MAX_VALUE).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_explains_a_refusal() {
        let text = String::from_utf8(datagram(&Report::refused("no"))).unwrap();
        assert!(text.contains(&format!("\nMESSAGE_ID={REFUSED}\n")), "{text}");
        let catalog = include_str!("../../units/bound-images.catalog");
        assert!(catalog.contains(&format!("-- {REFUSED}\n")));
    }

    #[test]
    fn a_value_cannot_start_another_field() {
        let report = Report {
            outcome: Outcome::Warned,
            message: "a\nPRIORITY=0".into(),
            fields: vec![("BOUND_IMAGES_SERVICE", "é".repeat(MAX_VALUE))],
        };
        let text = String::from_utf8(datagram(&report)).unwrap();
        let names: Vec<_> = text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        let want = [
            "MESSAGE",
            "PRIORITY",
            "SYSLOG_IDENTIFIER",
            "BOUND_IMAGES_RESULT",
            "BOUND_IMAGES_SERVICE",
        ];
        assert_eq!(names, want);
        assert!(text.contains("MESSAGE=a\u{fffd}PRIORITY=0\n"), "{text}");
        assert!(text.len() < MAX_VALUE + 300);
    }
}
