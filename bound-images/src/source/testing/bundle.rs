use super::super::testing::image::{Sample, describe, index, request, save_blob, save_index};
use super::*;
use crate::source::Source;
use serde_json::{Value, json};

fn named(mut entry: Value, name: &str) -> Value {
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    entry
}

fn open(directory: &Path) -> Source {
    Source::Bundle(Bundle::open(directory).unwrap())
}

async fn layer_bytes(
    source: &Source,
    request: &Request,
    image: &ImageBytes,
    at: usize,
) -> (Vec<u8>, Result<(), SourceError>) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(2);
    let collect = async {
        let mut bytes = Vec::new();
        while let Some(piece) = receiver.recv().await {
            assert!(piece.len() <= PIECE);
            bytes.extend(piece);
        }
        bytes
    };
    let (bytes, result) =
        tokio::join!(collect, source.layer(request, image, &image.layers[at], sender));
    (bytes, result)
}

#[tokio::test]
async fn images_are_found_by_name_and_by_digest_at_any_depth() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (amd64, arm64, docker) =
        (Sample::oci("amd64"), Sample::oci("arm64"), Sample::docker("amd64"));
    for sample in [&amd64, &arm64, &docker] {
        sample.save(at);
    }
    let list = index(&[("arm64", &arm64), ("amd64", &amd64)]);
    save_blob(at, &list);
    let nested =
        json!({"schemaVersion": 2, "manifests": [named(docker.describe(), "quay.io/d/d:1")]});
    let nested = nested.to_string().into_bytes();
    save_blob(at, &nested);
    let mut containerd = docker.describe();
    containerd["annotations"] = json!({"io.containerd.image.name": "docker.io/library/c:latest"});
    save_index(
        at,
        &[
            named(describe(OCI_INDEX, &list), "quay.io/a/b:1"),
            describe(OCI_INDEX, &nested),
            containerd,
            named(amd64.describe(), "latest"),
        ],
    );
    let source = open(at);
    let list_digest = Digest::of(&list);
    let table = [
        ("quay.io/a/b:1".to_owned(), Some(list_digest), &amd64),
        (format!("other/name@{list_digest}").replace("other", "r.io"), Some(list_digest), &amd64),
        (format!("r.io/x:t@{}", amd64.digest()), None, &amd64),
        ("quay.io/d/d:1".to_owned(), None, &docker),
        ("docker.io/library/c".to_owned(), None, &docker),
    ];
    for (reference, list, sample) in table {
        let request = request(&reference);
        let image = source.image(&request).await.unwrap();
        assert_eq!(image.list.as_ref().map(|list| list.digest), list, "{reference}");
        assert_eq!(image.manifest.bytes, sample.manifest);
        assert_eq!(image.manifest.media_type, sample.media_type);
        assert_eq!(image.config, sample.config);
        for (at, layer) in sample.layers.iter().enumerate() {
            let (bytes, result) = layer_bytes(&source, &request, &image, at).await;
            result.unwrap();
            assert_eq!(bytes, *layer);
        }
    }
    let error = source.image(&request("quay.io/no/no:1")).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    for part in ["quay.io/no/no:1", "quay.io/a/b:1", "docker.io/library/c:latest"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let mut pinned = request("quay.io/a/b:1");
    pinned.pin = Some(docker.digest());
    assert_eq!(source.image(&pinned).await.unwrap().manifest.bytes, docker.manifest);
    let single = request(&format!("quay.io/a/b@{}", arm64.digest()));
    assert_eq!(source.image(&single).await.unwrap_err().kind, Kind::Platform);
    let mut other = request("quay.io/a/b:1");
    other.platform.architecture = "s390x".into();
    let error = source.image(&other).await.unwrap_err();
    assert_eq!(error.kind, Kind::Platform);
    assert!(error.to_string().contains("linux/amd64, linux/arm64"), "{error}");
}

