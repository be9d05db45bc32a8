//! What the hook wrote down of the starts of containers, beside what runs. Pure.

use std::collections::BTreeMap;

use binding::{Binding, Bindings, Code, Finding};

use crate::system::systemd::{UnitState, of_units};

/// A container that the hook let start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The service, of a template `name@.service`.
    pub service: String,
    /// The binding's reference.
    pub reference: String,
}

/// The starts in the output of `journalctl --output=json`: an object a line. Lines that are none, as
/// the last one when its size was bounded, are left out.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Start> {
    let objects = text.split(|byte| *byte == b'\n').filter_map(|line| {
        serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(line).ok()
    });
    let start = |object: BTreeMap<String, serde_json::Value>| {
        let field = |name: &str| Some(object.get(name)?.as_str()?.to_owned());
        let (service, reference) =
            (field("BOUND_IMAGES_SERVICE")?, field("BOUND_IMAGES_REFERENCE")?);
        let was_let = field("BOUND_IMAGES_RESULT")? != "refused";
        was_let.then_some(Start { service, reference })
    };
    objects.filter_map(start).collect()
}

/// The containers of `bindings` that run and that the hook did not judge in this boot. A service whose
/// image the administrator changed is not bound any more, and nothing is asked of it.
#[must_use]
pub fn unrecorded(bindings: &Bindings, states: &[UnitState], starts: &[Start]) -> Vec<Finding> {
    let is_bound = |binding: &&Binding| {
        let name = Some(binding.name.as_str());
        let overrides =
            |found: &Finding| found.code == Code::Overridden && found.subject.as_deref() == name;
        !bindings.findings.iter().any(overrides)
    };
    let mut findings = Vec::new();
    for binding in bindings.bindings.iter().filter(is_bound) {
        let reference = binding.reference.to_string();
        for state in of_units(&binding.services, states) {
            let is_known = |start: &Start| {
                let same =
                    start.service == state.name || is_template_of(&start.service, &state.name);
                same && start.reference == reference
            };
            if state.active != "active" || state.sub != "running" || starts.iter().any(is_known) {
                continue;
            }
            let why = format!(
                "{} runs, but the journal of this boot does not say that the hook judged its container, \
                 as bound to {reference}",
                state.name
            );
            let fix = format!(
                "run `systemctl restart {0}`, then `journalctl -b -t bound-images-hook`; without a line \
                 for {0} there, look at hooks_dir and CONTAINERS_CONF of the service",
                state.name
            );
            let found = Finding::new(Code::StartUnrecorded, binding.place.clone(), why, fix);
            findings.push(found.about(&state.name));
        }
    }
    findings
}

/// `app@.service` of `app@one.service`.
fn is_template_of(template: &str, instance: &str) -> bool {
    let Some(stem) = template.strip_suffix("@.service") else { return false };
    instance.strip_prefix(stem).is_some_and(|rest| rest.starts_with('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_hook_count() {
        let line = |result: &str| {
            format!(
                "{{\"BOUND_IMAGES_SERVICE\":\"a.service\",\"BOUND_IMAGES_REFERENCE\":\"r/a:1\",\
                 \"BOUND_IMAGES_RESULT\":\"{result}\"}}\n"
            )
        };
        let start = Start { service: "a.service".into(), reference: "r/a:1".into() };
        assert_eq!(parse(line("accepted").as_bytes()), std::slice::from_ref(&start));
        assert_eq!(parse(line("warned").as_bytes()), [start]);
        for none in [
            line("refused"),
            String::new(),
            "null\n[]\n{}\n".to_owned(),
            "{\"BOUND_IMAGES_SERVICE\":[1]}\n".to_owned(),
            line("accepted").get(..40).unwrap().to_owned(),
        ] {
            assert_eq!(parse(none.as_bytes()), [], "{none}");
        }
        assert_eq!(parse(&b"[".repeat(1 << 20)), [], "too deep");
    }
}
