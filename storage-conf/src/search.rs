//! Which files count: they differ with the generation of Podman.

use std::collections::BTreeMap;

use crate::SEARCH;

/// Podmans that read storage.conf alike, when they run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// 4.9 to 5.5: one file, which must set `runroot` and `graphroot`.
    Since4_9,
    /// 5.6 to 5.8: one file.
    Since5_6,
    /// From 6 on: one file, and drop-ins.
    Since6,
}

impl Generation {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Since4_9, Self::Since5_6, Self::Since6];

    /// The versions, for people.
    #[must_use]
    pub fn versions(self) -> &'static str {
        match self {
            Self::Since4_9 => "4.9-5.5",
            Self::Since5_6 => "5.6-5.8",
            Self::Since6 => "6",
        }
    }
}

/// What of its environment Podman looks at. None: not set; set to nothing is not the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CONTAINERS_STORAGE_CONF`.
    pub conf: Option<String>,
    /// `CONTAINERS_STORAGE_CONF_OVERRIDE`, from Podman 6 on.
    pub conf_override: Option<String>,
    /// `STORAGE_OPTS`.
    pub opts: Option<String>,
    /// `STORAGE_DRIVER`.
    pub driver: Option<String>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<String>,
    /// `HOME`; unset, Podman asks who the user is.
    pub home: Option<String>,
}

/// Where to look. Paths begin with `/` unless the environment names one that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Main files: the first that exists is the one that is read.
    pub main: Vec<String>,
    /// Podman fails when no main file is there.
    pub must_exist: bool,
    /// Directories of drop-ins, the one that wins first.
    pub drop_ins: Vec<String>,
    /// Read after all others; Podman fails when it is not there.
    pub last: Option<String>,
}

/// Where Podman looks (`types/options.go`, from 6 on `pkg/configfile/parse.go`). Pure.
#[must_use]
pub fn plan_search(generation: Generation, environment: &Environment) -> Search {
    let system = SEARCH.map(|path| format!("/{path}"));
    if generation < Generation::Since6 {
        return before_6(environment, &system);
    }
    let user = match (&environment.config_home, &environment.home) {
        (Some(home), _) => Some(format!("{}/containers/storage.conf", home.trim_end_matches('/'))),
        (None, home) => {
            let home = home.as_deref().filter(|home| !home.is_empty()).unwrap_or("/root");
            Some(format!("{}/.config/containers/storage.conf", home.trim_end_matches('/')))
        }
    };
    let last = environment.conf_override.clone().filter(|path| !path.is_empty());
    if let Some(path) = environment.conf.clone().filter(|path| !path.is_empty()) {
        return Search { main: vec![path], must_exist: true, drop_ins: Vec::new(), last };
    }
    let mut drop_ins: Vec<String> = user.iter().map(|path| format!("{path}.d")).collect();
    for path in &system {
        let stem = path.trim_end_matches(".conf");
        drop_ins.extend([format!("{stem}.rootful.conf.d"), format!("{path}.d")]);
    }
    let main = user.into_iter().chain(system).collect();
    Search { main, must_exist: false, drop_ins, last }
}

fn before_6(environment: &Environment, system: &[String; 2]) -> Search {
    let none = Search { main: Vec::new(), must_exist: false, drop_ins: Vec::new(), last: None };
    if let Some(path) = &environment.conf {
        // Set to nothing it names a file that is not there.
        return Search { main: vec![path.clone()], must_exist: true, ..none };
    }
    // A file in XDG_CONFIG_HOME is read before the others, and what it says forgotten, unless there
    // are no others.
    let user = environment.config_home.as_ref().map(|home| {
        let home = home.trim_end_matches('/');
        format!("{home}/containers/storage.conf")
    });
    Search { main: system.iter().cloned().chain(user).collect(), ..none }
}

/// What becomes of the files in directories of drop-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropIns {
    /// Read in this order: by name, wherever they are.
    pub read: Vec<String>,
    /// Not read, and the file of the same name that is read instead.
    pub replaced: Vec<(String, String)>,
}

/// Which drop-ins are read: `directories` are pairs of a path and the names of the files in it (no
/// directories), the one that wins first. Pure.
#[must_use]
pub fn plan_drop_ins(directories: &[(String, Vec<String>)]) -> DropIns {
    let mut by_name: BTreeMap<&str, String> = BTreeMap::new();
    let mut replaced = Vec::new();
    for (directory, names) in directories {
        for name in names.iter().filter(|name| name.ends_with(".conf")) {
            let path = format!("{directory}/{name}");
            match by_name.get(name.as_str()) {
                Some(by) => replaced.push((path, by.clone())),
                None => drop(by_name.insert(name, path)),
            }
        }
    }
    replaced.sort();
    DropIns { read: by_name.into_values().collect(), replaced }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn what_is_searched() {
        let plain = Environment::default();
        let five = plan_search(Generation::Since5_6, &plain);
        assert_eq!(
            five.main,
            ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"]
        );
        assert!(five.drop_ins.is_empty() && five.last.is_none());
        let six = plan_search(Generation::Since6, &plain);
        assert_eq!(six.main[0], "/root/.config/containers/storage.conf");
        assert_eq!(
            six.drop_ins,
            [
                "/root/.config/containers/storage.conf.d",
                "/etc/containers/storage.rootful.conf.d",
                "/etc/containers/storage.conf.d",
                "/usr/share/containers/storage.rootful.conf.d",
                "/usr/share/containers/storage.conf.d",
            ]
        );
        let named = Environment {
            conf: text("/c"),
            conf_override: text("/o"),
            config_home: text("/x/"),
            ..plain.clone()
        };
        let six = plan_search(Generation::Since6, &named);
        assert_eq!(
            (six.main, six.must_exist, six.drop_ins.len()),
            (vec!["/c".to_owned()], true, 0)
        );
        assert_eq!(six.last, text("/o"));
        let empty = Environment { conf: text(""), config_home: text("/x/"), ..plain };
        let four = plan_search(Generation::Since4_9, &empty);
        assert_eq!((four.main, four.must_exist, four.last), (vec![String::new()], true, None));
        assert_eq!(plan_search(Generation::Since6, &empty).main[0], "/x/containers/storage.conf");
    }

    #[test]
    fn one_drop_in_of_a_name_is_read() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let found = plan_drop_ins(&[
            ("/etc".to_owned(), names(&["20.conf", "readme"])),
            ("/usr".to_owned(), names(&["20.conf", "10.conf"])),
        ]);
        assert_eq!(found.read, ["/usr/10.conf", "/etc/20.conf"]);
        assert_eq!(found.replaced, [("/usr/20.conf".to_owned(), "/etc/20.conf".to_owned())]);
    }
}
