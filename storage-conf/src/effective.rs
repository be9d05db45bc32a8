//! What counts in the end, when all files and the environment were read.

use crate::error::ConfError;
use crate::layer::{Dialect, Layer, List, Setting, split};
use crate::search::{Environment, Generation};
use crate::{DEFAULT_GRAPHROOT, DEFAULT_RUNROOT};

/// A file that Podman reads: path and text.
pub type Text = (String, String);

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A file, a variable, or `built in`.
    pub source: String,
    /// Line of the file, counted from 1.
    pub line: Option<usize>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// A value that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valued {
    /// The value.
    pub value: String,
    /// Where it comes from.
    pub from: Place,
}

/// A value that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// The key.
    pub key: &'static str,
    /// What it would be.
    pub value: String,
    /// Where it is written.
    pub from: Place,
    /// What counts instead.
    pub by: Place,
}

/// What a Podman makes of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The driver; none: Podman chooses, normally overlay.
    pub driver: Option<Valued>,
    /// Where the primary store is. `$UID` and variables are not resolved.
    pub graphroot: Valued,
    /// What does not outlive a boot.
    pub runroot: Valued,
    /// Where new images go, if not into the primary store.
    pub imagestore: Option<Valued>,
    /// The additional image stores in the order in which they are searched.
    pub stores: Vec<Valued>,
    /// What is written and does not count.
    pub overridden: Vec<Overridden>,
}

impl Effective {
    /// Whether images of the overlay format are read.
    #[must_use]
    pub fn reads_overlay(&self) -> bool {
        let driver = self.driver.as_ref().map(|driver| driver.value.as_str());
        matches!(driver, None | Some("overlay" | "overlay2"))
    }

    /// Where a store is listed, when Podman reads it.
    #[must_use]
    pub fn lists(&self, store: &str) -> Option<&Valued> {
        self.stores.iter().find(|listed| listed.value == store).filter(|_| self.reads_overlay())
    }
}

/// What `files`, in the order in which they are read, and the environment come to. Pure.
///
/// # Errors
/// What Podman refuses, with all its commands.
pub fn effective(
    generation: Generation,
    environment: &Environment,
    files: &[Text],
) -> Result<Effective, ConfError> {
    let from_6 = generation >= Generation::Since6;
    let dialect = if from_6 { Dialect::From6 } else { Dialect::Before6 };
    let mut merge = Merge::default();
    for (file, text) in files {
        merge.add(Layer::parse(file, text, dialect)?);
    }
    // Podman 4 and 5 look at these variables while they read a file.
    if from_6 || !files.is_empty() {
        merge.environment(environment)?;
    }
    merge.finish(generation, files.last().map(|(file, _)| file.as_str()))
}

#[derive(Default)]
struct Merge {
    driver: Option<Valued>,
    runroot: Option<Valued>,
    graphroot: Option<Valued>,
    imagestore: Option<Valued>,
    /// Not checked yet: what is replaced may be wrong.
    stores: Vec<(Valued, Option<usize>)>,
    /// `{append = true}` stays in force for the files that follow, until one says otherwise.
    append: bool,
    overridden: Vec<Overridden>,
}

impl Merge {
    fn add(&mut self, layer: Layer) {
        let file = layer.file;
        let over = &mut self.overridden;
        replace(&mut self.driver, "driver", &file, layer.driver, over);
        replace(&mut self.runroot, "runroot", &file, layer.runroot, over);
        replace(&mut self.graphroot, "graphroot", &file, layer.graphroot, over);
        replace(&mut self.imagestore, "imagestore", &file, layer.imagestore, over);
        if let Some(list) = layer.list {
            self.list(&file, list);
        }
    }

    fn list(&mut self, file: &str, list: List) {
        self.append = list.append.unwrap_or(self.append);
        if !self.append {
            self.drop_stores(&Place { source: file.to_owned(), line: list.line });
        }
        for item in list.items {
            let from = Place { source: file.to_owned(), line: item.line };
            self.stores.push((Valued { value: item.value, from }, item.column));
        }
    }

    fn drop_stores(&mut self, by: &Place) {
        for (store, _) in self.stores.drain(..).filter(|(store, _)| !store.value.is_empty()) {
            self.overridden.push(Overridden {
                key: "additionalimagestores",
                value: store.value,
                from: store.from,
                by: by.clone(),
            });
        }
    }

