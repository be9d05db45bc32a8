//! Nothing outside the root is read, and nothing in it makes the reader hang.
mod support;

use std::io::ErrorKind;

use binding::Kind;
use support::Tree;

#[test]
fn links_stay_inside() {
    let outside = Tree::new().file("secret", "no");
    let tree = Tree::new()
        .file("usr/file", "yes")
        .link("absolute", "/usr/file")
        .link("up", "../../../../usr/file")
        .link("out", outside.path().join("secret").to_str().unwrap())
        .link("dirs/a", "../usr")
        .link("dirs/b", "/dirs/a/file")
        .link("dirs/c", "../dirs/a/../usr/./file")
        .link("dirs/d", "../usr/file/.")
        .link("dirs/e", "../usr/file/");
    let root = tree.root();
    for path in ["dirs/../usr/file", "dirs/a/../usr/file", "/usr/../../usr//file/", "./up"] {
        assert_eq!(root.resolve(path).unwrap(), "usr/file", "{path}");
    }
    for path in ["dirs/../none", "none/../usr/file", "usr/file/../file", "dirs/../usr/file/."] {
        assert!(root.resolve(path).is_err(), "{path}");
    }
    assert_eq!(root.resolve("dirs/..").unwrap(), "");
    assert!(root.resolve("dirs/d").is_err());
    assert_eq!(root.resolve("dirs/e").unwrap(), "usr/file");
    for path in ["usr/file", "absolute", "up", "dirs/a/file", "dirs/b", "dirs/c"] {
        assert_eq!(root.read(path, 10).unwrap(), b"yes", "{path}");
        assert_eq!(root.resolve(path).unwrap(), "usr/file", "{path}");
    }
    assert_eq!(root.read("out", 10).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(root.read_optional("out", 10).unwrap(), None);
    assert_eq!(root.resolve("out").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(root.read_link("absolute").unwrap(), "/usr/file");
    assert_eq!(root.read_link("usr/file").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(root.kind("absolute").unwrap(), Kind::Symlink);
    assert_eq!(root.resolve("").unwrap(), "");
    assert!(root.dir("dirs/a").is_ok());
    assert!(root.dir("usr/file").is_err());
}

#[test]
fn sizes_loops_and_pipes_are_bounded() {
    let tree = Tree::new().file("ten", "0123456789").link("a", "b").link("b", "a");
    nix::unistd::mkfifo(&tree.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let root = tree.root();
    assert_eq!(root.read("ten", 10).unwrap().len(), 10);
    assert_eq!(root.read("ten", 9).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(root.read("pipe", 9).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(root.read("", 9).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(root.read("a", 9).is_err());
    assert!(root.resolve("a").is_err());
    assert!(root.resolve("ten/x").is_err());
    assert_eq!(root.kind("pipe").unwrap(), Kind::Other);
    let names: Vec<String> = root
        .list("")
        .unwrap()
        .into_iter()
        .map(|entry| format!("{} {:?}", entry.name.to_string_lossy(), entry.kind))
        .collect();
    assert_eq!(names, ["a Symlink", "b Symlink", "pipe Other", "ten File"]);
    assert_eq!(root.list_optional("none").unwrap(), None);
    assert!(root.list_optional("ten").is_err());
}
