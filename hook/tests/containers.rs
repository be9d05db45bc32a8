//! Containers that Podman (5.4.2, and 6 of Debian experimental) and crun really start, in a chroot, each bound to an image of a store
//! of its own: what Podman makes of a container differs with its options more than one would think.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use binding::{Platform, Record, RecordBinding, RecordLayer, Reference};
use oci_digest::Digest;

/// Makes two images that differ, the store of bound images with one of them, and starts containers.
/// Each says `case NAME STATUS`, then what the hook and the container said.
const SCRIPT: &str = r#"
mkdir -p /tmp/hooks /tmp/tree/bin
cp /in/hook.json /tmp/hooks/
for file in /bin/bash /bin/cat /bin/sleep; do
    cp "$file" /tmp/tree/bin/
    for lib in $(ldd "$file" | grep -o '/[^ ]*'); do
        mkdir -p "/tmp/tree$(dirname "$lib")"
        cp -L "$lib" "/tmp/tree$lib"
    done
done
printf '#!/bin/bash\nexec sleep 60\n' >/tmp/tree/pause
chmod 755 /tmp/tree/pause
tree() {
    echo "$1" >/tmp/tree/marker
    tar -C /tmp/tree -cf "/tmp/$1.tar" .
}
tree bound
tree other
engine="podman --storage-driver overlay --cgroup-manager=cgroupfs --events-backend=none --hooks-dir /tmp/hooks --runtime /usr/bin/crun"
export CONTAINERS_CONF=/dev/null
$engine --root /tmp/bound --runroot /tmp/bound-run import -q /tmp/bound.tar example.org/app:1 >/dev/null
image=$(jq -r '.[0].id' /tmp/bound/overlay-images/images.json)
layer=$(jq -r '.[0].layer' /tmp/bound/overlay-images/images.json)
sed "s/@IMAGE@/$image/g; s/@LAYER@/$layer/g" /in/record >/tmp/bound/bound-images.json

store="--storage-opt additionalimagestore=/tmp/bound"
plain="--root /tmp/own --runroot /tmp/own-run"
transient="--transient-store --root /tmp/passing --runroot /tmp/passing-run"
run="run --rm --network=none --cgroups=disabled --ulimit nproc=1000:1000 --ulimit nofile=1024:1024"
conf() { printf "[engine]\npull_policy='never'\n[containers]\nannotations=['bound-images.service=app.service','bound-images.reference=%s','run.oci.hooks.stderr=/tmp/hook.log'${2-}]\n" "$1"; }
conf example.org/app:1 >/tmp/tagged.conf
conf example.org/app:1 ",'bound-images.pin=require'" >/tmp/required.conf
conf "$(cat /in/pinned)" >/tmp/pinned.conf
start() {
    local name=$1 conf=$2 status=0
    shift 2
    : >/tmp/hook.log
    CONTAINERS_CONF_OVERRIDE=/tmp/$conf.conf $engine "$@" >/tmp/out 2>&1 || status=$?
    echo "case $name $status"
    cat /tmp/hook.log /tmp/out
}
app="example.org/app:1 /bin/cat /marker"
copied="env _CONTAINERS_OVERLAY_DISABLE_IDMAP=yes $engine"

start plain pinned $plain $store $run $app
start read-only pinned $plain $store $run --read-only $app
start userns-idmapped pinned $plain $store $run --userns=auto $app
start userns-fixed pinned $plain $store $run --uidmap 0:2000000:1000 --gidmap 0:2000000:1000 $app
engine_was=$engine engine=$copied
start userns-copied pinned $plain $store $run --userns=auto $app
start transient-copied pinned $transient $store $run --userns=auto $app
engine=$engine_was
start transient pinned $transient $store $run $app
start transient-userns pinned $transient $store $run --userns=auto $app

# The pod is made by a service of its own, without our file.
$engine $plain $store pod create --name pod --network=none --share ipc --infra-image example.org/app:1 \
    --infra-command /pause >/dev/null 2>/tmp/error || cat /tmp/error
start pod pinned $plain $store $run --pod pod $app
$engine $plain $store pod rm --force --time 0 pod >/dev/null 2>&1 || true

# The same image, with the same id, in the store of Podman's own; once mapped by copying.
for kind in identical identical-transient; do
    case $kind in identical) where=$plain ;; *) where=$transient ;; esac
    mkdir -p "/tmp/$kind"
    $engine --root /tmp/bound --runroot /tmp/bound-run save -q --format oci-dir -o "/tmp/$kind/image" example.org/app:1 >/dev/null
    $engine $where load -q -i "/tmp/$kind/image" >/dev/null
    $engine $where tag "$image" example.org/copy:1
    start $kind pinned $where $store $run "$image" /bin/cat /marker
    start $kind-userns pinned $where $store $run --userns=auto "$image" /bin/cat /marker
    engine=$copied
    start $kind-copied pinned $where $store $run --userns=auto "$image" /bin/cat /marker
    engine=$engine_was
    $engine $where rmi --force "$image" >/dev/null 2>&1 || true
done

# The name now means another image.
$engine $plain import -q /tmp/other.tar example.org/app:1 >/dev/null
start other-tagged tagged $plain $store $run $app
start other-required required $plain $store $run $app
start other-pinned pinned $plain $store $run $app
start other-userns pinned $plain $store $run --userns=auto $app
start other-transient required $transient --storage-opt additionalimagestore=/tmp/own $run $app

