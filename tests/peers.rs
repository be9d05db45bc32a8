//! Real images, staged from a real registry, judged by podman and skopeo.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/peers.rs"]
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_digest::Digest;
use peers::{Registry, Root, hex, layer_id, mkimage, podman, skopeo_copy, text, texts};
use serde_json::{Value, json};

const TOOLS: [&str; 7] =
    ["podman", "skopeo", "docker-registry", "mmdebstrap", "python3", "zstd", "unshare"];

/// The names of the three images in the store, and what they are.
struct Bound {
    registry: Registry,
    root: Root,
    layout: PathBuf,
    nginx: Value,
    redis: Value,
    python3: Value,
}

impl Bound {
    fn images(&self) -> [&Value; 3] {
        [&self.nginx, &self.redis, &self.python3]
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.registry.address)
    }

    /// Every layer once: the diff ids up to and with it.
    fn layers(&self) -> BTreeSet<Vec<String>> {
        let lists = self.images().map(|image| texts(image, "diff_ids"));
        let prefixes = lists.iter().flat_map(|ids| (1..=ids.len()).map(|end| ids[..end].to_vec()));
        prefixes.collect()
    }
}

/// One by tag, one by digest, one by tag and digest, one through another Quadlet.
fn bind_debian(scratch: &Path) -> Bound {
    let (layout, images) = peers::debian_images();
    let registry = Registry::start(&scratch.join("registry"));
    let [nginx, redis, python3] = <[Value; 3]>::try_from(images).unwrap();
    for (image, to) in [
        (&nginx, "debian/nginx:1"),
        (&redis, "debian/redis:1"),
        (&python3, "debian/python3:1"),
        (&redis, "other/redis:7"),
    ] {
        registry.push(&layout, text(image, "manifest"), to);
    }
    let root = Root::new(scratch.join("root"));
    let address = &registry.address;
    root.bind_container("nginx.container", &format!("{address}/debian/nginx:1"));
    let redis_name = format!("{address}/debian/redis@{}", text(&redis, "manifest"));
    root.bind_container("redis.container", &redis_name);
    let python3_name = format!("{address}/debian/python3:1@{}", text(&python3, "manifest"));
    root.bind_container("python3.container", &python3_name);
    root.quadlet("foo.image", &format!("[Image]\nImage={address}/other/redis:7\n"));
    root.bind_container("app.container", "foo.image");
    Bound { registry, root, layout, nginx, redis, python3 }
}

#[test]
fn real_images() {
    if peers::skipped(&TOOLS) {
        return;
    }
    let scratch = peers::scratch();
    let mut bound = bind_debian(scratch.path());
    bound.root.stage(Some(&bound.registry), &[]).with_result("published");
    each_blob_was_asked_for_once(&bound);
    let before = peers::tree(&bound.root.store());
    podman_lists_and_inspects(&bound);
    podman_runs(&bound);
    skopeo_copies_out(&bound, scratch.path());
    let changed = peers::differences(&before, &peers::tree(&bound.root.store()));
    assert!(changed.is_empty(), "using the store changed it:\n{}", changed.join("\n"));
    trees_are_those_the_peer_unpacks(&bound, scratch.path());
    staging_again_asks_nobody(&bound);
    a_changed_binding_links_the_rest(&mut bound, scratch.path());

    // Without its registry, a complete root still has nothing to do.
    let Bound { registry, root, .. } = bound;
    drop(registry);
    root.stage(None, &[]).with_result("already-there");
}

fn each_blob_was_asked_for_once(bound: &Bound) {
    let downloads = bound.registry.downloads();
    for blob in bound.images().iter().flat_map(|image| texts(image, "layers")) {
        let times = downloads.iter().filter(|path| path.ends_with(&blob)).count();
        let size =
            fs::metadata(bound.layout.join("blobs").join(blob.replace(':', "/"))).unwrap().len();
        // A large one, once in parts.
        let parts = if size < 8 << 20 { 1 } else { size.div_ceil(4 << 20) };
        assert_eq!(times as u64, parts, "{blob}: {downloads:#?}");
    }
}

