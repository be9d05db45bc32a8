//! What completes command lines in a shell.

use clap::builder::PossibleValuesParser;
use clap::{Arg, Args as _, Command, Subcommand as _, ValueHint};
use clap_complete::Shell;

use crate::cli;

/// What can stand for a root, beside a directory and the start of an id.
const ROLES: [&str; 4] = ["booted", "staged", "pending", "rollback"];

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut offered(shell), "bound-images", &mut text);
    text
}

/// The definition without what is hidden, which clap_complete would offer.
fn offered(shell: Shell) -> Command {
    let program =
        Command::new("bound-images").version(env!("CARGO_PKG_VERSION")).subcommand_required(true);
    let program = cli::Command::augment_subcommands(cli::Global::augment_args(program));
    super::complete(program)
        .mut_subcommands(|command| command.mut_args(move |arg| with_hint(arg, shell)))
}

/// What the value of an option is.
fn with_hint(arg: Arg, shell: Shell) -> Arg {
    let name = arg.get_value_names().and_then(<[_]>::first).map(|name| name.as_str().to_owned());
    let hint = match name.as_deref() {
        Some("ROOT" | "DIR" | "OUT") => ValueHint::DirPath,
        Some("FILE") => ValueHint::FilePath,
        _ => return arg,
    };
    let arg = arg.value_hint(hint);
    // Only bash's script offers both; the others would offer these, and no directory any more.
    let takes_both = shell == Shell::Bash;
    match name.as_deref() {
        Some("ROOT") if takes_both => arg.value_parser(PossibleValuesParser::new(ROLES)),
        _ => arg,
    }
}
