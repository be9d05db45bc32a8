//! The names of images in a store: whatever a root binds together, podman can live with it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/peers.rs"]
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use peers::{Registry, Root, hex, mkimage, podman, text, texts};
use serde_json::Value;

/// The images of the matrix, by the word that stands for them.
type Images = BTreeMap<&'static str, Value>;

/// What a root binds, and what comes of it. In all texts `REG` is the registry, `@one` and so on
/// the digest of that image's manifest, `@list` that of the list of `one` and `foreign`.
struct Case {
    why: &'static str,
    /// The Quadlets that are bound: file, text.
    bound: &'static [(&'static str, &'static str)],
    expected: Expected,
}

enum Expected {
    /// Images and all their names.
    Images(&'static [(&'static str, &'static [&'static str])]),
    /// Exit 1, this finding, and nothing published; whether the registry may have been asked.
    Finding { code: &'static str, places: &'static [&'static str], asked: bool },
}

use Expected::{Finding, Images as Stored};

const CASES: &[Case] = &[
    Case {
        why: "one digest under two names",
        bound: &[
            ("a.container", "[Container]\nImage=REG/t/one:1\n"),
            ("b.container", "[Container]\nImage=REG/t/same:2\n"),
            ("c.container", "[Container]\nImage=REG/t/third@one\n"),
        ],
        expected: Stored(&[("one", &["REG/t/one:1", "REG/t/same:2", "REG/t/third@one"])]),
    },
    Case {
        why: "the same reference twice, once without its tag",
        bound: &[
            ("a.container", "[Container]\nImage=REG/t/one:latest\n"),
            ("b.container", "[Container]\nImage=REG/t/one\n"),
        ],
        expected: Stored(&[("one", &["REG/t/one:latest"])]),
    },
    Case {
        why: "tag and digest of one image",
        bound: &[
            ("a.container", "[Container]\nImage=REG/t/one:1\n"),
            ("b.container", "[Container]\nImage=REG/t/one@one\n"),
            ("c.container", "[Container]\nImage=REG/t/one:1@one\n"),
            ("d.container", "[Container]\nImage=REG/t/one:other@one\n"),
        ],
        expected: Stored(&[("one", &["REG/t/one:1", "REG/t/one@one"])]),
    },
    Case {
        why: "a tag that has moved, beside the digest it had",
        bound: &[
            ("a.container", "[Container]\nImage=REG/t/moved:1\n"),
            ("b.container", "[Container]\nImage=REG/t/moved:1@one\n"),
        ],
        expected: Stored(&[("two", &["REG/t/moved:1"]), ("one", &["REG/t/moved@one"])]),
    },
    Case {
        why: "two digests under one tag",
        bound: &[
            ("a.image", "[Image]\nImage=REG/t/one:1\nImageTag=REG/t/app:1\n"),
            ("b.image", "[Image]\nImage=REG/t/two:1\nImageTag=REG/t/app:1\n"),
        ],
        expected: Finding { code: "name-conflict", places: &["a.image", "b.image"], asked: true },
    },
    Case {
        why: "two digests under one tag, one of them its own",
        bound: &[
            ("a.image", "[Image]\nImage=REG/t/two@two\nImageTag=REG/t/one:1\n"),
            ("b.container", "[Container]\nImage=REG/t/one:1\n"),
        ],
        expected: Finding {
            code: "name-conflict",
            places: &["a.image", "b.container"],
            asked: true,
        },
    },
    Case {
        why: "one config behind two manifests, by tag",
        bound: &[
            ("a.container", "[Container]\nImage=REG/t/packed:gzip\n"),
            ("b.container", "[Container]\nImage=REG/t/packed:zstd\n"),
        ],
        expected: Stored(&[("gzip", &["REG/t/packed:gzip", "REG/t/packed:zstd"])]),
    },
    Case {
        why: "one config behind two manifests, by digest",
        bound: &[
            ("a.container", "[Container]\nImage=REG/t/packed@gzip\n"),
            ("b.container", "[Container]\nImage=REG/t/packed@zstd\n"),
        ],
        expected: Stored(&[("gzip", &["REG/t/packed@gzip", "REG/t/packed@zstd"])]),
    },
    Case {
        why: "two platforms of one reference",
        bound: &[
            ("a.image", "[Image]\nImage=REG/t/list:1\nArch=FOREIGN\n"),
            ("b.container", "[Container]\nImage=REG/t/list:1\n"),
        ],
        expected: Finding {
            code: "two-platforms",
            places: &["a.image", "b.container"],
            asked: false,
        },
    },
    Case {
        why: "two platforms of one list, pinned",
        bound: &[
            ("a.image", "[Image]\nImage=REG/t/list:1@list\nArch=FOREIGN\n"),
            ("b.container", "[Container]\nImage=REG/t/list:2@list\n"),
        ],
        expected: Finding {
            code: "two-platforms",
            places: &["a.image", "b.container"],
            asked: false,
        },
    },
    Case {
        why: "two platforms, each pinned by its own manifest",
        bound: &[
            ("a.image", "[Image]\nImage=REG/t/list@foreign\nArch=FOREIGN\n"),
            ("b.container", "[Container]\nImage=REG/t/list@one\n"),
        ],
        expected: Stored(&[("foreign", &["REG/t/list@foreign"]), ("one", &["REG/t/list@one"])]),
    },
    Case {
        why: "two platforms, one by tag and one by the list's digest",
        bound: &[
            ("a.image", "[Image]\nImage=REG/t/list@list\nArch=FOREIGN\n"),
            ("b.container", "[Container]\nImage=REG/t/list:1\n"),
        ],
        expected: Stored(&[("foreign", &["REG/t/list@list"]), ("one", &["REG/t/list:1"])]),
    },
    Case {
        why: "a further name",
        bound: &[
            ("a.image", "[Image]\nImage=REG/t/one@one\nImageTag=localhost/app:latest\n"),
            ("b.image", "[Image]\nImage=REG/t/two:1\nImageTag=REG/t/two:stable\n"),
            ("c.container", "[Container]\nImage=a.image\n"),
        ],
        expected: Stored(&[
            ("one", &["REG/t/one@one", "localhost/app:latest"]),
            ("two", &["REG/t/two:1", "REG/t/two:stable"]),
        ]),
    },
];

fn foreign_architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" }
}

