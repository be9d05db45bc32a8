//! Several Quadlets: search order, drop-ins, `.image` files and who uses them, and `/etc`.
mod support;

use support::{BOUND, CONTAINER, ETC, IMAGE, Tree, USR};

const USES: &str = "[Container]\nImage=x.image\n";

fn conf(image: &str) -> String {
    format!("[Container]\nImage=quay.io/{image}\n")
}

#[test]
fn image_quadlets_and_their_users() {
    let tree = Tree::new()
        .bound("x.image", "[Image]\nImage=quay.io/a\nImageTag=localhost/a\nArch=arm64\n")
        .bound("one.container", USES)
        .quadlet("two.container", "[Container]\nImage=x.image\nServiceName=second\n")
        .quadlet("t@.container", "[Container]\nImage=x.image\n[Install]\nDefaultInstance=d\n")
        .link(&format!("{USR}/t@i.container"), "t@.container")
        .quadlet("other.container", CONTAINER);
    assert_eq!(
        tree.show(),
        "one.container quay.io/a:latest as localhost/a:latest [one.service x-image.service]\n\
         x.image quay.io/a:latest as localhost/a:latest [one.service second.service t@.service \
         t@d.service t@i.service x-image.service]"
    );
    let read = tree.read();
    assert_eq!(read.bindings[0].pull, read.bindings[1].pull);
    assert_eq!(read.bindings[0].place.to_string(), format!("{USR}/x.image:2"));
    assert_eq!(read.bindings[0].quadlet, format!("{USR}/one.container"));
}

#[test]
fn a_user_that_cannot_see_the_store_is_told_at_its_own_line() {
    let tree = Tree::new()
        .bound("x.image", IMAGE)
        .quadlet("u.container", "[Container]\nImage=x.image\nGlobalArgs=--root /r\n");
    assert_eq!(
        tree.show(),
        "x.image quay.io/a/b:1 [u.service x-image.service]\nstore-hidden USR/u.container:3"
    );
}

#[test]
fn instances_of_a_bound_template() {
    let tree = Tree::new()
        .bound("t@.container", CONTAINER)
        .link(&format!("{USR}/t@a.container"), "t@.container")
        .link(&format!("{USR}/t@b.container"), "t@.container")
        .file(&format!("{USR}/t@b.container.d/x.conf"), conf("other"));
    assert_eq!(tree.show(), "t@.container quay.io/a/b:1 [t@.service t@a.service]");
}

#[test]
fn drop_ins_merge_in_order_of_names() {
    let tree = Tree::new()
        .bound("a-b.container", CONTAINER)
        .file(&format!("{USR}/a-b.container.d/20.conf"), conf("twenty"))
        .file(&format!("{USR}/a-.container.d/30.conf"), conf("thirty"))
        // The same name in a broader directory is not read.
        .file(&format!("{USR}/container.d/30.conf"), conf("broad"))
        .file(&format!("{USR}/a-b.container.d/90.txt"), conf("no"))
        .dir(&format!("{USR}/sub/a-b.container.d"))
        .link(&format!("{USR}/a-b.container.d/10.conf"), "/dev/null");
    assert_eq!(tree.show(), "a-b.container quay.io/thirty:latest [a-b.service]");
    let place = tree.read().bindings[0].place.to_string();
    assert_eq!(place, format!("{USR}/a-.container.d/30.conf:2"));
    // A drop-in that only resets.
    let tree = Tree::new()
        .bound("a.container", CONTAINER)
        .file(&format!("{USR}/container.d/x.conf"), "[Container]\nImage=\n");
    assert_eq!(tree.show(), "no-image USR/container.d/x.conf:2");
    // A broken one is skipped by Podman, and told.
    let tree = Tree::new()
        .bound("a.container", CONTAINER)
        .file(&format!("{USR}/container.d/x.conf"), "what\n")
        .file(&format!("{USR}/image.d/x.conf"), "not asked\n");
    assert_eq!(
        tree.show(),
        "a.container quay.io/a/b:1 [a.service]\nsyntax USR/container.d/x.conf:1"
    );
}

#[test]
fn versions_that_take_different_drop_ins() {
    let tree = Tree::new()
        .bound("a.container", CONTAINER)
        .file(&format!("{USR}/container.d/x.conf"), conf("five"))
        .file(&format!("{USR}/sub/a.container.d/x.conf"), conf("six"));
    assert_eq!(
        tree.show(),
        "a.container quay.io/five:latest [a.service]\ndropin-order USR/container.d/x.conf:2"
    );
}

