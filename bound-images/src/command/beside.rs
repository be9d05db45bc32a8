//! What goes on beside a stage: systemd is told how far it has come and that it is alive, and while
//! layers are fetched the machine does not fall asleep.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::render::{self, Style};
use crate::stage::{Event, Meter, Reading};
use crate::system::bus::Bus;
use crate::system::logind;
use crate::system::notify::Notifier;

/// How long nothing may move before the unit is taken for hung: `TimeoutStartSec=` of its units.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether something moved.
const PERIOD: Duration = Duration::from_secs(3);

/// Ends when it is dropped; the locks are given back then.
#[derive(Debug)]
pub(crate) struct Beside {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Beside {
    fn drop(&mut self) {
        render::settled();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    progress: Mutex<Progress>,
    wake: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beside {
    /// Begins. `notifier` is told, and asked for `patience` more whenever something moved; locks are
    /// taken from the machine's logind at `bus`.
    pub(crate) fn start(
        notifier: Option<Arc<Notifier>>,
        patience: Option<Duration>,
        bus: Option<Bus>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let is_heard = notifier.is_some() || bus.is_some();
        let task = is_heard
            .then(|| tokio::spawn(attend(Arc::clone(&shared), notifier, patience, bus, PERIOD)));
        Self { shared, task }
    }

    /// Tells of events in `style` and here.
    pub(crate) fn observer(&self, style: Style) -> impl Fn(Event<'_>) + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move |event: Event<'_>| {
            render::progress(&event, style);
            shared.lock().see(&event);
            shared.wake.notify_one();
        }
    }
}

async fn attend(
    shared: Arc<Shared>,
    notifier: Option<Arc<Notifier>>,
    patience: Option<Duration>,
    bus: Option<Bus>,
    period: Duration,
) {
    let mut ticks = tokio::time::interval(period);
    let mut locks = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.wake.notified() => {}
        }
        let report = shared.lock().report();
        if let Some(notifier) = &notifier
            && report.moved
        {
            notifier.status(&report.line);
            if let Some(patience) = patience {
                notifier.extend(patience);
            }
        }
        if report.fetches
            && locks.is_none()
            && let Some(bus) = &bus
        {
            locks = Some(logind::inhibit(bus, "Fetching bound images").await);
        }
    }
}

/// How far a stage has come.
#[derive(Debug, Default)]
struct Progress {
    /// Something happened since the last report.
    happened: bool,
    what: &'static str,
    /// Layers to fetch or copy: how many are done, and of how many.
    layers: Option<(usize, usize)>,
    /// Bytes to fetch.
    bytes: u64,
    meter: Option<Meter>,
    seen: Reading,
    /// Layers are being fetched, and not read.
    fetches: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Report {
    /// Something happened, or bytes came, or something was written.
    moved: bool,
    /// Layers are being fetched.
    fetches: bool,
    line: String,
}

impl Progress {
    fn see(&mut self, event: &Event<'_>) {
        self.happened = true;
        match event {
            Event::Finding(_) | Event::Resolved { .. } | Event::Unavailable { .. } => {
                self.what = "Asking registries";
                (self.layers, self.meter) = (None, None);
            }
            Event::Planned(plan) => {
                self.what = "Fetching images";
                self.bytes = plan.bytes_to_fetch();
                self.layers = Some((0, plan.to_fetch().count() + plan.to_copy().count()));
            }
            Event::Reading { meter, layers, bytes } => {
                self.what = "Reading the store";
                (self.layers, self.bytes) = (Some((0, *layers)), *bytes);
                self.meter = Some((*meter).clone());
                self.seen = meter.read();
            }
            Event::Read { done, of, .. } => self.layers = Some((*done, *of)),
            Event::Fetching(meter) => {
                self.fetches = true;
                self.meter = Some((*meter).clone());
                self.seen = meter.read();
            }
            Event::Begun { .. } | Event::Broken { .. } => {}
            Event::Layer { done, of, .. } => self.layers = Some((*done, *of)),
            Event::Publishing => {
                self.what = "Publishing";
                (self.layers, self.meter, self.fetches) = (None, None, false);
            }
        }
    }

