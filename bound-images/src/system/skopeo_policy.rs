//! Whether the signature policy of the host asks anything of an image. Needed only with a skopeo
//! whose proxy does not enforce it; a newer one judges by itself.
//!
//! Format and scopes: `containers-policy.json(5)`. Where this reader is unsure it says that the
//! policy demands something, never the opposite.

use std::collections::BTreeMap;

use binding::reference::Reference;
use serde::Deserialize;

/// What a policy asks of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Nothing: `insecureAcceptAnything`.
    Nothing,
    /// Signatures of some kind.
    Signatures,
    /// The image is not to be used at all: `reject`.
    Reject,
}

#[derive(Deserialize)]
struct Policy {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

#[derive(Deserialize)]
struct Requirement {
    #[serde(rename = "type")]
    kind: String,
}

/// What `policy` (the text of a policy.json) asks of `reference` when it comes from a registry.
/// An image is opened by digest but was named by tag: the stricter answer counts.
///
/// # Errors
/// The reason why the text is no policy.
pub fn policy_demands(policy: &[u8], reference: &Reference) -> Result<Demand, serde_json::Error> {
    let policy: Policy = serde_json::from_slice(policy)?;
    let none = BTreeMap::new();
    let scopes = policy.transports.get("docker").unwrap_or(&none);
    let name = reference.repository();
    let mut exact = vec![name.to_owned()];
    exact.extend(reference.tag().map(|tag| format!("{name}:{tag}")));
    exact.extend(reference.digest().map(|digest| reference.with_digest(digest)));
    let demand = exact.iter().map(|identity| {
        let found = scopes
            .get(identity)
            .or_else(|| parents(name).iter().find_map(|scope| scopes.get(scope)))
            .or_else(|| scopes.get(""))
            .unwrap_or(&policy.default);
        demand_of(found)
    });
    Ok(demand.max().unwrap_or(Demand::Nothing))
}

/// `host/a/b`, `host/a`, `host`, then `*.example.com`, `*.com` (never for a host with a port).
fn parents(name: &str) -> Vec<String> {
    let mut found = vec![name.to_owned()];
    let mut rest = name;
    while let Some((parent, _)) = rest.rsplit_once('/') {
        found.push(parent.to_owned());
        rest = parent;
    }
    let mut host = rest;
    while let Some((_, domain)) = host.split_once('.') {
        found.push(format!("*.{domain}"));
        host = domain;
    }
    found
}

fn demand_of(requirements: &[Requirement]) -> Demand {
    requirements
        .iter()
        .map(|requirement| match requirement.kind.as_str() {
            "insecureAcceptAnything" => Demand::Nothing,
            "reject" => Demand::Reject,
            _ => Demand::Signatures,
        })
        .max()
        // No requirement at all is invalid, and skopeo refuses it.
        .unwrap_or(Demand::Reject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_scope_decides() {
        let policy = br#"{"default": [{"type": "reject"}], "transports": {
            "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]},
            "docker": {
                "quay.io": [{"type": "insecureAcceptAnything"}],
                "quay.io/signed": [{"type": "signedBy", "keyPath": "/k"}],
                "quay.io/a/b:v1": [{"type": "sigstoreSigned"}],
                "quay.io/two": [{"type": "insecureAcceptAnything"}, {"type": "signedBy"}],
                "quay.io/none": [],
                "*.example.com": [{"type": "insecureAcceptAnything"}]}}}"#;
        let table = [
            ("quay.io/x/y:z", Demand::Nothing),
            ("quay.io/signed/y:z", Demand::Signatures),
            ("quay.io/signed:z", Demand::Signatures),
            ("quay.io/a/b:v1", Demand::Signatures),
            ("quay.io/a/b:v2", Demand::Nothing),
            ("quay.io/two:v", Demand::Signatures),
            ("quay.io/none:v", Demand::Reject),
            ("r.example.com/x:1", Demand::Nothing),
            ("a.b.example.com/x:1", Demand::Nothing),
            ("example.com/x:1", Demand::Reject),
            ("docker.io/library/x:1", Demand::Reject),
        ];
        for (text, expected) in table {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(policy_demands(policy, &reference).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_policy_is_an_error() {
        let reference = Reference::parse("quay.io/x:1").unwrap();
        for text in ["", "{}", "[]", r#"{"default": 1}"#] {
            assert!(policy_demands(text.as_bytes(), &reference).is_err(), "{text}");
        }
    }
}
