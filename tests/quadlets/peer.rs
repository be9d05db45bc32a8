//! What Podman's generator makes of trees, what we read in them, and where the two disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use binding::quadlet::words::split_words;
use binding::{BINDINGS_PATH, Bindings, Code, Finding, Reference, Root};

/// Where paths of a case are, unless they begin with a slash.
const UNITS: &str = "usr/share/containers/systemd";
const ETC: &str = "etc/containers/systemd";

/// Files as path and text; `path -> target` is a link.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Which links the bindings directory has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// One for every Quadlet.
    All,
    /// One for every `.image`.
    Images,
}

/// Writes a case below `root`, with a binding for each Quadlet.
pub(crate) fn write(root: &Path, files: &Files, bound: Bound) {
    let links = root.join(BINDINGS_PATH);
    fs::create_dir_all(&links).unwrap();
    fs::create_dir_all(root.join(UNITS)).unwrap();
    let mut names = BTreeSet::new();
    for (path, text) in files {
        let (path, target) = match path.split_once(" -> ") {
            Some((path, target)) => (path, Some(target)),
            None => (path.as_str(), None),
        };
        let file = match path.strip_prefix('/') {
            Some(path) => root.join(path),
            None => root.join(UNITS).join(path),
        };
        // A random tree may want a file where a directory is.
        if fs::create_dir_all(file.parent().unwrap()).is_err() || file.symlink_metadata().is_ok() {
            continue;
        }
        match target {
            Some(target) => symlink(target, &file).unwrap(),
            None => fs::write(&file, text).unwrap(),
        }
        let extensions: &[&str] =
            if bound == Bound::All { &[".container", ".image"] } else { &[".image"] };
        let below_usr = !path.starts_with('/');
        let in_dropins =
            Path::new(path).parent().is_some_and(|dir| dir.to_string_lossy().contains(".d"));
        if below_usr && !in_dropins && extensions.iter().any(|end| path.ends_with(end)) {
            let mut name = path.rsplit('/').next().unwrap().to_owned();
            while !names.insert(name.clone()) {
                name = format!("again-{name}");
            }
            symlink(format!("/{UNITS}/{path}"), links.join(name)).unwrap();
        }
    }
}

/// One service of Podman's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// The Quadlet's path below the case.
    pub(crate) source: String,
    /// The image that it runs or pulls.
    pub(crate) image: String,
}

/// Services by name.
pub(crate) type Services = BTreeMap<String, Service>;

/// Whose generator is asked: the suite of Debian that has it (tests/setup/chroot.sh).
pub(crate) const PODMAN_5: &str = "trixie";
pub(crate) const PODMAN_6: &str = "experimental";

/// What the Podman of a suite makes of the trees in `cases`: of `usr` alone, and of `etc` before `usr`. None:
/// there is no such Podman.
pub(crate) fn podman(suite: &str, cases: &Path) -> Option<BTreeMap<String, [Services; 2]>> {
    let run = "/usr/lib/systemd/system-generators/podman-system-generator --dryrun --no-kmsg-log 2>/dev/null || true; echo";
    let text = script(
        suite,
        cases,
        &format!(
            "for dir in /in/*; do\n\
             echo \"=== ${{dir##*/}} 0\"; QUADLET_UNIT_DIRS=$dir/{UNITS} {run}\n\
             if [ -e $dir/etc ]; then echo \"=== ${{dir##*/}} 1\"; QUADLET_UNIT_DIRS=$dir/{ETC}:$dir/{UNITS} {run}; fi\n\
             done\n"
        ),
    )?;
    let mut all: BTreeMap<String, [Services; 2]> = BTreeMap::new();
    for part in text.split("=== ").skip(1) {
        let (head, text) = part.split_once('\n').unwrap();
        let (name, which) = head.split_once(' ').unwrap();
        let services = services(text, &format!("/in/{name}/"));
        all.entry(name.to_owned()).or_default()[usize::from(which == "1")] = services;
    }
    Some(all)
}