#[tokio::test]
async fn one_name_for_two_images_is_chosen_by_platform_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (amd64, arm64) = (Sample::oci("amd64"), Sample::oci("arm64"));
    amd64.save(at);
    arm64.save(at);
    let entry = |sample: &Sample, architecture: Option<&str>| {
        let mut entry = named(sample.describe(), "quay.io/a/b:1");
        if let Some(architecture) = architecture {
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
        }
        entry
    };
    save_index(at, &[entry(&arm64, Some("arm64")), entry(&amd64, Some("amd64"))]);
    let image = open(at).image(&request("quay.io/a/b:1")).await.unwrap();
    assert_eq!(image.manifest.digest, amd64.digest());
    save_index(at, &[entry(&arm64, None), entry(&amd64, None)]);
    let error = open(at).image(&request("quay.io/a/b:1")).await.unwrap_err();
    assert!(error.to_string().contains("2 images carry the name"), "{error}");
    // The same image twice is no question.
    save_index(at, &[entry(&amd64, None), entry(&amd64, None)]);
    open(at).image(&request("quay.io/a/b:1")).await.unwrap();
}

#[tokio::test]
async fn damage_is_told_apart() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage, Kind, &str); 6] = [
        ("missing", |file| std::fs::remove_file(file).unwrap(), Kind::NotFound, "missing"),
        ("truncated", |file| std::fs::write(file, b"x").unwrap(), Kind::Corrupt, "promised"),
        (
            "oversized",
            |file| {
                let mut bytes = std::fs::read(file).unwrap();
                bytes.push(0);
                std::fs::write(file, bytes).unwrap();
            },
            Kind::Corrupt,
            "promised",
        ),
        (
            "wrong",
            |file| {
                let mut bytes = std::fs::read(file).unwrap();
                bytes[0] ^= 1;
                std::fs::write(file, bytes).unwrap();
            },
            Kind::Corrupt,
            "wrong content",
        ),
        (
            "link",
            |file| {
                std::fs::rename(file, file.with_extension("real")).unwrap();
                std::os::unix::fs::symlink(file.with_extension("real"), file).unwrap();
            },
            Kind::Corrupt,
            "symlink",
        ),
        (
            "directory",
            |file| {
                std::fs::remove_file(file).unwrap();
                std::fs::create_dir(file).unwrap();
            },
            Kind::Corrupt,
            "regular file",
        ),
    ];
    let sample = Sample::oci("amd64");
    for (what, damage, kind, part) in damages {
        for (which, bytes) in
            [&sample.manifest, &sample.config, &sample.layers[1]].into_iter().enumerate()
        {
            let directory = tempfile::tempdir().unwrap();
            let at = directory.path();
            sample.save(at);
            save_index(at, &[named(sample.describe(), "quay.io/a/b:1")]);
            let source = open(at);
            let request = request("quay.io/a/b:1");
            let file = at.join("blobs/sha256").join(Digest::of(bytes).hex());
            let error = if which < 2 {
                damage(&file);
                source.image(&request).await.unwrap_err()
            } else {
                let image = source.image(&request).await.unwrap();
                damage(&file);
                layer_bytes(&source, &request, &image, 1).await.1.unwrap_err()
            };
            assert_eq!(error.kind, kind, "{what} {which}: {error}");
            assert!(error.to_string().contains(part), "{what} {which}: {error}");
        }
    }
}

#[test]
fn what_is_no_bundle_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let error = Bundle::open(&at.join("none")).unwrap_err();
    assert_eq!(error.kind, Kind::Io);
    assert_eq!(Bundle::open(at).unwrap_err().kind, Kind::NotFound);
    save_index(at, &[]);
    Bundle::open(at).unwrap();
    std::fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion": "2.0.0"}"#).unwrap();
    assert_eq!(Bundle::open(at).unwrap_err().kind, Kind::Unsupported);
    save_index(at, &[]);
    std::fs::write(at.join("index.json"), "{").unwrap();
    assert_eq!(Bundle::open(at).unwrap_err().kind, Kind::Corrupt);
    // A chain of indexes deeper than is searched.
    let mut inner = json!({"schemaVersion": 2, "manifests": []}).to_string().into_bytes();
    for _ in 0..MAX_DEPTH + 1 {
        save_blob(at, &inner);
        let entries = [describe(OCI_INDEX, &inner)];
        inner = json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes();
    }
    std::fs::write(at.join("index.json"), inner).unwrap();
    assert!(Bundle::open(at).unwrap_err().to_string().contains("nested deeper"));
}
