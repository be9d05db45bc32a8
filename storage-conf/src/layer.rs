//! One file of the configuration: what it sets, and where. Several of them make what counts.

use toml_edit::{Array, Document, Item, Key, TableLike, Value};

use crate::MAX_SIZE;
use crate::conf::{Store, clean};
use crate::error::ConfError;
use crate::kinds;

/// Which TOML, and which forms in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Podman 4 and 5: TOML 1.0, arrays of strings.
    Before6,
    /// Podman 6: TOML 1.1, and `{append = true}` in an array.
    From6,
}

/// A value and its line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) value: String,
    pub(crate) line: Option<usize>,
}

/// An item of `additionalimagestores` as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) value: String,
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
}

/// `additionalimagestores` of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) items: Vec<Listed>,
    /// `{append = …}`, where it is written.
    pub(crate) append: Option<bool>,
    /// Line of the array.
    pub(crate) line: Option<usize>,
}

/// What one file sets. An empty string is set too: it takes away what an earlier file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) file: String,
    pub(crate) driver: Option<Setting>,
    pub(crate) runroot: Option<Setting>,
    pub(crate) graphroot: Option<Setting>,
    pub(crate) imagestore: Option<Setting>,
    pub(crate) list: Option<List>,
}

impl Layer {
    /// Parses `text`, the content of `file`.
    pub(crate) fn parse(file: &str, text: &str, dialect: Dialect) -> Result<Self, ConfError> {
        if text.len() > MAX_SIZE {
            let why = format!("the file has {} bytes, more than {MAX_SIZE}", text.len());
            return Err(ConfError::whole(file, why));
        }
        let document = Document::parse(text).map_err(|error| {
            ConfError::at(file, text, error.span().map(|span| span.start), error.message())
        })?;
        let reader = Reader { file, text, dialect };
        if dialect == Dialect::Before6
            && let Some((offset, why)) = kinds::newer_toml(document.as_item(), text)
        {
            return Err(ConfError::at(file, text, Some(offset), &why));
        }
        let mut layer = Self { file: file.to_owned(), ..Self::default() };
        let Some(storage) = reader.table(document.as_table(), "storage")? else {
            return Ok(layer);
        };
        layer.driver = reader.string(storage, "driver")?;
        layer.runroot = reader.string(storage, "runroot")?;
        layer.graphroot = reader.string(storage, "graphroot")?;
        layer.imagestore = reader.string(storage, "imagestore")?;
        reader.check(storage, kinds::STORAGE)?;
        let Some(options) = reader.table(storage, "options")? else { return Ok(layer) };
        layer.list = reader.list(options)?;
        reader.check(options, kinds::OPTIONS)?;
        if let Some(overlay) = reader.table(options, "overlay")? {
            reader.check(overlay, kinds::OVERLAY)?;
        }
        Ok(layer)
    }

    /// The stores of its own list.
    pub(crate) fn stores(&self) -> Result<Vec<Store>, ConfError> {
        let items = self.list.iter().flat_map(|list| &list.items);
        let mut stores = Vec::new();
        for item in items {
            let paths = split(&item.value).map_err(|why| ConfError {
                file: self.file.clone(),
                line: item.line,
                column: item.column,
                why,
            })?;
            stores.extend(paths.into_iter().map(|path| Store { path, line: item.line }));
        }
        Ok(stores)
    }
}

/// The paths in one value of the driver's option `imagestore`: it splits at commas and passes over an
/// empty value (`drivers/overlay`, `parsers.ParseKeyValueOpt`).
pub(crate) fn split(value: &str) -> Result<Vec<String>, String> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let path = |path: &str| match path.starts_with('/') {
        true => Ok(clean(path)),
        false => Err(format!("{path:?} in additionalimagestores is not an absolute path")),
    };
    value.split(',').map(path).collect()
}

/// Finds keys as Go's TOML decoder does and says where a wrong one stands.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    dialect: Dialect,
}

