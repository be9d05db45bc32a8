//! Roots that are well but for one thing, per code.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use binding::Code;
use oci_digest::Digest;

use crate::common::{World, source};

const USR: &str = "usr/share/containers/systemd";
const BOUND: &str = "usr/lib/bootc/bound-images.d";
const CONF: &str = "[storage]\ndriver = \"overlay\"\nrunroot = \"/r\"\ngraphroot = \"/g\"\n\
    [storage.options]\nadditionalimagestores = [\"/usr/lib/containers/storage\"]\n";
const OTHER_CONF: &str = "[storage.options]\nadditionalimagestores = [\"/other\"]\n";
const VENDOR: &str = "[Service]\nExecStop=/usr/bin/ostree admin finalize-staged\n";
/// Codes that only the plan of a store gives.
pub(crate) const OF_NAMES: [Code; 2] = [Code::NameConflict, Code::DigestMismatch];
/// Codes that only `verify` gives, of a running system: `tests/hook.rs`.
pub(crate) const OF_VERIFY: [Code; 3] =
    [Code::HookMissing, Code::HookOverridden, Code::StartUnrecorded];
/// Codes that only a registry gives.
pub(crate) const OF_REGISTRY: [Code; 3] =
    [Code::ImageNotFound, Code::NoSuchPlatform, Code::ImageUnusable];

/// A code, what a root has that shows it, and what one has that does not.
pub(crate) type Case = (Code, Vec<Lay>, Vec<Lay>);