    fn report(&mut self) -> Report {
        let reading = self.meter.as_ref().map_or(self.seen, Meter::read);
        let moved = self.happened || reading != self.seen;
        (self.happened, self.seen) = (false, reading);
        Report { moved, fetches: self.fetches, line: self.line() }
    }

    fn line(&self) -> String {
        let Some((done, of)) = self.layers.filter(|(_, of)| *of > 0) else {
            return self.what.to_owned();
        };
        let layers = format!("{}: {done} of {} done", self.what, render::count(of, "layer"));
        if self.bytes == 0 {
            return layers;
        }
        // What a second attempt brings again is not nearer to the end.
        let came = self.seen.received.min(self.bytes);
        format!("{layers}, {} of {}", render::bytes(came), render::bytes(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn only_what_moves_counts() {
        let budget = overlay_store::Budget::new(1000, 10);
        let meter = Meter::new(&budget);
        let mut progress = Progress { bytes: 5000, layers: Some((0, 2)), ..Progress::default() };
        progress.what = "Fetching images";
        progress.see(&Event::Fetching(&meter));
        let report = progress.report();
        assert!(report.moved && report.fetches);
        assert_eq!(report.line, "Fetching images: 0 of 2 layers done, 0 B of 5.0 kB");
        assert!(!progress.report().moved, "nothing came");
        meter.counter().fetch_add(1200, Ordering::Relaxed);
        let report = progress.report();
        assert!(report.moved);
        assert_eq!(report.line, "Fetching images: 0 of 2 layers done, 1.2 kB of 5.0 kB");
        assert!(!progress.report().moved, "nothing came since");
        meter.counter().fetch_add(9000, Ordering::Relaxed);
        assert!(progress.report().line.ends_with("5.0 kB of 5.0 kB"));
        progress.see(&Event::Publishing);
        let wanted = Report { moved: true, fetches: false, line: "Publishing".to_owned() };
        assert_eq!(progress.report(), wanted);
        assert!(!progress.report().moved);
    }

    /// Reading a store for its repair is told like fetching, but the machine may fall asleep.
    #[test]
    fn what_is_read_moves_too() {
        let meter = Meter::alone();
        let mut progress = Progress::default();
        progress.see(&Event::Reading { meter: &meter, layers: 2, bytes: 5000 });
        let line = "Reading the store: 0 of 2 layers done, 0 B of 5.0 kB".to_owned();
        assert_eq!(progress.report(), Report { moved: true, fetches: false, line });
        assert!(!progress.report().moved);
        meter.counter().fetch_add(1200, Ordering::Relaxed);
        let report = progress.report();
        assert!(report.moved && report.line.ends_with("1.2 kB of 5.0 kB"), "{report:?}");
        progress.see(&Event::Read { id: "a", size: 1200, done: 1, of: 2 });
        assert!(progress.report().line.contains("1 of 2 layers done"));
    }

    /// systemd hears of bytes between the events, and nothing when none come.
    #[tokio::test]
    async fn bytes_between_two_events_ask_for_more_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let heard = || {
            let mut buffer = [0; 512];
            let mut all = String::new();
            while let Ok(count) = socket.recv(&mut buffer) {
                all.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            }
            all
        };
        let notifier = Notifier::open(Some(&path.into_os_string())).map(Arc::new);
        let shared = Arc::new(Shared::default());
        let period = Duration::from_millis(1);
        let task = attend(Arc::clone(&shared), notifier, Some(PATIENCE), None, period);
        let task = tokio::spawn(task);
        let meter = Meter::new(&overlay_store::Budget::new(1000, 10));
        shared.lock().see(&Event::Fetching(&meter));
        let mut all = String::new();
        while !all.contains("EXTEND") {
            tokio::time::sleep(period).await;
            all.push_str(&heard());
        }
        tokio::time::sleep(period * 50).await;
        let rest = heard();
        // At most what was on its way when we looked.
        assert!(rest.lines().count() <= 1, "{rest}");
        meter.counter().fetch_add(1, Ordering::Relaxed);
        let mut all = String::new();
        while !all.contains("EXTEND_TIMEOUT_USEC=600000000\n") {
            tokio::time::sleep(period).await;
            all.push_str(&heard());
        }
        task.abort();
    }
}