    fn environment(&mut self, environment: &Environment) -> Result<(), ConfError> {
        let driver = environment.driver.clone().filter(|driver| !driver.is_empty());
        let driver = driver.map(|value| Setting { value, line: None });
        replace(&mut self.driver, "driver", "STORAGE_DRIVER", driver, &mut self.overridden);
        let Some(opts) = &environment.opts else { return Ok(()) };
        let from = Place { source: "STORAGE_OPTS".to_owned(), line: None };
        self.drop_stores(&from);
        if opts.is_empty() {
            return Ok(());
        }
        for option in opts.split(',') {
            let Some((key, value)) = option.split_once('=') else {
                let why = format!("{option:?} is not of the form KEY=VALUE");
                return Err(ConfError::whole("STORAGE_OPTS", why));
            };
            let key = key.trim().to_ascii_lowercase();
            let key = key.strip_prefix("overlay.").unwrap_or(&key);
            let key = key.strip_prefix("overlay2.").unwrap_or(key);
            let key = key.strip_prefix('.').unwrap_or(key);
            if matches!(key, "imagestore" | "additionalimagestore") {
                let value = value.to_owned();
                self.stores.push((Valued { value, from: from.clone() }, None));
            }
        }
        Ok(())
    }

    fn finish(self, generation: Generation, last: Option<&str>) -> Result<Effective, ConfError> {
        let root = |given: Option<Valued>, key: &str, default: &str| match given {
            Some(set) if !set.value.is_empty() => Ok(set),
            _ if generation == Generation::Since4_9 && last.is_some() => {
                let why = format!("{key} must be set: add {key} = {default:?} below [storage]");
                Err(ConfError::whole(last.unwrap_or_default(), why))
            }
            _ => Ok(Valued { value: default.to_owned(), from: built_in() }),
        };
        let set = |given: Option<Valued>| given.filter(|set| !set.value.is_empty());
        let mut done = Effective {
            driver: set(self.driver),
            runroot: root(self.runroot, "runroot", DEFAULT_RUNROOT)?,
            graphroot: root(self.graphroot, "graphroot", DEFAULT_GRAPHROOT)?,
            imagestore: set(self.imagestore),
            stores: Vec::new(),
            overridden: self.overridden,
        };
        if let Some(store) = done.imagestore.as_ref().filter(|s| s.value == done.graphroot.value) {
            let why = "imagestore must be another directory than graphroot";
            let error = ConfError::whole(&store.from.source, why);
            return Err(ConfError { line: store.from.line, ..error });
        }
        // Only the driver overlay looks at these values.
        let reads = done.reads_overlay();
        for (store, column) in self.stores {
            match split(&store.value) {
                Ok(paths) => done.stores.extend(paths.into_iter().map(|value| {
                    let from = store.from.clone();
                    Valued { value, from }
                })),
                Err(why) if reads => {
                    let Place { source, line } = store.from;
                    return Err(ConfError { file: source, line, column, why });
                }
                Err(_) => done.stores.push(store),
            }
        }
        Ok(done)
    }
}

fn built_in() -> Place {
    Place { source: "built in".to_owned(), line: None }
}

