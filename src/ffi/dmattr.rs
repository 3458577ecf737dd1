//! DM attributes.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::{attribute_name, target};
use super::boundary::{OutArray, OutBuffer, bytes_of, dm_call, dm_version, read_bytes, zeroed};
use super::types::{
    dm_attrlist_t, dm_attrname_t, dm_inherit_t, dm_sessid_t, dm_token_t, dm_vardata_t,
};
use crate::client;
use crate::client::Attribute;
use crate::model::DmError;

/// No file system keeps longer values; the limit of each one is `DM_CONFIG_MAX_ATTRIBUTE_SIZE`.
const VALUE_BYTES_MAX: usize = 65536;
/// Elements of `dm_getall_dmattr` start at multiples of this.
const LIST_ALIGN: usize = 4;

#[allow(clippy::too_many_arguments)]
fn set_dmattr(
    sid: dm_sessid_t,
    hanp: *const c_void,
    hlen: usize,
    token: dm_token_t,
    attrnamep: *const dm_attrname_t,
    setdtime: c_int,
    buflen: usize,
    bufp: *const c_void,
    sync: bool,
) -> Result<c_int, DmError> {
    if buflen > VALUE_BYTES_MAX {
        return Err(DmError::TooBig { need: None });
    }
    let target = target(sid, hanp, hlen, token)?;
    let name = attribute_name(attrnamep)?;
    let value = read_bytes(bufp, buflen)?;
    client::set_dmattr(&target, name, setdtime != 0, &value, sync)?;
    Ok(0)
}

/// Sets a DM attribute of an object. Users do not see it.
///
/// `token`: with an exclusive right on the object, or `DM_NO_TOKEN`. `attrnamep`: its name, padded with NUL.
/// `setdtime`: not 0: dtime (and ctime) become now; 0: no time is set by the call (the fanotify source cannot keep
/// ctime, docs/kernel-features.md). `buflen`, `bufp`: the value; 0 and NULL for an empty one.
///
/// Returns 0, or -1 with `errno`: `E2BIG` more than `DM_CONFIG_MAX_ATTRIBUTE_SIZE`; `EACCES` the token holds no
/// exclusive right; `EBADF` the handle names nothing, or is the global one; `EFAULT` a pointer is bad; `EINVAL` session
/// or token is unknown, the name is empty, or the handle names a file system; `ENOSPC` no room, the old value
/// stays; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: for the disk, and with `DM_NO_TOKEN` while others hold rights. Durable on return.
/// Since: DMAPI_1.0. Source: XDSM, attributes.
///
/// # Safety
/// What the pointers name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_dmattr(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    attrnamep: *mut dm_attrname_t,
    setdtime: c_int,
    buflen: usize,
    bufp: *mut c_void,
) -> c_int {
    dm_call(|| {
        set_dmattr(
            sid, hanp, hlen, token, attrnamep, setdtime, buflen, bufp, true,
        )
    })
}

/// `dm_set_dmattr` that does not wait for the disk; `dm_sync_dmattr_by_handle` does.
///
/// Returns, blocks, threads: as `dm_set_dmattr`. Since: DMAPI_1.0. Source: IBM.
///
/// # Safety
/// What the pointers name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_dmattr_nosync(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    attrnamep: *mut dm_attrname_t,
    setdtime: c_int,
    buflen: usize,
    bufp: *mut c_void,
) -> c_int {
    dm_call(|| {
        set_dmattr(
            sid, hanp, hlen, token, attrnamep, setdtime, buflen, bufp, false,
        )
    })
}

/// Reads a DM attribute of an object.
///
/// `token`: with a shared right on the object, or `DM_NO_TOKEN`. `attrnamep`: its name, padded with NUL. `buflen`:
/// bytes at `bufp`; both may be 0 and NULL. `rlenp`: gets the length of the value.
///
/// Returns 0, or -1 with `errno`: `E2BIG` the value is longer than `buflen`, `*rlenp` has its length; `EACCES` the
/// token holds no right; `EBADF` the handle names nothing, or is the global one; `EFAULT` a pointer is bad; `EINVAL`
/// session or token is unknown, the name is empty, or the handle names a file system; `ENOENT` the object has no
/// such attribute; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, attributes.
///
/// # Safety
/// `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_dmattr(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    attrnamep: *mut dm_attrname_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let name = attribute_name(attrnamep)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, 1)?;
        out.fill(&client::get_dmattr(&target, name)?)?;
        Ok(0)
    })
}

