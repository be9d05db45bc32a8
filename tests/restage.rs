//! A root that was held back is staged again, under the id that it had: ostree counts from 0 again, since the
//! first one is gone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;

use common::have;
use common::host::{Machine, NEW, ONE, TWO, id};
use common::images::small;

#[test]
fn nobody_is_asked_for_what_was_fetched_meanwhile() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    // The bundle that lacks the new image stands for a registry that is down.
    let (bundle, later) = (host.world.path("bundle"), host.world.path("later"));
    fs::rename(&bundle, &later).unwrap();
    small(&host.world, ONE);
    assert_ne!(host.stage(&[]).code, Some(0));
    host.run(&["gate"]).expect(1, &["held back"]);

    host.boot("a");
    host.undeploy("b");
    let some = host.stage(&[]);
    some.expect(3, &["new.container is left out", "Not all images of"]);
    assert!(!some.err.contains("passed over") && !some.err.contains("optional"), "{}", some.all());
    fs::remove_dir_all(&bundle).unwrap();
    fs::rename(&later, &bundle).unwrap();
    host.stage(&[]).expect(0, &["All images of", "stage the update again"]);

    fs::remove_dir_all(&bundle).unwrap();
    small(&host.world, TWO);
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    let again = host.stage(&["--format", "json"]);
    let last = again.json().pop().unwrap();
    assert_eq!((&last["result"], &last["fetched"]), (&"published".into(), &0.into()), "{last}");
    host.run(&["gate"]).expect(0, &["is complete"]);
    assert!(host.link("b").is_some() && !host.pool().join("partial").join(id("b")).exists());
    host.boot("b");
    host.run(&["verify", "--deep"]).expect(0, &["every file is as its layer has it"]);
}
