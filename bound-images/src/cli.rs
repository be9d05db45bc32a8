//! What can be typed: clap types only. What it means is in [`crate::settings`].

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// Binds container images to the root file system that they came with.
#[derive(Debug, Parser)]
#[command(name = "bound-images", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    pub(crate) tests: ForTests,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A path that means the same to whoever opens it, wherever that is done from.
fn absolute() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}

/// What no person types: neither help nor completions nor man pages have it.
#[derive(Args, Debug)]
pub(crate) struct ForTests {
    /// The top of the running system; for tests
    #[arg(long, global = true, hide = true, default_value = "/", value_name = "DIR")]
    pub(crate) host: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Global {
    /// How results are written to standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) format: Output,
    /// Say more on standard error; twice: debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

/// What can be typed after `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs: documented, with a `schema` number
    Json,
    /// SARIF 2.1.0, for code scanning
    #[value(hide = true)]
    Sarif,
    /// Annotations of GitHub Actions
    #[value(hide = true)]
    Github,
    /// One reference a line, for programs that mirror images
    #[value(hide = true)]
    Refs,
    /// Metrics, for node_exporter's textfile collector
    #[value(hide = true)]
    Prometheus,
}

impl Output {
    /// The form that every command has.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::Table | Self::Sarif | Self::Github | Self::Prometheus | Self::Refs => {
                Format::Table
            }
        }
    }

    /// Those that a command writes.
    pub(crate) fn of(command: &str) -> &'static [Self] {
        match command {
            "list" => &[Self::Table, Self::Json, Self::Refs],
            "status" => &[Self::Table, Self::Json, Self::Prometheus],
            "lint" => &[Self::Table, Self::Json, Self::Sarif, Self::Github],
            // They write pages and scripts.
            "man" | "completions" => &[Self::Table],
            _ => &[Self::Table, Self::Json],
        }
    }
}

/// The form of what goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: documented, with a `schema` number.
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the bindings of a root, and whether their images are there
    List(Rooted),
    /// Check that the images of a root are all there and whole; --deep reads every file
    Verify(Verify),
    /// Fetch and verify the images of a root and put them into its store
    Stage(Stage),
    /// Show all roots of this host, and whether their images are there
    Status(Status),
    /// Say whether the staged root may become the next boot (called at shutdown)
    Gate(Gate),
    /// Let one root boot although images are missing
    Release(Release),
    /// Remove stores and downloads that no root uses or wants
    Gc(Gc),
    /// Say what would go wrong later, for those who build images
    Lint(Lint),
    /// Write into Quadlets the digests that their tags have now
    Pin(Pin),
    /// Write the images that roots bind into an OCI layout, for hosts without a network
    Bundle(Bundle),
    /// Show which image stores Podman reads, or list ours in a root's storage.conf
    StorageConf(StorageConf),
    /// Write the man pages of all commands
    Man(Man),
    /// Write what completes command lines in a shell
    Completions(Completions),
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// With --format prometheus: replace this file, in one step, mode 0644
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The directory they are written to; it is made where it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// For which shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct StorageConf {
    #[command(subcommand)]
    pub(crate) action: StorageConfAction,
    /// The root: as for `list` (default: the running system)
    #[arg(long, global = true, value_name = "ROOT")]
    pub(crate) root: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum StorageConfAction {
    /// Which stores come from which file, and what is overridden, for each generation of Podman
    Show,
    /// List the store of bound images
    Enable,
    /// Undo what `enable` did
    Disable,
}

