//! The record of a store, the names in it, and conflicts between bindings.
#![allow(clippy::unwrap_used, reason = "what cannot be made fails the test")]
mod support;

use binding::{
    Mismatch, Platform, Record, RecordBinding, RecordLayer, Reference, Resolved, check_conflicts,
    plan_names,
};
use oci_digest::Digest;
use proptest::prelude::*;
use support::Tree;

fn amd64() -> Platform {
    Platform { os: "linux".into(), architecture: "amd64".into(), variant: None }
}

fn entry(name: &str, reference: &str) -> RecordBinding {
    RecordBinding {
        name: name.into(),
        reference: Reference::parse(reference).unwrap(),
        alias: None,
        platform: amd64(),
        required: true,
        present: true,
        list: None,
        manifest: Some(Digest::of(b"m")),
        image: Some(Digest::of(b"i").hex()),
        layers: vec![RecordLayer {
            diff_id: Digest::of(b"d"),
            size: 7,
            id: Digest::of(b"l").hex(),
        }],
    }
}

#[test]
fn the_canonical_text() {
    let mut absent = entry("a.image", "quay.io/a");
    absent.present = false;
    absent.required = false;
    absent.manifest = None;
    absent.image = None;
    absent.layers.clear();
    let record = Record::new(vec![entry("b.image", "quay.io/b:1"), absent]);
    let text = String::from_utf8(record.canonical()).unwrap();
    let (m, i) = (Digest::of(b"m"), Digest::of(b"i").hex());
    let (d, l) = (Digest::of(b"d"), Digest::of(b"l").hex());
    let platform = r#""platform":{"os":"linux","architecture":"amd64"}"#;
    assert_eq!(
        text,
        format!(
            "{{\"schema\":1,\"bindings\":[{{\"name\":\"a.image\",\"reference\":\"quay.io/a:latest\",{platform},\"required\":false,\"present\":false}},\
             {{\"name\":\"b.image\",\"reference\":\"quay.io/b:1\",{platform},\"required\":true,\"present\":true,\
             \"manifest\":\"{m}\",\"image\":\"{i}\",\"layers\":[{{\"diff_id\":\"{d}\",\"size\":7,\"id\":\"{l}\"}}]}}]}}\n"
        )
    );
    assert_eq!(record.store_id(), Digest::of(text.as_bytes()).hex());
    let mut swapped = record.clone();
    swapped.bindings.reverse();
    assert_eq!(swapped.store_id(), record.store_id());
    assert_eq!(Record::parse(text.as_bytes()).unwrap(), swapped);
}

