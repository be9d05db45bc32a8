//! PAX extended headers: `LENGTH KEY=VALUE\n` records (POSIX.1-2001, `pax(1)`).

use super::Time;

/// The records of one extended header that matter here; later records win over earlier ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// GNU's `GNU.sparse.*` records.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<Vec<u8>>,
    pub(super) minor: Option<Vec<u8>>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) real_size: Option<i64>,
    /// Format 0.1: `OFFSET,LENGTH,…`; format 0.0's repeated records end up here too.
    pub(super) map: Vec<i64>,
}

/// The prefix of records that carry extended attributes (`star(1)`, and all container tools).
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The most extended attributes of one member: more than any file system takes.
const MAX_XATTRS: usize = 1000;

/// Parses the content of an extended header.
pub(super) fn parse(mut data: &[u8]) -> Result<Pax, String> {
    let mut pax = Pax::default();
    let mut offsets: Vec<i64> = Vec::new();
    while !data.is_empty() {
        let Record { key, value, rest } = record(data)?;
        data = rest;
        apply(&mut pax, &mut offsets, key, value)?;
    }
    if !offsets.is_empty() {
        return Err("GNU.sparse.offset without GNU.sparse.numbytes".to_owned());
    }
    Ok(pax)
}

fn apply(pax: &mut Pax, offsets: &mut Vec<i64>, key: &[u8], value: &[u8]) -> Result<(), String> {
    let name = || {
        if value.contains(&0) {
            return Err(format!("NUL byte in the {} record", String::from_utf8_lossy(key)));
        }
        Ok(some(value))
    };
    let number = || {
        let wrong = || format!("{} is not a number", String::from_utf8_lossy(key));
        if value.is_empty() {
            return Ok(None);
        }
        std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .map(Some)
            .ok_or_else(wrong)
    };
    match key {
        b"path" => pax.path = name()?,
        b"linkpath" => pax.link = name()?,
        b"size" => pax.size = number()?,
        b"uid" => pax.uid = number()?,
        b"gid" => pax.gid = number()?,
        b"mtime" => pax.mtime = time(value)?,
        b"atime" => pax.atime = time(value)?,
        b"GNU.sparse.major" => pax.sparse.major = some(value),
        b"GNU.sparse.minor" => pax.sparse.minor = some(value),
        b"GNU.sparse.name" => pax.sparse.name = name()?,
        b"GNU.sparse.size" => pax.sparse.size = number()?,
        b"GNU.sparse.realsize" => pax.sparse.real_size = number()?,
        b"GNU.sparse.offset" => {
            if !offsets.is_empty() {
                return Err("two GNU.sparse.offset records in a row".to_owned());
            }
            offsets.push(number()?.unwrap_or_default());
        }
        b"GNU.sparse.numbytes" => {
            let offset = offsets.pop().ok_or("GNU.sparse.numbytes without GNU.sparse.offset")?;
            pax.sparse.map.extend([offset, number()?.unwrap_or_default()]);
        }
        b"GNU.sparse.map" => pax.sparse.map = map(value)?,
        _ => {
            if let Some(name) = key.strip_prefix(XATTR) {
                xattr(pax, name, value)?;
            }
        }
    }
    Ok(())
}

/// An extended attribute; an empty value takes an earlier one back, as in Go.
fn xattr(pax: &mut Pax, name: &[u8], value: &[u8]) -> Result<(), String> {
    if name.is_empty() || name.contains(&0) {
        return Err("an extended attribute without a usable name".to_owned());
    }
    if pax.xattrs.len() >= MAX_XATTRS {
        return Err(format!("more than {MAX_XATTRS} extended attributes"));
    }
    pax.xattrs.retain(|(known, _)| known != name);
    pax.xattrs.push((name.to_vec(), value.to_vec()));
    Ok(())
}

fn map(value: &[u8]) -> Result<Vec<i64>, String> {
    let wrong = || "GNU.sparse.map is not a list of numbers".to_owned();
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    text.split(',').map(|part| part.parse().map_err(|_| wrong())).collect()
}

fn some(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

/// Splits the first record off: key, value, and what follows.
fn record(data: &[u8]) -> Result<Record<'_>, String> {
    let wrong = || "an extended header record is malformed".to_owned();
    let space = data.iter().take(20).position(|byte| *byte == b' ').ok_or_else(wrong)?;
    let (digits, _) = data.split_at_checked(space).ok_or_else(wrong)?;
    let length: usize =
        std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let (this, rest) = data.split_at_checked(length).ok_or_else(wrong)?;
    let body = this.get(space + 1..).and_then(|body| body.strip_suffix(b"\n")).ok_or_else(wrong)?;
    let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
    let (key, value) = body.split_at_checked(equals).ok_or_else(wrong)?;
    let value = value.get(1..).ok_or_else(wrong)?;
    if key.is_empty() || key.contains(&0) {
        return Err(wrong());
    }
    Ok(Record { key, value, rest })
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

/// A time: decimal seconds, maybe negative, maybe with a fraction (cut after nanoseconds).
fn time(value: &[u8]) -> Result<Option<Time>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("{:?} is not a time", String::from_utf8_lossy(value));
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut seconds: i64 = whole.parse().map_err(|_| wrong())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let mut nanoseconds: u32 = digits.parse().map_err(|_| wrong())?;
    if whole.starts_with('-') && nanoseconds > 0 {
        seconds = seconds.checked_sub(1).ok_or_else(wrong)?;
        nanoseconds = 1_000_000_000 - nanoseconds;
    }
    Ok(Some(Time { seconds, nanoseconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rec(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        let mut out = format!("{length} {key}=").into_bytes();
        out.extend(value);
        out.push(b'\n');
        out
    }

    #[test]
    fn records_are_read() {
        let mut data = rec("path", b"a/b");
        data.extend(rec("SCHILY.xattr.user.x", b"\0bin=\n"));
        data.extend(rec("mtime", b"1.5"));
        data.extend(rec("size", b"123456789012"));
        data.extend(rec("comment", b"whatever"));
        let pax = parse(&data).unwrap();
        assert_eq!(pax.path.as_deref(), Some(b"a/b".as_slice()));
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"\0bin=\n".to_vec())]);
        assert_eq!(pax.mtime, Some(Time { seconds: 1, nanoseconds: 500_000_000 }));
        assert_eq!(pax.size, Some(123_456_789_012));
    }

    #[test]
    fn times() {
        let table: &[(&str, Option<(i64, u32)>)] = &[
            ("0", Some((0, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("4102444800.", Some((4_102_444_800, 0))),
            ("x", None),
            ("1.x", None),
            (".5", None),
        ];
        for (text, wanted) in table {
            let found =
                time(text.as_bytes()).ok().flatten().map(|time| (time.seconds, time.nanoseconds));
            assert_eq!(found, *wanted, "{text}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in
            [&b"5 a=b"[..], b"x a=b\n", b"99 a=b\n", b"6 a=b\nz", b"4 =\n\n", b"0 a=b\n", b" a=b\n"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&rec("path", b"a\0b")).is_err());
        assert!(parse(&rec("GNU.sparse.numbytes", b"1")).is_err());
    }
}