impl Reader<'_> {
    fn table<'t>(
        &self,
        table: &'t dyn TableLike,
        name: &str,
    ) -> Result<Option<&'t dyn TableLike>, ConfError> {
        let Some((key, item)) = find(table, name) else { return Ok(None) };
        match item.as_table_like() {
            Some(inner) => Ok(Some(inner)),
            None => Err(self.wrong(key, item, &format!("{name} must be a table"))),
        }
    }

    fn string(&self, table: &dyn TableLike, name: &str) -> Result<Option<Setting>, ConfError> {
        let Some((key, item)) = find(table, name) else { return Ok(None) };
        let Some(value) = item.as_str() else {
            return Err(self.wrong(key, item, &format!("{name} must be a string")));
        };
        let line = self.at(item.span().map(|span| span.start), "").line;
        Ok(Some(Setting { value: value.to_owned(), line }))
    }

    fn list(&self, options: &dyn TableLike) -> Result<Option<List>, ConfError> {
        const NAME: &str = "additionalimagestores";
        let Some((key, item)) = find(options, NAME) else { return Ok(None) };
        let Some(array) = item.as_array() else {
            return Err(self.wrong(key, item, &format!("{NAME} must be an array of paths")));
        };
        let line = self.at(array.span().map(|span| span.start), "").line;
        let mut list = List { line, ..List::default() };
        for value in array {
            let place = self.at(value.span().map(|span| span.start), "");
            if let Value::String(text) = value {
                let value = text.value().clone();
                list.items.push(Listed { value, line: place.line, column: place.column });
                continue;
            }
            let why = match value.as_inline_table() {
                Some(table) if self.dialect == Dialect::From6 => match attribute(table) {
                    Ok(append) => {
                        list.append = append.or(list.append);
                        continue;
                    }
                    Err(why) => why,
                },
                Some(_) => format!("each of {NAME} must be a string (tables: from Podman 6 on)"),
                None => format!("each of {NAME} must be a string"),
            };
            return Err(ConfError { why, ..place });
        }
        Ok(Some(list))
    }

    /// Whether all keys of a table that Podman knows have the type it wants.
    fn check(&self, table: &dyn TableLike, known: &[(&str, kinds::Kind)]) -> Result<(), ConfError> {
        for (name, kind) in known {
            if let Some((key, item)) = find(table, name)
                && !kind.fits(item, self.dialect)
            {
                return Err(self.wrong(key, item, &format!("{name} must be {}", kind.words())));
            }
        }
        Ok(())
    }

    fn wrong(&self, key: &Key, item: &Item, why: &str) -> ConfError {
        let span = item.span().or_else(|| key.span());
        self.at(span.map(|span| span.start), why)
    }

    fn at(&self, offset: Option<usize>, why: &str) -> ConfError {
        ConfError::at(self.file, self.text, offset, why)
    }
}

/// `{append = true}`; letter case counts, unlike in keys of the file (`pkg/configfile/slice.go`).
fn attribute(table: &dyn TableLike) -> Result<Option<bool>, String> {
    let mut append = None;
    for (key, item) in table.iter() {
        if key != "append" {
            return Err(format!("{key:?} is no attribute of an array; `append` is"));
        }
        let value = item.as_bool();
        append = Some(value.ok_or_else(|| "append must be true or false".to_owned())?);
    }
    Ok(append)
}

/// Whether an array is one of strings, or what Podman 6 takes as one.
pub(crate) fn is_strings(array: &Array, dialect: Dialect) -> bool {
    array.iter().all(|value| match value.as_inline_table() {
        Some(table) => dialect == Dialect::From6 && attribute(table).is_ok(),
        None => value.is_str(),
    })
}

/// The key as it is spelt in `table`: exactly, else in any letter case.
pub(crate) fn spelling(table: &dyn TableLike, name: &str) -> Option<String> {
    if table.contains_key(name) {
        return Some(name.to_owned());
    }
    table.iter().map(|(key, _)| key).find(|key| key.eq_ignore_ascii_case(name)).map(str::to_owned)
}

pub(crate) fn find<'t>(table: &'t dyn TableLike, name: &str) -> Option<(&'t Key, &'t Item)> {
    table.get_key_value(&spelling(table, name)?)
}
