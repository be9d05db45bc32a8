//! `bound-images lint`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use binding::{BINDINGS_PATH, Binding, Code, Finding, finding};
use host::Role;
use tokio::task::JoinSet;

use super::Exit;
use super::sources::Sources;
use super::stage::exit_of;
use crate::cli::{self, Output};
use crate::lint;
use crate::machine::{Machine, Target};
use crate::render::{self, Style};
use crate::source::{Kind, SourceError};

/// Looks at the root that was typed, or at `/`: while an image is built, that is the image.
///
/// # Errors
/// When the root cannot be looked at.
pub(crate) async fn run(
    machine: &Machine,
    typed: &cli::Lint,
    sources: &Sources,
    (output, style): (Output, Style),
) -> anyhow::Result<Exit> {
    if let Some(why) = sources.fault() {
        render::failed(&why, style);
        return Ok(Exit::Usage);
    }
    let (shown, path, deployed) = match typed.root.as_deref() {
        None => (PathBuf::from("/"), machine.system.path().to_owned(), false),
        Some(root) => match machine.target(Some(root), Role::Booted)? {
            Target::Plain(path) => (path.clone(), path, false),
            Target::Deployment(deployment) => {
                let path = machine.files(&deployment)?;
                (path.clone(), path, true)
            }
        },
    };
    if path.is_dir() && !path.join("usr").is_dir() {
        let why = format!("{} is not a root: it has no usr directory", shown.display());
        render::failed(&why, style);
        return Ok(Exit::Usage);
    }
    let mut linted = lint::look(&path, (!deployed).then_some(shown.as_path()))?;
    let mut failed = Vec::new();
    if typed.check_registry {
        let (found, errors) = ask(sources, &linted.bindings, &path).await?;
        linted.findings.extend(found);
        finding::sort(&mut linted.findings);
        failed = errors;
    }
    render::lint(&shown, &linted.findings, output, style)?;
    if linted.is_overlay && !linted.bindings.is_empty() && output == Output::Table {
        render::note(&format!(
            "note: {} has no operating system in it; whether its store and storage.conf are right is \
             told by lint in the image",
            shown.display()
        ));
    }
    if let Some(note) = unbound_note(linted.unbound) {
        render::note(&note);
    }
    for error in &failed {
        // Those who read JSON or SARIF have one object, and not two.
        render::note(&format!("error: {error}"));
    }
    Ok(decide(&linted.findings, &failed, typed.strict))
}

/// What to say where Quadlets name images and none is bound. Podman pulls those by itself, which may well be
/// meant: no finding. Pure.
fn unbound_note(unbound: usize) -> Option<String> {
    let named = match unbound {
        0 => return None,
        1 => "1 Quadlet names an image, and it is not bound".to_owned(),
        more => format!("{more} Quadlets name images, and none is bound"),
    };
    Some(format!("note: {named}: link what the root is to bring from {BINDINGS_PATH}"))
}

/// The worst of it. Pure.
fn decide(findings: &[Finding], failed: &[SourceError], strict: bool) -> Exit {
    if !failed.is_empty() {
        return exit_of(failed);
    }
    let counts = |finding: &Finding| strict || finding.is_error();
    if findings.iter().any(counts) { Exit::Findings } else { Exit::Well }
}

/// Asks for the manifest and config of every binding: what is wrong with it, and what could not be
/// asked.
async fn ask(
    sources: &Sources,
    bindings: &[Binding],
    root: &Path,
) -> anyhow::Result<(Vec<Finding>, Vec<SourceError>)> {
    let registry = Arc::new(sources.registry());
    let mut waiting = bindings.iter().rev();
    let mut running = JoinSet::new();
    let (mut findings, mut failed) = (Vec::new(), Vec::new());
    loop {
        while running.len() < sources.jobs().max(1)
            && let Some(binding) = waiting.next()
        {
            let request = sources.request(binding, binding.reference.clone(), root);
            let (registry, binding) = (Arc::clone(&registry), binding.clone());
            running.spawn(async move { (registry.image(&request).await.err(), binding) });
        }
        let Some(joined) = running.join_next().await else { break };
        let (error, binding) = joined.context("a request for an image broke off")?;
        let Some(error) = error else { continue };
        match finding_of(&error, &binding) {
            Some(found) => findings.push(found),
            None => failed.push(error),
        }
    }
    failed.sort_by(|one, other| one.image.cmp(&other.image));
    Ok((findings, failed))
}

/// The finding, if it is the image that is at fault and not the way to it. Pure.
fn finding_of(error: &SourceError, binding: &Binding) -> Option<Finding> {
    let (code, fix) = match error.kind {
        Kind::NotFound => (Code::ImageNotFound, "correct the name, the tag or the digest"),
        Kind::Platform => (Code::NoSuchPlatform, "bind an image for it, or set Arch= in a .image"),
        Kind::Corrupt | Kind::Unsupported | Kind::Policy => {
            (Code::ImageUnusable, "bind another image, or push it again")
        }
        _ => return None,
    };
    let why = format!("{}: {}", error.image, error.why);
    Some(Finding::new(code, binding.place.clone(), why, fix).about(&binding.name))
}

#[cfg(test)]
mod tests {
    use binding::Place;

    use crate::source::error::Refusal;

    use super::*;

    #[test]
    fn the_worst_decides() {
        let found = |code| Finding::new(code, Place::file("x"), "why", "fix");
        let failed = |kind| Refusal::new(kind, "w").of("i");
        let (warning, error) = (found(Code::Unpinned), found(Code::NoImage));
        for (findings, errors, strict, wanted) in [
            (vec![], vec![], false, Exit::Well),
            (vec![warning.clone()], vec![], false, Exit::Well),
            (vec![warning.clone()], vec![], true, Exit::Findings),
            (vec![warning, error.clone()], vec![], false, Exit::Findings),
            (vec![error.clone()], vec![failed(Kind::Network)], false, Exit::CouldNotLook),
            (vec![error], vec![failed(Kind::SkopeoMissing)], false, Exit::Usage),
        ] {
            assert_eq!(decide(&findings, &errors, strict), wanted, "{findings:?} {errors:?}");
        }
    }
}
