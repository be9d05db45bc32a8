use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn amd64() -> Platform {
    Platform { os: "linux".into(), architecture: "amd64".into(), variant: None }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

fn parse(value: &Value) -> Result<Manifest, Refusal> {
    parse_manifest(value.to_string().as_bytes())
}

#[test]
fn types_are_told_by_media_type_or_shape() {
    let config = descriptor(DOCKER_CONFIG, b"{}");
    let oci = descriptor(OCI_CONFIG, b"{}");
    let table = [
        (json!({"schemaVersion": 2, "config": config, "layers": []}), DOCKER_MANIFEST),
        (json!({"schemaVersion": 2, "config": oci, "layers": []}), OCI_MANIFEST),
        (json!({"schemaVersion": 2, "config": oci, "layers": null}), OCI_MANIFEST),
        (json!({"schemaVersion": 2, "manifests": []}), OCI_INDEX),
        (json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": []}), DOCKER_LIST),
        (
            json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config}),
            DOCKER_MANIFEST,
        ),
    ];
    for (value, expected) in table {
        let (Manifest::List { media_type, .. } | Manifest::Image { media_type, .. }) =
            parse(&value).unwrap();
        assert_eq!(media_type, expected, "{value}");
    }
}

#[test]
fn what_is_not_an_image_is_refused_with_its_reason() {
    let config = descriptor(OCI_CONFIG, b"{}");
    let table = [
        (json!({"schemaVersion": 1, "fsLayers": []}), Kind::Unsupported, "schema 1"),
        (
            json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws", "config": config}),
            Kind::Unsupported,
            "schema 1",
        ),
        (json!({"schemaVersion": 2, "manifests": [], "config": config}), Kind::Corrupt, "at once"),
        (json!({"schemaVersion": 2, "manifests": [], "layers": []}), Kind::Corrupt, "at once"),
        (json!({"schemaVersion": 3, "manifests": []}), Kind::Corrupt, "schemaVersion"),
        (json!({"manifests": []}), Kind::Corrupt, "schemaVersion"),
        (json!({"schemaVersion": 2}), Kind::Unsupported, "neither"),
        (
            json!({"schemaVersion": 2, "mediaType": "text/html", "config": config}),
            Kind::Unsupported,
            "text/html",
        ),
        (
            json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "manifests": []}),
            Kind::Unsupported,
            "list",
        ),
        (
            json!({"schemaVersion": 2, "config": {"digest": "sha512:aa", "size": 1}}),
            Kind::Unsupported,
            "sha256",
        ),
        (
            json!({"schemaVersion": 2, "config": {"digest": Digest::of(b""), "size": -1}}),
            Kind::Corrupt,
            "read",
        ),
        (json!([]), Kind::Corrupt, "read"),
    ];
    for (value, kind, part) in table {
        let refusal = parse(&value).unwrap_err();
        assert_eq!(refusal.kind, kind, "{value}: {refusal:?}");
        assert!(refusal.why.contains(part), "{value}: {refusal:?}");
    }
    let large = vec![b' '; MAX_MANIFEST as usize + 1];
    assert_eq!(parse_manifest(&large).unwrap_err().kind, Kind::Unsupported);
    let deep = "[".repeat(1_000_000);
    assert_eq!(parse_manifest(deep.as_bytes()).unwrap_err().kind, Kind::Corrupt);
}

#[test]
fn layer_types() {
    for (text, expected) in [
        ("application/vnd.oci.image.layer.v1.tar", Compression::None),
        (OCI_GZIP, Compression::Gzip),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
    ] {
        assert_eq!(parse_layer_type(text).unwrap(), expected);
    }
    for (text, part) in [
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "foreign"),
        ("application/vnd.cncf.helm.chart", "unknown"),
        ("", "unknown"),
    ] {
        let refusal = parse_layer_type(text).unwrap_err();
        assert_eq!(refusal.kind, Kind::Unsupported);
        assert!(refusal.why.contains(part), "{text}: {}", refusal.why);
    }
}

