//! Warnings in the kernel log: the journal may not run yet when a generator does
//! (systemd.generator(7)).

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Most lines of one run: the kernel drops what comes too fast.
const MAX_LINES: usize = 20;
/// Longest line, in bytes: `/dev/kmsg` takes 1024 with its prefix.
const MAX_LINE: usize = 900;

/// Writes warnings to `log`, which is `/dev/kmsg`; to stderr where that cannot be written, as in
/// a container. Never fails.
pub fn warn(warnings: &[String], log: &Path) {
    let mut file = File::options().write(true).open(log).ok();
    for line in lines(warnings) {
        // One write is one record. Priority 4 is a warning (syslog(2)).
        let record = format!("<4>bound-images-generator: {line}\n");
        let written = file.as_mut().is_some_and(|file| file.write_all(record.as_bytes()).is_ok());
        if !written {
            // Nobody is left to tell that stderr is closed.
            drop(writeln!(std::io::stderr(), "bound-images-generator: {line}"));
        }
    }
}

fn lines(warnings: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = warnings.iter().take(MAX_LINES).map(|line| short(line)).collect();
    if let Some(more) = warnings.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
        lines.push(format!("and {more} more: bound-images lint --root / shows all"));
    }
    lines
}

fn short(line: &str) -> String {
    let mut short: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() > MAX_LINE {
        let end = (0..=MAX_LINE).rev().find(|at| short.is_char_boundary(*at)).unwrap_or(0);
        short.truncate(end);
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_bounded() {
        let warnings = vec!["é\n".repeat(1000); 50];
        let lines = lines(&warnings);
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE + 3 && !line.contains('\n')));
        assert_eq!(lines[MAX_LINES], "and 30 more: bound-images lint --root / shows all");
    }
}
