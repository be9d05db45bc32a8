//! Findings as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"): one run, a rule per
//! code, a result per finding.

use std::path::Path;

use binding::{Code, Finding, Severity};
use serde_json::{Value, json};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The whole log. All rules are in it, in the order of the codes, so that a result can name its own
/// by number (3.27.6).
pub(super) fn log(root: &Path, findings: &[Finding]) -> Value {
    let rules: Vec<Value> = Code::ALL.iter().copied().map(rule).collect();
    let results: Vec<Value> = findings.iter().map(|finding| result(root, finding)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "bound-images",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: Code) -> Value {
    let summary = code.summary();
    json!({
        "id": code.as_str(),
        "shortDescription": {"text": summary},
        "help": {"text": format!("{summary} See docs/findings.md#{code}.")},
        "defaultConfiguration": {"level": level(code.severity())},
    })
}

fn result(root: &Path, finding: &Finding) -> Value {
    let mut physical = json!({"artifactLocation": {"uri": uri(&super::lint::file(root, finding))}});
    if let (Some(line), Some(physical)) = (finding.place.line, physical.as_object_mut()) {
        physical.insert("region".to_owned(), json!({"startLine": line}));
    }
    let index = Code::ALL.iter().position(|code| *code == finding.code);
    json!({
        "ruleId": finding.code.as_str(),
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": {"text": format!("{}; {}", finding.why, finding.fix)},
        "locations": [{"physicalLocation": physical}],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// A path as a URI reference (RFC 3986): what is not unreserved is written as `%XX`.
fn uri(path: &str) -> String {
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    path.bytes().fold(scheme.to_owned(), |uri, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            uri + char::from(byte).encode_utf8(&mut [0; 4])
        }
        byte => uri + &format!("%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("usr/x@.container"), "usr/x%40.container");
        assert_eq!(uri("/a b/é"), "file:///a%20b/%C3%A9");
    }
}
