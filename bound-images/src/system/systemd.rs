//! systemd as the system bus shows it (org.freedesktop.systemd1(5)).

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::{OwnedObjectPath, OwnedVariant, Type, Variant};

use super::bus::{Bus, Service, read};

const MANAGER: Service<'_> = Service {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
/// Of every object (org.freedesktop.DBus.Properties).
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The most units or jobs of an answer: systemd allows 131,072 units (`MANAGER_MAX_NAMES`).
const MAX_ENTRIES: usize = 131_072;
/// The longest name of a unit, suffix included (systemd.unit(5)).
const MAX_NAME: usize = 255;
/// How the name of a template ends.
const TEMPLATE: &str = "@.service";
/// The longest state. systemd's own are words.
const MAX_WORD: usize = 64;

/// How it stands with a unit; the words are those of `systemctl show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnitState {
    /// `nginx.service`.
    pub name: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `running`, `exited`, `dead`, …
    pub sub: String,
    /// `start` and the like, while something is to be done with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

impl UnitState {
    /// The one word that people want: what is wrong with its file, or whether it is active.
    #[must_use]
    pub fn word(&self) -> &str {
        if self.load == "loaded" { &self.active } else { &self.load }
    }

    /// Whether it runs or is about to.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading" | "refreshing")
    }
}

/// Those of `states` that are of `units`: of a template, its instances.
#[must_use]
pub fn of_units<'a>(units: &[String], states: &'a [UnitState]) -> Vec<&'a UnitState> {
    let is_of = |unit: &String, state: &UnitState| match unit.strip_suffix(TEMPLATE) {
        Some(stem) => state.name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('@')),
        None => *unit == state.name,
    };
    states.iter().filter(|state| units.iter().any(|unit| is_of(unit, state))).collect()
}

/// What ListUnitsByNames tells of one unit: name, description, load, active and sub state, unit that
/// it follows, object path, job id, job type, job path.
type UnitEntry =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
/// What ListJobs tells of one job: id, unit, type, state, path, path of the unit.
type JobEntry = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);
/// `ExecStart=` of a transient unit: program, all words, whether a failure is ignored.
type Exec<'a> = Vec<(&'a str, Vec<&'a str>, bool)>;

/// How the host goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// It does not.
    None,
    /// Its power goes, or it is halted: somebody may stand there and wait.
    Off,
    /// It comes back: a reboot, by kexec or a soft one too, or something that is not known.
    Reboot,
}

/// The states of `units`, as far as systemd knows these names, sorted. Of a template (`app@.service`)
/// those of its instances.
///
/// # Errors
/// Why systemd cannot be asked.
pub async fn states(bus: &Bus, units: &[String]) -> Result<Vec<UnitState>, String> {
    let wanted = Wanted::new(units);
    let mut found = BTreeMap::new();
    if !wanted.names.is_empty() {
        let entries: Vec<UnitEntry> = ask(bus, "ListUnitsByNames", &wanted.names).await?;
        wanted.take(entries, &mut found)?;
    }
    if !wanted.patterns.is_empty() {
        let body = (Vec::<&str>::new(), &wanted.patterns);
        let entries: Vec<UnitEntry> = ask(bus, "ListUnitsByPatterns", &body).await?;
        wanted.take(entries, &mut found)?;
    }
    Ok(found.into_values().collect())
}