#[test]
fn directories_are_searched_in_order() {
    let bound = format!("{BOUND}/x.container");
    let tree = Tree::new()
        .quadlet("b/x.container", CONTAINER)
        .quadlet("a/deep/x.container", &conf("first"))
        .quadlet("c.d/x.container", &conf("never"))
        .link(&bound, &format!("/{USR}/b/x.container"));
    assert_eq!(
        tree.show(),
        "x.container quay.io/a/b:1 [x.service]\nshadowed-quadlet BOUND/x.container"
    );
    // A link to a directory is searched too, under the name of its target.
    let tree = Tree::new()
        .file("usr/lib/more/x.container", CONTAINER)
        .link(&format!("{USR}/more"), "/usr/lib/more")
        .link(&format!("{USR}/self"), ".")
        .link(&bound, "/usr/lib/more/x.container");
    assert_eq!(tree.show(), "x.container quay.io/a/b:1 [x.service]");
}

#[test]
fn a_broken_neighbour_takes_the_directory_down() {
    let tree = Tree::new()
        .bound("x.container", CONTAINER)
        .quadlet("y.volume", "[Volume]\nwhat\n")
        .quadlet("sub/z.volume", "what\n")
        .quadlet("readme.txt", "what\n");
    assert_eq!(
        tree.show(),
        "x.container quay.io/a/b:1 [x.service]\nbroken-neighbour USR/y.volume:2"
    );
}

#[test]
fn etc_overrides_are_told_and_not_followed() {
    let cases: &[(&str, &str, &str)] = &[
        ("x.container", "[Container]\nImage=quay.io/other\n", "overridden ETC/x.container"),
        ("sub/x.container", CONTAINER, "overridden ETC/sub/x.container"),
        ("x.container.d/a.conf", &conf("other"), "overridden ETC/x.container.d/a.conf:2"),
        ("container.d/a.conf", "[Container]\nImage=\n", "overridden ETC/container.d/a.conf:2"),
        (
            "x.container.d/a.conf",
            "[Container]\nRootfs=/x\n",
            "overridden ETC/x.container.d/a.conf:2",
        ),
        ("x.container.d/a.conf", "[Container]\nEnvironment=A=b\n", ""),
        ("y.container.d/a.conf", &conf("other"), ""),
        ("users/x.container", CONTAINER, ""),
    ];
    for (path, text, want) in cases {
        let tree = Tree::new().bound("x.container", CONTAINER).file(&format!("{ETC}/{path}"), text);
        let mut all = "x.container quay.io/a/b:1 [x.service]".to_owned();
        if !want.is_empty() {
            all = format!("{all}\n{want}");
        }
        assert_eq!(tree.show(), all, "{path}");
    }
    // Through the .image, too.
    let tree = Tree::new()
        .quadlet("x.image", IMAGE)
        .bound("u.container", USES)
        .file(&format!("{ETC}/x.image.d/a.conf"), "[Image]\nImageTag=localhost/b\n");
    assert_eq!(
        tree.show(),
        "u.container quay.io/a/b:1 [u.service x-image.service]\noverridden ETC/x.image.d/a.conf:2"
    );
    // The user of a bound .image may be led away, too.
    let tree = Tree::new()
        .bound("x.image", IMAGE)
        .quadlet("u.container", USES)
        .file(&format!("{ETC}/u.container.d/a.conf"), conf("other"));
    assert_eq!(
        tree.show(),
        "x.image quay.io/a/b:1 [u.service x-image.service]\noverridden ETC/u.container.d/a.conf:2"
    );
    // What a Quadlet needs may come from /etc.
    let tree = Tree::new()
        .bound("x.container", &format!("{CONTAINER}Network=n.network\n"))
        .file(&format!("{ETC}/n.network"), "[Network]\n");
    assert_eq!(tree.show(), "x.container quay.io/a/b:1 [x.service]");
    let tree = Tree::new()
        .bound("x.container", CONTAINER)
        .link(&format!("{ETC}/x.container"), "/dev/null");
    assert_eq!(tree.show(), "x.container quay.io/a/b:1 [x.service]\noverridden ETC/x.container");
}
