//! What a command's help and its man page say beyond its options: examples, what its exit codes
//! mean, and where to read on. One table for both, in [`texts`].

pub(crate) mod complete;
pub(crate) mod man;
mod synopsis;
mod texts;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, Command, ValueEnum};

use crate::cli::Output;

pub(crate) use texts::{PAGES, PROGRAM};

/// The option that says how results are written.
const FORMAT: &str = "format";

/// What is said about one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// Its name, `storage-conf`; none for the program itself.
    pub(crate) name: &'static str,
    /// What it does, beyond the one line of the definition; a paragraph each.
    pub(crate) text: &'static [&'static str],
    /// What to type, and what that does.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// What the exit codes mean here, in ascending order.
    pub(crate) exits: &'static [(&'static str, &'static str)],
    /// Further pages, `podman(1)`, beside those every page names.
    pub(crate) see: &'static [&'static str],
}

impl Page {
    /// The page of a command.
    fn of(name: &str) -> Option<&'static Self> {
        PAGES.iter().find(|page| page.name == name)
    }

    /// What stands below the options in `--help`.
    fn help(&self) -> String {
        let mut out = String::new();
        if !self.examples.is_empty() {
            out.push_str("Examples:\n");
        }
        for (typed, does) in self.examples {
            out.push_str(&format!("  {typed}\n      {does}\n"));
        }
        if !self.exits.is_empty() {
            out.push_str(if out.is_empty() { "Exit codes:\n" } else { "\nExit codes:\n" });
        }
        for (code, means) in self.exits {
            out.push_str(&format!("  {code:<4} {means}\n"));
        }
        out.truncate(out.trim_end().len());
        out
    }
}

/// Adds to a definition, and to those of its commands, what the table has, and which formats each
/// command writes.
pub(crate) fn complete(mut command: Command) -> Command {
    command = with_help(command, &PROGRAM);
    let names: Vec<String> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        let Some(page) = Page::of(&name) else { continue };
        let format = command.get_arguments().find(|arg| arg.get_id() == FORMAT).cloned();
        command = command.mut_subcommand(&name, |command| {
            let formats = format.map(|format| with_formats(format, Output::of(&name)));
            with_help(command, page).args(formats)
        });
    }
    command
}

fn with_help(command: Command, page: &Page) -> Command {
    command.after_help(page.help())
}

/// The option of all commands, as one of them has it.
fn with_formats(format: Arg, written: &'static [Output]) -> Arg {
    let values = written.iter().filter_map(ValueEnum::to_possible_value);
    let parser = PossibleValuesParser::new(values.map(|value| value.hide(false)))
        .try_map(|typed| Output::from_str(&typed, false));
    format.value_parser(parser).hide(written.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_has_examples_and_exit_codes_and_no_other_is_named() {
        let command = crate::cli::Cli::command();
        let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let told: Vec<&str> = PAGES.iter().map(|page| page.name).collect();
        assert_eq!(told, known, "pages/texts.rs has one entry per command, in the order of cli.rs");
        for page in PAGES.iter().chain([&PROGRAM]) {
            assert!(!page.examples.is_empty() && page.exits.len() >= 2, "{}", page.name);
        }
    }

    /// An example that cannot be typed is worse than none.
    #[test]
    fn every_example_can_be_typed() {
        for page in PAGES.iter().chain([&PROGRAM]) {
            for (typed, _) in page.examples {
                // What a shell would do with the rest is not ours.
                let line = typed.split(['|', '>']).next().unwrap_or(typed);
                let line = line.trim_start_matches("RUN ");
                let parts = line.split('\'').enumerate();
                let words: Vec<&str> = parts
                    .flat_map(|(at, part)| match at % 2 {
                        0 => part.split_whitespace().collect(),
                        _ => vec![part],
                    })
                    .collect();
                let result = crate::command_line().try_get_matches_from(words);
                assert!(result.is_ok(), "{typed}: {}", result.unwrap_err());
            }
        }
    }

    #[test]
    fn help_is_short_and_fits_80_columns() {
        for page in PAGES.iter().chain([&PROGRAM]) {
            for line in page.help().lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", page.name);
            }
        }
    }
}