#[test]
fn newer_records_are_read_and_wrong_ones_refused() {
    let record = Record::new(vec![entry("a.image", "quay.io/a")]);
    let text = String::from_utf8(record.canonical()).unwrap();
    let newer = text
        .replace("\"schema\":1", "\"schema\":9,\"later\":[1]")
        .replace("\"present\"", "\"also\":{},\"present\"");
    let parsed = Record::parse(newer.as_bytes()).unwrap();
    assert_eq!((parsed.schema, parsed.bindings), (9, record.bindings.clone()));
    let twice = Record::new(vec![record.bindings[0].clone(), record.bindings[0].clone()]);
    let id = Digest::of(b"i").hex();
    for bad in [
        "".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        text.replace("\"schema\":1", "\"schema\":0"),
        text.replace(&id, "../../etc/passwd"),
        text.replace(&Digest::of(b"l").hex(), "/"),
        text.replace("quay.io/a:latest", "nginx"),
        String::from_utf8(twice.canonical()).unwrap(),
    ] {
        assert!(Record::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn mismatches() {
    let bindings = Tree::new()
        .bound("a.image", "[Image]\nImage=quay.io/a\n")
        .bound("b.image", "[Image]\nImage=quay.io/b:2\nImageTag=localhost/b\nArch=arm64\n[X-BoundImage]\nRequired=no\n")
        .bound("new.image", "[Image]\nImage=quay.io/n\n")
        .read();
    let record = Record::new(vec![
        entry("a.image", "quay.io/a"),
        entry("b.image", "quay.io/b:1"),
        entry("old.image", "quay.io/o"),
    ]);
    let got: Vec<String> =
        record.matches(&bindings, &amd64()).iter().map(ToString::to_string).collect();
    assert_eq!(
        got,
        [
            "b.image: reference is quay.io/b:2, the record says quay.io/b:1",
            "b.image: ImageTag is localhost/b:latest, the record says none",
            "b.image: platform is linux/arm64, the record says linux/amd64",
            "b.image: Required is no, the record says yes",
            "new.image is bound but not in the record",
            "old.image is in the record but not bound",
        ]
    );
    let same = Record::new(vec![entry("a.image", "quay.io/a")]);
    let one = Tree::new().bound("a.image", "[Image]\nImage=quay.io/a\n").read();
    assert_eq!(same.matches(&one, &amd64()), Vec::<Mismatch>::new());
}

fn resolved(binding: &str, reference: &str, image: &str, manifest: &str) -> Resolved {
    Resolved {
        binding: binding.into(),
        place: binding::Place::line(binding, 2),
        reference: Reference::parse(reference).unwrap(),
        alias: None,
        platform: amd64(),
        list: None,
        manifest: Digest::of(manifest.as_bytes()),
        image: Digest::of(image.as_bytes()).hex(),
    }
}

/// `names | manifests | lists` of each image, or the codes of the findings.
fn plan(resolved: &[Resolved]) -> String {
    match plan_names(resolved) {
        Ok(images) => {
            let mut lines: Vec<String> = images
                .iter()
                .map(|i| format!("{} {} {}", i.names.join(","), i.manifests.len(), i.lists.len()))
                .collect();
            lines.sort();
            lines.join("; ")
        }
        Err(findings) => {
            let codes: Vec<String> =
                findings.iter().map(|f| format!("{} {}", f.code, f.place.file)).collect();
            codes.join("; ")
        }
    }
}

#[test]
fn names() {
    let (m, list) = (Digest::of(b"m"), Digest::of(b"list"));
    let pin = |digest: Digest| format!("quay.io/a:1@{digest}");
    let by_list = Resolved { list: Some(list), ..resolved("l", &pin(list), "i", "m") };
    let alias = |name: &str, one: Resolved| Resolved {
        alias: Some(Reference::parse(name).unwrap()),
        ..one
    };
    let arm = Platform { architecture: "arm64".into(), ..amd64() };
    let table: Vec<(Vec<Resolved>, String)> = vec![
        (vec![], String::new()),
        (vec![resolved("a", "quay.io/a", "i", "m")], "quay.io/a:latest 1 0".into()),
        (vec![resolved("a", &pin(m), "i", "m")], format!("quay.io/a@{m} 1 0")),
        (vec![by_list.clone()], format!("quay.io/a@{list} 1 1")),
        (
            vec![resolved("a", "quay.io/a:1", "i", "m"), by_list.clone()],
            format!("quay.io/a:1,quay.io/a@{list} 1 1"),
        ),
        // One image by two manifests: one record with both.
        (
            vec![resolved("a", "quay.io/a:1", "i", "m"), resolved("b", "ghcr.io/a:1", "i", "n")],
            "ghcr.io/a:1,quay.io/a:1 2 0".into(),
        ),
        (
            vec![resolved("a", "quay.io/a:1", "i", "m"), resolved("b", "quay.io/b", "j", "n")],
            "quay.io/a:1 1 0; quay.io/b:latest 1 0".into(),
        ),
        (
            vec![resolved("a", "quay.io/a:1", "i", "m"), resolved("b", "quay.io/a:1", "j", "n")],
            "name-conflict b".into(),
        ),
        (
            vec![alias("localhost/x", resolved("a", "quay.io/a:1", "i", "m"))],
            "localhost/x:latest,quay.io/a:1 1 0".into(),
        ),
        (
            vec![
                alias("localhost/x", resolved("a", "quay.io/a:1", "i", "m")),
                alias("localhost/x", resolved("b", "quay.io/b:1", "j", "n")),
            ],
            "name-conflict b".into(),
        ),
        (vec![resolved("a", &pin(Digest::of(b"z")), "i", "m")], "digest-mismatch a".into()),
        (
            vec![
                resolved("a", "quay.io/a:1", "i", "m"),
                Resolved { platform: arm, ..resolved("b", "quay.io/a:1", "j", "n") },
            ],
            "two-platforms b".into(),
        ),
    ];
    for (mut input, want) in table {
        assert_eq!(plan(&input), want);
        input.reverse();
        assert_eq!(plan(&input), want, "whatever the order");
    }
}

#[test]
fn conflicts_before_fetching() {
    let bindings = Tree::new()
        .bound("a.image", "[Image]\nImage=quay.io/a\n")
        .bound("b.image", "[Image]\nImage=quay.io/a:latest\nArch=arm64\n")
        .bound("c.image", "[Image]\nImage=quay.io/a:2\nArch=arm64\n")
        .bound("d.image", "[Image]\nImage=quay.io/a\nArch=x86_64\n")
        .read()
        .bindings;
    let findings = check_conflicts(&bindings, &amd64());
    let codes: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 1, "{codes:?}");
    assert!(codes[0].starts_with("error[two-platforms] usr/share/containers/systemd/b.image:2"));
}

proptest! {
    #[test]
    fn no_name_stands_for_two_images(
        picks in proptest::collection::vec((0..4u8, 0..3u8, 0..3u8, proptest::option::of(0..3u8)), 0..8),
    ) {
        let input: Vec<Resolved> = picks
            .iter()
            .enumerate()
            .map(|(index, (repository, image, manifest, alias))| Resolved {
                alias: alias.map(|a| Reference::parse(&format!("localhost/x{a}")).unwrap()),
                ..resolved(
                    &format!("b{index}"),
                    &format!("quay.io/r{repository}"),
                    &image.to_string(),
                    &manifest.to_string(),
                )
            })
            .collect();
        if let Ok(images) = plan_names(&input) {
            let mut names: Vec<&String> = images.iter().flat_map(|image| &image.names).collect();
            let total = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), total);
            prop_assert!(input.iter().all(|one| images.iter().any(|image| image.image == one.image
                && image.manifests.contains(&one.manifest)
                && image.names.contains(&one.reference.stored_name()))));
        }
    }

    #[test]
    fn records_never_panic(text in "\\PC{0,60}") {
        if let Ok(record) = Record::parse(text.as_bytes()) {
            prop_assert!(record.schema > 0);
        }
    }
}