/// Runs a script in the chroot of a suite, with a directory at `/in`; its output.
pub(crate) fn script(suite: &str, inside: &Path, script: &str) -> Option<String> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let made = Command::new(project.join("tests/setup/chroot.sh")).arg(suite).output().unwrap();
    if made.status.code() == Some(2) {
        eprintln!("skipped: needs {}", String::from_utf8_lossy(&made.stderr).trim());
        return None;
    }
    let chroot = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("script");
    fs::write(&file, format!("podman --version >&2\n{script}")).unwrap();
    let inside = if inside.is_dir() { inside } else { place.path() };
    let output = Command::new(project.join("tests/peers/in-chroot.sh"))
        .arg(&chroot)
        .args([place.path(), inside, &file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("asked: {said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The output of `--dryrun`, but for what is neither made of a `.container` nor of a `.image`.
fn services(text: &str, top: &str) -> Services {
    let mut services = Services::new();
    for part in text.split("\n---").flat_map(|part| part.strip_prefix("---").or(Some(part))) {
        let Some((name, text)) = part.split_once("---\n") else { continue };
        let value = |key: &str| {
            text.lines().filter_map(|line| line.strip_prefix(key)).next_back().unwrap_or_default()
        };
        let source = value("SourcePath=").trim_start_matches(top).to_owned();
        if !source.ends_with(".container") && !source.ends_with(".image") {
            continue;
        }
        let image = image_of(value("ExecStart="));
        let name = name.rsplit('/').next().unwrap().to_owned();
        services.insert(name, Service { source, image });
    }
    services
}

/// The image in `podman run …` or `podman image pull …`.
fn image_of(command: &str) -> String {
    const VALUED: [&str; 20] = [
        "--cap-add",
        "--cap-drop",
        "--image-volume",
        "--memory",
        "--name",
        "--pod",
        "--pod-id-file",
        "-v",
        "--tmpfs",
        "--env",
        "--label",
        "--publish",
        "--mount",
        "--network",
        "--pull",
        "--user",
        "--userns",
        "--arch",
        "--os",
        "--module",
    ];
    // Podman writes a zero byte, which systemd then refuses.
    let command = &command.replace("\\x00", "\\u2400");
    let words = split_words(command).unwrap_or_else(|| panic!("the words of {command:?}"));
    let mut words =
        words.iter().skip_while(|word| !matches!(word.as_str(), "run" | "pull")).skip(1);
    while let Some(word) = words.next() {
        if VALUED.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') {
            return word.clone();
        }
    }
    String::new()
}

/// Codes for which we refuse what Podman would start: it is not an image that can be bound.
const STRICTER: &[Code] = &[
    Code::BuildImage,
    Code::ImageChain,
    Code::Specifier,
    Code::ShortName,
    Code::Transport,
    Code::ImageId,
    Code::DigestAlgorithm,
    Code::BadReference,
    Code::AllTags,
    Code::BadPullOption,
    Code::BadBoolean,
    Code::ServiceName,
    Code::QuadletNotFound,
    Code::Rootfs,
    Code::HiddenName,
    Code::NotAFile,
];
/// Codes of Quadlets that Podman makes no service of.
const REFUSED: &[Code] = &[
    Code::Syntax,
    Code::NotUtf8,
    Code::BrokenNeighbour,
    Code::UnknownKey,
    Code::Refused,
    Code::ShadowedQuadlet,
    Code::Unreadable,
];

/// What we read.
pub(crate) fn read(root: &Path) -> Bindings {
    binding::read(&Root::open(root).unwrap()).unwrap()
}

/// Our services with the name of the image that they use.
pub(crate) fn ours(read: &Bindings) -> BTreeMap<String, BTreeSet<String>> {
    let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for binding in &read.bindings {
        let shadowed = |finding: &Finding| {
            finding.code == Code::ShadowedQuadlet && finding.subject.as_ref() == Some(&binding.name)
        };
        if read.findings.iter().any(shadowed) {
            continue;
        }
        for service in &binding.services {
            let image = if service.contains("-image") { None } else { binding.alias.as_ref() };
            let image = image.unwrap_or(&binding.reference).to_string();
            services.entry(service.clone()).or_default().insert(image);
        }
    }
    services
}

/// What Podman and we see differently; empty when there is nothing.
pub(crate) fn disagreements(read: &Bindings, podman: &[Services; 2], bound: Bound) -> Vec<String> {
    let mut wrong = Vec::new();
    let has = |codes: &[Code]| read.findings.iter().any(|finding| codes.contains(&finding.code));
    let ours = ours(read);
    for (name, service) in &podman[0] {
        match ours.get(name) {
            Some(images) => {
                // A `.image` that Podman refuses leaves its users without one.
                let none = service.image.is_empty() && has(&[Code::UnknownKey]);
                if !none && !images.iter().all(|image| same(image, service)) {
                    wrong.push(format!("{name}: we say {images:?}, Podman {}", service.image));
                }
            }
            None if bound == Bound::Images => {}
            None => {
                let file = service.source.as_str();
                let name_of = file.rsplit('/').next().unwrap();
                let about = |finding: &&Finding| {
                    STRICTER.contains(&finding.code)
                        && (finding.place.file.contains(file)
                            || finding.subject.as_deref().is_some_and(|subject| {
                                subject == service.image || subject == name_of
                            })
                            || finding.why.contains(&service.image)
                            || finding.place.file.contains(".d/")
                            || finding.place.file.ends_with(".image"))
                };
                // A `.image` without an image comes to a command without one.
                let none = service.image.is_empty() && has(&[Code::NoImage]);
                if !none && !read.findings.iter().any(|finding| about(&finding)) {
                    wrong.push(format!(
                        "{name} of {file}: Podman runs {}, we have none",
                        service.image
                    ));
                }
            }
        }
        for finding in &read.findings {
            let is_quadlet = finding.place.file == service.source;
            if is_quadlet && matches!(finding.code, Code::Syntax | Code::Refused | Code::NoImage) {
                wrong.push(format!("{name}: Podman makes it, we say {finding}"));
            }
        }
    }
    for name in ours.keys().filter(|name| !podman[0].contains_key(*name)) {
        // What only Podman 6 makes.
        let newer = has(&[Code::TemplateName]) && name.ends_with("-image@.service");
        let instance = name.contains('@')
            && podman[0].keys().any(|known| {
                known
                    .split_once("@.")
                    .is_some_and(|(base, _)| name.starts_with(&format!("{base}@")))
            });
        let told = |finding: &Finding| {
            let file = finding.place.file.as_str();
            let stem = file.rsplit('/').next().and_then(|file| file.rsplit_once('.'));
            let about = name.starts_with("other")
                || file.contains(".d/")
                || stem.is_some_and(|(stem, end)| end == "image" || name.starts_with(stem));
            let of_one =
                matches!(finding.code, Code::UnknownKey | Code::Refused | Code::ShadowedQuadlet);
            REFUSED.contains(&finding.code) && (about || !of_one)
        };
        if !newer && !instance && !read.findings.iter().any(told) {
            wrong.push(format!("{name}: Podman makes no such service"));
        }
    }
    overrides(read, podman, &mut wrong);
    wrong
}

/// Where `/etc` changes an image, a finding must say so.
fn overrides(read: &Bindings, podman: &[Services; 2], wrong: &mut Vec<String>) {
    if podman[1].is_empty() {
        return;
    }
    for binding in &read.bindings {
        for name in &binding.services {
            let (Some(vendor), Some(live)) = (podman[0].get(name), podman[1].get(name)) else {
                continue;
            };
            let told = read.findings.iter().any(|finding| finding.code == Code::Overridden);
            if vendor.image != live.image && !told {
                wrong.push(format!("{name}: /etc makes it run {}, and no finding", live.image));
            }
        }
    }
}

fn same(ours: &str, service: &Service) -> bool {
    let theirs = service.image.replace("%%", "%");
    ours == theirs || Reference::parse(&theirs).is_ok_and(|theirs| theirs.to_string() == ours)
}

/// The cases of a run, in a directory of their own.
pub(crate) fn case_dir(cases: &Path, index: usize) -> PathBuf {
    cases.join(format!("{index:05}"))
}
