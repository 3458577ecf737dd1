//! Attributes of files.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::target;
use super::boundary::{Out, dm_call, dm_version, read, zeroed};
use super::constants::DM_EVENT_MAX;
use super::types::{
    dm_dev_t, dm_fileattr_t, dm_fsys_dep_t, dm_sessid_t, dm_stat_t, dm_token_t, dm_xfs_stat_t,
};
use crate::client;
use crate::client::FileAttrValues;
use crate::model::{AttrMask, ObjectStat};

/// Everything but the parts of variable length.
pub(super) fn to_c(stat: &ObjectStat) -> dm_stat_t {
    let mut out = zeroed::<dm_stat_t>();
    out.dt_nevents = DM_EVENT_MAX as c_uint;
    out.dt_emask = stat.events.0;
    out.dt_pers = stat.has_attributes.into();
    out.dt_pmanreg = stat.has_regions.into();
    out.dt_dtime = stat.dtime;
    // Cut to 32 bits: applications keep it in a u_int; equal stays equal.
    out.dt_change = stat.change as c_uint;
    out.dt_dev = stat.device as dm_dev_t;
    out.dt_ino = stat.inode;
    out.dt_mode = stat.mode.cast_signed();
    out.dt_nlink = stat.links.cast_signed();
    out.dt_uid = stat.uid;
    out.dt_gid = stat.gid;
    out.dt_rdev = stat.rdev as dm_dev_t;
    out.dt_fopen = stat.is_open.into();
    out.dt_size = stat.size.cast_signed();
    out.dt_atime = stat.atime;
    out.dt_mtime = stat.mtime;
    out.dt_ctime = stat.ctime;
    out.dt_blksize = stat.block_bytes;
    out.dt_blocks = stat.blocks;
    out.fsys_dep = dm_fsys_dep_t {
        sgi_xfs: dm_xfs_stat_t {
            igen: stat.generation,
            ..dm_xfs_stat_t::default()
        },
    };
    out
}

/// Reads attributes of an object.
///
/// `token`: with a shared right on the object, or `DM_NO_TOKEN`. `mask`: what the caller wants: `DM_AT_EMASK`,
/// `DM_AT_PMANR`, `DM_AT_PATTR`, `DM_AT_DTIME`, `DM_AT_CFLAG`, `DM_AT_STAT`, `DM_AT_FOPEN` (has anybody
/// on this node the file open or mapped? O_PATH counts; 0 for what is no regular file). `statp`: gets it; other members
/// may be filled too. There is no handle and no name in it.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no right; `EBADF` the handle names nothing, or is the
/// global one; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, the mask has other bits, or the handle
/// names a file system; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, file attributes.
///
/// # Safety
/// `*statp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_fileattr(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    mask: c_uint,
    statp: *mut dm_stat_t,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = Out::new(statp)?;
        out.set(to_c(&client::get_fileattr(&target, AttrMask(mask))?))?;
        Ok(0)
    })
}

/// Sets attributes of an object without events. Attributes that are not named stay, times too (but see
/// docs/kernel-features.md for ctime).
///
/// `token`: with an exclusive right on the object, or `DM_NO_TOKEN`. `mask`: `DM_AT_ATIME`, `DM_AT_MTIME`,
/// `DM_AT_CTIME`, `DM_AT_DTIME`, `DM_AT_UID`, `DM_AT_GID`, `DM_AT_MODE`, `DM_AT_SIZE` (files only). `attrp`: the values.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names nothing, or is
/// the global one; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, the mask has other bits, or the
/// handle names a file system; `ESRCH` the token was answered; and what chmod(2), chown(2), truncate(2) fail with.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold rights. Since: DMAPI_1.0. Source: XDSM, file attributes.
///
/// # Safety
/// What the pointers name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_fileattr(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    mask: c_uint,
    attrp: *mut dm_fileattr_t,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let attr = read(attrp.cast_const())?;
        let values = FileAttrValues {
            mode: attr.fa_mode.cast_unsigned(),
            uid: attr.fa_uid,
            gid: attr.fa_gid,
            atime: attr.fa_atime,
            mtime: attr.fa_mtime,
            ctime: attr.fa_ctime,
            dtime: attr.fa_dtime,
            size: attr.fa_size,
        };
        client::set_fileattr(&target, AttrMask(mask), &values)?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_get_fileattr, dm_set_fileattr);
