//! The table: one entry per command, in the order in which `--help` lists them.

use super::Page;

/// What codes mean wherever nothing else is said.
const INTERRUPTED: (&str, &str) = ("130", "interrupted");
const USAGE: (&str, &str) = ("2", "usage or configuration is wrong");
const LOOK: (&str, &str) = ("3", "it could not be looked at");

/// The program itself.
pub(crate) const PROGRAM: Page = Page {
    name: "",
    text: &[
        "A host that boots from an image (bootc, ostree) is updated as one piece and rolled back as one \
         piece. This program does the same for the containers that it cannot live without: it \
         resolves the Quadlets that a root names in usr/lib/bootc/bound-images.d, fetches and \
         verifies their images, and stores them for that root, where Podman finds them.",
        "ROOT, wherever a command takes one, is a directory with an operating system in it, or a root \
         of this host: booted, staged, pending, rollback, or the first digits of its id (8 or more).",
        "All of it runs from units, described in bound-images-units(7); a person needs status, and \
         release if an update cannot be completed. Who builds images needs lint and pin.",
    ],
    examples: &[
        ("bound-images status", "Every root of this host; why an update was held back."),
        ("bound-images stage --dry-run", "What there is to fetch for the staged root."),
        ("bound-images verify --deep", "Compares every file of the booted root's images."),
        ("RUN bound-images lint", "In a Containerfile: fails for what would go wrong later."),
    ],
    exits: &[
        ("0", "all well"),
        ("1", "findings: a binding, an image or the store is missing or wrong"),
        ("2", "usage, configuration or installation: not root, no usable skopeo"),
        ("3", "could not look: I/O, disk full, a registry that cannot be asked"),
        ("130", "interrupted; layers that were complete are kept"),
    ],
    see: &["bootc(8)", "podman(1)", "podman-systemd.unit(5)", "skopeo(1)"],
};

