//! What the kernel makes of an access control list that is set on a file (`posix_acl(7)`).

/// The attribute of a file's own list.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";

const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The mode of a file with `mode` once `list` (`linux/posix_acl_xattr.h`: a version, then entries of
/// tag, permissions and id, little-endian) is set on it, and whether the list says more than a mode
/// can: else the kernel does not keep it.
pub(super) fn applied(list: &[u8], mode: u32) -> (u32, bool) {
    let mut mode = mode;
    let (mut group, mut mask, mut more) = (0, None, false);
    let bits = |shift: u32, permissions: u32| (permissions & 7) << shift;
    for entry in list.get(4..).unwrap_or_default().chunks_exact(8) {
        let [t0, t1, p0, p1, ..] = entry else { continue };
        let permissions = u32::from(u16::from_le_bytes([*p0, *p1]));
        match u16::from_le_bytes([*t0, *t1]) {
            USER_OBJ => mode = mode & !0o700 | bits(6, permissions),
            GROUP_OBJ => group = permissions,
            MASK => mask = Some(permissions),
            OTHER => mode = mode & !0o007 | bits(0, permissions),
            _ => more = true,
        }
    }
    if list.len() <= 4 {
        return (mode, false);
    }
    (mode & !0o070 | bits(3, mask.unwrap_or(group)), more || mask.is_some())
}

/// `list` once the mode of its file is set to `mode`: the kernel keeps the two in step
/// (`fs/posix_acl.c`, `__posix_acl_chmod_masq`).
pub(super) fn changed(list: &[u8], mode: u32) -> Vec<u8> {
    let mut list = list.to_vec();
    let has_mask = tags(&list).any(|tag| tag == MASK);
    let entries = list.get_mut(4..).unwrap_or_default();
    for entry in entries.chunks_exact_mut(8) {
        let [t0, t1, p0, p1, ..] = entry else { continue };
        let shift = match u16::from_le_bytes([*t0, *t1]) {
            USER_OBJ => 6,
            MASK => 3,
            GROUP_OBJ if !has_mask => 3,
            OTHER => 0,
            _ => continue,
        };
        let permissions = u16::try_from((mode >> shift) & 7).unwrap_or_default();
        [*p0, *p1] = permissions.to_le_bytes();
    }
    list
}

fn tags(list: &[u8]) -> impl Iterator<Item = u16> {
    list.get(4..).unwrap_or_default().chunks_exact(8).filter_map(|entry| match entry {
        [t0, t1, ..] => Some(u16::from_le_bytes([*t0, *t1])),
        _ => None,
    })
}
