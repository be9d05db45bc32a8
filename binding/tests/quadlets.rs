//! What a Quadlet means, alone in the search path.
mod support;

use support::{CONTAINER, IMAGE, Tree};

fn check(table: &[(&str, &str, &str)]) {
    for (name, text, want) in table {
        let tree = Tree::new().bound(name, text);
        assert_eq!(tree.show(), *want, "{name}: {text}");
    }
}

#[test]
fn images() {
    let ok = "x.container quay.io/a/b:1 [x.service]";
    check(&[
        ("x.container", CONTAINER, ok),
        ("x.container", "[Container]\r\nImage=quay.io/a/b:1\r\n", ok),
        (
            "x.container",
            "[Container]\nImage=quay.io/a/ \\\n# c\n\nb:1\n",
            "bad-reference USR/x.container:2",
        ),
        ("x.container", "[Container]\nImage=quay.io/a/\\\n# c\n\nb:1\n", ok),
        ("x.container", "[Container]\nImage=\"quay.io/a/b:1\"\n", ok),
        (
            "x.container",
            "[Container]\nImage=\"quay.io/a/b:1\n",
            &format!("{ok}\nambiguous-quotes USR/x.container:2"),
        ),
        (
            "x.container",
            "[Container]\nImage=quay.io/x\nImage=quay.io/a/b:1\n",
            &format!("{ok}\nrepeated-key USR/x.container:3"),
        ),
        ("x.container", "[Container]\nImage=quay.io/x\nImage=\nImage=quay.io/a/b:1\n", ok),
        ("x.container", "[Container]\nImage=quay.io/a/b:1\n[Unit]\nA=b\n[Container]\nExec=x\n", ok),
        ("x.container", "[Container]\nImage=quay.io/a/b:1\nImage=\n", "no-image USR/x.container:3"),
        ("x.container", "[Container]\n", "no-image USR/x.container"),
        ("x.container", "", "no-image USR/x.container"),
        ("x.container", "[Image]\nImage=quay.io/a/b:1\n", "no-image USR/x.container"),
        ("x.container", "[Container]\nRootfs=/x\n", "rootfs USR/x.container:2"),
        ("x.container", "[Container]\nImage=quay.io/a\nRootfs=/x\n", "refused USR/x.container:3"),
        (
            "x.container",
            "[Container]\nImage=quay.io/a \\\n# gone\n",
            "no-image USR/x.container\nlost-line USR/x.container:2",
        ),
        ("x.container", "[Container]\nImage=nginx\n", "short-name USR/x.container:2"),
        ("x.container", "[Container]\nImage=oci:/x\n", "transport USR/x.container:2"),
        ("x.container", "[Container]\nImage=quay.io/%p\n", "specifier USR/x.container:2"),
        ("x.container", "[Container]\nImage=quay.io/a%%b\n", "bad-reference USR/x.container:2"),
        ("x.container", "[Container]\nImage=quay.io/a%\n", "specifier USR/x.container:2"),
        ("x.container", "[Container]\nImage=%p.image\n", "specifier USR/x.container:2"),
        ("x.container", "[Container]\nImage=y.build\n", "build-image USR/x.container:2"),
        ("x.container", "[Container]\nImage=y.image\n", "quadlet-not-found USR/x.container:2"),
        (
            "x.container",
            "[Container]\nImage=quay.io/y.image\n",
            "quadlet-not-found USR/x.container:2",
        ),
        ("x.container", "Image=quay.io/a\n[Container]\n", "syntax USR/x.container:1"),
        ("x.container", "[Container]\nImage=quay.io/a\nwhat\n", "syntax USR/x.container:3"),
        (
            "x.container",
            "[Container]\nImage=quay.io/a/b:1\nTypo=1\n",
            &format!("{ok}\nunknown-key USR/x.container:3"),
        ),
        (
            "x.container",
            "[Container]\nImage=quay.io/a/b:1\n[Service]\nType=simple\n",
            &format!("{ok}\nrefused USR/x.container:4"),
        ),
        (
            "x.container",
            "[Container]\nImage=quay.io/a/b:1\nPod=p.pod\nNetwork=n.network:ip=1\nVolume=v.volume:/v\nVolume=/v:/v\n",
            &format!(
                "{ok}\nrefused USR/x.container:3\nrefused USR/x.container:4\nrefused USR/x.container:5"
            ),
        ),
        ("x.image", IMAGE, "x.image quay.io/a/b:1 [x-image.service]"),
        ("x.image", "[Image]\nImage=y.image\n", "image-chain USR/x.image:2"),
        ("x.image", "[Image]\nImage=y.build\n", "build-image USR/x.image:2"),
        (
            "x.image",
            "[Image]\nImage=quay.io/y.image\n",
            "x.image quay.io/y.image:latest [x-image.service]",
        ),
        (
            "x.image",
            "[Image]\nImage=quay.io/a\nImageTag=localhost/b:2\n",
            "x.image quay.io/a:latest as localhost/b:2 [x-image.service]",
        ),
        (
            "x.image",
            "[Image]\nImage=quay.io/a\nImageTag=quay.io/a:latest\n",
            "x.image quay.io/a:latest [x-image.service]",
        ),
        (
            "x.image",
            "[Image]\nImage=a\nImageTag=b\n",
            "short-name USR/x.image:2\nshort-name USR/x.image:3",
        ),
    ]);
}

