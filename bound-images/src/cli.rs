//! What can be typed: clap types only. What it means is in [`crate::settings`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Binds container images to the root file system that they came with.
#[derive(Debug, Parser)]
#[command(name = "bound-images", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0    all well
  1    findings: a binding, an image or the store is missing or wrong, or the place is unfit
  2    usage, configuration or installation: arguments, not root, no usable skopeo
  3    could not look: I/O, disk full, a registry that cannot be asked
  130  interrupted";

#[derive(Args, Debug)]
pub(crate) struct Global {
    /// How results are written to standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Say more on standard error; twice: debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

/// The form of what goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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
}

#[derive(Args, Debug)]
pub(crate) struct Rooted {
    /// The root: a directory with an operating system in it
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) rooted: Rooted,
    /// Replay every layer and compare every file with it: content, names, types, owners, modes,
    /// times and extended attributes
    #[arg(long)]
    pub(crate) deep: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Stage {
    #[command(flatten)]
    pub(crate) rooted: Rooted,
    /// Take the images from this OCI layout instead of registries
    #[arg(long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Credentials for registries, in the format of containers-auth.json(5)
    #[arg(long, value_name = "FILE")]
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
}
