//! Newer peers than Debian 12 has: skopeo 1.18 and 1.22 as the way to registries, Podman 5.4 and 6
//! as judges of the store. They live in chroots that `tests/setup/chroot.sh` makes.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs a script of the project and gives its output; none (after saying why) when it cannot run.
fn setup(script: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(project().join(script)).args(arguments).output().unwrap();
    if output.status.code() == Some(2) {
        eprintln!("skipped: needs {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Debian's registry on a free port; ends with the value.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(directory: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = directory.join("registry.yml");
        let storage = directory.join("registry");
        fs::write(
            &config,
            format!("version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n", storage.display()),
        )
        .unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { process, address };
        for _ in 0..200 {
            if std::net::TcpStream::connect(&registry.address).is_ok() {
                return registry;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("docker-registry does not answer");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn scratch() -> tempfile::TempDir {
    let base = project().join("target/tests");
    fs::create_dir_all(&base).unwrap();
    tempfile::tempdir_in(base).unwrap()
}

/// A root with these Quadlets (name, text), all of them bound.
fn root(path: &Path, quadlets: &[(&str, String)]) {
    let (texts, links) =
        (path.join("usr/share/containers/systemd"), path.join("usr/lib/bootc/bound-images.d"));
    fs::create_dir_all(&texts).unwrap();
    fs::create_dir_all(&links).unwrap();
    for (name, text) in quadlets {
        fs::write(texts.join(name), text).unwrap();
        std::os::unix::fs::symlink(
            format!("/usr/share/containers/systemd/{name}"),
            links.join(name),
        )
        .unwrap();
    }
}

fn stage(root: &Path, path: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bound-images"));
    command.arg("stage").arg("--root").arg(root).args(arguments);
    if let Some(path) = path {
        command.env("PATH", format!("{}:{}", path.display(), std::env::var("PATH").unwrap()));
    }
    command.output().unwrap()
}

fn succeeded(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn every_skopeo_gives_the_same_store() {
    let Some(images) = setup("tests/corpus/debian-images.sh", &[]) else { return };
    let layout = Path::new(&images).with_file_name("layout");
    let place = scratch();
    let registry = Registry::start(place.path());
    let names = ["nginx", "redis", "python3"];
    for name in names {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:registry.test/debian/{name}:1", layout.display()))
            .arg(format!("docker://{}/debian/{name}:1", registry.address))
            .output()
            .unwrap();
        succeeded(&output);
    }
    let quadlets: Vec<(&str, String)> =
        [("nginx.image", 0), ("redis.image", 1), ("python3.image", 2)]
            .map(|(file, at)| {
                (
                    file,
                    format!(
                        "[Image]\nImage={}/debian/{}:1\nTLSVerify=false\n",
                        registry.address, names[at]
                    ),
                )
            })
            .to_vec();
    let mut records = Vec::new();
    for (suite, version) in [("", ""), ("trixie", "1.18"), ("forky", "1.")] {
        let tools = match suite {
            "" => None,
            suite => {
                let Some(chroot) = setup("tests/setup/chroot.sh", &[suite]) else { continue };
                let tools = place.path().join(suite);
                fs::create_dir(&tools).unwrap();
                // skopeo gets its socket as standard input, which a chroot does not change.
                fs::write(
                    tools.join("skopeo"),
                    format!("#!/bin/sh\nexec chroot {chroot} skopeo \"$@\"\n"),
                )
                .unwrap();
                fs::set_permissions(tools.join("skopeo"), fs::Permissions::from_mode(0o755))
                    .unwrap();
                let output = Command::new(tools.join("skopeo")).arg("--version").output().unwrap();
                assert!(succeeded(&output).contains(version));
                Some(tools)
            }
        };
        let root_path = place.path().join(format!("root-{suite}"));
        root(&root_path, &quadlets);
        succeeded(&stage(&root_path, tools.as_deref(), &[]));
        records.push(
            fs::read(root_path.join("usr/lib/containers/storage/bound-images.json")).unwrap(),
        );
    }
    assert!(records.windows(2).all(|pair| pair[0] == pair[1]), "all give the same record");
}

/// What Podman 5.4 and skopeo 1.18 say of a store with real images: listed, inspected, run,
/// committed, built from, saved, copied out, and `system check` clean, also where it looks into every
/// layer (which it only does in a store that it may write).
const JUDGE: &str = r#"
p="podman --root /run/p/root --runroot /run/p/run --storage-driver overlay --storage-opt additionalimagestore=/usr/lib/containers/storage --cgroup-manager=cgroupfs --events-backend=file"
run="run --rm --cgroups=disabled --network=none --pull=never"
limits="--ulimit nproc=1000:1000 --ulimit nofile=1024:1024"
mkdir -p /run/p
$p images --digests
$p ps -a
$p system check
for line in $(jq -c '.[]' /in/images.json | tr -d ' '); do
    name=$(jq -r .name <<<"$line"); manifest=$(jq -r .manifest <<<"$line"); config=$(jq -r .config <<<"$line")
    repository=${name%:*}
    [ "$($p inspect --type image --format '{{.Id}}' "$name")" = "${config#sha256:}" ]
    [ "$($p inspect --type image --format '{{.Id}}' "$repository@$manifest")" = "${config#sha256:}" ]
    [ "$($p inspect --type image --format '{{.Id}}' "$name@$manifest")" = "${config#sha256:}" ]
    $p $run $limits "$name" /bin/true
    skopeo copy -q "containers-storage:[overlay@/run/p/root+/run/p/run:overlay.imagestore=/usr/lib/containers/storage]$name" dir:/run/out
    [ "$(jq -r .config.digest /run/out/manifest.json)" = "$config" ]
    # Copied out, layers are uncompressed: their digests are the diff ids.
    [ "$(jq -c '[.layers[].digest]' /run/out/manifest.json)" = "$(jq -c .diff_ids <<<"$line")" ]
    rm -r /run/out
done
first=$(jq -r '.[0].name' /in/images.json)
$p save -q -o /run/save.tar "$first"
# Not in a pipe: grep -q ends early, and tar would fail for it.
tar -tf /run/save.tar >/run/names
grep -q manifest.json /run/names
$p run --name changed --cgroups=disabled --network=none --pull=never $limits "$first" /bin/sh -c 'echo new > /new'
$p commit -q changed localhost/changed:1
$p $run $limits localhost/changed:1 /bin/grep -q new /new
printf 'FROM %s\nRUN echo built > /built\n' "$first" > /tmp/Containerfile
$p build -q --isolation chroot --ulimit nproc=9000:9000 --ulimit nofile=20000:20000 -t localhost/built:1 -f /tmp/Containerfile /tmp
$p $run $limits localhost/built:1 /bin/grep -q built /built
# The store is read-only for Podman.
if $p rmi -f "$first" 2>/dev/null; then echo "podman removed $first from the store" >&2; exit 1; fi
$p rmi -af >/dev/null 2>&1 || true
$p inspect --type image "$first" >/dev/null
cp -a /usr/lib/containers/storage /in/copy
podman --root /in/copy --runroot /run/c --storage-driver overlay system check
echo judged
"#;

#[test]
fn podman_5_4_finds_nothing_to_complain_about() {
    let Some(images) = setup("tests/corpus/debian-images.sh", &[]) else { return };
    let Some(chroot) = setup("tests/setup/chroot.sh", &["trixie"]) else { return };
    let layout = Path::new(&images).with_file_name("layout");
    let place = scratch();
    let (root_path, inside) = (place.path().join("root"), place.path().join("in"));
    let container = |name: &str| format!("[Container]\nImage=registry.test/debian/{name}:1\n");
    root(
        &root_path,
        &[
            ("nginx.container", container("nginx")),
            ("redis.container", container("redis")),
            ("python3.container", container("python3")),
        ],
    );
    succeeded(&stage(&root_path, None, &["--bundle", layout.to_str().unwrap()]));
    fs::create_dir(&inside).unwrap();
    fs::copy(&images, inside.join("images.json")).unwrap();
    let script = place.path().join("judge");
    fs::write(&script, JUDGE).unwrap();
    let output = Command::new(project().join("tests/peers/in-chroot.sh"))
        .arg(chroot)
        .arg(root_path.join("usr/lib/containers/storage"))
        .arg(&inside)
        .arg(script)
        .output()
        .unwrap();
    let text = succeeded(&output);
    assert!(text.contains("judged"), "{text}");
}

/// `podman system check` looks at the content of a read-only store, not at modes and extra names;
/// `verify --deep` sees both.
#[test]
fn the_deep_check_sees_more_than_podmans() {
    let Some(images) = setup("tests/corpus/debian-images.sh", &[]) else { return };
    let Some(chroot) = setup("tests/setup/chroot.sh", &["trixie"]) else { return };
    let layout = Path::new(&images).with_file_name("layout");
    let place = scratch();
    let (root_path, inside) = (place.path().join("root"), place.path().join("in"));
    root(
        &root_path,
        &[("nginx.container", "[Container]\nImage=registry.test/debian/nginx:1\n".to_owned())],
    );
    succeeded(&stage(&root_path, None, &["--bundle", layout.to_str().unwrap()]));
    fs::create_dir(&inside).unwrap();
    let store = root_path.join("usr/lib/containers/storage");
    let diff = fs::read_dir(store.join("overlay"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("diff"))
        .find(|diff| diff.join("usr/bin/true").exists())
        .unwrap();
    fs::set_permissions(diff.join("usr/bin/true"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(diff.join("usr/bin/extra"), b"").unwrap();
    let script = place.path().join("judge");
    let check = "mkdir -p /run/p; podman --root /run/p/root --runroot /run/p/run --storage-driver overlay \
        --storage-opt additionalimagestore=/usr/lib/containers/storage system check && echo podman is content\n";
    fs::write(&script, check).unwrap();
    let output = Command::new(project().join("tests/peers/in-chroot.sh"))
        .arg(chroot)
        .arg(&store)
        .arg(&inside)
        .arg(script)
        .output()
        .unwrap();
    assert!(succeeded(&output).contains("podman is content"));
    let verify = |deep: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bound-images"));
        command.arg("verify").arg("--root").arg(&root_path).args(deep);
        command.output().unwrap()
    };
    assert_eq!(verify(&[]).status.code(), Some(0), "a quick check does not look there either");
    let output = verify(&["--deep"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("usr/bin/true: has mode 4755, should have 0755"), "{text}");
    assert!(text.contains("usr/bin/extra: is not in the layer"), "{text}");
    assert!(text.contains("nginx.container"), "{text}");
}

/// What a bound service on a host with Podman 6 gets to see: the environment of its drop-in, and no
/// other word about where the store is.
const BOUND: &str = r#"
podman --version
cp -a /in/run /run/bound-images
mkdir -p /var/lib/containers
cp -a /in/etc/. /etc/containers/
trap 'rm -r /etc/containers/storage.conf.d' EXIT
engine="podman --cgroup-manager=cgroupfs --events-backend=file"
run="run --rm --cgroups=disabled --network=none --ulimit nproc=1000:1000 --ulimit nofile=1024:1024"
# A drop-in hides the store from everybody else.
[ "$($engine images --quiet)" = "" ]
for service in nginx redis; do
    (
        while read -r line; do
            case $line in Environment=*) line=${line#Environment=\"}; export "${line%\"}" ;; esac
        done <"/in/normal/$service.service.d/50-bound-images.conf"
        [ "$CONTAINERS_STORAGE_CONF" = /run/bound-images/storage.conf ]
        name=registry.test/debian/$service:1
        [ "$($engine info --format '{{.Store.GraphRoot}} {{.Store.RunRoot}}')" = "/run/kept /run/kept-run" ]
        [ "$($engine images --format '{{.Repository}}:{{.Tag}} {{.ReadOnly}}' "$name")" = "$name true" ]
        # By the policy "never" of the service's own containers.conf.
        if $engine $run registry.test/debian/other:1 /bin/true 2>/run/error; then exit 1; fi
        cat /run/error
        $engine $run "$name" /bin/true
        $engine create --name "$service" --cgroups=disabled --network=none "$name" >/dev/null
        $engine inspect --format '{{json .Config.Annotations}}' "$service"
        $engine rm "$service" >/dev/null
        # The store is read-only for Podman.
        if $engine rmi -f "$name" 2>/dev/null; then echo "podman removed $name" >&2; exit 1; fi
        $engine system check
    )
done
# Only in a store of its own does Podman look at each file.
cp -a /usr/lib/containers/storage /in/copy
podman --root /in/copy --runroot /run/c --storage-driver overlay system check
echo judged
"#;

#[test]
fn podman_6_runs_what_a_bound_service_would() {
    let Some(images) = setup("tests/corpus/debian-images.sh", &[]) else { return };
    let Some(chroot) = setup("tests/setup/chroot.sh", &["experimental"]) else { return };
    let layout = Path::new(&images).with_file_name("layout");
    let place = scratch();
    let (root_path, inside) = (place.path().join("root"), place.path().join("in"));
    let container = |name: &str| format!("[Container]\nImage=registry.test/debian/{name}:1\n");
    root(
        &root_path,
        &[("nginx.container", container("nginx")), ("redis.container", container("redis"))],
    );
    let drop_ins = root_path.join("etc/containers/storage.conf.d");
    fs::create_dir_all(&drop_ins).unwrap();
    let moved = "[storage]\ngraphroot = \"/run/kept\"\n";
    fs::write(drop_ins.join("10-moved.conf"), moved).unwrap();
    let hidden =
        "[storage]\nrunroot = \"/run/kept-run\"\n[storage.options]\nadditionalimagestores = []\n";
    fs::write(drop_ins.join("20-hidden.conf"), hidden).unwrap();
    succeeded(&stage(&root_path, None, &["--bundle", layout.to_str().unwrap()]));

    let host = binding::Platform::host();
    let generated = generator::generate(&binding::Root::open(&root_path).unwrap(), &host);
    generator::write(&generated, &inside.join("normal"), &inside.join("run")).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(root_path.join("etc/containers")).arg(inside.join("etc"));
    assert!(copy.status().unwrap().success());
    let script = place.path().join("bound");
    fs::write(&script, BOUND).unwrap();
    let output = Command::new(project().join("tests/peers/in-chroot.sh"))
        .arg(chroot)
        .arg(root_path.join("usr/lib/containers/storage"))
        .arg(&inside)
        .arg(script)
        .output()
        .unwrap();
    let text = succeeded(&output);
    assert!(text.contains("judged"), "{:?}\n{text}", generated.warnings);
    println!("asked: {}", text.lines().next().unwrap());
    assert_eq!(text.matches("image not known").count(), 2, "{text}");
    for service in ["nginx", "redis"] {
        let told = format!("\"bound-images.reference\":\"registry.test/debian/{service}:1\"");
        assert!(text.contains(&told), "{text}");
    }
}
