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
