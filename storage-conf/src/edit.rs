//! Our store put into a storage.conf, and taken out again so that not a byte tells of it.
//!
//! [`enable`] only ever inserts one piece of text, which carries [`MARK`]; [`disable`] takes such a
//! piece out and makes sure that [`enable`] would put it back just there.

use toml_edit::{Array, Document, Item, TableLike};

use crate::conf::{StorageConf, clean};
use crate::error::{ConfError, MergeError};
use crate::layer::find;
use crate::{DEFAULT_GRAPHROOT, DEFAULT_RUNROOT};

/// What marks that which `enable` wrote.
pub const MARK: &str = "# by `bound-images storage-conf enable`";

/// First line of a file that `enable` made.
const MADE: &str = "# Made by `bound-images storage-conf enable`; `disable` removes this file.\n";

const LIST: &str = "additionalimagestores";

/// What `enable` does to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enabled {
    /// The store is listed already, in this line.
    Already(Option<usize>),
    /// The new text.
    Text(String),
}

/// What `disable` does to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disabled {
    /// The store is not listed.
    NotListed,
    /// The store is listed in this line, and `enable` did not do it.
    NotOurs(Option<usize>),
    /// The file is the one that `enable` made: it goes.
    Remove,
    /// The new text.
    Text {
        /// All of it.
        text: String,
        /// Whether it is what `enable` found; otherwise somebody changed the file since.
        exact: bool,
    },
}

/// The text of a storage.conf where there is none: Podman's defaults, and `store`.
///
/// # Errors
/// When `store` cannot be listed.
pub fn made(store: &str) -> Result<String, MergeError> {
    let least = format!(
        "{MADE}[storage]\ndriver = \"overlay\"\nrunroot = \"{DEFAULT_RUNROOT}\"\n\
         graphroot = \"{DEFAULT_GRAPHROOT}\"\n"
    );
    match enable("storage.conf", &least, store)? {
        Enabled::Text(text) => Ok(text),
        Enabled::Already(_) => Ok(least),
    }
}

/// Lists `store` (absolute) after all others of `text`, the content of `file`.
///
/// # Errors
/// [`MergeError`] when the file cannot be read, its driver does not read overlay stores, or it is
/// written in a form that has no place for the line.
pub fn enable(file: &str, text: &str, store: &str) -> Result<Enabled, MergeError> {
    if !store.starts_with('/')
        || store.contains(|c: char| matches!(c, ',' | '"' | '\\') || c.is_control())
    {
        return Err(MergeError::Store(store.to_owned()));
    }
    let store = clean(store);
    let conf = StorageConf::parse(file, text)?;
    if !conf.reads_overlay() {
        let driver = conf.driver().unwrap_or_default().to_owned();
        return Err(MergeError::Driver { file: file.to_owned(), driver });
    }
    if let Some(listed) = conf.stores().iter().find(|listed| listed.path == store) {
        return Ok(Enabled::Already(listed.line));
    }
    let document = Document::parse(text).map_err(|error| {
        ConfError::at(file, text, error.span().map(|span| span.start), error.message())
    })?;
    let (at, piece) = plan_piece(document.as_table(), text, &store).ok_or_else(|| {
        let why = format!(
            "there is no place for a line {LIST}: write [storage] and [storage.options] as tables"
        );
        MergeError::NoPlace(ConfError::whole(file, why))
    })?;
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    let text = format!("{before}{piece}{after}");
    // What is written is read again: never a file that Podman could not read.
    if StorageConf::parse(file, &text)?.lists_store(&store) {
        return Ok(Enabled::Text(text));
    }
    Err(ConfError::whole(file, format!("{store} cannot be listed there; add it by hand")).into())
}

/// Takes `store` out of `text` if [`enable`] listed it.
///
/// # Errors
/// [`ConfError`] when the file cannot be read.
pub fn disable(file: &str, text: &str, store: &str) -> Result<Disabled, ConfError> {
    let store = clean(store);
    let conf = StorageConf::parse(file, text)?;
    let Some(listed) = conf.stores().iter().find(|listed| listed.path == store) else {
        return Ok(Disabled::NotListed);
    };
    if made(&store).is_ok_and(|made| made == text) {
        return Ok(Disabled::Remove);
    }
    let mut changed = None;
    for candidate in candidates(text) {
        if enable(file, &candidate, &store) == Ok(Enabled::Text(text.to_owned())) {
            return Ok(Disabled::Text { text: candidate, exact: true });
        }
        let gone = StorageConf::parse(file, &candidate).is_ok_and(|conf| !conf.lists_store(&store));
        if gone && changed.is_none() {
            changed = Some(candidate);
        }
    }
    Ok(match changed {
        Some(text) => Disabled::Text { text, exact: false },
        None => Disabled::NotOurs(listed.line),
    })
}