fn podman_lists_and_inspects(bound: &Bound) {
    let store = bound.root.store();
    let listed = podman(&store, &["images", "--no-trunc", "--quiet"]).well().stdout;
    let listed: BTreeSet<&str> = listed.lines().collect();
    assert_eq!(listed, bound.images().iter().map(|image| text(image, "config")).collect());
    podman(&store, &["ps", "-a"]).well();
    let by_digest = |repository: &str, image| format!("{repository}@{}", text(image, "manifest"));
    let cases = [
        ("debian/nginx:1".to_owned(), &bound.nginx),
        (by_digest("debian/nginx", &bound.nginx), &bound.nginx),
        (by_digest("debian/redis", &bound.redis), &bound.redis),
        ("other/redis:7".to_owned(), &bound.redis),
        (by_digest("other/redis", &bound.redis), &bound.redis),
        (by_digest("debian/python3", &bound.python3), &bound.python3),
        (by_digest("debian/python3:1", &bound.python3), &bound.python3),
    ];
    let names: Vec<String> = cases.iter().map(|(name, _)| bound.name(name)).collect();
    let mut args = vec!["image", "inspect"];
    args.extend(names.iter().map(String::as_str));
    let inspected = podman(&store, &args).well().json();
    let inspected = inspected.as_array().unwrap();
    assert_eq!(inspected.len(), cases.len());
    for ((name, image), said) in cases.iter().zip(inspected) {
        assert_eq!(text(said, "Id"), hex(text(image, "config")), "{name}");
        assert_eq!(text(said, "Digest"), text(image, "manifest"), "{name}");
        assert_eq!(texts(&said["RootFS"], "Layers"), texts(image, "diff_ids"), "{name}");
    }
}

fn podman_runs(bound: &Bound) {
    let run = |name: &str, command: &[&str]| {
        let name = bound.name(name);
        let args = [&["run", &name], command].concat();
        let said = podman(&bound.root.store(), &args).well();
        said.stdout + &said.stderr
    };
    let said = run("debian/nginx:1", &["nginx", "-v"]);
    assert!(said.contains("nginx version: nginx/"), "{said}");
    let redis = format!("debian/redis@{}", text(&bound.redis, "manifest"));
    let said = run(&redis, &["redis-server", "--version"]);
    assert!(said.contains("Redis server v="), "{said}");
    // The image hides a file and replaces a directory of its base.
    let look = "import os; print(6 * 7, os.path.exists('/etc/issue.net'), os.listdir('/usr/share/common-licenses'))";
    let python3 = format!("debian/python3:1@{}", text(&bound.python3, "manifest"));
    let said = run(&python3, &["python3", "-c", look]);
    assert!(said.contains("42 False ['README']"), "{said}");
}

fn skopeo_copies_out(bound: &Bound, scratch: &Path) {
    let store = bound.root.store();
    let redis = format!("debian/redis@{}", text(&bound.redis, "manifest"));
    let python3 = format!("debian/python3@{}", text(&bound.python3, "manifest"));
    let cases = [
        ("debian/nginx:1", &bound.nginx),
        (redis.as_str(), &bound.redis),
        (python3.as_str(), &bound.python3),
    ];
    for (number, (name, image)) in cases.into_iter().enumerate() {
        let own = scratch.join(format!("own{number}"));
        let to = scratch.join(format!("copied{number}"));
        let from = format!(
            "containers-storage:[overlay@{0}/root+{0}/run:overlay.imagestore={1}]{2}",
            own.display(),
            store.display(),
            bound.name(name)
        );
        skopeo_copy(&from, &format!("dir:{}", to.display())).well();
        let manifest: Value =
            serde_json::from_slice(&fs::read(to.join("manifest.json")).unwrap()).unwrap();
        let config = text(&manifest["config"], "digest");
        assert_eq!(config, text(image, "config"));
        let blob = |digest: &str| fs::read(to.join(hex(digest))).unwrap();
        assert_eq!(Digest::of(&blob(config)).to_string(), config);
        // Layers come out of a store uncompressed: their digests are the diff ids.
        let layers = manifest["layers"].as_array().unwrap();
        let out: Vec<String> = layers
            .iter()
            .map(|layer| Digest::of(&blob(text(layer, "digest"))).to_string())
            .collect();
        assert_eq!(out, texts(image, "diff_ids"), "{name}");
    }
}

