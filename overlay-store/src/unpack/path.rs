//! Names of members as paths below the layer's directory.

use std::io;

use oci_digest::Digest;

/// The longest path, in bytes, that the kernel opens in one call (`PATH_MAX` less the NUL).
const MAX_PATH: usize = 4095;

/// Cleans a name: no leading slash, no `.`, no `..`, no empty component. The root is empty.
///
/// # Errors
/// When `..` leads out of the layer, or the path is longer than the kernel can open.
pub(crate) fn clean(name: &[u8]) -> io::Result<Vec<u8>> {
    let absolute = name.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() && !absolute {
                    let why = "its path leads out of the layer";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
            part => parts.push(part),
        }
    }
    let path = parts.join(&b'/');
    if path.len() > MAX_PATH {
        let why = format!("its path is {} bytes long, {MAX_PATH} are possible", path.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(path)
}

/// A path of fixed size, to be compared only: layers can hold millions of long ones.
pub(super) type Key = [u8; 32];

/// The key of a cleaned path: a digest, so that nobody can make two paths meet.
pub(super) fn key(path: &[u8]) -> Key {
    *Digest::of(path).bytes()
}

/// Refuses a name that a symbolic link leads so deep that the kernel cannot open it any more.
///
/// # Errors
/// When the whole path is too long.
pub(super) fn require_short(directory: &[u8], base: &[u8]) -> io::Result<()> {
    let length = directory.len() + 1 + base.len();
    if length <= MAX_PATH {
        return Ok(());
    }
    let why = format!("links lead it to a path of {length} bytes, {MAX_PATH} are possible");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Whether a name has `..` in it: on disk it may mean another file than its cleaned form.
pub(super) fn has_dots(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'/').any(|part| part == b"..")
}

/// The directory and the last component of a cleaned path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => {
            (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default())
        }
        None => (&[], path),
    }
}

/// `directory/base`, or `base` at the root.
pub(super) fn join(directory: &[u8], base: &[u8]) -> Vec<u8> {
    if directory.is_empty() { base.to_vec() } else { [directory, b"/", base].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let table: &[(&str, Option<&str>)] = &[
            ("./", Some("")),
            (".", Some("")),
            ("", Some("")),
            ("/", Some("")),
            ("./a//b/", Some("a/b")),
            ("/a/../../b", Some("b")),
            ("a/../b", Some("b")),
            ("a/../../b", None),
            ("../b", None),
            ("..", None),
            ("a/..b", Some("a/..b")),
        ];
        for (name, wanted) in table {
            let found = clean(name.as_bytes()).ok().map(|path| String::from_utf8(path).unwrap());
            assert_eq!(found.as_deref(), *wanted, "{name}");
        }
        assert!(clean(&[b'a'; 4095]).is_ok());
        assert!(clean(&[b'a'; 4096]).is_err());
    }
}
