//! Inhibitor locks of logind (systemd-logind.service(8), org.freedesktop.login1(5)).

use std::fmt;

use zbus::OwnedFd;

use super::bus::{Bus, Service, read};

const MANAGER: Service<'_> = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};
/// What is taken: the machine does not fall asleep by itself in the middle of a fetch, and a shutdown
/// waits a moment (`InhibitDelayMaxSec=`, 5 s) for a layer that is nearly complete.
const LOCKS: [(&str, &str); 2] = [("sleep:idle", "block"), ("shutdown", "delay")];

/// Locks that are held as long as this lives.
pub struct Inhibitors(Vec<OwnedFd>);

impl fmt::Debug for Inhibitors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inhibitors({})", self.0.len())
    }
}

/// Takes the locks that can be had. Nothing depends on them: a machine without logind, or one that
/// goes down already, has none.
pub async fn inhibit(bus: &Bus, why: &str) -> Inhibitors {
    let mut held = Vec::new();
    for (what, mode) in LOCKS {
        let body = (what, "bound-images", why, mode);
        let taken = match bus.call(MANAGER, "Inhibit", &body).await {
            Ok(reply) => read::<OwnedFd>(&reply, "Inhibit"),
            Err(error) => Err(error),
        };
        match taken {
            Ok(lock) => held.push(lock),
            Err(why) => log::info!("no {mode} lock for {what}: {why}"),
        }
    }
    Inhibitors(held)
}