fn replace(
    old: &mut Option<Valued>,
    key: &'static str,
    source: &str,
    new: Option<Setting>,
    overridden: &mut Vec<Overridden>,
) {
    let Some(Setting { value, line }) = new else { return };
    let from = Place { source: source.to_owned(), line };
    if let Some(old) = old.take().filter(|old| !old.value.is_empty() && old.value != value) {
        overridden.push(Overridden { key, value: old.value, from: old.from, by: from.clone() });
    }
    *old = Some(Valued { value, from });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOTS: &str = "[storage]\nrunroot = '/r'\ngraphroot = '/g'\n";

    fn stores(
        generation: Generation,
        environment: &Environment,
        files: &[&str],
    ) -> Result<Vec<String>, String> {
        let name = |at: usize| format!("/{at}.conf");
        let files: Vec<Text> =
            files.iter().enumerate().map(|(at, text)| (name(at), (*text).to_owned())).collect();
        let done = effective(generation, environment, &files).map_err(|error| error.to_string())?;
        Ok(done.stores.iter().map(|store| format!("{} {}", store.value, store.from)).collect())
    }

    fn list(items: &str) -> String {
        format!("[storage.options]\nadditionalimagestores = [{items}]\n")
    }

    #[test]
    fn arrays_replace_unless_they_append() {
        let six = |files: &[&str]| stores(Generation::Since6, &Environment::default(), files);
        let (a, b, c) = (list("'/a'"), list("'/b', {append = true}"), list("'/c'"));
        assert_eq!(six(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(six(&[&a, &c]).unwrap(), ["/c /1.conf:2"]);
        assert_eq!(six(&[&a, &b]).unwrap(), ["/a /0.conf:2", "/b /1.conf:2"]);
        // As in Podman 6, an attribute stays in force for the files that follow.
        assert_eq!(six(&[&a, &b, &c]).unwrap().len(), 3);
        let reset = list("'/d', {append = false}");
        assert_eq!(six(&[&a, &b, &reset, &c]).unwrap(), ["/c /3.conf:2"]);
        assert_eq!(six(&[&a, &list("")]).unwrap(), Vec::<String>::new());
        assert_eq!(six(&[&a, "[storage]\ndriver = 'overlay'"]).unwrap(), ["/a /0.conf:2"]);
        for (wrong, why) in [
            ("{Append = true}", "\"Append\" is no attribute"),
            ("{append = 1}", "append must be true or false"),
            ("['/a']", "must be a string"),
            ("'a'", "/0.conf:2:26: \"a\" in additionalimagestores is not an absolute path"),
        ] {
            let error = six(&[&list(wrong)]).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
        // What is replaced may be wrong.
        assert_eq!(six(&[&list("'a'"), &a]).unwrap(), ["/a /1.conf:2"]);
        let five = stores(Generation::Since5_6, &Environment::default(), &[&b]).unwrap_err();
        assert!(five.contains("from Podman 6 on"), "{five}");
    }

    #[test]
    fn variables_replace_all_options_of_the_driver() {
        let with =
            |opts: &str| Environment { opts: Some(opts.to_owned()), ..Environment::default() };
        let a = format!("{ROOTS}{}", list("'/a'"));
        for generation in Generation::ALL {
            let ask = |opts: &str, files: &[&str]| stores(generation, &with(opts), files);
            assert_eq!(ask("", &[&a]).unwrap(), Vec::<String>::new());
            assert_eq!(ask("overlay.mountopt=nodev", &[&a]).unwrap(), Vec::<String>::new());
            let both = "overlay.imagestore=/b,.additionalimagestore=/c";
            assert_eq!(ask(both, &[&a]).unwrap(), ["/b STORAGE_OPTS", "/c STORAGE_OPTS"]);
            assert!(ask("imagestore=/b,/c", &[&a]).unwrap_err().contains("KEY=VALUE"));
            let none = ask("imagestore=/b", &[]).unwrap();
            assert_eq!(none.len(), usize::from(generation == Generation::Since6), "no file");
        }
        let vfs = Environment { driver: Some("vfs".to_owned()), ..Environment::default() };
        let done = effective(Generation::Since6, &vfs, &[("/f".to_owned(), a)]).unwrap();
        assert!(done.lists("/a").is_none() && done.stores.len() == 1);
    }

    #[test]
    fn only_old_podmans_insist_on_the_roots() {
        let file = [("/f".to_owned(), list("'/a'"))];
        let none = Environment::default();
        let error = effective(Generation::Since4_9, &none, &file).unwrap_err();
        assert!(error.to_string().starts_with("/f: runroot must be set"), "{error}");
        let done = effective(Generation::Since5_6, &none, &file).unwrap();
        assert_eq!(done.graphroot.from.to_string(), "built in");
        assert!(effective(Generation::Since4_9, &none, &[]).is_ok(), "no file at all");
        let same = [("/f".to_owned(), format!("{ROOTS}imagestore = '/g'\n"))];
        let error = effective(Generation::Since6, &none, &same).unwrap_err();
        assert!(error.to_string().starts_with("/f:4: imagestore"), "{error}");
    }

    #[test]
    fn what_is_overridden_and_by_what() {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let files = [
            file("/a", &format!("{ROOTS}{}", list("'/x', ''"))),
            file("/b", &format!("[storage]\ngraphroot = ''\n{}", list("'/y'"))),
        ];
        let done = effective(Generation::Since6, &Environment::default(), &files).unwrap();
        let said: Vec<String> = done
            .overridden
            .iter()
            .map(|o| format!("{} {} {} {}", o.key, o.value, o.from, o.by))
            .collect();
        assert_eq!(said, ["graphroot /g /a:3 /b:2", "additionalimagestores /x /a:5 /b:4"]);
        assert_eq!(done.graphroot.value, DEFAULT_GRAPHROOT);
    }

    #[test]
    fn types_and_newer_toml() {
        let (old, new) = (Generation::Since5_6, Generation::Since6);
        for (text, by_old, by_new) in [
            ("[storage]\ntransient_store = 'yes'", false, false),
            ("[storage.options]\nforce_mask = '700'", false, false),
            ("[storage.options]\nforce_mask = 0o700", true, true),
            ("[storage.options.overlay]\nmountopt = 1", false, false),
            ("[storage.options.pull_options]\nx = true", false, false),
            ("[storage]\ndriver_priority = ['overlay', {append = true}]", false, true),
            ("storage = {\n driver = 'overlay'\n}", false, true),
            ("storage = {driver = 'overlay',}", false, true),
            ("storage = {options.size = '', driver = 'overlay'}", true, true),
            ("storage = {options = {additionalimagestores = [\n]}}", true, true),
            ("a = \"\\e\"", false, true),
            ("a = '\\e'", true, true),
            ("a = \"\\\\e\"", true, true),
            ("[other]\nx = [1, 'a']", true, true),
        ] {
            let file = [("/f".to_owned(), text.to_owned())];
            let judge = |generation| effective(generation, &Environment::default(), &file);
            assert_eq!(judge(old).is_ok(), by_old, "{text}: {:?}", judge(old));
            assert_eq!(judge(new).is_ok(), by_new, "{text}: {:?}", judge(new));
        }
    }
}
