//! The pull options of a `.image` Quadlet.

use crate::finding::{Code, Finding};
use crate::pull::{PullOptions, Secret, parse_delay};
use crate::quadlet::unit::{Unit, Value};

/// Reads the pull options of a `.image`, with what is wrong with them.
#[must_use]
pub fn pull_options(unit: &Unit) -> (PullOptions, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut filled = |key: &str| {
        let value = unit.filled("Image", key)?;
        findings.extend(value.ambiguity(key));
        Some(value)
    };
    let mut text = |key: &str| filled(key).map(|value| value.text);
    let mut options = PullOptions {
        auth_file: text("AuthFile"),
        cert_dir: text("CertDir"),
        creds: text("Creds").map(Secret::new),
        decryption_keys: text("DecryptionKey").map(Secret::new).into_iter().collect(),
        os: text("OS"),
        arch: text("Arch"),
        variant: text("Variant"),
        ..PullOptions::default()
    };
    if let Some(value) = filled("Retry") {
        options.retry = value.text.parse().ok();
        if options.retry.is_none() {
            findings.push(wrong(&value, "Retry", "write a whole number"));
        }
    }
    if let Some(value) = unit.filled("Image", "RetryDelay") {
        options.retry_delay = parse_delay(&value.text);
        if options.retry_delay.is_none() {
            findings.push(wrong(&value, "RetryDelay", "write a time of at most a day, such as 5s"));
        }
    }
    if let Some(value) = unit.last("Image", "TLSVerify") {
        options.tls_verify = Some(value.is_true());
        if value.boolean().is_none() {
            let why = format!(
                "Podman reads TLSVerify={} as false: certificates would not be verified",
                value.text
            );
            findings.push(Finding::new(Code::BadBoolean, value.place, why, "write true or false"));
        }
    }
    if let Some(value) = unit.last("Image", "AllTags").filter(Value::is_true) {
        findings.push(Finding::new(
            Code::AllTags,
            value.place,
            "AllTags= pulls a whole repository, but a binding is one image",
            "remove the line and bind each tag with a Quadlet of its own",
        ));
    }
    (options, findings)
}

fn wrong(value: &Value, key: &str, fix: &str) -> Finding {
    let why = format!("{key}={:?} cannot be understood", value.text);
    Finding::new(Code::BadPullOption, value.place.clone(), why, fix)
}