fn remove_dmattr(
    sid: dm_sessid_t,
    hanp: *const c_void,
    hlen: usize,
    token: dm_token_t,
    setdtime: c_int,
    attrnamep: *const dm_attrname_t,
    sync: bool,
) -> Result<c_int, DmError> {
    let target = target(sid, hanp, hlen, token)?;
    let name = attribute_name(attrnamep)?;
    client::remove_dmattr(&target, name, setdtime != 0, sync)?;
    Ok(0)
}

/// Removes a DM attribute of an object.
///
/// `token`: with an exclusive right on the object, or `DM_NO_TOKEN`. `setdtime`: as for `dm_set_dmattr`.
/// `attrnamep`: its name, padded with NUL.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names nothing, or is
/// the global one; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, the name is empty, or the handle
/// names a file system; `ENOENT` the object has no such attribute; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: for the disk, and with `DM_NO_TOKEN` while others hold rights. Durable on return.
/// Since: DMAPI_1.0. Source: XDSM, attributes.
///
/// # Safety
/// What the pointers name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_remove_dmattr(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    setdtime: c_int,
    attrnamep: *mut dm_attrname_t,
) -> c_int {
    dm_call(|| remove_dmattr(sid, hanp, hlen, token, setdtime, attrnamep, true))
}

/// `dm_remove_dmattr` that does not wait for the disk; `dm_sync_dmattr_by_handle` does.
///
/// Returns, blocks, threads: as `dm_remove_dmattr`. Since: DMAPI_1.0. Source: IBM.
///
/// # Safety
/// What the pointers name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_remove_dmattr_nosync(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    setdtime: c_int,
    attrnamep: *mut dm_attrname_t,
) -> c_int {
    dm_call(|| remove_dmattr(sid, hanp, hlen, token, setdtime, attrnamep, false))
}

/// The attributes as a list of `dm_attrlist_t`, each with its value behind it.
fn list_of(attributes: &[Attribute]) -> Vec<u8> {
    let head_bytes = size_of::<dm_attrlist_t>();
    let mut list = Vec::new();
    for (index, (name, value)) in attributes.iter().enumerate() {
        let element_bytes = (head_bytes + value.len()).next_multiple_of(LIST_ALIGN);
        let is_last = index + 1 == attributes.len();
        let mut head = zeroed::<dm_attrlist_t>();
        head._link = if is_last { 0 } else { element_bytes as c_int };
        head.al_name.an_chars = *name;
        head.al_data = dm_vardata_t {
            vd_offset: head_bytes as c_int,
            vd_length: value.len() as c_uint,
        };
        let start = list.len();
        list.extend_from_slice(bytes_of(&head));
        list.extend_from_slice(value);
        list.resize(start + element_bytes, 0);
    }
    list
}

/// Reads all DM attributes of an object: a `dm_attrlist_t` with the value behind it for each.
///
/// `token`: with a shared right on the object, or `DM_NO_TOKEN`. `buflen`: bytes at `bufp`, which is aligned to 4.
/// `rlenp`: gets the bytes stored, 0 if there are none. The elements are linked:
/// `DM_STEP_TO_NEXT(attr, dm_attrlist_t *)`.
///
/// Returns 0, or -1 with `errno`: `E2BIG` `*rlenp` has the bytes needed; `EACCES` the token holds no right; `EBADF` the
/// handle names nothing, or is the global one; `EFAULT` a pointer is bad or not aligned; `EINVAL` session or token is
/// unknown, or the handle names a file system; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, attributes.
///
/// # Safety
/// `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_getall_dmattr(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, LIST_ALIGN)?;
        out.fill(&list_of(&client::getall_dmattr(&target)?))?;
        Ok(0)
    })
}

