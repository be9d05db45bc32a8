//! Bars on a terminal, while layers come or a store is read: one for all, and a line for each layer
//! that is on its way. They are gone when it is done, and whatever else is written goes above them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use oci_digest::Digest;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};

use super::{bytes, count, printable};
use crate::stage::{Action, Event, Meter};

/// How often it is drawn in a second, at most.
const DRAWS: u8 = 10;
/// How often it is looked how many bytes came.
const LOOK: Duration = Duration::from_millis(100);

const ALL: &str = "{msg} [{bar:10}] {decimal_bytes}/{prefix}  {decimal_bytes_per_sec}  {eta} left";
const LAYER: &str = "  {prefix:12} [{bar:12}] {decimal_bytes:>9} {msg}";
const PLAIN: &str = "{msg}";
const COPY: &str = "  {prefix:12} {msg}";
/// Columns of a layer's line before its message, and what is kept free after it.
const BESIDE: usize = 40 + 4;

/// There is one terminal.
static SCREEN: Mutex<Screen> = Mutex::new(Screen { to_fetch: 0, bars: None });

struct Screen {
    /// Bytes that the plan has to fetch.
    to_fetch: u64,
    bars: Option<Bars>,
}

struct Bars {
    lines: MultiProgress,
    all: ProgressBar,
    what: &'static str,
    meter: Meter,
    layers: Vec<Layer>,
    /// Until the bars are gone.
    _quiet: Option<Quiet>,
}

struct Layer {
    diff_id: Digest,
    bar: ProgressBar,
    came: Arc<AtomicU64>,
}

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows an event; false when it is to be told in words.
pub(super) fn show(event: &Event<'_>) -> bool {
    let mut screen = screen();
    match event {
        Event::Planned(plan) => {
            screen.to_fetch = plan.bytes_to_fetch();
            drop(screen);
            settled();
            return false;
        }
        Event::Fetching(meter) => {
            let to_fetch = screen.to_fetch;
            drop(screen);
            begin("Fetching", meter, to_fetch, None);
            return true;
        }
        Event::Reading { meter, layers, bytes: all } => {
            drop(screen);
            begin("Reading", meter, *all, Some(*layers));
            return true;
        }
        Event::Begun { layer, came } => {
            if let Some(bars) = &mut screen.bars {
                bars.begin(layer.diff_id, layer.action, layer.size, &layer.binding, came);
            }
        }
        Event::Broken { diff_id } => {
            if let Some(bars) = &mut screen.bars {
                bars.end(diff_id);
            }
        }
        Event::Layer { diff_id, done, of, .. } => match &mut screen.bars {
            Some(bars) => {
                bars.end(diff_id);
                bars.told(*done, *of);
            }
            None => return false,
        },
        Event::Read { done, of, .. } => match &mut screen.bars {
            Some(bars) => bars.told(*done, *of),
            None => return false,
        },
        Event::Publishing => {
            drop(screen);
            settled();
            return false;
        }
        Event::Finding(_) | Event::Resolved { .. } | Event::Unavailable { .. } => return false,
    }
    true
}

/// Shows new bars in the place of old ones.
fn begin(what: &'static str, meter: &Meter, all: u64, of: Option<usize>) {
    // First: the old ones give the terminal back as it was.
    settled();
    screen().bars = Some(Bars::new(what, meter, all, of));
    // Ends with the bars. Without it they only show whole layers.
    drop(std::thread::Builder::new().name("bars".to_owned()).spawn(follow));
}

/// Takes the bars away: what was to be shown is done, or will not be.
pub(crate) fn settled() {
    // The screen is let go first: what clearing has to say looks for bars as well.
    let bars = screen().bars.take();
    clear(bars);
}

/// Writes something while there may be bars.
pub(super) fn above<T>(write: impl FnOnce() -> T) -> T {
    let lines = screen().bars.as_ref().map(|bars| bars.lines.clone());
    match lines {
        Some(lines) => lines.suspend(write),
        None => write(),
    }
}