# What the hook says mends it, also while a container uses the other image.
$engine $plain create --name user --network=none --cgroups=disabled $app >/dev/null
sh -c "$(sed -n 's/.*run `podman \(untag [^`]*\)`.*/\1/p' /in/message | sed "s|^|$engine $plain $store |")"
start mended required $plain $store $run $app

# Containers that are not bound never meet the hook.
: >/tmp/none.conf
start not-bound none $plain $store $run $app
start rootfs pinned $plain $store $run --rootfs /tmp/tree /bin/cat /marker
"#;

fn pinned() -> String {
    format!("example.org/app@{}", Digest::of(b"manifest"))
}

/// The record of a store with two bindings of one image; the script fills in which.
fn record() -> Record {
    let bound = |name: &str, reference: &str| RecordBinding {
        name: name.into(),
        reference: Reference::parse(reference).unwrap(),
        alias: None,
        platform: Platform::host(),
        required: true,
        present: true,
        list: None,
        manifest: Some(Digest::of(b"manifest")),
        image: Some("@IMAGE@".to_owned()),
        layers: vec![RecordLayer {
            diff_id: Digest::of(b"diff"),
            size: 1,
            id: "@LAYER@".to_owned(),
        }],
    };
    Record::new(vec![bound("a.container", "example.org/app:1"), bound("b.container", &pinned())])
}

/// What was said of each case by the Podman of a suite of Debian: exit status and lines.
fn run(suite: &str) -> Option<BTreeMap<String, (i32, String)>> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let made = Command::new(project.join("tests/setup/chroot.sh")).arg(suite).output().unwrap();
    if made.status.code() == Some(2) {
        println!("skipped: needs {}", String::from_utf8_lossy(&made.stderr).trim());
        return None;
    }
    let chroot = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let (store, given) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &[u8]| fs::write(given.path().join(name), text).unwrap();
    let json = include_str!("../../units/bound-images-hook.json");
    let json = json.replace("/usr/libexec/bound-images-hook", "/in/hook").replace(
        r#""args": ["bound-images-hook"]"#,
        r#""args": ["bound-images-hook", "--store", "/tmp/bound"]"#,
    );
    assert!(json.contains("/tmp/bound") && json.contains("/in/hook"), "{json}");
    write("hook.json", json.as_bytes());
    write("record", &record().canonical());
    write("pinned", pinned().as_bytes());
    write("message", b"run `podman untag example.org/app:1 example.org/app:1`, then");
    fs::copy(env!("CARGO_BIN_EXE_bound-images-hook"), given.path().join("hook")).unwrap();
    fs::write(store.path().join("script"), SCRIPT).unwrap();
    let output = Command::new(project.join("tests/peers/in-chroot.sh"))
        .args([Path::new(&chroot), store.path(), given.path(), &store.path().join("script")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{error}");
    let mut cases = BTreeMap::new();
    let mut current = String::new();
    for line in said.lines() {
        if let Some((name, status)) =
            line.strip_prefix("case ").and_then(|line| line.rsplit_once(' '))
        {
            name.clone_into(&mut current);
            cases.insert(current.clone(), (status.parse().unwrap(), String::new()));
        } else if let Some((_, text)) = cases.get_mut(&current) {
            *text += &format!("{line}\n");
        }
    }
    Some(cases)
}

#[test]
fn containers_of_every_kind_are_judged_by_their_image() {
    judged("trixie");
}

#[test]
fn and_those_of_podman_6() {
    judged("experimental");
}

fn judged(suite: &str) {
    let Some(cases) = run(suite) else { return };
    let case = |name: &str| cases.get(name).unwrap_or_else(|| panic!("no case {name}: {cases:?}"));
    for name in [
        "plain",
        "read-only",
        "userns-idmapped",
        "userns-fixed",
        "userns-copied",
        "transient",
        "transient-userns",
        "transient-copied",
        "pod",
        "identical",
        "identical-userns",
        "identical-copied",
        "identical-transient",
        "identical-transient-userns",
        "identical-transient-copied",
        "mended",
    ] {
        let (status, said) = case(name);
        assert_eq!(*status, 0, "{name}: {said}");
        assert!(said.contains("app.service runs example.org/app"), "{name}: {said}");
        assert!(said.ends_with("bound\n"), "{name} does not run the bound image: {said}");
    }
    let (status, said) = case("other-tagged");
    assert_eq!((*status, said.ends_with("other\n")), (0, true), "{said}");
    assert!(said.contains("runs another image") && said.contains("podman untag"), "{said}");
    for name in ["other-required", "other-pinned", "other-userns", "other-transient"] {
        let (status, said) = case(name);
        assert_eq!(*status, 126, "{name}: {said}");
        assert!(said.contains("bound-images-hook: refused to start app.service"), "{said}");
        assert_eq!(said.matches("bound-images-hook:").count(), 1, "{name}: {said}");
    }
    // What the script did is what the hook prints.
    let (_, said) = case("other-required");
    assert!(
        said.contains("run `podman untag example.org/app:1 example.org/app:1`, then"),
        "{said}"
    );
    assert_eq!(case("not-bound"), &(0, "bound\n".to_owned()));
    let (status, said) = case("rootfs");
    assert_eq!((*status, said.contains("--rootfs")), (126, true), "{said}");
}