/// Lets new objects of a file system inherit an attribute: each gets the value that the directory has in which it is
/// made; if that has none, nothing. `dm_set_dmattr` of an application that is faster is not overwritten.
///
/// `hanp`, `hlen`: the file system. `token`: with an exclusive right on it, or `DM_NO_TOKEN`. `mode`: which objects:
/// `S_IFREG`, `S_IFDIR` or `S_IFLNK`; 0: all three; its other bits do not count. Called again with another type: that
/// one too.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names nothing, or is
/// the global one; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, the name is empty, objects of that
/// type have no attributes, or the handle names no file system; `ENOSPC` too many are inherited; `ESRCH` the token was
/// answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold rights. Durable, also over mounts of the file system on
/// this node. The fanotify source copies after the fact, before POSTCREATE and POSTSYMLINK are queued. Since:
/// DMAPI_1.0. Source: XDSM, attributes (optional).
///
/// # Safety
/// The name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_inherit(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    attrnamep: *mut dm_attrname_t,
    mode: libc::mode_t,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        client::set_inherit(&target, attribute_name(attrnamep)?, mode)?;
        Ok(0)
    })
}

/// Ends what `dm_set_inherit` began, for objects of all types. Attributes that were inherited stay.
///
/// `hanp`, `hlen`: the file system. `token`: with an exclusive right on it, or `DM_NO_TOKEN`.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names nothing, or is
/// the global one; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, the name is empty, or the handle
/// names no file system; `ENOENT` it is not inherited; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold rights. Since: DMAPI_1.0.
/// Source: XDSM, attributes (optional).
///
/// # Safety
/// The name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_clear_inherit(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    attrnamep: *mut dm_attrname_t,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        client::clear_inherit(&target, attribute_name(attrnamep)?)?;
        Ok(0)
    })
}

/// Lists the attributes that new objects of a file system inherit: one element for each name and type.
///
/// `hanp`, `hlen`: the file system. `token`: with a shared right on it, or `DM_NO_TOKEN`. `nelem`: elements at
/// `inheritbufp`; both may be 0 and NULL. `nelemp`: gets the number of elements.
///
/// Returns 0, or -1 with `errno`: `E2BIG` there are more than `nelem`, `*nelemp` has their number; `EACCES` the token
/// holds no right; `EBADF` the handle names nothing, or is the global one; `EFAULT` a pointer is bad; `EINVAL` session
/// or token is unknown, or the handle names no file system; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, attributes (optional).
///
/// # Safety
/// `nelem` elements at `inheritbufp`, and `*nelemp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_getall_inherit(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    nelem: c_uint,
    inheritbufp: *mut dm_inherit_t,
    nelemp: *mut c_uint,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = OutArray::new(inheritbufp, nelem, nelemp)?;
        let inherits: Vec<dm_inherit_t> = client::getall_inherit(&target)?
            .iter()
            .map(|inherit| dm_inherit_t {
                ih_name: dm_attrname_t {
                    an_chars: inherit.name,
                },
                ih_filetype: inherit.file_type,
            })
            .collect();
        out.fill(&inherits)?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_set_dmattr, dm_set_dmattr_nosync, dm_get_dmattr, dm_remove_dmattr,
    dm_remove_dmattr_nosync, dm_getall_dmattr, dm_set_inherit, dm_clear_inherit, dm_getall_inherit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_padded_to_four_bytes_also_at_its_end() {
        let list = list_of(&[
            (*b"one\0\0\0\0\0", b"12345".to_vec()),
            (*b"two\0\0\0\0\0", vec![]),
        ]);
        assert_eq!(list.len(), 28 + 20);
        assert_eq!(list[..4], 28i32.to_ne_bytes());
        assert_eq!(list[28..32], 0i32.to_ne_bytes());
        assert_eq!(&list[20..25], b"12345");
        assert_eq!(list_of(&[(*b"onlyname", b"1".to_vec())]).len(), 24);
    }
}
