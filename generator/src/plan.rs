//! What is wired. Pure.

use std::collections::{BTreeMap, BTreeSet};

use binding::STORE_PATH;
use storage_conf::{
    Environment, Generation, StorageConf, effective, merge, merge_drop_ins, one_more,
};

use crate::containers_conf::Told;
use crate::live::{Live, LiveUnit};
use crate::model::{
    Base, Bound, Content, Generated, Inputs, OutputFile, Pooled, Service, StorageFile, Store,
};
use crate::{RUN, containers_conf, drop_ins, emit};

/// Decides by `inputs` what to write.
pub(crate) fn plan(inputs: &Inputs) -> Generated {
    let store = format!("/{STORE_PATH}");
    let mut warnings = inputs.warnings.clone();
    let host = inputs.conf.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let common = match with_store(host, &store) {
        Ok(common) => common,
        Err(why) => {
            warnings.push(format!("nothing is wired: {why}"));
            return Generated { files: Vec::new(), warnings, is_another_root: false };
        }
    };
    let mut planner = Planner { inputs, store, common, files: BTreeSet::new(), warnings };
    if let Store::Pool(store) = &inputs.store {
        planner.mount(store);
    }
    let mut wired: BTreeMap<&str, &Bound> = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for bound in &inputs.bound {
        for name in &bound.services {
            if wired.contains_key(name.as_str()) {
                continue;
            }
            match planner.service(bound, name) {
                Ok(()) => drop(wired.insert(name, bound)),
                Err(why) => drop(refused.insert(name.as_str(), why)),
            }
        }
    }
    planner.pods(&wired);
    planner.instances(&wired, &mut refused);
    // A service of two bindings is wired by the one whose image it has.
    refused.retain(|name, _| !wired.contains_key(name));
    let Planner { files, mut warnings, .. } = planner;
    warnings.extend(refused.iter().map(|(name, why)| format!("{name} is not wired: {why}")));
    Generated { files: files.into_iter().collect(), warnings, is_another_root: false }
}

/// The storage.conf that a service is told to read, and the one on top of all others.
type Storage = (Option<StorageFile>, Option<String>);

struct Planner<'a> {
    inputs: &'a Inputs,
    /// The path of the store on the running system.
    store: String,
    /// The host's storage.conf with our store, unless it lists it.
    common: Option<String>,
    files: BTreeSet<OutputFile>,
    warnings: Vec<String>,
}

