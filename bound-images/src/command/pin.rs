//! `bound-images pin`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use binding::quadlet::search::{MAX_FILE, USR};
use binding::{BINDINGS_PATH, Binding, Finding, Reference, Root};
use host::Role;
use oci_digest::Digest;
use tokio::task::JoinSet;

use super::Exit;
use super::sources::Sources;
use super::stage::exit_of;
use crate::cli;
use crate::machine::{Machine, Target};
use crate::pin::{Row, State, edit, is_of_root, judge, nearest, pinned, tag_of};
use crate::render::{self, Style};
use crate::source::{Kind, SourceError};
use crate::system::file;

/// Why a digest was not written.
enum Refused {
    /// The value is not in a file of the root's own.
    Elsewhere(String),
    /// It could not be written.
    Failed(String),
}

/// Asks what the tags of the root's bindings mean now, and writes it into their Quadlets.
///
/// # Errors
/// When the root cannot be looked at.
pub(crate) async fn run(
    machine: &Machine,
    typed: &cli::Pin,
    sources: &Sources,
    style: Style,
) -> anyhow::Result<Exit> {
    let usage = |why: &str| {
        render::failed(why, style);
        Ok(Exit::Usage)
    };
    if let Some(why) = sources.fault() {
        return usage(&why);
    }
    let Target::Plain(path) = machine.target(Some(&typed.root), Role::Booted)? else {
        return usage("a root that is deployed is never changed: pin where its image is built");
    };
    let root =
        Root::open(&path).with_context(|| format!("cannot open the root {}", path.display()))?;
    let read = binding::read(&root)?;
    let is_entry = |name: &&String| root.kind(&format!("{BINDINGS_PATH}/{name}")).is_ok();
    if let Some(name) = typed.names.iter().find(|name| name.contains('/') || !is_entry(name)) {
        let known = read.bindings.iter().map(|binding| binding.name.as_str());
        let near = nearest(name, known).map_or_else(String::new, |near| format!("; is it {near}?"));
        return usage(&format!("there is no {name} in {BINDINGS_PATH}{near}"));
    }
    let is_meant =
        |name: &String| typed.names.is_empty() || typed.names.iter().any(|typed| typed == name);
    let meant: Vec<Binding> =
        read.bindings.iter().filter(|binding| is_meant(&binding.name)).cloned().collect();
    let lacking = typed.names.iter().any(|name| !meant.iter().any(|one| one.name == *name));
    let errors: Vec<Finding> = read.findings.into_iter().filter(Finding::is_error).collect();
    let broken = lacking || (typed.names.is_empty() && !errors.is_empty());

    let (known, failed) = ask(sources, &meant, &path).await?;
    let mut rows: Vec<Row> =
        meant.into_iter().map(|binding| look(binding, &known, &failed)).collect();
    let mut unwritten = false;
    let stale = rows.iter_mut().filter(|row| !typed.check && row.state.is_stale());
    for row in stale {
        match write(&root, row) {
            Ok(()) => row.written = true,
            Err(Refused::Elsewhere(why)) => row.problem = Some(why),
            Err(Refused::Failed(why)) => {
                unwritten = true;
                row.problem = Some(why);
            }
        }
    }
    render::pin(&typed.root, typed.check, &rows, &errors, style)?;
    let failed: Vec<SourceError> = failed.into_values().collect();
    Ok(match (failed.as_slice(), unwritten) {
        ([], true) => Exit::CouldNotLook,
        ([], false) => {
            let open = rows.iter().any(|row| row.state.is_stale() && !row.written);
            if open || broken { Exit::Findings } else { Exit::Well }
        }
        (failed, unwritten) => match exit_of(failed) {
            Exit::Findings if unwritten => Exit::CouldNotLook,
            exit => exit,
        },
    })
}

/// What tags have for digests, and those that could not be asked for.
type Answers = (BTreeMap<Reference, Digest>, BTreeMap<Reference, SourceError>);

