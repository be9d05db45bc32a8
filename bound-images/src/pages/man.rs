//! The man pages, from the definition of the command line and the table.
//!
//! All are in section 1: one program is typed by those who build images and by those who run hosts,
//! and with all its pages in one section nobody has to know which. Section 8 has what nobody types:
//! units, generator and hook.

use std::io;

use clap::Command;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{PROGRAM, Page};

/// What stands at the top of each page.
const MANUAL: &str = "bound-images";
/// The longest name, in bytes, that leaves room for it on 80 columns.
const LONG: usize = 28;
/// Pages that every page names.
const ALWAYS: [&str; 4] = [
    "bound-images(1)",
    "bound-images-config(5)",
    "bound-images-quadlet(5)",
    "bound-images-units(7)",
];

/// One page.
#[derive(Debug)]
pub(crate) struct Written {
    /// Its file name, `bound-images-list.1`.
    pub(crate) file: String,
    /// What is in it.
    pub(crate) text: Vec<u8>,
}

/// The page of the program, and then one for each command, and for each of theirs.
pub(crate) fn pages(definition: Command) -> io::Result<Vec<Written>> {
    let mut top = definition.disable_help_subcommand(true);
    top.build();
    let mut out = vec![page(&top, &PROGRAM)?];
    for command in top.get_subcommands() {
        let table = Page::of(command.get_name()).unwrap_or(&PROGRAM);
        out.push(page(command, table)?);
        for action in command.get_subcommands() {
            out.push(page(action, table)?);
        }
    }
    Ok(out)
}

fn page(command: &Command, table: &Page) -> io::Result<Written> {
    let full = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    // The pages of one release are the same, whenever they were made: no date.
    let man = clap_mangen::Man::new(command.clone().display_name(full.clone()));
    let mut text = format!(
        ".TH {} 1 \"\" \"bound-images {}\" \"{}\"\n",
        full.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        // The header has one line for the name, twice, and this.
        if full.len() > LONG { "" } else { MANUAL },
    )
    .into_bytes();
    man.render_name_section(&mut text)?;
    super::synopsis::section(command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    paragraphs(table).to_writer(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    examples(&mut rest, table, &full);
    exits(&mut rest, table);
    see_also(&mut rest, table, &full);
    rest.to_writer(&mut text)?;
    Ok(Written { file: format!("{full}.1"), text })
}

fn paragraphs(table: &Page) -> Roff {
    let mut roff = Roff::new();
    for text in table.text {
        roff.control("PP", []);
        roff.text([roman(*text)]);
    }
    roff
}

/// Of an action, those that name it.
fn examples(roff: &mut Roff, table: &Page, full: &str) {
    let words = full.replacen("bound-images-", "bound-images ", 1);
    let action = words.strip_prefix(&format!("bound-images {}-", table.name));
    let shown = table
        .examples
        .iter()
        .filter(|(typed, _)| action.is_none_or(|action| typed.ends_with(&format!(" {action}"))));
    roff.control("SH", ["EXAMPLES"]);
    for (typed, does) in shown {
        roff.control("TP", []);
        roff.text([bold(*typed)]);
        roff.text([roman(*does)]);
    }
}

fn exits(roff: &mut Roff, table: &Page) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, means) in table.exits {
        roff.control("TP", []);
        roff.text([bold(*code)]);
        roff.text([roman(*means)]);
    }
}

fn see_also(roff: &mut Roff, table: &Page, full: &str) {
    roff.control("SH", ["SEE ALSO"]);
    let own = format!("{full}(1)");
    let parent = format!("bound-images-{}(1)", table.name);
    let siblings: Vec<String> = match table.name {
        "" => super::PAGES.iter().map(|page| format!("bound-images-{}(1)", page.name)).collect(),
        _ => Vec::new(),
    };
    let more: &[&str] = match table.name {
        "" => &["bound-images-record(5)", "bound-images-generator(8)", "bound-images-hook(8)"],
        _ => &[],
    };
    let named = ALWAYS.iter().chain(more).chain(table.see).map(|name| (*name).to_owned());
    let mut names: Vec<String> = siblings.into_iter().chain(named).collect();
    if full.starts_with(&format!("bound-images-{}-", table.name)) {
        names.insert(1, parent);
    }
    names.retain(|name| *name != own);
    let last = names.len().saturating_sub(1);
    let mut line: Vec<Inline> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let (page, section) = name.split_once('(').unwrap_or((name, ""));
        line.push(bold(page));
        line.push(roman(format!("({section}{}", if at < last { ", " } else { "" })));
    }
    roff.text(line);
}
