use proptest::prelude::*;

use super::*;

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn normalises() {
    let pinned = format!("quay.io/a/b@sha256:{HEX}");
    let both = format!("quay.io/a/b:v1@sha256:{HEX}");
    let table = [
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/library/nginx:1", "docker.io/library/nginx:1"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker://quay.io/a/b", "quay.io/a/b:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y"),
        ("host:5000/x", "host:5000/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("Quay.IO/a/b", "Quay.IO/a/b:latest"),
        ("quay.io/a__b/c.d-e---f_g", "quay.io/a__b/c.d-e---f_g:latest"),
        ("quay.io/a/b:V1.2_x-y", "quay.io/a/b:V1.2_x-y"),
        ("quay.io/a/b.image", "quay.io/a/b.image:latest"),
        (&pinned, &pinned),
        (&both, &both),
    ];
    for (text, want) in table {
        let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reference.to_string(), want);
    }
}

#[test]
fn parts() {
    let reference = Reference::parse(&format!("host:5000/a/b:v1@sha256:{HEX}")).unwrap();
    assert_eq!(reference.registry(), "host:5000");
    assert_eq!(reference.repository(), "host:5000/a/b");
    assert_eq!(reference.tag(), Some("v1"));
    assert!(reference.is_pinned());
    assert_eq!(reference.stored_name(), format!("host:5000/a/b@sha256:{HEX}"));
    let reference = Reference::parse("docker.io/nginx").unwrap();
    assert_eq!(reference.stored_name(), "docker.io/library/nginx:latest");
    assert_eq!(
        reference.with_digest(Digest::of(b"abc")),
        format!("docker.io/library/nginx@sha256:{HEX}")
    );
}

#[test]
fn refuses() {
    let sha512 = format!("quay.io/a@sha512:{HEX}{HEX}");
    let upper = format!("quay.io/a@sha256:{}", HEX.to_uppercase());
    let short = format!("quay.io/a@sha256:{}", &HEX[1..]);
    let (id, id_upper) = (format!("sha256:{HEX}"), HEX.to_uppercase());
    let long_tag = format!("quay.io/a:{}", "t".repeat(129));
    let long_name = format!("quay.io/{}", "n".repeat(250));
    let table = [
        ("nginx", "short-name"),
        ("nginx:1.2", "short-name"),
        ("library/nginx", "short-name"),
        ("Foo/nginx", "short-name"),
        ("docker-archive:/x.tar", "transport"),
        ("oci:/x", "transport"),
        ("oci-archive:x", "transport"),
        ("dir:/x", "transport"),
        ("containers-storage:quay.io/x", "transport"),
        ("https://quay.io/x", "transport"),
        (HEX, "image-id"),
        (&id, "image-id"),
        (&id_upper, "image-id"),
        (&sha512, "digest-algorithm"),
        (&upper, "bad-reference"),
        (&short, "bad-reference"),
        ("quay.io/A/b", "bad-reference"),
        ("quay.io/", "bad-reference"),
        ("quay.io//a", "bad-reference"),
        ("quay.io/a/", "bad-reference"),
        ("quay.io/-a", "bad-reference"),
        ("quay.io/a___b", "bad-reference"),
        ("quay.io/a..b", "bad-reference"),
        ("quay.io/a.-b", "bad-reference"),
        ("quay.io/a:", "bad-reference"),
        ("quay.io/a:-x", "bad-reference"),
        ("quay.io/a@", "bad-reference"),
        ("quay.io/a b", "bad-reference"),
        ("quay.io:/a", "bad-reference"),
        ("quay.io:port/a", "bad-reference"),
        ("quay..io/a", "bad-reference"),
        ("-quay.io/a", "bad-reference"),
        ("quay.io/${X}", "bad-reference"),
        ("quay.io/ä", "bad-reference"),
        ("", "bad-reference"),
        (&long_tag, "bad-reference"),
        (&long_name, "bad-reference"),
    ];
    for (text, code) in table {
        let error = Reference::parse(text).expect_err(text);
        assert_eq!(error.code().as_str(), code, "{text}: {error}");
    }
}

#[test]
fn a_short_name_is_told_its_full_one() {
    let error = Reference::parse("nginx:1").unwrap_err();
    assert!(error.fix().contains("docker.io/library/nginx:1"), "{}", error.fix());
    let error = Reference::parse("no such").unwrap_err();
    assert!(!error.fix().contains("no such"), "{}", error.fix());
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,80}") {
        if let Err(error) = Reference::parse(&text) {
            prop_assert!(!error.to_string().is_empty() && !error.fix().is_empty());
        }
    }

    #[test]
    fn what_is_printed_parses_to_the_same(
        host in "[a-z][a-z0-9]{0,8}\\.[a-z]{2,3}(:[0-9]{1,5})?",
        path in "[a-z0-9]{1,6}([._-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}){0,3}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        pinned in any::<bool>(),
    ) {
        let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
        let digest = if pinned { format!("@{}", Digest::of(path.as_bytes())) } else { String::new() };
        let reference = Reference::parse(&format!("{host}/{path}{tag}{digest}")).unwrap();
        prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
        prop_assert_eq!(reference.is_pinned(), pinned);
        let json = serde_json::to_string(&reference).unwrap();
        prop_assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
    }
}