/// Where which piece goes. Each form is of its own, so that no two texts become the same one.
fn plan_piece(root: &dyn TableLike, text: &str, store: &str) -> Option<(usize, String)> {
    let storage = find(root, "storage").map(|(key, item)| (key.display_repr(), item));
    let Some((storage_key, storage)) = storage else {
        return Some((text.len(), header("storage", store)));
    };
    let options = find(storage.as_table_like()?, "options");
    let Some((options_key, options)) = options else {
        return match storage {
            Item::Table(table) if table.is_dotted() => {
                Some((start(text), line(&format!("{storage_key}.options."), store)))
            }
            Item::Table(_) => Some((text.len(), header(&storage_key, store))),
            _ => None,
        };
    };
    if let Some((_, list)) = find(options.as_table_like()?, LIST) {
        return in_array(list.as_array()?, text, store);
    }
    let Item::Table(table) = options else { return None };
    let options_key = options_key.display_repr();
    if table.is_dotted() {
        return match storage.as_table() {
            Some(storage) if storage.is_dotted() => {
                Some((start(text), line(&format!("{storage_key}.{options_key}."), store)))
            }
            Some(storage) => below(storage.span()?.start, text, &format!("{options_key}."), store),
            None => None,
        };
    }
    if table.is_implicit() {
        return Some((text.len(), header(&storage_key, store)));
    }
    below(table.span()?.start, text, "", store)
}

/// A new table at the end of the file.
fn header(storage: &str, store: &str) -> String {
    format!("\n[{storage}.options] {MARK}\n{LIST} = [\"{store}\"]\n")
}

/// A line of its own, at the start of a line.
fn line(prefix: &str, store: &str) -> String {
    format!("{prefix}{LIST} = [\"{store}\"] {MARK}\n")
}

/// A line below the header that starts at `start`.
fn below(start: usize, text: &str, prefix: &str, store: &str) -> Option<(usize, String)> {
    let rest = text.get(start..)?;
    let end = rest.find('\n').map_or(text.len(), |end| start + end);
    let end = if text.get(..end)?.ends_with('\r') { end - 1 } else { end };
    Some((end, format!("\n{}", line(prefix, store).trim_end())))
}

/// At the end of a list: comments, which may be behind its last item, stay where they are.
fn in_array(list: &Array, text: &str, store: &str) -> Option<(usize, String)> {
    let close = list.span()?.end.checked_sub(1)?;
    let comma = if list.is_empty() || list.trailing_comma() { "" } else { ", " };
    let line_start = text.get(..close)?.rfind('\n').map_or(0, |end| end + 1);
    let closes_alone =
        text.get(line_start..close)?.trim().is_empty() && line_start > list.span()?.start;
    Some(if closes_alone {
        (line_start, format!("  {comma}\"{store}\" {MARK}\n"))
    } else {
        (close, format!("\n    {comma}\"{store}\" {MARK}\n"))
    })
}

/// The start of a file, behind its byte order mark.
fn start(text: &str) -> usize {
    if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
}