/// What is asked for. Names that are none would fail the whole call.
struct Wanted<'a> {
    names: Vec<&'a str>,
    patterns: Vec<String>,
    /// `app@` of each template.
    templates: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn new(units: &'a [String]) -> Self {
        let mut wanted = Self { names: Vec::new(), patterns: Vec::new(), templates: Vec::new() };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        for unit in units.iter().filter(|unit| unit.len() <= MAX_NAME && unit.bytes().all(is_plain))
        {
            match unit.strip_suffix(TEMPLATE) {
                Some(stem) => {
                    // Names may have backslashes, which fnmatch(3) reads as an escape.
                    wanted.patterns.push(format!("{}@?*.service", stem.replace('\\', "\\\\")));
                    wanted.templates.push(unit.strip_suffix(".service").unwrap_or(unit));
                }
                None => wanted.names.push(unit),
            }
        }
        wanted
    }

    /// Keeps of an answer what was asked for.
    fn take(
        &self,
        entries: Vec<UnitEntry>,
        found: &mut BTreeMap<String, UnitState>,
    ) -> Result<(), String> {
        if entries.len() > MAX_ENTRIES {
            return Err(format!("systemd tells of {} units", entries.len()));
        }
        for (name, _, load, active, sub, _, _, job, job_type, _) in entries {
            let is_instance = |template: &&str| {
                name.len() <= MAX_NAME && name.starts_with(*template) && name.ends_with(".service")
            };
            if !self.names.contains(&name.as_str()) && !self.templates.iter().any(is_instance) {
                continue;
            }
            let words = [&load, &active, &sub, &job_type];
            if words.iter().any(|word| word.len() > MAX_WORD) {
                return Err(format!("systemd tells nonsense of {name}"));
            }
            let job = (job != 0).then_some(job_type);
            found.insert(name.clone(), UnitState { name, load, active, sub, job });
        }
        Ok(())
    }
}

/// How the host goes down, by the jobs that systemd has.
///
/// # Errors
/// Why systemd cannot be asked.
pub async fn descent(bus: &Bus) -> Result<Descent, String> {
    let jobs: Vec<JobEntry> = ask(bus, "ListJobs", &()).await?;
    if jobs.len() > MAX_ENTRIES {
        return Err(format!("systemd tells of {} jobs", jobs.len()));
    }
    let starts: Vec<&str> = jobs
        .iter()
        .filter(|(_, _, kind, ..)| kind == "start")
        .map(|(_, unit, ..)| unit.as_str())
        .collect();
    Ok(decide_descent(&starts))
}

/// Every way down starts `shutdown.target` (systemd.special(7)).
fn decide_descent(starts: &[&str]) -> Descent {
    let any = |units: &[&str]| starts.iter().any(|unit| units.contains(unit));
    if any(&["reboot.target", "kexec.target", "soft-reboot.target"]) {
        Descent::Reboot
    } else if any(&["poweroff.target", "halt.target"]) {
        Descent::Off
    } else if any(&["shutdown.target"]) {
        Descent::Reboot
    } else {
        Descent::None
    }
}

/// Starts a unit; does not wait until it runs.
///
/// # Errors
/// Why systemd does not.
pub async fn start(bus: &Bus, unit: &str) -> Result<(), String> {
    bus.call(MANAGER, "StartUnit", &(unit, "replace")).await.map(drop)
}

/// Forgets that a unit failed, and how often it was started.
///
/// # Errors
/// Why systemd does not.
pub async fn reset_failed(bus: &Bus, unit: &str) -> Result<(), String> {
    bus.call(MANAGER, "ResetFailedUnit", &(unit,)).await.map(drop)
}

/// Runs a command once, outside of every sandbox, as the unit `name`; does not wait for its end.
///
/// # Errors
/// Why systemd does not.
pub async fn run_outside(
    bus: &Bus,
    name: &str,
    description: &str,
    command: &[&str],
) -> Result<(), String> {
    let Some(program) = command.first() else { return Err("no command".to_owned()) };
    let exec: Exec<'_> = vec![(program, command.to_vec(), false)];
    let properties: Vec<(&str, Variant<'_>)> = vec![
        ("Description", Variant::new(description)),
        ("Type", Variant::new("oneshot")),
        ("ExecStart", Variant::new(exec)),
        ("TimeoutStartUSec", Variant::new(30_000_000_u64)),
        // Nothing is left of it, also when it failed.
        ("CollectMode", Variant::new("inactive-or-failed")),
    ];
    let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
    let body = (name, "fail", properties, auxiliary);
    bus.call(MANAGER, "StartTransientUnit", &body).await.map(drop)
}