/// What is laid over a root that is well.
pub(crate) enum Lay {
    /// A Quadlet and its link.
    Bind(&'static str, String),
    File(&'static str, Vec<u8>),
    Link(&'static str, &'static str),
    Dir(String),
    /// Removes what is there.
    Gone(&'static str),
    /// A link with a name that is not text.
    Raw(&'static [u8]),
}

use Lay::{Bind, Dir, File, Gone, Link, Raw};

pub(crate) fn image() -> String {
    format!("quay.io/a/b:1@{}", Digest::of(b"b"))
}

/// A container that is well, and more lines.
pub(crate) fn container(more: &str) -> Lay {
    Bind("x.container", format!("[Container]\nImage={}\n{more}", image()))
}

/// A `.image` that is well but for what is in `more`.
pub(crate) fn pull(more: &str) -> Lay {
    Bind("x.image", format!("[Image]\nImage={}\n{more}", image()))
}

/// A container with another image.
pub(crate) fn runs(image: &str) -> Lay {
    Bind("x.container", format!("[Container]\nImage={image}\n"))
}

pub(crate) fn text(path: &'static str, text: &str) -> Lay {
    File(path, text.as_bytes().to_vec())
}

/// A root with a store and a storage.conf, and what is laid over it.
pub(crate) fn root(layers: Vec<Lay>) -> World {
    let world = World::new();
    for lock in ["overlay-layers/layers.lock", "overlay-images/images.lock"] {
        world.write(&format!("usr/lib/containers/storage/{lock}"), "");
    }
    world.write("usr/share/containers/storage.conf", CONF);
    world.write("usr/lib/os-release", "ID=test\n");
    for one in layers {
        match one {
            Bind(name, text) => world.bind(name, text),
            File(path, bytes) => world.write(path, bytes),
            Link(path, target) => {
                let path = world.root().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(target, path).unwrap();
            }
            Dir(path) => fs::create_dir_all(world.root().join(path)).unwrap(),
            Gone(path) => {
                let path = world.root().join(path);
                fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
            }
            Raw(name) => {
                let name = std::ffi::OsStr::from_bytes(name);
                fs::create_dir_all(world.root().join(BOUND)).unwrap();
                symlink("x", world.root().join(BOUND).join(name)).unwrap();
            }
        }
    }
    world
}

/// Per code: a root that has it, and one that is as like it as can be and has not.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = of_links();
    cases.extend(of_quadlets());
    cases.extend(of_images());
    cases.extend(of_services());
    cases.extend(of_roots());
    cases
}

fn of_links() -> Vec<Case> {
    const X: &str = "usr/lib/bootc/bound-images.d/x.image";
    let quadlet = || File("usr/share/containers/systemd/x.image", b"[Image]\n".to_vec());
    let to = |target| vec![quadlet(), Link(X, target)];
    let well = || to("/usr/share/containers/systemd/x.image");
    vec![
        (Code::UnknownExtension, vec![Link("usr/lib/bootc/bound-images.d/x.kube", "/usr")], well()),
        (Code::NotALink, vec![text(X, "[Image]\n")], well()),
        (Code::DanglingLink, to("/usr/none.image"), well()),
        (Code::LinkLoop, to("x.image"), well()),
        (
            Code::LinkEscapes,
            to("../../../../../usr/share/containers/systemd/x.image"),
            to("../../../share/containers/systemd/x.image"),
        ),
        (Code::NotAFile, to("/usr"), well()),
        (Code::NameNotUtf8, vec![Raw(b"\xff.image")], vec![Raw("é.image".as_bytes())]),
        (Code::HiddenName, vec![Raw(b".x.image")], vec![Raw(b"x.image")]),
        (
            Code::SearchPath,
            vec![container(""), Dir(format!("{USR}{}", "/d".repeat(70)))],
            vec![container(""), Dir(format!("{USR}{}", "/d".repeat(10)))],
        ),
    ]
}

fn of_quadlets() -> Vec<Case> {
    const X: &str = "usr/share/containers/systemd/x.container";
    let bytes = |bytes: Vec<u8>| vec![container(""), File(X, bytes)];
    let near = |more: &str| vec![container(more)];
    let other = |path, image: &str| text(path, &format!("[Container]\nImage={image}\n"));
    let dropins = |name| {
        vec![
            container(""),
            other("usr/share/containers/systemd/container.d/10.conf", "quay.io/c:1"),
            other(name, "quay.io/d:1"),
        ]
    };
    vec![
        (
            Code::Unreadable,
            vec![container(""), Dir(format!("{X}.d/10.conf"))],
            vec![container(""), Dir(format!("{X}.d/10"))],
        ),
        (Code::TooLarge, bytes(vec![b'\n'; (1 << 20) + 1]), bytes(vec![b'\n'; 1 << 20])),
        (Code::NotUtf8, bytes(b"[Container]\nExec=\xff\n".to_vec()), near("Exec=é\n")),
        (Code::Syntax, near("what\n"), near("Exec=what\n")),
        (
            Code::BrokenNeighbour,
            vec![container(""), text("usr/share/containers/systemd/y.volume", "what")],
            vec![container(""), text("usr/share/containers/systemd/README", "what")],
        ),
        (Code::LostLine, near("Exec=a \\\n# c\n"), near("Exec=a \\\n# c\nb\n")),
        (Code::RepeatedKey, near("Image=quay.io/c:1\n"), near("Image=\nImage=quay.io/c:1\n")),
        (Code::AmbiguousQuotes, vec![runs("\"quay.io/a:1")], vec![runs("\"quay.io/a:1\"")]),
        (Code::UnknownKey, near("Typo=1\n"), near("Exec=1\n")),
        (Code::Refused, near("[Service]\nType=simple\n"), near("[Service]\nType=notify\n")),
        (
            Code::DropinOrder,
            dropins("usr/share/containers/systemd/sub/x.container.d/10.conf"),
            dropins("usr/share/containers/systemd/sub/x.container.d/20.conf"),
        ),
    ]
}

fn of_images() -> Vec<Case> {
    let (a, hex) = (image(), "ab".repeat(64));
    let run = |image: &str| vec![runs(image)];
    let named = |code, image: &str| (code, run(image), run(&a));
    let of_image = |code, hit: &str, near: &str| (code, vec![pull(hit)], vec![pull(near)]);
    vec![
        (
            Code::NoImage,
            vec![Bind("x.container", "[Container]\n".into())],
            vec![Bind("x.container", format!("[Container]\nImage={a}\n"))],
        ),
        (
            Code::Rootfs,
            vec![Bind("x.container", "[Container]\nRootfs=/x\n".into())],
            vec![Bind("x.container", format!("[Container]\nImage={a}\nRootfs=\n"))],
        ),
        (
            Code::QuadletNotFound,
            run("y.image"),
            vec![runs("y.image"), text("usr/share/containers/systemd/y.image", "[Image]\n")],
        ),
        named(Code::BuildImage, "y.build"),
        (
            Code::ImageChain,
            vec![Bind("x.image", "[Image]\nImage=y.image\n".into())],
            vec![Bind("x.image", "[Image]\nImage=quay.io/y.image\n".into())],
        ),
        named(Code::Specifier, "quay.io/a:%v"),
        named(Code::ShortName, "nginx"),
        named(Code::Transport, "oci:/x"),
        named(Code::ImageId, &hex[..64]),
        named(Code::DigestAlgorithm, &format!("quay.io/a@sha512:{hex}")),
        named(Code::BadReference, "quay.io/A"),
        of_image(Code::AllTags, "AllTags=true\n", "AllTags=false\n"),
        of_image(Code::BadPullOption, "Retry=many\n", "Retry=3\n"),
        of_image(Code::BadBoolean, "TLSVerify=maybe\n", "TLSVerify=true\n"),
        (Code::Unpinned, run("quay.io/a/b:1"), run(&a)),
        (
            Code::TwoDigests,
            vec![
                container(""),
                Bind(
                    "y.container",
                    format!("[Container]\nImage=quay.io/a/b:1@{}\n", Digest::of(b"y")),
                ),
            ],
            vec![
                container(""),
                Bind(
                    "y.container",
                    format!("[Container]\nImage=quay.io/a/b:2@{}\n", Digest::of(b"y")),
                ),
            ],
        ),
        (
            Code::TwoPlatforms,
            vec![
                pull("Arch=arm64\n"),
                Bind("y.image", format!("[Image]\nImage={a}\nArch=amd64\n")),
            ],
            vec![
                pull("Arch=arm64\n"),
                Bind("y.image", format!("[Image]\nImage={a}\nArch=aarch64\n")),
            ],
        ),
        (
            Code::UnusedImage,
            vec![
                pull(""),
                text("usr/share/containers/systemd/y.container", "[Container]\nImage=z.image\n"),
            ],
            vec![
                pull(""),
                text(
                    "usr/share/containers/systemd/y.container",
                    "[Container]\nImage=quay.io/a\nMount=type=image,source=x.image,destination=/x\n",
                ),
            ],
        ),
        (
            Code::BootcRefuses,
            vec![container("Exec=a \\\n  --b\n")],
            vec![container("Exec=a --b\n")],
        ),
        (
            Code::BootcDiffers,
            vec![
                container(""),
                text(
                    "usr/share/containers/systemd/x.container.d/10.conf",
                    "[Container]\nImage=quay.io/c:1\n",
                ),
            ],
            vec![
                container(""),
                text("usr/share/containers/systemd/x.container.d/10.conf", "[Container]\nExec=c\n"),
            ],
        ),
    ]
}

fn of_services() -> Vec<Case> {
    let more = |code, hit: &str, near: &str| (code, vec![container(hit)], vec![container(near)]);
    let at = |path| Link("usr/lib/bootc/bound-images.d/x.container", path);
    let file = |path| text(path, &format!("[Container]\nImage={}\n", image()));
    vec![
        more(Code::PullPolicy, "Pull=newer\n", "Pull=missing\n"),
        more(Code::PullAlways, "Pull=always\n", "Pull=never\n"),
        more(Code::AutoUpdate, "AutoUpdate=registry\n", "AutoUpdate=local\n"),
        more(Code::PullArguments, "PodmanArgs=--arch=arm64\n", "PodmanArgs=--memory=1g\n"),
        more(
            Code::StoreHidden,
            "GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage\n",
            "GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/containers/storage\n",
        ),
        more(
            Code::UnknownBindingKey,
            "[X-BoundImage]\nRequires=no\n",
            "[X-BoundImage]\nRequired=no\n",
        ),
        more(Code::ServiceName, "ServiceName=a/b\n", "ServiceName=a\n"),
        (
            Code::TemplateName,
            vec![Bind("x@.image", "[Image]\nImage=quay.io/a\n".into())],
            vec![Bind("x@.image", "[Image]\nImage=quay.io/a\nServiceName=x\n".into())],
        ),
        (
            Code::OutsideSearchPath,
            vec![file("usr/lib/x.container"), at("/usr/lib/x.container")],
            vec![container("")],
        ),
        (
            Code::ShadowedQuadlet,
            vec![
                file("usr/share/containers/systemd/a/x.container"),
                file("usr/share/containers/systemd/b/x.container"),
                at("/usr/share/containers/systemd/b/x.container"),
            ],
            vec![
                file("usr/share/containers/systemd/a/x.container"),
                file("usr/share/containers/systemd/b/x.container"),
                at("/usr/share/containers/systemd/a/x.container"),
            ],
        ),
        (
            Code::Overridden,
            vec![
                container(""),
                text(
                    "etc/containers/systemd/x.container.d/1.conf",
                    "[Container]\nImage=quay.io/c\n",
                ),
            ],
            vec![
                container(""),
                text("etc/containers/systemd/x.container.d/1.conf", "[Container]\nExec=c\n"),
            ],
        ),
    ]
}

fn of_roots() -> Vec<Case> {
    const STORE: &str = "usr/lib/containers/storage";
    const STORAGE_CONF: &str = "usr/share/containers/storage.conf";
    const UNIT: &str = "usr/lib/systemd/system/ostree-finalize-staged.service";
    const DROP_IN: &str =
        "usr/lib/systemd/system/ostree-finalize-staged.service.d/50-bound-images.conf";
    let shipped =
        fs::read_to_string(source("units/ostree-finalize-staged.service.d/50-bound-images.conf"))
            .unwrap();
    let with = |lay| vec![container(""), lay];
    let conf = |path, more: &str| with(text(path, more));
    let gate = |vendor: &str| vec![container(""), text(UNIT, vendor), text(DROP_IN, &shipped)];
    let vfs = CONF.replace("overlay", "vfs");
    vec![
        (Code::StoreMissing, with(Gone(STORE)), with(Dir(STORE.into()))),
        (
            Code::StoreInvalid,
            with(Gone("usr/lib/containers/storage/overlay-layers/layers.lock")),
            with(Dir(format!("{STORE}/overlay/l"))),
        ),
        (Code::StoreNotListed, with(Gone(STORAGE_CONF)), with(Dir("x".into()))),
        (Code::StorageConfInvalid, conf(STORAGE_CONF, "[storage\n"), conf(STORAGE_CONF, CONF)),
        (Code::StorageConfDriver, conf(STORAGE_CONF, &vfs), conf(STORAGE_CONF, CONF)),
        (
            Code::StorageConfHides,
            conf("etc/containers/storage.conf", OTHER_CONF),
            conf("etc/containers/storage.conf", CONF),
        ),
        (
            Code::StorageConfDropin,
            conf("etc/containers/storage.conf.d/1.conf", OTHER_CONF),
            conf(
                "etc/containers/storage.conf.d/1.conf",
                &OTHER_CONF.replace("\"/other\"", "\"/other\", {append = true}"),
            ),
        ),
        (Code::GateMissing, with(text(UNIT, VENDOR)), gate(VENDOR)),
        (Code::GateDiffers, gate(&VENDOR.replace("staged", "staged --new")), gate(VENDOR)),
        (
            Code::BadConfig,
            conf("usr/lib/bound-images/config.d/1.toml", "jobs = 2\njob = 3\n"),
            conf("usr/lib/bound-images/config.d/1.toml", "jobs = 2\n"),
        ),
    ]
}