#[test]
fn services() {
    check(&[
        ("a.b.container", CONTAINER, "a.b.container quay.io/a/b:1 [a.b.service]"),
        (
            "x.container",
            "[Container]\nImage=quay.io/a/b:1\nServiceName=web\n",
            "x.container quay.io/a/b:1 [web.service]",
        ),
        (
            "x.container",
            "[Container]\nImage=quay.io/a/b:1\nServiceName=\n",
            "x.container quay.io/a/b:1 []\nservice-name USR/x.container:3",
        ),
        (
            "x.container",
            "[Container]\nImage=quay.io/a/b:1\nServiceName=a/b\n",
            "x.container quay.io/a/b:1 []\nservice-name USR/x.container:3",
        ),
        ("x@.container", CONTAINER, "x@.container quay.io/a/b:1 [x@.service]"),
        (
            "x@.container",
            "[Container]\nImage=quay.io/a/b:1\n[Install]\nDefaultInstance=one\n",
            "x@.container quay.io/a/b:1 [x@.service x@one.service]",
        ),
        ("x@y.container", CONTAINER, "x@y.container quay.io/a/b:1 [x@y.service]"),
        (
            "x@.image",
            IMAGE,
            "x@.image quay.io/a/b:1 [x-image@.service x@-image.service]\ntemplate-name USR/x@.image",
        ),
        ("x@y.image", IMAGE, "x@y.image quay.io/a/b:1 [x@y-image.service]"),
        (
            "x.image",
            "[Image]\nImage=quay.io/a/b:1\nServiceName=pull\n",
            "x.image quay.io/a/b:1 [pull.service]",
        ),
    ]);
}

#[test]
fn required() {
    let ok = "x.container quay.io/a/b:1";
    for (text, want) in [
        ("Required=no", format!("{ok} optional [x.service]")),
        ("Required=OFF", format!("{ok} optional [x.service]")),
        ("Required=yes", format!("{ok} [x.service]")),
        ("Required=", format!("{ok} [x.service]")),
        ("Required=maybe", format!("{ok} [x.service]\nbad-boolean USR/x.container:4")),
        ("Requires=no", format!("{ok} [x.service]\nunknown-binding-key USR/x.container:4")),
    ] {
        let tree =
            Tree::new().bound("x.container", &format!("{CONTAINER}[X-BoundImage]\n{text}\n"));
        assert_eq!(tree.show(), want, "{text}");
    }
}