/// The text without each piece that may be ours.
fn candidates(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // A file has one mark; one with many was not made by us, and must not keep us busy.
    for (mark, _) in text.match_indices(MARK).take(4) {
        let before = text.get(..mark).unwrap_or_default();
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let line = if line == 0 { start(text) } else { line };
        let end = mark + MARK.len();
        let next =
            |from: usize| text.get(from..).and_then(|rest| rest.find('\n')).map(|at| from + at + 1);
        let above = line.checked_sub(1);
        let after = next(end);
        // A mark behind a header speaks of the line below as well.
        let ranges = if text.get(line..end).is_some_and(|line| line.starts_with('[')) {
            [above.zip(after.and_then(next)), None, None]
        } else {
            [Some(line).zip(after), above.zip(Some(end)), above.zip(after)]
        };
        for (from, to) in ranges.into_iter().flatten() {
            if let (Some(head), Some(tail)) = (text.get(..from), text.get(to..)) {
                found.push(format!("{head}{tail}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/usr/lib/containers/storage";

    /// Enables, and checks that disabling gives the same bytes.
    fn enabled(text: &str) -> String {
        let Ok(Enabled::Text(with)) = enable("f", text, OURS) else { panic!("{text}") };
        let back = disable("f", &with, OURS).unwrap();
        assert_eq!(back, Disabled::Text { text: text.to_owned(), exact: true }, "{with}");
        assert_eq!(
            enable("f", &with, OURS),
            Ok(Enabled::Already(
                StorageConf::parse("f", &with).unwrap().stores().last().unwrap().line
            ))
        );
        with
    }

    #[test]
    fn one_piece_is_put_in_and_taken_out() {
        // The file, and the same with @ for what is put in.
        let cases = [
            ("", "\n[storage.options] #\nadditionalimagestores = [@]\n"),
            ("# c", "# c\n[storage.options] #\nadditionalimagestores = [@]\n"),
            ("# c\n", "# c\n\n[storage.options] #\nadditionalimagestores = [@]\n"),
            ("[Storage]\n", "[Storage]\n\n[Storage.options] #\nadditionalimagestores = [@]\n"),
            ("[storage.options]", "[storage.options]\nadditionalimagestores = [@] #"),
            (
                "[storage.options] # c\r\nsize = ''\r\n",
                "[storage.options] # c\nadditionalimagestores = [@] #\r\nsize = ''\r\n",
            ),
            (
                "[storage.options.overlay]\nmountopt = 'nodev'\n",
                "[storage.options.overlay]\nmountopt = 'nodev'\n\n[storage.options] #\nadditionalimagestores = [@]\n",
            ),
            (
                "[storage]\noptions.size = ''\n",
                "[storage]\noptions.additionalimagestores = [@] #\noptions.size = ''\n",
            ),
            (
                "\u{feff}storage.options.size = ''\n",
                "\u{feff}storage.options.additionalimagestores = [@] #\nstorage.options.size = ''\n",
            ),
            (
                "storage.driver = 'overlay'\n",
                "storage.options.additionalimagestores = [@] #\nstorage.driver = 'overlay'\n",
            ),
        ];
        let lists = [
            ("[]", "[\n    @ #\n]"),
            ("[\n]", "[\n  @ #\n]"),
            ("[ '/a' ]", "[ '/a' \n    , @ #\n]"),
            ("['/a',]", "['/a',\n    @ #\n]"),
            (
                "[ # all\n '/a', # one\n '/b' # two\n  ] # c",
                "[ # all\n '/a', # one\n '/b' # two\n  , @ #\n  ] # c",
            ),
        ];
        let lists = lists.map(|(list, want)| {
            let head = "[storage.options]\nadditionalimagestores = ";
            (format!("{head}{list}\nsize = ''\n"), format!("{head}{want}\nsize = ''\n"))
        });
        let cases = cases.map(|(text, want)| (text.to_owned(), want.to_owned()));
        for (text, want) in cases.into_iter().chain(lists) {
            let mut want = want.replace('@', &format!("\"{OURS}\""));
            // Comments of the file have a letter.
            for end in ["\n", "\r"] {
                want = want.replace(&format!(" #{end}"), &format!(" {MARK}{end}"));
            }
            if want.ends_with(" #") {
                want = format!("{}{MARK}", &want[..want.len() - 1]);
            }
            assert_eq!(enabled(&text), want, "{text}");
        }
        enabled("storage = {options = {additionalimagestores = ['/a']}}");
    }

    #[test]
    fn what_is_not_ours_stays() {
        let theirs = format!("[storage.options]\nadditionalimagestores = ['{OURS}']\n");
        assert_eq!(enable("f", &theirs, OURS), Ok(Enabled::Already(Some(2))));
        assert_eq!(disable("f", &theirs, OURS), Ok(Disabled::NotOurs(Some(2))));
        assert_eq!(disable("f", "# empty\n", OURS), Ok(Disabled::NotListed));
        // Changed since: what was added stays.
        let with = enabled("[storage.options]\nadditionalimagestores = [\n]\n");
        let changed = with.replace("= [\n", "= [\n'/b',\n") + "size = ''\n";
        let Ok(Disabled::Text { text, exact }) = disable("f", &changed, OURS) else { panic!() };
        assert_eq!(text, "[storage.options]\nadditionalimagestores = [\n'/b',\n]\nsize = ''\n");
        // The list has a comma now, and enabling again comes to the same text.
        assert!(exact);
        let moved = with.replace("  \"", "\t\"");
        let Ok(Disabled::Text { exact, .. }) = disable("f", &moved, OURS) else { panic!() };
        assert!(!exact);
    }

    #[test]
    fn a_file_that_was_made_goes_again() {
        let text = made(OURS).unwrap();
        let conf = StorageConf::parse("f", &text).unwrap();
        assert!(conf.lists_store(OURS) && conf.runroot().is_some() && conf.graphroot().is_some());
        assert_eq!(disable("f", &text, OURS), Ok(Disabled::Remove));
        let Ok(Disabled::Text { text, .. }) = disable("f", &format!("{text}# c\n"), OURS) else {
            panic!()
        };
        assert!(text.ends_with("# c\n") && !text.contains(OURS), "{text}");
    }

    #[test]
    fn refuses_what_could_not_work() {
        let no = |text: &str| enable("f", text, OURS).unwrap_err().to_string();
        assert!(no("[storage]\ndriver = 'vfs'").starts_with("f: the storage driver is \"vfs\""));
        assert!(no("[").starts_with("f:1:"), "{}", no("["));
        assert!(no("storage = {}").contains("write [storage]"), "{}", no("storage = {}"));
        assert!(no("[storage]\noptions = {size = ''}").contains("write [storage]"));
        for store in ["", "a", "/a,/b", "/a\"", "/a\n"] {
            assert_eq!(enable("f", "", store), Err(MergeError::Store(store.to_owned())));
        }
        // A file full of marks is no work without end.
        let many = format!(
            "[storage.options]\nadditionalimagestores = ['{OURS}']\n{}",
            format!("{MARK}\n").repeat(20_000)
        );
        assert_eq!(disable("f", &many, OURS), Ok(Disabled::NotOurs(Some(2))));
    }
}
