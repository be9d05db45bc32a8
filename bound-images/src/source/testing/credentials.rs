use super::*;

const FILLED: &str = r#"{"auths": {"KEY": {"auth": "dXNlcjpwYXNz"}}}"#;

fn entry(text: &str, image: &str) -> Result<bool, String> {
    has_entry(text.as_bytes(), &Reference::parse(image).unwrap())
}

#[test]
fn keys_match_by_namespace_and_by_dockers_old_forms() {
    let table = [
        ("quay.io", "quay.io/a/b:1", true),
        ("quay.io/a", "quay.io/a/b:1", true),
        ("quay.io/a/b", "quay.io/a/b:1", true),
        ("quay.io/a/b:1", "quay.io/a/b:1", false),
        ("quay.io/c", "quay.io/a/b:1", false),
        ("quay.io/a/bb", "quay.io/a/b:1", false),
        ("https://quay.io/v1/", "quay.io/a/b:1", true),
        ("https://quay.io", "quay.io/a/b:1", true),
        ("https://index.docker.io/v1/", "docker.io/library/x:1", true),
        ("docker.io", "docker.io/library/x:1", true),
        ("localhost:5000", "localhost:5000/x:1", true),
        ("localhost", "localhost:5000/x:1", false),
    ];
    for (key, image, expected) in table {
        assert_eq!(entry(&FILLED.replace("KEY", key), image).unwrap(), expected, "{key} {image}");
    }
}

#[test]
fn placeholders_are_no_entries_and_helpers_are() {
    let table = [
        (r#"{"auths": {"quay.io": {}}}"#, false),
        (r#"{"auths": {"quay.io": {"auth": ""}}}"#, false),
        (r#"{"auths": {"quay.io": {"auth": "Og=="}}}"#, false),
        (r#"{"auths": {"quay.io": {"auth": "not base64!"}}}"#, false),
        (r#"{"auths": {"quay.io": {"identitytoken": "t"}}}"#, true),
        (r#"{"credHelpers": {"quay.io": "secretservice"}}"#, true),
        (r#"{"credsStore": "desktop"}"#, false),
        (r#"{"auths": null}"#, false),
        ("{}", false),
    ];
    for (text, expected) in table {
        assert_eq!(entry(text, "quay.io/a/b:1").unwrap(), expected, "{text}");
    }
}

#[test]
fn the_first_file_with_an_entry_wins_and_others_are_told_of() {
    let reference = Reference::parse("quay.io/a/b:1").unwrap();
    let file = |key: &str| Ok(FILLED.replace("KEY", key).into_bytes());
    let chosen = choose(
        vec![
            ("broken".into(), Ok(br#"{"auths": {"quay.io": {"auth": 5secret}}}"#.to_vec())),
            ("closed".into(), Err("Permission denied".into())),
            ("placeholder".into(), Ok(br#"{"auths": {"quay.io": {}}}"#.to_vec())),
            ("other".into(), file("docker.io")),
            ("right".into(), file("quay.io")),
            ("late".into(), file("quay.io/a")),
        ],
        &reference,
    );
    assert_eq!(chosen.file.as_ref().unwrap().0, "right");
    assert_eq!(chosen.warnings.len(), 2);
    assert!(chosen.warnings[0].contains("broken"), "{chosen:?}");
    assert!(!format!("{chosen:?}").contains("secret"), "{chosen:?}");
    assert!(choose(Vec::new(), &reference).file.is_none());
}

#[test]
fn candidates_stand_in_the_documented_order() {
    let found = candidates(Some("/etc/my.json"), Some(Path::new("/conf.json")), Path::new("/new"));
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "/new/etc/my.json",
            "/etc/my.json",
            "/conf.json",
            "/run/ostree/auth.json",
            "/etc/ostree/auth.json",
            "/new/etc/ostree/auth.json",
            "/new/usr/lib/ostree/auth.json",
        ]
    );
}

#[test]
fn files_are_read_inside_their_root() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/ostree")).unwrap();
    std::fs::create_dir_all(root.path().join("usr/lib/ostree")).unwrap();
    let content = FILLED.replace("KEY", "quay.io");
    std::fs::write(root.path().join("usr/lib/ostree/auth.json"), &content).unwrap();
    // Absolute: inside the root it still leads to the file above.
    std::os::unix::fs::symlink(
        "/usr/lib/ostree/auth.json",
        root.path().join("etc/ostree/auth.json"),
    )
    .unwrap();
    let files = [
        AuthFile::InRoot { root: root.path().into(), path: "etc/none.json".into() },
        AuthFile::InRoot { root: root.path().into(), path: "etc/ostree/auth.json".into() },
    ];
    let chosen = gather(&files, &Reference::parse("quay.io/a/b:1").unwrap());
    let (name, text) = chosen.file.unwrap();
    assert!(name.ends_with("etc/ostree/auth.json"));
    assert_eq!(text, content.as_bytes());
    let host = [AuthFile::Host(root.path().join("usr/lib/ostree/auth.json"))];
    assert!(gather(&host, &Reference::parse("quay.io/a/b:1").unwrap()).file.is_some());
}

#[test]
fn creds_become_an_auth_file() {
    let reference = Reference::parse("localhost:5000/x:1").unwrap();
    let text = auth_file_of(&Secret::new("user:pa:ss"), &reference).unwrap();
    assert_eq!(text, br#"{"auths":{"localhost:5000":{"auth":"dXNlcjpwYTpzcw=="}}}"#);
    assert!(has_entry(&text, &reference).unwrap());
    for bad in ["user", ":pass", ""] {
        let refusal = auth_file_of(&Secret::new(bad), &reference).unwrap_err();
        assert_eq!(refusal.kind, Kind::Unsupported);
    }
}