impl Planner<'_> {
    fn normal(&mut self, path: String, content: Content) {
        self.files.insert(OutputFile { base: Base::Normal, path, content });
    }

    /// Adds a file below [`RUN`] and gives its path on the running system.
    fn run(&mut self, path: &str, text: String) -> String {
        let content = Content::Text(text);
        self.files.insert(OutputFile { base: Base::Run, path: path.to_owned(), content });
        format!("{RUN}/{path}")
    }

    fn mount(&mut self, store: &Pooled) {
        let name = "usr-lib-containers-storage.mount";
        self.normal(name.to_owned(), Content::Text(emit::mount(store)));
        if store.is_complete {
            // Wanted, never required: a failure must not lead to emergency.target.
            let target = Content::Link(format!("../{name}"));
            self.normal(format!("local-fs.target.wants/{name}"), target);
        }
    }

    fn service(&mut self, bound: &Bound, name: &str) -> Result<(), String> {
        let inputs = self.inputs;
        let unit = live_unit(&inputs.live, bound, name)?;
        let storage = self.storage(name, unit)?;
        let containers_conf = match unit.is_image {
            true => None,
            false => {
                let reference = bound.reference.to_string();
                let require_pin = bound.require_pin;
                self.containers_conf(
                    unit,
                    Told { service: name, reference: &reference, require_pin },
                )
            }
        };
        let image =
            unit.is_image.then(|| bound.alias.as_ref().unwrap_or(&bound.reference).to_string());
        self.drop_in(name, unit, storage, containers_conf, image, &bound.name);
        Ok(())
    }

    fn drop_in(
        &mut self,
        name: &str,
        unit: &LiveUnit,
        (storage_conf, storage_override): Storage,
        containers_conf: Option<String>,
        image: Option<String>,
        binding: &str,
    ) {
        let waits = matches!(&self.inputs.store, Store::Pool(store) if store.waits());
        let name = name.to_owned();
        let sets =
            storage_conf.is_some() || storage_override.is_some() || containers_conf.is_some();
        let mut service = Service {
            name,
            storage_conf,
            storage_override,
            containers_conf,
            environment_file: None,
            image,
            waits,
        };
        if unit.environment.by_file && sets {
            let text = emit::environment_file(&service);
            let path = self.run(&format!("environment.d/{}", service.name), text);
            service.environment_file = Some(path);
        }
        let path = format!("{}.d/{}", service.name, drop_ins::NAME);
        self.normal(path, Content::Text(emit::drop_in(&service, binding)));
    }

    /// How a service sees the store, whichever Podman it has.
    fn storage(&mut self, name: &str, unit: &LiveUnit) -> Result<Storage, String> {
        let conf = self.storage_conf(name, unit)?;
        let over = self.storage_override(name, unit, conf.is_some()).unwrap_or_else(|why| {
            self.warnings.push(format!("{name}, from Podman 6 on: {why}"));
            None
        });
        Ok((conf, over))
    }

    /// What Podman 6 has to read last: its drop-ins, which it passes over where a service names a storage.conf
    /// (`has_conf`: we do), and the service's own file of that kind.
    fn storage_override(
        &mut self,
        name: &str,
        unit: &LiveUnit,
        has_conf: bool,
    ) -> Result<Option<String>, String> {
        let inputs = self.inputs;
        let own_conf = unit.environment.storage_conf.is_some();
        let (mut files, mut path) = (Vec::new(), "storage.override.conf".to_owned());
        if !own_conf {
            files.extend(inputs.drop_ins.iter().cloned());
        }
        if let Some(own) = &unit.environment.storage_override {
            files.push((own.clone(), self.own(own)?.to_owned()));
            path = format!("storage.override.d/{name}.conf");
        }
        let merged = merge_drop_ins(&files, &self.store).map_err(|error| error.to_string())?;
        // Drop-ins that Podman reads by itself need one more only where they hide the store.
        let reads = !has_conf && unit.environment.storage_override.is_none() && !own_conf;
        let text = match merged {
            Some(_) if reads && self.is_listed(&files) => None,
            Some(_) if reads => Some(one_more(&self.store)),
            other => other,
        };
        Ok(text.map(|text| self.run(&path, text)))
    }

    /// Whether Podman 6 sees the store in the host's storage.conf and `drop_ins`.
    fn is_listed(&self, drop_ins: &[(String, String)]) -> bool {
        let files: Vec<_> = self.inputs.conf.iter().chain(drop_ins).cloned().collect();
        effective(Generation::Since6, &Environment::default(), &files)
            .is_ok_and(|counts| counts.lists(&self.store).is_some())
    }

    /// The merged storage.conf of a service; none when the one that counts lists the store.
    fn storage_conf(&mut self, name: &str, unit: &LiveUnit) -> Result<Option<StorageFile>, String> {
        let Some(own) = &unit.environment.storage_conf else {
            let Some(text) = self.common.clone() else { return Ok(None) };
            return Ok(Some(StorageFile { path: self.run("storage.conf", text), source: None }));
        };
        let why = |why: &str| format!("it names its own storage.conf: {why}");
        let text = self.own(own).map_err(|error| why(&error))?.to_owned();
        let Some(text) = with_store(Some((own, &text)), &self.store)? else { return Ok(None) };
        let path = self.run(&format!("storage.conf.d/{name}.conf"), text);
        Ok(Some(StorageFile { path, source: Some(own.clone()) }))
    }

    /// The containers.conf on top of all others; none, with a warning, where the service has one
    /// of its own that cannot be read.
    fn containers_conf(&mut self, unit: &LiveUnit, told: Told<'_>) -> Option<String> {
        let name = told.service;
        let text = match &unit.environment.conf_override {
            None => Ok(containers_conf::new(told)),
            Some(own) => self.own(own).and_then(|text| containers_conf::merge(own, text, told)),
        };
        match text {
            Ok(text) => Some(self.run(&format!("containers.conf.d/{name}.conf"), text)),
            Err(why) => {
                self.warnings.push(format!(
                    "{name} has a CONTAINERS_CONF_OVERRIDE of its own, in or beside /{}, which \
                     cannot be used: {why}; its container is not checked",
                    unit.path
                ));
                None
            }
        }
    }

    fn own(&self, path: &str) -> Result<&str, String> {
        match self.inputs.own.get(path) {
            Some(Ok(text)) => Ok(text),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!("{path} was not read")),
        }
    }

    /// `podman pod start`, `stop` and `rm` touch the containers of a pod, so its service must see
    /// the store. It has no image of its own that is bound.
    fn pods(&mut self, wired: &BTreeMap<&str, &Bound>) {
        let inputs = self.inputs;
        let mut pods = BTreeMap::new();
        for (name, bound) in wired {
            let pod = inputs.live.services.get(*name).and_then(|unit| unit.pod.as_ref());
            if let Some(pod) = pod.and_then(|pod| inputs.live.pods.get(pod)) {
                pods.entry(pod.service.as_str()).or_insert((pod, *bound));
            }
        }
        for (name, (pod, bound)) in pods {
            if !is_service_name(name) {
                self.warnings.push(format!("{name} is not wired: not the name of a service"));
                continue;
            }
            match self.storage(name, &pod.unit) {
                Ok(conf) => self.drop_in(name, &pod.unit, conf, None, None, &bound.name),
                Err(why) => self.warnings.push(format!("{name} is not wired: {why}")),
            }
        }
    }

    /// The drop-in of a template goes for all its instances. One with a Quadlet of its own that
    /// names another image is not bound: the administrator wins.
    fn instances<'i>(
        &mut self,
        wired: &BTreeMap<&str, &Bound>,
        refused: &mut BTreeMap<&'i str, String>,
    ) where
        Self: 'i,
    {
        let inputs = self.inputs;
        for (name, unit) in &inputs.live.services {
            let Some((template, bound)) = template_of(name)
                .filter(|_| !wired.contains_key(name.as_str()) && is_service_name(name))
                .and_then(|template| wired.get_key_value(template.as_str()))
            else {
                continue;
            };
            if unit.reference.as_ref() == Some(&bound.reference) && unit.alias == bound.alias {
                continue;
            }
            let path = format!("{name}.d/{}", drop_ins::NAME);
            self.normal(path, Content::Text(emit::not_bound(template)));
            if !refused.contains_key(name.as_str()) {
                let now = image_now(unit);
                self.warnings.push(format!(
                    "{name} is not wired: /{} has {now}, its template {template} has {}",
                    unit.path, bound.reference
                ));
            }
        }
    }
}