/// Whether a unit has done nothing yet since the boot although something that is active wants it:
/// it waited for something that did not come.
///
/// # Errors
/// Why systemd cannot be asked.
pub async fn waits(bus: &Bus, unit: &str) -> Result<bool, String> {
    let reply = bus.call(MANAGER, "GetUnit", &(unit,)).await?;
    let path: OwnedObjectPath = read(&reply, "GetUnit")?;
    let unit = Service { path: path.as_str(), interface: PROPERTIES, ..MANAGER };
    let reply = bus.call(unit, "GetAll", &("org.freedesktop.systemd1.Unit",)).await?;
    let properties: HashMap<String, OwnedVariant> = read(&reply, "GetAll")?;
    let began =
        properties.get("InactiveExitTimestampMonotonic").map(|value| u64::try_from(&**value));
    if !matches!(began, Some(Ok(0))) {
        return Ok(false);
    }
    let mut wanted_by = Vec::new();
    for name in ["WantedBy", "RequiredBy"] {
        let names = properties.get(name).cloned().map(Vec::<String>::try_from);
        wanted_by.extend(names.and_then(Result::ok).unwrap_or_default());
    }
    Ok(states(bus, &wanted_by).await?.iter().any(UnitState::is_up))
}

async fn ask<B, R>(bus: &Bus, method: &'static str, body: &B) -> Result<R, String>
where
    B: Serialize + zbus::DynamicType,
    R: DeserializeOwned + Type,
{
    read(&bus.call(MANAGER, method, body).await?, method)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, active: &str) -> UnitEntry {
        let path = || OwnedObjectPath::try_from("/x").unwrap();
        let text = str::to_owned;
        (
            text(name),
            text("A unit"),
            text("loaded"),
            text(active),
            text("running"),
            String::new(),
            path(),
            0,
            String::new(),
            path(),
        )
    }

    #[test]
    fn templates_are_asked_for_by_pattern_and_names_that_are_none_not_at_all() {
        let units =
            ["a.service", "b@.service", "c\\x2dd@.service", "e*.service", "../x", "f@1.service"];
        let units = units.map(str::to_owned);
        let wanted = Wanted::new(&units);
        assert_eq!(wanted.names, ["a.service", "f@1.service"]);
        assert_eq!(wanted.patterns, ["b@?*.service", "c\\\\x2dd@?*.service"]);
        let long = [format!("{}.service", "a".repeat(MAX_NAME))];
        assert!(Wanted::new(&long).names.is_empty());
    }

    #[test]
    fn only_what_was_asked_for_is_believed() {
        let units = ["a.service", "b@.service"].map(str::to_owned);
        let wanted = Wanted::new(&units);
        let mut found = BTreeMap::new();
        let names =
            ["b@2.service", "z.service", "a.service", "b@1.service", "b@1.timer", "bb@1.service"];
        wanted.take(names.map(|name| entry(name, "active")).into(), &mut found).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a.service", "b@1.service", "b@2.service"]);
        let nonsense = entry("a.service", &"x".repeat(MAX_WORD + 1));
        assert!(wanted.take(vec![nonsense], &mut found).is_err());
    }

    #[test]
    fn how_the_host_goes_down() {
        for (starts, wanted) in [
            ([].as_slice(), Descent::None),
            (&["nginx.service", "multi-user.target"], Descent::None),
            (&["shutdown.target", "reboot.target", "umount.target"], Descent::Reboot),
            (&["shutdown.target", "kexec.target"], Descent::Reboot),
            (&["shutdown.target", "soft-reboot.target"], Descent::Reboot),
            (&["shutdown.target", "exit.target"], Descent::Reboot),
            (&["poweroff.target", "shutdown.target"], Descent::Off),
            (&["halt.target", "shutdown.target"], Descent::Off),
            // Two at once: nothing is lost by taking more time.
            (&["halt.target", "reboot.target"], Descent::Reboot),
        ] {
            assert_eq!(decide_descent(starts), wanted, "{starts:?}");
        }
    }
}