fn trees_are_those_the_peer_unpacks(bound: &Bound, scratch: &Path) {
    let reference = scratch.join("reference");
    for (number, image) in bound.images().into_iter().enumerate() {
        unpack_by_peer(&bound.layout, text(image, "name"), &reference, number);
    }
    let layers = bound.layers();
    assert_eq!(layers.len(), 4);
    let mut kinds = BTreeSet::new();
    for layer in &layers {
        let ours = same_tree(&bound.root.store(), &reference, layer, &|_| false);
        kinds.extend(ours.values().map(|entry| entry.mode & 0o170_000));
        assert!(ours.len() > 10, "{layer:?}");
    }
    assert!(kinds.len() >= 4, "files, directories, links, whiteouts: {kinds:?}");
}

fn unpack_by_peer(layout: &Path, name: &str, reference: &Path, number: usize) {
    let from = format!("oci:{}:{name}", layout.display());
    let to = reference.display();
    let to = format!("containers-storage:[overlay@{to}/root+{to}/run]localhost/t:{number}");
    skopeo_copy(&from, &to).well();
}

/// Compares a layer with what the peer made of it. Where a layer says no time (its root, whiteouts,
/// directories that are `implied`), podman leaves the clock's; ours is the same in every run.
#[track_caller]
fn same_tree(
    store: &Path,
    reference: &Path,
    layer: &[String],
    implied: &dyn Fn(&Path) -> bool,
) -> peers::Tree {
    let theirs = reference.join("root/overlay").join(peers::chain_id(layer)).join("diff");
    let ours = store.join("overlay").join(layer_id(layer)).join("diff");
    let (mut theirs, mut ours) = (peers::tree(&theirs), peers::tree(&ours));
    for tree in [&mut theirs, &mut ours] {
        for (path, entry) in tree.iter_mut() {
            let at_top = path.as_os_str().is_empty();
            if at_top || entry.is_whiteout() || entry.is_directory() && implied(path) {
                entry.mtime = (0, 0);
            }
        }
    }
    let differences = peers::differences(&ours, &theirs);
    assert!(differences.is_empty(), "ours / theirs, {layer:?}:\n{}", differences.join("\n"));
    ours
}

/// What real images seldom have: devices, capabilities, implied parents, opaque directories.
#[test]
fn corners_are_unpacked_as_the_peer_does() {
    if peers::skipped(&["skopeo", "python3", "unshare"]) {
        return;
    }
    let scratch = peers::scratch();
    let layout = scratch.path().join("layout");
    let name = "registry.test/corners:1";
    let image = peers::corner_image(scratch.path(), &layout, name);
    let root = Root::new(scratch.path().join("root"));
    root.bind_container("corners.container", name);
    root.stage(None, &["--bundle", layout.to_str().unwrap()]).with_result("published");
    let reference = scratch.path().join("reference");
    unpack_by_peer(&layout, name, &reference, 0);
    let diff_ids = texts(&image, "diff_ids");
    let [lower, upper] = [&diff_ids[..1], &diff_ids[..]];
    let below = same_tree(&root.store(), &reference, lower, &|path| path != Path::new("etc"));
    let above = same_tree(&root.store(), &reference, upper, &|path| path != Path::new("whole"));
    assert_eq!(below[Path::new("other/c")].same_as, Path::new("etc/a"));
    assert_eq!(above[Path::new("whole")].xattrs["trusted.overlay.opaque"], b"y");
    assert!(above[Path::new("elsewhere/old")].is_whiteout());
}