#[test]
fn pull_options() {
    let tree = Tree::new().bound(
        "x.image",
        "[Image]\nImage=quay.io/a\nAuthFile=/a\nCertDir=/c\nCreds=u:p\nDecryptionKey=/one\n\
         DecryptionKey=/two\nTLSVerify=no\nOS=linux\nArch=arm64\nVariant=v8\nAllTags=no\n",
    );
    let read = tree.read();
    assert!(read.findings.is_empty(), "{:?}", read.findings);
    let pull = &read.bindings[0].pull;
    assert_eq!(pull.auth_file.as_deref(), Some("/a"));
    assert_eq!(pull.cert_dir.as_deref(), Some("/c"));
    assert_eq!(pull.creds.as_ref().unwrap().expose(), "u:p");
    assert_eq!(pull.decryption_keys.len(), 1);
    assert_eq!(pull.decryption_keys[0].expose(), "/two");
    assert_eq!(pull.tls_verify, Some(false));
    assert_eq!(pull.platform(&binding::Platform::host()).to_string(), "linux/arm64");
    let ok = "x.image quay.io/a/b:1 [x-image.service]";
    for (text, want) in [
        ("Retry=3\nRetryDelay=5s", "unknown-key 3|unknown-key 4"),
        ("Retry=many", "unknown-key 3|bad-pull-option 3"),
        ("RetryDelay=soon", "unknown-key 3|bad-pull-option 3"),
        ("AllTags=true", "all-tags 3"),
        ("TLSVerify=maybe", "bad-boolean 3"),
        ("TLSVerify=", "bad-boolean 3"),
        ("Policy=always", "unknown-key 3|pull-policy 3"),
        ("Policy=missing", "unknown-key 3"),
        ("PodmanArgs=--arch=arm64 --tls-verify false", "pull-arguments 3|pull-arguments 3"),
        ("GlobalArgs=--log-level debug", ""),
    ] {
        let tree = Tree::new().bound("x.image", &format!("{IMAGE}{text}\n"));
        let mut want: Vec<String> = want
            .split('|')
            .filter(|part| !part.is_empty())
            .map(|part| part.replace(' ', " USR/x.image:"))
            .collect();
        let show = tree.show();
        let mut got: Vec<&str> = show.lines().skip(1).collect();
        assert_eq!(show.lines().next(), Some(ok));
        got.sort_unstable();
        want.sort_unstable();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn what_hides_the_store_or_changes_the_image() {
    let bootc = "GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage";
    for (text, code, fix) in [
        (bootc, "store-hidden", "/usr/lib/containers/storage in place of /usr/lib/bootc/storage"),
        ("GlobalArgs=--storage-opt ignore_chown_errors=true", "store-hidden", "add --storage-opt"),
        ("GlobalArgs=\"--root\" /x", "store-hidden", "remove it"),
        ("GlobalArgs=--module=x.conf", "store-hidden", "remove it"),
        ("GlobalArgs=-r", "store-hidden", "remove it"),
        ("PodmanArgs=--imagestore=/x", "store-hidden", "remove it"),
        ("ContainersConfModule=/etc/x.conf", "store-hidden", "module"),
        ("Pull=newer", "pull-policy", "missing or never"),
        ("PodmanArgs=--pull=always", "pull-always", "missing or never"),
        ("AutoUpdate=registry", "auto-update", "remove the line"),
        ("PodmanArgs=--platform linux/arm64", "pull-arguments", ".image"),
        ("PodmanArgs=--rootfs", "pull-arguments", "remove"),
        ("GlobalArgs=--storage-opt additionalimagestore=/usr/lib/containers/storage", "", ""),
        (
            "GlobalArgs=--storage-opt a=b --storage-opt overlay.imagestore=/x,/usr/lib/containers/storage/",
            "",
            "",
        ),
        ("PodmanArgs=-c 512 -r", "", ""),
        ("PodmanArgs=--storage-opt=x\nPodmanArgs=", "", ""),
        ("Pull=missing", "", ""),
        ("AutoUpdate=local", "", ""),
        ("AutoUpdate=disabled", "", ""),
        ("Label=a=b \"io.containers.autoupdate=registry\"", "auto-update", "remove the line"),
    ] {
        let read = Tree::new().bound("x.container", &format!("{CONTAINER}{text}\n")).read();
        assert_eq!(read.bindings.len(), 1, "{text}");
        assert!(!read.has_errors(), "{text}");
        match read.findings.as_slice() {
            [] => assert_eq!(code, "", "{text}"),
            [one] => {
                assert_eq!(one.code.as_str(), code, "{text}: {one}");
                assert_eq!(one.subject.as_deref(), Some("x.service"), "{text}");
                assert_eq!(one.place.line, Some(3), "{text}");
                assert!(one.fix.contains(fix), "{one}");
            }
            more => panic!("{text}: {more:?}"),
        }
    }
}

#[test]
fn files_that_are_not_text() {
    let path = "usr/share/containers/systemd/x.image";
    let tree = Tree::new().bound("x.image", "").file(path, b"[Image]\nImage=\xff\n");
    assert_eq!(tree.show(), "not-utf8 USR/x.image:2");
    let tree = Tree::new().bound("x.image", "").file(path, vec![b'\n'; (1 << 20) + 1]);
    assert_eq!(tree.show(), "too-large USR/x.image");
}

#[test]
fn a_user_of_a_bound_image_that_podman_refuses_is_told_of() {
    let tree = Tree::new()
        .bound("base.image", IMAGE)
        .quadlet("app.container", "[Container]\nImage=base.image\nNonsense=1\n")
        .quadlet("other.container", "[Container]\nImage=base.image\n[Service]\nType=forking\n")
        .quadlet("apart.container", "[Container]\nImage=quay.io/a/c:1\nNonsense=1\n");
    let read = tree.read();
    // The image is fetched for nothing, which is no reason to refuse the root.
    assert!(!read.has_errors(), "{:?}", read.findings);
    assert!(
        tree.show().ends_with("unknown-key USR/app.container:3\nrefused USR/other.container:4")
    );
}

#[test]
fn a_file_whose_name_is_no_service_s_is_refused() {
    for (name, wanted) in [
        ("a b.container", "service-name USR/a b.container"),
        ("ü.image", "service-name USR/ü.image"),
        ("a:b_c.d@e.container", "a:b_c.d@e.container quay.io/a/b:1 [a:b_c.d@e.service]"),
    ] {
        let text = if name.ends_with("image") { IMAGE } else { CONTAINER };
        let shown = Tree::new().bound(name, text).show();
        assert!(shown.ends_with(wanted), "{name}: {shown}");
    }
}