/// Packs the images and pushes them to all the names that the cases use.
fn push_images(directory: &Path, registry: &Registry) -> Images {
    let layer = directory.join("layer.json");
    let (layout, layer_path) = (directory.join("layout"), layer.to_str().unwrap().to_owned());
    fs::write(&layer, r#"[{"path":"a","content":"a"}]"#).unwrap();
    let platform = format!("linux/{}", foreign_architecture());
    let pack = |compression: &str, more: &[&str]| {
        let layer = format!("{layer_path}={compression}");
        let first = ["image", layout.to_str().unwrap(), "--ref", "one", "--layer", &layer];
        mkimage(&[&first, more].concat())
    };
    let mut images: Images = [
        ("one", pack("gzip", &["--cmd", "one"])),
        ("two", pack("gzip", &["--cmd", "two"])),
        ("foreign", pack("gzip", &["--platform", &platform, "--cmd", "one"])),
        ("gzip", pack("gzip", &["--cmd", "packed"])),
        ("zstd", pack("zstd", &["--cmd", "packed"])),
    ]
    .into();
    assert_eq!(images["gzip"]["config"], images["zstd"]["config"]);
    let [one, foreign] = ["one", "foreign"].map(|name| text(&images[name], "manifest"));
    let mut list = mkimage(&["list", layout.to_str().unwrap(), foreign, one]);
    list["manifest"] = list["list"].clone();
    images.insert("list", list);
    for (image, to) in [
        ("one", "t/one:1"),
        ("one", "t/one:latest"),
        ("one", "t/same:2"),
        ("one", "t/third"),
        ("two", "t/two:1"),
        ("one", "t/moved"),
        ("two", "t/moved:1"),
        ("gzip", "t/packed:gzip"),
        ("zstd", "t/packed:zstd"),
        ("list", "t/list:1"),
    ] {
        registry.push(&layout, text(&images[image], "manifest"), to);
    }
    images
}

/// The text with all its words replaced.
fn fill(template: &str, registry: &Registry, images: &Images) -> String {
    let mut text =
        template.replace("REG", &registry.address).replace("FOREIGN", foreign_architecture());
    for (word, image) in images {
        text = text.replace(&format!("@{word}"), &format!("@{}", peers::text(image, "manifest")));
    }
    text
}

#[test]
fn names() {
    if peers::skipped(&["podman", "skopeo", "docker-registry", "python3", "zstd", "unshare"]) {
        return;
    }
    let scratch = peers::scratch();
    let registry = Registry::start(&scratch.path().join("registry"));
    let images = push_images(scratch.path(), &registry);
    for (number, case) in CASES.iter().enumerate() {
        println!("case: {}", case.why);
        let root = Root::new(scratch.path().join(format!("root{number}")));
        for (file, text) in case.bound {
            root.bind(file, &fill(text, &registry, &images));
        }
        let asked = registry.downloads().len();
        let staged = root.stage(Some(&registry), &[]);
        match &case.expected {
            Stored(expected) => {
                staged.with_result("published");
                podman_agrees(&root, expected, &registry, &images);
            }
            Finding { code, places, asked: may_ask } => {
                assert_eq!(staged.exit, 1, "{}", staged.stderr);
                for word in places.iter().chain([code]) {
                    assert!(staged.stderr.contains(word), "no {word}: {}", staged.stderr);
                }
                let downloads = &registry.downloads()[asked..];
                assert!(*may_ask || downloads.is_empty(), "{downloads:#?}");
                let layers: Vec<String> = images
                    .values()
                    .filter(|image| image["layers"].is_array())
                    .flat_map(|image| texts(image, "layers"))
                    .collect();
                let fetched = |layer: &String| downloads.iter().any(|path| path.ends_with(layer));
                assert!(!layers.iter().any(fetched), "{downloads:#?}");
                assert!(!root.store().exists());
            }
        }
    }
}

/// What podman says of the store: all its names, and nothing else; every image, by every digest
/// that it was bound with.
fn podman_agrees(root: &Root, expected: &[(&str, &[&str])], registry: &Registry, images: &Images) {
    let store = root.store();
    podman(&store, &["ps", "-a"]).well();
    let listed = podman(&store, &["images", "--no-trunc", "--format", "json"]).well().json();
    let found: BTreeMap<String, BTreeSet<String>> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|image| (text(image, "Id").to_owned(), texts(image, "Names").into_iter().collect()))
        .collect();
    let names = |names: &[&str]| names.iter().map(|name| fill(name, registry, images)).collect();
    let wanted: BTreeMap<String, BTreeSet<String>> = expected
        .iter()
        .map(|(image, list)| (hex(text(&images[image], "config")).to_owned(), names(list)))
        .collect();
    assert_eq!(found, wanted);
    // By name, and by the digest of each manifest that was bound.
    let mut asked: Vec<(String, &str)> = Vec::new();
    for (id, names) in &wanted {
        let packed = images.values().filter(|image| image["config"] == format!("sha256:{id}"));
        let digests: Vec<&str> = packed.map(|image| text(image, "manifest")).collect();
        for name in names.iter().filter(|name| !name.starts_with("localhost/")) {
            let (repository, _) = name.split_once('@').or(name.rsplit_once(':')).unwrap();
            asked.extend(
                digests.iter().map(|digest| (format!("{repository}@{digest}"), id.as_str())),
            );
        }
        asked.extend(names.iter().map(|name| (name.clone(), id.as_str())));
    }
    let mut args = vec!["image", "inspect", "--format", "{{.Id}}"];
    args.extend(asked.iter().map(|(name, _)| name.as_str()));
    let said = podman(&store, &args).well().stdout;
    let ids: Vec<&str> = asked.iter().map(|(_, id)| *id).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), ids, "{asked:#?}");
}
