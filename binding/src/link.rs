//! The links of the bindings directory, followed one by one inside the root.

use std::io;

use crate::finding::{Code, Finding, Place};
use crate::quadlet::search::{Files, Search, is_quadlet};
use crate::record::BINDINGS_PATH;
use crate::root::{Entry, Kind, MAX_LINKS, Root};

/// What a link leads to.
pub(crate) struct Target {
    /// The Quadlet, as Podman knows it where it does.
    pub(crate) path: String,
    /// Whether Podman makes a service of it.
    pub(crate) searched: bool,
}

/// Follows one entry of the bindings directory.
///
/// The Quadlet is the first file on the way that lies in Podman's search path: there Podman may
/// have a link too, whose own name decides the service. Where none does, a link in the search path
/// that leads to the same file is taken, and else the last file of the way.
///
/// # Errors
/// The finding that says why the entry is no binding.
pub(crate) fn follow(files: &Files<'_>, search: &Search, entry: &Entry) -> Result<Target, Finding> {
    let shown = entry.name.to_string_lossy().into_owned();
    let place = Place::file(format!("{BINDINGS_PATH}/{shown}"));
    let refuse =
        |code, why: String, fix: &str| Finding::new(code, place.clone(), why, fix).about(&shown);
    let Some(name) = entry.name.to_str() else {
        return Err(refuse(
            Code::NameNotUtf8,
            "the name is not UTF-8".to_owned(),
            "rename the link",
        ));
    };
    if name.starts_with('.') {
        let why = "the name begins with a dot".to_owned();
        return Err(refuse(Code::HiddenName, why, "remove it: only links to Quadlets belong here"));
    }
    if entry.kind != Kind::Symlink {
        let kind = match entry.kind {
            Kind::Dir => "a directory",
            Kind::File => "a file",
            _ => "a device, socket or fifo",
        };
        let why = format!("it is {kind}, not a symlink to a Quadlet");
        let fix = "move it to usr/share/containers/systemd and link to it from here";
        return Err(refuse(Code::NotALink, why, fix));
    }
    let extension = check_extension(name).map_err(|why| {
        let fix = "link to a .image or .container under a name with that ending";
        refuse(Code::UnknownExtension, format!("the name of the link {why}"), fix)
    })?;
    let (way, last) = match walk(files, name) {
        Ok(way) => way,
        Err((code, why)) => {
            return Err(refuse(
                code,
                why,
                "link to a Quadlet of the same root, or remove the link",
            ));
        }
    };
    let (path, searched) = choose(files.root, search, &way, last);
    let target = path.rsplit('/').next().unwrap_or(&path);
    let found = check_extension(target).map_err(|why| {
        let fix = "link to a .image or .container Quadlet";
        refuse(Code::UnknownExtension, format!("it leads to {path}, which {why}"), fix)
    })?;
    if found != extension {
        let why = format!("the link ends in {extension}, but it leads to {path}");
        return Err(refuse(Code::UnknownExtension, why, "give the link the ending of its target"));
    }
    Ok(Target { path, searched })
}

fn check_extension(name: &str) -> Result<&'static str, String> {
    for extension in [".container", ".image"] {
        if name.ends_with(extension) {
            return Ok(extension);
        }
    }
    Err(match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("build") => "ends in .build: what is built on the host cannot be fetched".to_owned(),
        Some("kube") => "ends in .kube: its images are in a YAML file that is not read".to_owned(),
        Some("pod") => "ends in .pod: bind the containers of the pod instead".to_owned(),
        _ => "does not end in .image or .container".to_owned(),
    })
}

fn choose(root: &Root, search: &Search, way: &[String], last: String) -> (String, bool) {
    let searched = |path: &String| {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        search.contains(dir) && is_quadlet(name)
    };
    if let Some(path) = way.iter().find(|path| searched(path)) {
        return (path.clone(), true);
    }
    let alias = search.paths().find(|path| {
        root.kind(path).is_ok_and(|kind| kind == Kind::Symlink)
            && root.resolve(path).is_ok_and(|end| end == last)
    });
    match alias {
        Some(alias) => (alias.to_owned(), true),
        None => (last, false),
    }
}

/// All paths that a link leads through, each without links but for its last component, and the
/// file at the end.
fn walk(files: &Files<'_>, name: &str) -> Result<(Vec<String>, String), (Code, String)> {
    let root = files.root;
    let fault = |error: io::Error, what: &str| {
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Code::DanglingLink,
            io::ErrorKind::InvalidData => Code::NameNotUtf8,
            _ if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => Code::LinkLoop,
            _ => Code::Unreadable,
        };
        match code {
            Code::DanglingLink => (code, format!("it leads to {what}, which does not exist")),
            Code::LinkLoop => (code, format!("it leads to {what}, and that in a circle")),
            _ => (code, format!("it leads to {what}, which cannot be read: {error}")),
        }
    };
    let top = files.resolve_dir(BINDINGS_PATH).map_err(|error| fault(error, BINDINGS_PATH))?;
    let mut path = join(&top, name);
    let mut way = Vec::new();
    for _ in 0..MAX_LINKS {
        let (dir, last) = path.rsplit_once('/').unwrap_or(("", &path));
        let target =
            files.look(dir, |names| names.read_link(last)).map_err(|error| fault(error, &path))?;
        let Some(target) = target.to_str() else {
            return Err((Code::NameNotUtf8, format!("the target of {path} is not UTF-8")));
        };
        if target == "/dev/null" {
            // Whether there is a /dev depends on where the root is looked at.
            let why = format!("{path} is masked: it leads to /dev/null, so there is no service");
            return Err((Code::NotAFile, why));
        }
        let dir = if target.starts_with('/') { "" } else { dir };
        if climbs_out(dir, target) {
            let why = format!("{path} leads to {target}, above the top of the root");
            return Err((Code::LinkEscapes, why));
        }
        let (head, last) = target.rsplit_once('/').unwrap_or(("", target));
        if matches!(last, "" | "." | "..") {
            root.resolve(&join(dir, target)).map_err(|error| fault(error, target))?;
            return Err((Code::NotAFile, format!("it leads to {target}, which is a directory")));
        }
        let dir = files.resolve_dir(&join(dir, head)).map_err(|error| fault(error, target))?;
        path = join(&dir, last);
        way.push(path.clone());
        match files.look(&dir, |names| names.kind(last)).map_err(|error| fault(error, &path))? {
            Kind::Symlink => {}
            Kind::File => return Ok((way, path)),
            Kind::Dir => {
                return Err((Code::NotAFile, format!("it leads to {path}, which is a directory")));
            }
            Kind::Other => {
                let why = format!("it leads to {path}, which is a device, socket or fifo");
                return Err((Code::NotAFile, why));
            }
        }
    }
    Err((Code::LinkLoop, format!("it leads through more than {MAX_LINKS} links, or in a circle")))
}

fn join(dir: &str, name: &str) -> String {
    match dir {
        "" => name.trim_start_matches('/').to_owned(),
        _ => format!("{dir}/{name}"),
    }
}

/// Whether the text of a link in `dir` climbs above the top. The kernel would stop at the top
/// (`RESOLVE_IN_ROOT`), but where the root is not `/`, as in an image build, it would not.
fn climbs_out(dir: &str, target: &str) -> bool {
    let mut depth = dir.split('/').filter(|name| !name.is_empty()).count();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}