fn staging_again_asks_nobody(bound: &Bound) {
    let before = bound.registry.downloads().len();
    let inode = fs::metadata(bound.root.store()).unwrap().ino();
    bound.root.stage(Some(&bound.registry), &[]).with_result("already-there");
    assert_eq!(bound.registry.downloads().len(), before, "it asked the registry");
    assert_eq!(fs::metadata(bound.root.store()).unwrap().ino(), inode, "it published again");
}

fn a_changed_binding_links_the_rest(bound: &mut Bound, scratch: &Path) {
    let store = bound.root.store();
    let unchanged: Vec<String> = bound.layers().iter().map(|layer| layer_id(layer)).collect();
    let before = inodes(&store, &unchanged);

    // nginx with one more layer, under another tag.
    let layout = scratch.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let entries = scratch.join("more.json");
    fs::write(&entries, r#"[{"path":"etc/more","content":"more"}]"#).unwrap();
    let compressions = ["gzip", "zstd"];
    let below = texts(&bound.nginx, "layers").into_iter().zip(texts(&bound.nginx, "diff_ids"));
    let mut args: Vec<String> =
        ["image", layout.to_str().unwrap(), "--ref", "new"].map(str::to_owned).to_vec();
    for ((blob, diff_id), compression) in below.zip(compressions) {
        let from = bound.layout.join("blobs/sha256").join(hex(&blob));
        let size = fs::copy(from, blobs.join(hex(&blob))).unwrap();
        let layer =
            json!({"digest": blob, "size": size, "diff_id": diff_id, "compression": compression});
        args.extend(["--layer".to_owned(), layer.to_string()]);
    }
    args.extend(["--layer".to_owned(), entries.to_str().unwrap().to_owned()]);
    let new = mkimage(&args.iter().map(String::as_str).collect::<Vec<_>>());
    bound.registry.push(&layout, text(&new, "manifest"), "debian/nginx:2");
    let asked = bound.registry.downloads().len();
    let name = bound.name("debian/nginx:2");
    bound.root.quadlet("nginx.container", &format!("[Container]\nImage={name}\n"));
    let staged = bound.root.stage(Some(&bound.registry), &[]).with_result("published");

    let blob = texts(&new, "layers").pop().unwrap();
    let size = fs::metadata(blobs.join(hex(&blob))).unwrap().len();
    let plan = staged.of_kind("planned");
    assert_eq!(plan[0]["bytes_to_fetch"], size);
    let actions: BTreeMap<&str, &str> = plan[0]["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| (text(layer, "id"), text(layer, "action")))
        .collect();
    let mut expected: BTreeMap<&str, &str> =
        unchanged.iter().map(|id| (id.as_str(), "link")).collect();
    let new_id = layer_id(&texts(&new, "diff_ids"));
    expected.insert(&new_id, "fetch");
    assert_eq!(actions, expected);
    let fetched = staged.of_kind("layer");
    assert_eq!(fetched.len(), 1);
    assert_eq!(fetched[0]["fetched"], size);
    assert_eq!(
        Some(text(fetched[0], "diff_id")),
        texts(&new, "diff_ids").last().map(String::as_str)
    );
    // Nor did the registry see more.
    let layers: BTreeSet<String> =
        bound.images().iter().flat_map(|image| texts(image, "layers")).collect();
    for path in &bound.registry.downloads()[asked..] {
        assert!(!layers.iter().any(|layer| path.ends_with(layer)), "{path}");
    }
    assert_eq!(inodes(&store, &unchanged), before, "not the same files");
    let said = podman(&store, &["run", &name, "cat", "/etc/more"]).well();
    assert_eq!(said.stdout, "more");
    bound.nginx = new;
}

/// The inode of every file of these layers that is not a directory, and of their tar-split files.
fn inodes(store: &Path, layers: &[String]) -> BTreeMap<PathBuf, u64> {
    let mut out = BTreeMap::new();
    let mut waiting: Vec<PathBuf> =
        layers.iter().map(|id| store.join("overlay").join(id).join("diff")).collect();
    waiting.extend(layers.iter().map(|id| store.join(format!("overlay-layers/{id}.tar-split.gz"))));
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            out.insert(path, meta.ino());
        }
    }
    assert!(out.len() > 1000);
    out
}