/// One entry per command.
pub(crate) const PAGES: &[Page] = &[
    Page {
        name: "list",
        text: &[
            "Images are not read: a damaged one is shown only if verify found it. For the root \
                 that runs, systemd is asked how it stands with the services.",
        ],
        examples: &[
            ("bound-images list", "The bindings of the booted root."),
            ("bound-images list --root staged", "Those of the root that boots next."),
            ("bound-images list --root /mnt --format json", "Of a directory, for programs."),
            ("bound-images list --root /mnt --format refs", "References, for what mirrors them."),
        ],
        exits: &[
            ("0", "every required image is there, and every binding is right"),
            ("1", "an image is missing, damaged or shadowed, or a binding is wrong"),
            USAGE,
            LOOK,
            INTERRUPTED,
        ],
        see: &[],
    },
    Page {
        name: "verify",
        text: &[
            "Whether the store is what the root's files ask for. Without --deep, layers are not read \
             again: names, sizes, links and lists are compared. Of the running system also \
             whether Podman starts the hook, and whether that judged what runs.",
            "What --deep finds is remembered for the roots of a host, until it is repaired.",
        ],
        examples: &[
            ("bound-images verify", "The booted root, in milliseconds."),
            ("bound-images verify --deep --root rollback", "Every file of the rollback."),
        ],
        exits: &[
            ("0", "complete, or only optional images are missing"),
            ("1", "not complete: what is wrong is said, with the next step"),
            USAGE,
            LOOK,
            INTERRUPTED,
        ],
        see: &[],
    },
    Page {
        name: "stage",
        text: &[
            "Every blob is checked against its digest and size, every layer against its diff id, while \
             it is unpacked; the finished store is published in one step. Layers that this host has \
             already are linked or copied. A tag keeps the digest that it was first staged with.",
            "A run that fails or is killed leaves nothing half-done; layers that were complete wait for \
             the next run.",
        ],
        examples: &[
            ("bound-images stage", "The staged root, or what an update still wants."),
            ("bound-images stage --dry-run", "Only what would be fetched."),
            ("bound-images stage --root staged --bundle /mnt/usb", "Without a registry."),
            ("bound-images stage --root booted --repair", "Replaces what is damaged."),
        ],
        exits: &[
            ("0", "the store is complete, or there is nothing to do"),
            ("1", "a binding is wrong, or an image does not exist or is not as promised"),
            ("2", "usage, configuration, not root, or no usable skopeo"),
            ("3", "network, I/O or disk full: try again; what was fetched is kept"),
            ("130", "interrupted; layers that were complete are kept"),
        ],
        see: &["containers-auth.json(5)", "containers-registries.conf(5)", "skopeo(1)"],
    },
    Page {
        name: "status",
        text: &[
            "Every root: booted, staged, pending or rollback; whether its images are there, what they \
             take, and what only it has. Also why an update was held back, and whether the gate is \
             in place.",
            "--format prometheus writes metrics in Prometheus' text format. With --out they go to a \
             file, in one step, for the textfile collector of node_exporter; \
             bound-images-metrics.timer does so where that has its directory.",
        ],
        examples: &[
            ("bound-images status", "For people."),
            ("bound-images status --format json", "For programs."),
            ("bound-images status --format prometheus --out /tmp/x.prom", "For monitoring."),
        ],
        exits: &[
            ("0", "the booted and the staged root are complete, no update was held back"),
            ("1", "one of these is not so, or something is wrong with the gate"),
            USAGE,
            LOOK,
            INTERRUPTED,
        ],
        see: &[],
    },
    Page {
        name: "gate",
        text: &[
            "Asked by the unit that finalizes a staged root, at shutdown. It reads the staged root and \
                 its store again and trusts nobody's word.",
            "Asked by a person it writes nothing. The units ask with --remember (--soft-reboot does the \
                 same): then a refusal goes to /var/lib/bound-images/held-back.json, to the journal \
                 and to status, until a root passes.",
        ],
        examples: &[("bound-images gate", "What the gate would say if the host went down now.")],
        exits: &[
            ("0", "the staged root may boot, or none is staged"),
            ("1", "it must not: the update is held back"),
            USAGE,
        ],
        see: &["ostree-finalize-staged.service(8)"],
    },
    Page {
        name: "release",
        text: &[
            "For one root only, and only until it is gone. The journal and status show the reason. What \
                 is missing is looked for again after the boot; its services fail until then.",
        ],
        examples: &[(
            "bound-images release staged --reason 'ticket 4711'",
            "Lets the staged root boot as it is.",
        )],
        exits: &[
            ("0", "released"),
            USAGE,
            ("3", "there is no such root, or it could not be written"),
        ],
        see: &[],
    },
    Page {
        name: "gc",
        text: &[
            "Removes nothing that a root, a mount, a container or an update that is still wanted uses. \
                 bound-images-gc.timer runs it daily, and each stage afterwards.",
        ],
        examples: &[
            ("bound-images gc --dry-run", "What could go, and who uses the rest."),
            ("bound-images gc", "Removes it."),
        ],
        exits: &[
            ("0", "done, or nothing to do"),
            USAGE,
            ("3", "something could not be removed"),
            INTERRUPTED,
        ],
        see: &[],
    },
    Page {
        name: "lint",
        text: &[
            "For a container build: all that would go wrong on a device, each with a stable code, file, \
                 line and remedy.",
        ],
        examples: &[
            ("RUN bound-images lint --strict", "In a Containerfile."),
            ("bound-images lint --root DIR --check-registry", "Is every image there?"),
            ("bound-images lint --format github", "Annotations of GitHub Actions."),
        ],
        exits: &[
            ("0", "no errors (with --strict: no warnings either)"),
            ("1", "findings"),
            ("2", "usage, or no usable skopeo"),
            ("3", "could not look, or a registry could not be asked"),
            INTERRUPTED,
        ],
        see: &[],
    },
    Page {
        name: "pin",
        text: &["Changes the digests in the files that hold them, and no other byte."],
        examples: &[
            ("bound-images pin --root . --check", "In CI: is all pinned, and current?"),
            ("bound-images pin --root . web.container", "Pins one binding."),
        ],
        exits: &[
            ("0", "written; with --check: all is pinned, and no tag has moved"),
            ("1", "something is not pinned, or its tag has moved, or a binding is wrong"),
            ("2", "usage, or no usable skopeo"),
            ("3", "a registry could not be asked, or a file not be written"),
            INTERRUPTED,
        ],
        see: &[],
    },
    Page {
        name: "bundle",
        text: &[
            "Every blob has the size and digest that the manifests promise; those that are in OUT already are read and \
             checked again. What else OUT has is kept. A tag keeps the digest that it has in OUT.",
            "Hosts take it with stage --bundle, or by themselves with the key bundles of \
             bound-images-config(5). skopeo and podman read it, too.",
        ],
        examples: &[
            ("bound-images bundle --root DIR /mnt/usb", "All images of one root."),
            (
                "bound-images bundle --root A --root B OUT --dry-run",
                "What there is to fetch for two.",
            ),
            ("bound-images bundle --root DIR --platform linux/arm64 OUT", "For other machines."),
        ],
        exits: &[
            ("0", "every required image is in OUT"),
            ("1", "a binding is wrong, or an image does not exist or is not as promised"),
            ("2", "usage, configuration, or no usable skopeo"),
            ("3", "network, I/O or disk full: try again; what was fetched is kept"),
            ("130", "interrupted; blobs that were complete are kept"),
        ],
        see: &["skopeo(1)"],
    },
    Page {
        name: "storage-conf",
        text: &[
            "Services of bound containers need none of this: the generator wires them. It is for podman \
                 commands of people and programs. enable keeps comments; disable undoes it to the \
                 byte.",
        ],
        examples: &[
            ("bound-images storage-conf show", "Which stores, from which file and line."),
            ("bound-images storage-conf enable", "Lists ours, for all podman commands."),
            ("bound-images storage-conf disable", "Takes that back."),
        ],
        exits: &[
            ("0", "done"),
            ("1", "a file is broken, or has no place for the line"),
            USAGE,
            LOOK,
        ],
        see: &["containers-storage.conf(5)"],
    },
    Page {
        name: "man",
        text: &[
            "For packagers: make install does it. Without --out, the page of the program goes to \
                 standard output. Pages of formats, units, generator and hook are written by hand \
                 (man/ in the source).",
        ],
        examples: &[
            ("bound-images man | man -l -", "Reads the first page."),
            ("bound-images man --out DIR", "Writes a page for every command."),
        ],
        exits: &[("0", "written"), ("2", "usage"), ("3", "could not be written")],
        see: &[],
    },
    Page {
        name: "completions",
        text: &["make install puts those for bash, zsh and fish where the shells look."],
        examples: &[(
            "bound-images completions bash > bound-images",
            "For /usr/share/bash-completion/completions.",
        )],
        exits: &[("0", "written"), ("2", "usage: no such shell")],
        see: &[],
    },
];