/// Parts of an image with the given config and count of layers.
fn parts(config: &Value, count: usize) -> Parts {
    let config = config.to_string().into_bytes();
    let layer = json!({"mediaType": OCI_GZIP, "digest": Digest::of(b"l"), "size": 1});
    let text = json!({"schemaVersion": 2, "config": descriptor(OCI_CONFIG, &config),
                      "layers": vec![layer; count]});
    let bytes = text.to_string().into_bytes();
    let Manifest::Image { media_type, config: config_descriptor, layers } =
        parse_manifest(&bytes).unwrap()
    else {
        panic!("an image")
    };
    let manifest = RawManifest { digest: Digest::of(&bytes), media_type, bytes };
    Parts { list: None, manifest, config_descriptor, layers, config }
}

fn config(os: &str, architecture: &str, diff_ids: usize) -> Value {
    json!({"os": os, "architecture": architecture, "created": "2026-01-01T00:00:00Z",
           "rootfs": {"type": "layers", "diff_ids": vec![Digest::of(b"t"); diff_ids]}})
}

#[test]
fn a_whole_image_is_assembled() {
    let image = assemble(parts(&config("linux", "amd64", 2), 2), &amd64()).unwrap();
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.layers[0].diff_id, Digest::of(b"t"));
    assert_eq!(image.config_digest, Digest::of(&image.config));
    assert_eq!(image.created.as_deref(), Some("2026-01-01T00:00:00Z"));
    for empty in [json!({}), json!({"rootfs": null}), json!({"rootfs": {"diff_ids": null}})] {
        assert!(assemble(parts(&empty, 0), &amd64()).unwrap().layers.is_empty());
    }
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    type Change = fn(&mut Parts);
    let table: [(Value, usize, Change, Kind, &str); 8] = [
        (config("linux", "amd64", 1), 2, |_| {}, Kind::Corrupt, "2 layers but its config 1"),
        (config("linux", "amd64", 501), 501, |_| {}, Kind::Unsupported, "501 layers"),
        (config("linux", "arm64", 1), 1, |_| {}, Kind::Platform, "linux/arm64, not linux/amd64"),
        (config("windows", "amd64", 1), 1, |_| {}, Kind::Platform, "another platform"),
        (config("", "", 1), 1, |parts| parts.config.push(b' '), Kind::Corrupt, "bytes"),
        (config("", "", 1), 1, |parts| parts.config[0] = b' ', Kind::Corrupt, "digest"),
        (
            config("", "", 0),
            0,
            |parts| parts.config_descriptor.media_type = Some("x/y".into()),
            Kind::Unsupported,
            "artifact",
        ),
        (
            config("", "", 0),
            0,
            |parts| parts.config_descriptor.size = MAX_CONFIG + 1,
            Kind::Unsupported,
            "larger",
        ),
    ];
    for (config, layers, change, kind, part) in table {
        let mut parts = parts(&config, layers);
        change(&mut parts);
        let refusal = assemble(parts, &amd64()).unwrap_err();
        assert_eq!(refusal.kind, kind, "{refusal:?}");
        assert!(refusal.why.contains(part), "{refusal:?}");
    }
}

#[test]
fn in_a_list_the_list_says_what_the_platform_is() {
    let mut parts = parts(&config("linux", "arm64", 0), 0);
    parts.list = Some(parts.manifest.clone());
    assert!(assemble(parts, &amd64()).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        // Only that it returns matters here.
        let _ignored = parse_manifest(&bytes).is_ok();
    }

    #[test]
    fn changed_manifests_never_panic(at in 0usize..200, with in any::<u8>()) {
        let mut bytes = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, b"{}"), "layers": [descriptor(OCI_GZIP, b"l")]})
            .to_string().into_bytes();
        if let Some(byte) = bytes.get_mut(at) { *byte = with; }
        let _ignored = parse_manifest(&bytes).is_ok();
    }
}