/// Documents stay as the registry has them: a list pin, schema 2, keys nobody knows.
#[test]
fn documents_are_kept_byte_for_byte() {
    if peers::skipped(&["podman", "skopeo", "docker-registry", "python3", "unshare"]) {
        return;
    }
    let scratch = peers::scratch();
    let registry = Registry::start(&scratch.path().join("registry"));
    let layout = scratch.path().join("layout");
    let layer = scratch.path().join("layer.json");
    fs::write(&layer, r#"[{"path":"etc/","type":"dir"},{"path":"etc/a","content":"a"}]"#).unwrap();
    let (at, layer) = (layout.to_str().unwrap(), layer.to_str().unwrap());
    let image =
        |more: &[&str]| mkimage(&[&["image", at, "--ref", "one", "--layer", layer], more].concat());

    let other = if cfg!(target_arch = "x86_64") { "linux/arm64" } else { "linux/amd64" };
    let (host, foreign) = (image(&[]), image(&["--platform", other]));
    let list = mkimage(&[
        "list",
        at,
        "--indent",
        "1",
        text(&foreign, "manifest"),
        text(&host, "manifest"),
    ]);
    let list = text(&list, "list");
    let docker = image(&["--format", "docker", "--indent", "3", "--cmd", "/schema2"]);
    let unknown = image(&[
        "--indent",
        "2",
        "--config",
        r#"{"x-zoo":{"z":1,"a":[1.50,{"é":null}]},"config":{"XMore":true},"os.features":["a"]}"#,
        "--manifest",
        r#"{"x-extra":{"b":2,"a":1},"annotations":{"org.example.z":"1"}}"#,
    ]);
    registry.push(&layout, list, "t/list");
    registry.push(&layout, text(&docker, "manifest"), "t/docker:1");
    registry.push(&layout, text(&unknown, "manifest"), "t/unknown:1");

    let root = Root::new(scratch.path().join("root"));
    let address = &registry.address;
    root.bind_container("list.container", &format!("{address}/t/list:any@{list}"));
    root.bind_container("docker.container", &format!("{address}/t/docker:1"));
    root.bind_container("unknown.container", &format!("{address}/t/unknown:1"));
    root.stage(Some(&registry), &[]).with_result("published");

    let store = root.store();
    for (repository, image, list) in
        [("t/list", &host, Some(list)), ("t/docker", &docker, None), ("t/unknown", &unknown, None)]
    {
        let (config, manifest) = (text(image, "config"), text(image, "manifest"));
        let directory = store.join("overlay-images").join(hex(config));
        let mut expected = BTreeMap::new();
        let encoded = |key: &str| format!("={}", STANDARD.encode(key));
        let document = |digest| registry.get(&format!("{repository}/manifests/{digest}"));
        expected.insert("manifest".to_owned(), document(manifest));
        expected.insert(encoded(&format!("manifest-{manifest}")), document(manifest));
        expected.insert(encoded(config), registry.get(&format!("{repository}/blobs/{config}")));
        if let Some(list) = list {
            expected.insert(encoded(&format!("manifest-{list}")), document(list));
        }
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        let found: BTreeMap<String, Vec<u8>> = files
            .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
            .collect();
        assert_eq!(found, expected, "{repository}");
        let pin = list.unwrap_or(manifest);
        for pin in [pin, manifest] {
            let name = format!("{address}/{repository}@{pin}");
            let inspected = podman(&store, &["image", "inspect", &name]).well().json();
            assert_eq!(text(&inspected[0], "Id"), hex(config), "{name}");
        }
    }
    podman(&store, &["ps", "-a"]).well();
    let record: Value =
        serde_json::from_slice(&fs::read(store.join("bound-images.json")).unwrap()).unwrap();
    let bindings = record["bindings"].as_array().unwrap();
    let recorded = bindings.iter().find(|one| one["name"] == "list.container").unwrap();
    assert_eq!(text(recorded, "list"), list);
    assert_eq!(text(recorded, "manifest"), text(&host, "manifest"));
}
