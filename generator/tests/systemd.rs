//! A running systemd judges the mount unit: what it does with an incomplete root, when the store
//! arrives later, at a daemon-reload, and when the link is gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_store_is_mounted_when_it_is_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(here.join("tests/systemd.sh"))
        .arg(here.join("../tests/generator"))
        .output()
        .unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(2) {
        println!("skipped: needs {}", errors.trim());
        return;
    }
    assert!(output.status.success(), "{said}{errors}");
    let want = "\
no network: service failed, mount inactive, mounted no, asked 1
tried again: service active, mount active, mounted yes, asked 2
complete, reloaded: service active, mount active, mounted yes, asked 2
complete, started: service active, mount active, mounted yes, asked 2
link gone: service failed, mount inactive, mounted no, asked 2
roots: 
";
    assert_eq!(said, want, "{errors}");
}
