//! The entries of the bindings directory.
mod support;

use support::{BOUND, CONTAINER, IMAGE, Tree, USR};

#[test]
fn no_directory_no_bindings() {
    assert_eq!(Tree::new().show(), "");
    assert_eq!(Tree::new().dir(BOUND).show(), "");
    let tree = Tree::new().link(BOUND, "/nowhere");
    assert!(binding::read(&tree.root()).is_err(), "a dangling directory is not an empty one");
    let tree = Tree::new().file(BOUND, "");
    assert!(binding::read(&tree.root()).is_err());
}

#[test]
fn every_bad_entry_is_told_and_hides_no_other() {
    let long = Tree::new().bound("good.container", CONTAINER).bound("also.image", IMAGE);
    let tree = long
        .file(&format!("{BOUND}/file.container"), CONTAINER)
        .dir(&format!("{BOUND}/dir.image"))
        .file(&format!("{BOUND}/.keep"), "")
        .link(&format!("{BOUND}/gone.image"), "/usr/nothing.image")
        .link(&format!("{BOUND}/loop.image"), "loop2.image")
        .link(&format!("{BOUND}/loop2.image"), "loop.image")
        .link(&format!("{BOUND}/escape.image"), &format!("../../../../../{USR}/also.image"))
        .link(&format!("{BOUND}/todir.image"), &format!("/{USR}"))
        .link(&format!("{BOUND}/null.container"), "/")
        .link(&format!("{BOUND}/masked.container"), &format!("/{USR}/masked.container"))
        .link(&format!("{USR}/masked.container"), "/dev/null")
        .link(&format!("{BOUND}/x.build"), &format!("/{USR}/also.image"))
        .link(&format!("{BOUND}/cross.container"), &format!("/{USR}/also.image"))
        .link(&format!("{BOUND}/pod.container"), &format!("/{USR}/p.pod"))
        .quadlet("p.pod", "[Pod]\n");
    assert_eq!(
        tree.show(),
        "also.image quay.io/a/b:1 [also-image.service]\n\
         good.container quay.io/a/b:1 [good.service]\n\
         hidden-name BOUND/.keep\n\
         unknown-extension BOUND/cross.container\n\
         not-a-link BOUND/dir.image\n\
         link-escapes BOUND/escape.image\n\
         not-a-link BOUND/file.container\n\
         dangling-link BOUND/gone.image\n\
         link-loop BOUND/loop.image\n\
         link-loop BOUND/loop2.image\n\
         not-a-file BOUND/masked.container\n\
         not-a-file BOUND/null.container\n\
         unknown-extension BOUND/pod.container\n\
         not-a-file BOUND/todir.image\n\
         unknown-extension BOUND/x.build"
    );
}

#[test]
fn names_that_are_not_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let tree = Tree::new().bound("a.image", IMAGE);
    let bad = OsStr::from_bytes(b"\xff.image");
    std::os::unix::fs::symlink("x", tree.path().join(BOUND).join(bad)).unwrap();
    std::os::unix::fs::symlink(bad, tree.path().join(BOUND).join("t.image")).unwrap();
    let show = tree.show();
    assert_eq!(show.matches("name-not-utf8").count(), 2, "{show}");
    assert!(show.starts_with("a.image"), "{show}");
}

#[test]
fn links_are_followed_as_far_as_podman_does() {
    // Podman knows a Quadlet by the name it has in the search path, even when that is a link.
    let tree = Tree::new()
        .file("usr/lib/vendor/real.container", CONTAINER)
        .link(&format!("{USR}/web.container"), "../../../lib/vendor/real.container")
        .link(&format!("{BOUND}/one.container"), &format!("/{USR}/web.container"))
        .link(&format!("{BOUND}/two.container"), "/usr/lib/vendor/real.container")
        .link(&format!("{BOUND}/three.container"), "one.container");
    assert_eq!(
        tree.show(),
        "one.container quay.io/a/b:1 [web.service]\n\
         three.container quay.io/a/b:1 [web.service]\n\
         two.container quay.io/a/b:1 [web.service]"
    );
    assert_eq!(tree.read().bindings[2].quadlet, format!("{USR}/web.container"));
    let tree = Tree::new()
        .file("usr/lib/vendor/real.container", CONTAINER)
        .file(&format!("{USR}/real.container.d/10.conf"), "[Container]\nImage=quay.io/a/b:2\n")
        .link(&format!("{BOUND}/x.container"), "../../vendor/real.container");
    assert_eq!(tree.show(), "x.container quay.io/a/b:2 []\noutside-search-path BOUND/x.container");
}

#[test]
fn a_linked_bindings_directory() {
    let tree = Tree::new()
        .quadlet("a.image", IMAGE)
        .link(BOUND, "/opt/bound")
        .link("opt/bound/a.image", "../../usr/share/containers/systemd/a.image");
    assert_eq!(tree.show(), "a.image quay.io/a/b:1 [a-image.service]");
}