fn follow() {
    loop {
        std::thread::sleep(LOOK);
        let screen = screen();
        let Some(bars) = &screen.bars else { return };
        bars.look();
    }
}

fn clear(bars: Option<Bars>) {
    let Some(bars) = bars else { return };
    bars.layers.iter().for_each(|layer| layer.bar.finish_and_clear());
    bars.all.finish_and_clear();
    if let Err(error) = bars.lines.clear() {
        log::debug!("the terminal: {error}");
    }
}

impl Bars {
    fn new(what: &'static str, meter: &Meter, all: u64, of: Option<usize>) -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS));
        let bar = lines.add(ProgressBar::new(all));
        bar.set_style(style(if all == 0 { PLAIN } else { ALL }));
        bar.set_prefix(bytes(all));
        let bars = Self {
            lines,
            all: bar,
            what,
            meter: meter.clone(),
            layers: Vec::new(),
            _quiet: Quiet::begin(),
        };
        match of {
            Some(of) => bars.told(0, of),
            None => bars.all.set_message(what),
        }
        bars
    }

    fn begin(
        &mut self,
        diff_id: Digest,
        action: Action,
        size: u64,
        binding: &str,
        came: &Arc<AtomicU64>,
    ) {
        let bar = self.lines.add(ProgressBar::new(size));
        let is_copy = action == Action::Copy;
        bar.set_style(style(if is_copy { COPY } else { LAYER }));
        bar.set_prefix(diff_id.short());
        let of = bytes(size);
        let how = if is_copy { "copied, " } else { "of " };
        let message = printable(&format!("{how}{of}  {binding}"));
        let room = columns().saturating_sub(BESIDE);
        bar.set_message(message.chars().take(room).collect::<String>());
        self.layers.push(Layer { diff_id, bar, came: Arc::clone(came) });
    }

    fn end(&mut self, diff_id: &Digest) {
        let Some(at) = self.layers.iter().position(|layer| layer.diff_id == *diff_id) else {
            return;
        };
        let layer = self.layers.swap_remove(at);
        layer.bar.finish_and_clear();
        self.lines.remove(&layer.bar);
    }

    fn told(&self, done: usize, of: usize) {
        self.all.set_message(format!("{} {done} of {}", self.what, count(of, "layer")));
    }

    /// What comes a second time is not nearer to the end.
    fn look(&self) {
        let set = |bar: &ProgressBar, came: u64| {
            bar.set_position(came.min(bar.length().unwrap_or(came)));
        };
        set(&self.all, self.meter.read().received);
        for layer in &self.layers {
            set(&layer.bar, layer.came.load(Ordering::Relaxed));
        }
    }
}

/// How wide the terminal is, as far as that is known.
fn columns() -> usize {
    let known = termios::tcgetwinsize(io::stderr()).map(|size| usize::from(size.ws_col));
    known.ok().filter(|width| *width > 0).unwrap_or(80)
}

/// A terminal that does not show `^C`: it would stand behind a full line, and so on the next one, and
/// what is cleared then would be a line too low.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn begin() -> Option<Self> {
        if !is_in_front() {
            return None;
        }
        let before = termios::tcgetattr(io::stderr()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        termios::tcsetattr(io::stderr(), OptionalActions::Now, &quiet).ok()?;
        Some(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if is_in_front()
            && let Err(error) = termios::tcsetattr(io::stderr(), OptionalActions::Now, &self.before)
        {
            log::debug!("the terminal: {error}");
        }
    }
}

/// Whether the terminal is ours: who changes it in the background is stopped.
fn is_in_front() -> bool {
    termios::tcgetpgrp(io::stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn style(template: &str) -> ProgressStyle {
    // A template that is wrong shows a bar without words.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Whether standard error is a terminal that can move its cursor.
pub(super) fn can(term: Option<&str>) -> bool {
    use io::IsTerminal as _;
    io::stderr().is_terminal() && !matches!(term, None | Some("" | "dumb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_right() {
        for template in [ALL, LAYER, PLAIN, COPY] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
