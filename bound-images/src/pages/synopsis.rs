//! The line of a man page that shows what can be typed. clap_mangen's own leaves out the values of
//! options.

use clap::{Arg, ArgAction, Command};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// The section.
pub(super) fn section(command: &Command) -> Roff {
    let mut line = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    for arg in shown().filter(|arg| !arg.is_positional()) {
        add(&mut line, arg, option(arg));
    }
    for arg in shown().filter(|arg| arg.is_positional()) {
        add(&mut line, arg, values(arg));
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND")]);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text(line);
    roff
}

/// In brackets what may be left out, with dots what may be given again.
fn add(line: &mut Vec<Inline>, arg: &Arg, words: Vec<Inline>) {
    let again = matches!(arg.get_action(), ArgAction::Append | ArgAction::Count);
    line.push(roman(if arg.is_required_set() { " " } else { " [" }));
    line.extend(words);
    line.push(roman(match (again, arg.is_required_set()) {
        (false, true) => "",
        (false, false) => "]",
        (true, true) => "...",
        (true, false) => "]...",
    }));
}

fn option(arg: &Arg) -> Vec<Inline> {
    let mut words = Vec::new();
    if let Some(short) = arg.get_short() {
        words.push(bold(format!("-{short}")));
    }
    if let Some(long) = arg.get_long() {
        if !words.is_empty() {
            words.push(roman("|"));
        }
        words.push(bold(format!("--{long}")));
    }
    if arg.get_action().takes_values() {
        words.push(roman(" "));
        words.extend(values(arg));
    }
    words
}

fn values(arg: &Arg) -> Vec<Inline> {
    let names = arg.get_value_names().unwrap_or_default();
    vec![italic(names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "))]
}