#[derive(Args, Debug)]
pub(crate) struct Rooted {
    /// The root: a directory with an operating system in it, or one of this host's: booted, staged,
    /// pending, rollback, or the first digits of its id, 8 or more (default: the booted one)
    #[arg(long, value_name = "ROOT")]
    pub(crate) root: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) rooted: Rooted,
    /// Replay every layer and compare every file with it: content, names, types, owners, modes,
    /// times and extended attributes
    #[arg(long)]
    pub(crate) deep: bool,
    /// For the health check of a boot: fail only for a required image that is missing or wrong in a
    /// root that was not released
    #[arg(long)]
    pub(crate) health: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Stage {
    /// The root: a directory with an operating system in it, or one of this host's: booted, staged,
    /// pending, rollback, or the first digits of its id, 8 or more (default: the staged one, and then
    /// what an update that was held back still wants)
    #[arg(long, value_name = "ROOT")]
    pub(crate) root: Option<PathBuf>,
    /// Take the images from this OCI layout instead of registries
    #[arg(long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Credentials for registries, in the format of containers-auth.json(5)
    #[arg(long, value_name = "FILE", value_parser = absolute(), value_hint = ValueHint::FilePath)]
    pub(crate) authfile: Option<PathBuf>,
    /// Read every file of the store that is there, and replace what is damaged (never a store in use)
    #[arg(long)]
    pub(crate) repair: bool,
    /// Ask again what tags mean; otherwise a tag keeps the digest that it was first staged with
    #[arg(long)]
    pub(crate) refresh: bool,
    /// How many layers to fetch at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) jobs: Option<u8>,
    /// Copy layers from this containers/storage store where it has them, instead of fetching them
    /// (may be given again); otherwise those of this host are looked at
    #[arg(long = "foreign-store", value_name = "DIR")]
    pub(crate) foreign_stores: Vec<PathBuf>,
    /// How long to wait for another stage that is running
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u32,
    /// For the unit at boot: fetch what the booted root lacks, and publish what can be had
    #[arg(long, conflicts_with_all = ["root", "dry_run", "refresh"])]
    pub(crate) late_binding: bool,
    /// For the unit at shutdown: one more try, within the last-call-timeout of the configuration
    #[arg(long, conflicts_with_all = ["root", "dry_run", "late_binding", "refresh"])]
    pub(crate) last_call: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Gate {
    /// For the units at shutdown: remember a refusal, which `status` and the journal tell of afterwards
    #[arg(long)]
    pub(crate) remember: bool,
    /// For the unit before a soft reboot: take an incomplete root out of its way
    #[arg(long)]
    pub(crate) soft_reboot: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Release {
    /// The root: staged, pending, rollback, or the first digits of its id (8 or more)
    pub(crate) root: PathBuf,
    /// Why, in one line; `status` and the journal show it
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct Gc {
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Lint {
    /// The root: a directory with an operating system in it, or one of this host's: booted, staged,
    /// pending, rollback, or the first digits of its id, 8 or more (default: /)
    #[arg(long, value_name = "ROOT")]
    pub(crate) root: Option<PathBuf>,
    /// Warnings count as errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Ask the registries too: is every image there, and for its platform?
    #[arg(long)]
    pub(crate) check_registry: bool,
    /// Credentials for registries, in the format of containers-auth.json(5)
    #[arg(long, value_name = "FILE", value_parser = absolute(), value_hint = ValueHint::FilePath, requires = "check_registry")]
    pub(crate) authfile: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Pin {
    /// The directory with an operating system in it whose Quadlets are rewritten
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Change nothing; exit 1 when something is not pinned or its tag has moved
    #[arg(long)]
    pub(crate) check: bool,
    /// Credentials for registries, in the format of containers-auth.json(5)
    #[arg(long, value_name = "FILE", value_parser = absolute(), value_hint = ValueHint::FilePath)]
    pub(crate) authfile: Option<PathBuf>,
    /// Names of the links in usr/lib/bootc/bound-images.d (default: all)
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Bundle {
    /// A root whose images are wanted: as for `list` (may be given again)
    #[arg(long = "root", value_name = "ROOT", required = true)]
    pub(crate) roots: Vec<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take what this OCI layout has from it, instead of fetching it (may be given again)
    #[arg(long = "from-bundle", value_name = "DIR")]
    pub(crate) from: Vec<PathBuf>,
    /// A platform that the images are wanted for (may be given again; default: this machine's)
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_parser = crate::bundle::parse_platform)]
    pub(crate) platforms: Vec<binding::Platform>,
    /// Ask again what tags mean; otherwise a tag keeps the digest that it has in OUT
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Remove the images from OUT that none of these roots binds
    #[arg(long)]
    pub(crate) prune: bool,
    /// Credentials for registries, in the format of containers-auth.json(5)
    #[arg(long, value_name = "FILE", value_parser = absolute(), value_hint = ValueHint::FilePath)]
    pub(crate) authfile: Option<PathBuf>,
    /// How many layers to fetch at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) jobs: Option<u8>,
    /// The directory that is written: an OCI layout, made where there is none
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
}

impl Command {
    /// What is typed for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Verify(_) => "verify",
            Self::Stage(_) => "stage",
            Self::Status(_) => "status",
            Self::Gate(_) => "gate",
            Self::Release(_) => "release",
            Self::Gc(_) => "gc",
            Self::Lint(_) => "lint",
            Self::Pin(_) => "pin",
            Self::Bundle(_) => "bundle",
            Self::StorageConf(_) => "storage-conf",
            Self::Man(_) => "man",
            Self::Completions(_) => "completions",
        }
    }

    /// What is left when it is interrupted.
    pub(crate) fn kept(&self) -> &'static str {
        match self {
            Self::Stage(stage) if stage.dry_run => "nothing was changed",
            Self::Stage(_) => "layers that were complete are kept for the next attempt",
            Self::Bundle(bundle) if bundle.dry_run => "nothing was changed",
            Self::Bundle(_) => "blobs that were complete are kept for the next attempt",
            Self::Gc(gc) if !gc.dry_run => "what was removed is gone, all else is whole",
            Self::Pin(pin) if !pin.check => {
                "files that were written stay, the others are as they were"
            }
            Self::Release(_) | Self::StorageConf(_) | Self::Gate(_) => "no file is half-written",
            _ => "nothing was changed",
        }
    }

    /// Whether it speaks of the program alone, and looks at no host.
    pub(crate) fn is_about_us(&self) -> bool {
        matches!(self, Self::Man(_) | Self::Completions(_))
    }

    /// Whether it speaks of roots of this host, and not of a directory.
    pub(crate) fn names_no_directory(&self) -> bool {
        let root = match self {
            Self::Stage(stage) => stage.root.as_deref(),
            Self::Verify(verify) => verify.rooted.root.as_deref(),
            Self::Pin(pin) => Some(pin.root.as_path()),
            _ => None,
        };
        root.is_none_or(|root| !root.is_dir())
    }

    /// Whether it may write the pool, which lies on a file system that is read-only to others.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Stage(stage) => !stage.dry_run,
            Self::Verify(verify) => verify.deep,
            Self::Gc(gc) => !gc.dry_run,
            Self::Release(_) => true,
            Self::List(_)
            | Self::Status(_)
            | Self::Gate(_)
            | Self::Lint(_)
            | Self::Pin(_)
            | Self::Bundle(_)
            | Self::StorageConf(_)
            | Self::Man(_)
            | Self::Completions(_) => false,
        }
    }
}