/// Asks for every tag once, a few at a time.
async fn ask(sources: &Sources, bindings: &[Binding], root: &Path) -> anyhow::Result<Answers> {
    let registry = Arc::new(sources.registry());
    let mut tags: BTreeMap<Reference, &Binding> = BTreeMap::new();
    for binding in bindings {
        if let Some(tag) = tag_of(&binding.reference) {
            // A container knows no credentials of its own, a .image may.
            let known = tags.entry(tag).or_insert(binding);
            if known.pull.auth_file.is_none() && known.pull.creds.is_none() {
                *known = binding;
            }
        }
    }
    let mut waiting = tags.into_iter();
    let mut running = JoinSet::new();
    let (mut known, mut failed) = (BTreeMap::new(), BTreeMap::new());
    loop {
        while running.len() < sources.jobs().max(1)
            && let Some((tag, binding)) = waiting.next()
        {
            let request = sources.request(binding, tag.clone(), root);
            let registry = Arc::clone(&registry);
            running.spawn(async move { (tag, registry.resolve(&request).await) });
        }
        let Some(joined) = running.join_next().await else { break };
        match joined.context("a request for an image broke off")? {
            (tag, Ok(digest)) => drop(known.insert(tag, digest)),
            (tag, Err(error)) => drop(failed.insert(tag, error)),
        }
    }
    Ok((known, failed))
}

/// How a binding stands. Pure.
fn look(
    binding: Binding,
    known: &BTreeMap<Reference, Digest>,
    failed: &BTreeMap<Reference, SourceError>,
) -> Row {
    let own = binding.reference.digest();
    let (state, digest, problem) = match tag_of(&binding.reference) {
        None => (State::NoTag, own, None),
        Some(tag) => match (known.get(&tag), failed.get(&tag)) {
            (Some(now), _) => (judge(&binding.reference, *now), Some(*now), None),
            (None, error) => (State::Unknown, own, error.map(ToString::to_string)),
        },
    };
    let absent = tag_of(&binding.reference)
        .and_then(|tag| failed.get(&tag))
        .is_some_and(|error| error.kind == Kind::NotFound);
    Row { binding, state, digest, written: false, problem, absent }
}

/// Writes the digest of a row where its reference really stands.
fn write(root: &Root, row: &Row) -> Result<(), Refused> {
    let (place, reference) = (&row.binding.place, &row.binding.reference);
    let (Some(line), Some(now)) = (place.line, row.digest) else {
        return Err(Refused::Failed(format!("{place}: there is no Image= to change")));
    };
    let wanted = pinned(&reference.to_string(), reference, now);
    let failed = |why: String| {
        Refused::Failed(format!("{why}; write Image={wanted} where {place} comes from"))
    };
    let unreadable = |error| failed(format!("cannot read {}: {error}", place.file));
    let real = root.resolve(&place.file).map_err(unreadable)?;
    let quadlets = root.resolve(USR).unwrap_or_else(|_| USR.to_owned());
    if !is_of_root(&place.file, &real, &quadlets) {
        return Err(Refused::Elsewhere(format!(
            "the image of {} is set by {place}, which is {real}: not a file of this root's Quadlets; \
             write Image={wanted} where that comes from",
            row.binding.name
        )));
    }
    let bytes = root.read(&real, MAX_FILE).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| failed(format!("{real} is not UTF-8")))?;
    let edited = match edit(&text, line, reference, now) {
        Ok(edited) => edited,
        // Two links may lead to one Quadlet: it is pinned by now.
        Err(_) if is_written(&text, line, reference, now) => return Ok(()),
        Err(error) => return Err(failed(format!("{place}: {error}"))),
    };
    file::replace(&root.path().join(&real), edited.as_bytes())
        .map_err(|error| failed(format!("{error:#}")))
}

fn is_written(text: &str, line: usize, reference: &Reference, now: Digest) -> bool {
    Reference::parse(&pinned(&reference.to_string(), reference, now))
        .is_ok_and(|wanted| edit(text, line, &wanted, now).as_deref() == Ok(text))
}