/// `foo@x.service` → `foo@.service`.
fn template_of(service: &str) -> Option<String> {
    let (base, instance) = service.split_once('@')?;
    (instance != ".service").then(|| format!("{base}@.service"))
}

/// The storage.conf at `host` (path, text) with our store; `None` when it lists it already.
fn with_store(host: Option<(&str, &str)>, store: &str) -> Result<Option<String>, String> {
    if let Some((path, text)) = host {
        // No other file is taken in its place.
        let conf = StorageConf::parse(path, text)
            .map_err(|error| format!("{error}: every podman command that reads it fails"))?;
        if conf.lists_store(store) {
            return Ok(None);
        }
    }
    merge(host, store).map(Some).map_err(|error| error.to_string())
}

/// The Quadlet of the service `name`, if it still means what `bound` does.
fn live_unit<'a>(live: &'a Live, bound: &Bound, name: &str) -> Result<&'a LiveUnit, String> {
    if !is_service_name(name) {
        return Err("that is not the name of a service".to_owned());
    }
    let Some(unit) = live.services.get(name) else {
        return Err(format!("no Quadlet makes this service now, {} is overridden", bound.name));
    };
    let same = unit.reference.as_ref() == Some(&bound.reference) && unit.alias == bound.alias;
    if same {
        return Ok(unit);
    }
    let (path, name, was, now) = (&unit.path, &bound.name, &bound.reference, image_now(unit));
    Err(format!("{name} is overridden: /{path}, with its drop-ins, has {now} in place of {was}"))
}

fn image_now(unit: &LiveUnit) -> String {
    unit.reference.as_ref().map_or("no image".to_owned(), ToString::to_string)
}

/// Whether `name` may become part of a path and of a unit (systemd.unit(5)).
fn is_service_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.ends_with(".service")
        && name.len() < 256
        && !name.starts_with(['.', '@'])
        && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::is_service_name;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for good in
            ["a.service", "a@.service", "a@b.service", "a\\x2db.service", "a:b_c-d.e.service"]
        {
            assert!(is_service_name(good), "{good}");
        }
        let long = format!("{}.service", "a".repeat(250));
        for bad in [
            "",
            "a",
            ".service",
            "../a.service",
            "a/b.service",
            "a b.service",
            "a%i.service",
            "é.service",
            "a\n.service",
            &long,
        ] {
            assert!(!is_service_name(bad), "{bad}");
        }
    }
}
