//! `status` as metrics: the text format of Prometheus, version 0.0.4.

use host::RootId;

use crate::command::status::{RootStatus, Standing, Status};

/// Metrics of a host. Each has `# HELP` and `# TYPE` lines, and its samples together, as the format
/// asks for.
#[must_use]
pub(crate) fn metrics(status: &Status) -> String {
    let mut page = Page::default();
    page.one(
        "bound_images_build_info",
        "Version of bound-images; always 1.",
        &labels(&[("version", env!("CARGO_PKG_VERSION"))]),
        "1",
    );
    roots(&mut page, &status.roots);
    // What was held back and has come to be complete waits for the next boot only.
    let held = status.held_back.as_ref().filter(|_| !status.is_mended());
    page.plain(
        "bound_images_held_back",
        "Whether the last update was held back and is not complete yet (1) or not (0).",
        usize::from(held.is_some()),
    );
    page.plain(
        "bound_images_held_back_reasons",
        "Number of reasons for which the last update was held back.",
        held.map_or(0, |held| held.why.len()),
    );
    if let Some(since) = held.and_then(|held| held.since) {
        page.plain(
            "bound_images_held_back_since_timestamp_seconds",
            "When an update was held back for the first time since one passed the gate.",
            since,
        );
    }
    page.plain(
        "bound_images_wanted_roots",
        "Number of roots whose images are fetched although they are not staged now.",
        status.wanted.iter().filter(|id| RootId::parse(id).is_some()).count(),
    );
    page.plain(
        "bound_images_gate_faults",
        "Number of faults of the gate that keeps incomplete roots from being booted.",
        status.gate_faults.len(),
    );
    page.plain(
        "bound_images_staged_unknown",
        "Whether it cannot be told which root is staged (1).",
        usize::from(status.staged_fault.is_some()),
    );
    if let Some(last) = &status.last_stage {
        page.plain(
            "bound_images_last_stage_success",
            "Whether the last stage did all that there was to do (1) or not (0).",
            usize::from(last.succeeded()),
        );
        page.plain(
            "bound_images_last_stage_exit_code",
            "Exit code of the last stage: 1 findings, 2 usage, 3 could not look, 130 interrupted.",
            last.exit_code,
        );
        page.plain(
            "bound_images_last_stage_timestamp_seconds",
            "When the last stage ended.",
            last.ended,
        );
        page.plain(
            "bound_images_last_stage_duration_seconds",
            "How long the last stage took.",
            format!("{}.{:03}", last.milliseconds / 1000, last.milliseconds % 1000),
        );
    }
    page.text
}

fn roots(page: &mut Page, roots: &[RootStatus]) {
    let mut each = |name: &str, help: &str, value: &dyn Fn(&RootStatus) -> Option<u64>| {
        let samples: Vec<(String, u64)> =
            roots.iter().filter_map(|root| Some((of(root), value(root)?))).collect();
        page.many(name, help, &samples);
    };
    let known = |root: &RootStatus| root.state != Standing::Unknown;
    each(
        "bound_images_root_complete",
        "Whether all required images of a root are there (1) or not (0).",
        &|root| Some(matches!(root.state, Standing::Complete | Standing::NoBindings).into()),
    );
    each("bound_images_root_bindings", "Number of images that a root binds.", &|root| {
        known(root).then_some(root.bindings as u64)
    });
    each(
        "bound_images_root_images_present",
        "Number of bound images of a root that are there and whole.",
        &|root| known(root).then_some(root.present as u64),
    );
    each(
        "bound_images_root_problems",
        "Number of problems that keep a root from being complete.",
        &|root| Some(root.problems.len() as u64),
    );
    each(
        "bound_images_root_shadowed",
        "Number of names of bound images that mean another image to Podman now.",
        &|root| known(root).then_some(root.shadowed.len() as u64),
    );
    each(
        "bound_images_root_released",
        "Whether the operator lets a root boot although images are missing (1).",
        &|root| Some(root.released.is_some().into()),
    );
    each(
        "bound_images_root_size_bytes",
        "Bytes of the unpacked layers of a root's images.",
        &|root| root.store.is_some().then_some(root.bytes),
    );
    each(
        "bound_images_root_own_size_bytes",
        "Bytes of the unpacked layers that no other root has.",
        &|root| root.store.is_some().then_some(root.own_bytes),
    );
}

fn of(root: &RootStatus) -> String {
    let stateroot = root.stateroot.as_deref().unwrap_or_default();
    labels(&[("root", &root.id), ("role", root.role.word()), ("stateroot", stateroot)])
}

/// `{name="value",…}`.
fn labels(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// What a label's value must not have as it is.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, help: &str) {
        self.text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
    }

    fn one(&mut self, name: &str, help: &str, labels: &str, value: &str) {
        self.head(name, help);
        self.text.push_str(&format!("{name}{labels} {value}\n"));
    }

    fn plain(&mut self, name: &str, help: &str, value: impl ToString) {
        self.one(name, help, "", &value.to_string());
    }

    /// Nothing at all without samples.
    fn many(&mut self, name: &str, help: &str, samples: &[(String, u64)]) {
        if samples.is_empty() {
            return;
        }
        self.head(name, help);
        for (labels, value) in samples {
            self.text.push_str(&format!("{name}{labels} {value}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(labels(&[("a", "x\\y\"z\nw")]), "{a=\"x\\\\y\\\"z\\nw\"}");
        assert_eq!(labels(&[("a", "ü{}="), ("b", "")]), "{a=\"ü{}=\",b=\"\"}");
    }
}
