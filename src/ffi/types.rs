//! The C types of the standard as this library lays them out: SGI layout and numbering, with the members of
//! the IBM family added (reference: XDSM C429, SGI dmapi.h, IBM dmapi_types.h).
//!
//! Enumerations are integers here: a C caller may pass any number, and a Rust enum with a value that is none
//! of its variants would be undefined. The header has real C enums; a test compares both.

#![allow(non_camel_case_types)]

use std::ffi::{c_int, c_uchar, c_uint};
use std::mem::{offset_of, size_of};

/// A session; 1 to 2^31-1, `DM_NO_SESSION` is 0.
pub type dm_sessid_t = c_int;
/// A token; 1 to 2^31-1, or `DM_NO_TOKEN`, `DM_INVALID_TOKEN`.
pub type dm_token_t = c_int;
/// Number of an event; grows over all sessions.
pub type dm_sequence_t = u32;
/// Number of a node in the cluster; 0 where there is one node.
pub type dm_nodeid_t = u32;
/// Number of a snapshot; only `DM_SNAP_ROOT` exists here.
pub type dm_snap_t = u64;
/// Set of events: bit `1 << event`. Use the `DMEV_` macros.
pub type dm_eventset_t = u64;
/// `DM_TRUE` or `DM_FALSE`.
pub type dm_boolean_t = c_uint;
/// Offset in a file, in bytes.
pub type dm_off_t = i64;
/// Size, in bytes.
pub type dm_size_t = u64;
/// Size or -1.
pub type dm_ssize_t = i64;
/// Inode number.
pub type dm_ino_t = u64;
/// Inode generation.
pub type dm_igen_t = u32;
/// Identity of a file system, from its UUID.
pub type dm_fsid_t = u64;
/// Position of a scan; opaque, from `dm_init_attrloc`.
pub type dm_attrloc_t = i64;
/// Device number.
pub type dm_dev_t = i64;
/// File type and permission bits.
pub type dm_mode_t = c_int;
/// Link count.
pub type dm_nlink_t = c_int;

/// `dm_config_t` of the header.
pub type dm_config_t = c_int;
/// `dm_eventtype_t` of the header.
pub type dm_eventtype_t = c_int;
/// `dm_extenttype_t` of the header.
pub type dm_extenttype_t = c_int;
/// `dm_msgtype_t` of the header.
pub type dm_msgtype_t = c_int;
/// `dm_response_t` of the header.
pub type dm_response_t = c_int;
/// `dm_right_t` of the header.
pub type dm_right_t = c_int;

/// Where a part of variable length lies.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct dm_vardata {
    /// Bytes from the start of the structure that holds this member; 0 if the part is absent.
    pub vd_offset: c_int,
    /// Bytes of the part; 0 if it is absent or empty.
    pub vd_length: c_uint,
}
/// See `struct dm_vardata`.
pub type dm_vardata_t = dm_vardata;

/// Name of a DM attribute: `DM_ATTR_NAME_SIZE` bytes, padded with NUL, without NUL where all are used.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct dm_attrname {
    /// The bytes.
    pub an_chars: [c_uchar; 8],
}
/// See `struct dm_attrname`.
pub type dm_attrname_t = dm_attrname;

/// One attribute of `dm_getall_dmattr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_attrlist {
    /// Bytes to the next element, 0 in the last.
    pub _link: c_int,
    /// Its name.
    pub al_name: dm_attrname_t,
    /// Its value.
    pub al_data: dm_vardata_t,
}
/// See `struct dm_attrlist`.
pub type dm_attrlist_t = dm_attrlist;

/// One file system of `dm_getall_disp`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_dispinfo {
    /// Bytes to the next element, 0 in the last.
    pub _link: c_int,
    /// Unused.
    pub di_pad1: c_uint,
    /// Handle of the file system.
    pub di_fshandle: dm_vardata_t,
    /// The events that the session gets.
    pub di_eventset: dm_eventset_t,
}
/// See `struct dm_dispinfo`.
pub type dm_dispinfo_t = dm_dispinfo;

/// The head of each message of `dm_get_events`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_eventmsg {
    /// Bytes to the next message, 0 in the last.
    pub _link: c_int,
    /// What happened.
    pub ev_type: dm_eventtype_t,
    /// Its token; `DM_INVALID_TOKEN` where nobody waits.
    pub ev_token: dm_token_t,
    /// Its number.
    pub ev_sequence: dm_sequence_t,
    /// The body: `dm_data_event_t` and so on by type; raw bytes for USER.
    pub ev_data: dm_vardata_t,
    /// Node where it happened; 0: this one.
    pub ev_nodeid: dm_nodeid_t,
    /// Unused; bodies start at multiples of 8.
    pub ev_pad1: c_uint,
}
/// See `struct dm_eventmsg`.
pub type dm_eventmsg_t = dm_eventmsg;

/// Body of CANCEL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_cancel_event {
    /// Number of the withdrawn event.
    pub ce_sequence: dm_sequence_t,
    /// Its token.
    pub ce_token: dm_token_t,
}
/// See `struct dm_cancel_event`.
pub type dm_cancel_event_t = dm_cancel_event;

/// Body of READ, WRITE and TRUNCATE.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_data_event {
    /// The file.
    pub de_handle: dm_vardata_t,
    /// First byte of the operation; the new size for TRUNCATE.
    pub de_offset: dm_off_t,
    /// Bytes of the operation; 0 for TRUNCATE.
    pub de_length: dm_size_t,
}
/// See `struct dm_data_event`.
pub type dm_data_event_t = dm_data_event;

/// Body of DESTROY.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_destroy_event {
    /// What the handle of the object was.
    pub ds_handle: dm_vardata_t,
    /// Name of the attribute that is returned; zeros if none.
    pub ds_attrname: dm_attrname_t,
    /// Its value.
    pub ds_attrcopy: dm_vardata_t,
}
/// See `struct dm_destroy_event`.
pub type dm_destroy_event_t = dm_destroy_event;

/// Body of MOUNT, and what `dm_get_mountinfo` gives.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_mount_event {
    /// `DM_MOUNT_RDONLY` or 0.
    pub me_mode: dm_mode_t,
    /// The file system.
    pub me_handle1: dm_vardata_t,
    /// The directory that it is mounted on, if that lies in a managed file system.
    pub me_handle2: dm_vardata_t,
    /// Path of the mount point, with NUL.
    pub me_name1: dm_vardata_t,
    /// Device, with NUL.
    pub me_name2: dm_vardata_t,
    /// Root directory of the file system.
    pub me_roothandle: dm_vardata_t,
}
/// See `struct dm_mount_event`.
pub type dm_mount_event_t = dm_mount_event;

/// Body of the namespace and administration events.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_namesp_event {
    /// File type and permission bits, or `DM_UNMOUNT_FORCE`.
    pub ne_mode: dm_mode_t,
    /// First handle; the parent directory, mostly.
    pub ne_handle1: dm_vardata_t,
    /// Second handle.
    pub ne_handle2: dm_vardata_t,
    /// First name, with NUL.
    pub ne_name1: dm_vardata_t,
    /// Second name, with NUL.
    pub ne_name2: dm_vardata_t,
    /// Errno of the operation that a POST event tells of; 0 if it succeeded.
    pub ne_retcode: c_int,
}
/// See `struct dm_namesp_event`.
pub type dm_namesp_event_t = dm_namesp_event;

/// A stretch of a file, allocated or hole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_extent {
    /// `DM_EXTENT_RES` or `DM_EXTENT_HOLE`.
    pub ex_type: dm_extenttype_t,
    /// Unused.
    pub ex_pad1: c_uint,
    /// First byte.
    pub ex_offset: dm_off_t,
    /// Bytes.
    pub ex_length: dm_size_t,
}
/// See `struct dm_extent`.
pub type dm_extent_t = dm_extent;

/// A managed region.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_region {
    /// First byte.
    pub rg_offset: dm_off_t,
    /// Bytes; 0: without end.
    pub rg_size: dm_size_t,
    /// `DM_REGION_READ`, `DM_REGION_WRITE`, `DM_REGION_TRUNCATE` or none of them.
    pub rg_flags: c_uint,
    /// Kept and given back as it is; also called `rg_pad1`.
    pub rg_opaque: c_uint,
}
/// See `struct dm_region`.
pub type dm_region_t = dm_region;

/// What `dm_set_fileattr` sets. Times are seconds since the Epoch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_fileattr {
    /// Permission bits (`DM_AT_MODE`).
    pub fa_mode: dm_mode_t,
    /// Owner (`DM_AT_UID`).
    pub fa_uid: libc::uid_t,
    /// Group (`DM_AT_GID`).
    pub fa_gid: libc::gid_t,
    /// Time of last access (`DM_AT_ATIME`).
    pub fa_atime: libc::time_t,
    /// Time of last data change (`DM_AT_MTIME`).
    pub fa_mtime: libc::time_t,
    /// Time of last status change (`DM_AT_CTIME`).
    pub fa_ctime: libc::time_t,
    /// Time of last DM attribute change (`DM_AT_DTIME`).
    pub fa_dtime: libc::time_t,
    /// Unused.
    pub fa_pad1: i64,
    /// Size in bytes (`DM_AT_SIZE`).
    pub fa_size: dm_off_t,
}
/// See `struct dm_fileattr`.
pub type dm_fileattr_t = dm_fileattr;

/// A span of time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_timestruct {
    /// Seconds.
    pub dm_tv_sec: libc::time_t,
    /// And nanoseconds, 0 to 999999999.
    pub dm_tv_nsec: c_int,
}
/// See `struct dm_timestruct`.
pub type dm_timestruct_t = dm_timestruct;

/// An inheritable attribute of a file system.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_inherit {
    /// Its name.
    pub ih_name: dm_attrname_t,
    /// File types that inherit it (`st_mode` bits).
    pub ih_filetype: libc::mode_t,
}
/// See `struct dm_inherit`.
pub type dm_inherit_t = dm_inherit;

/// Direct-I/O geometry of a file, in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_dioinfo {
    /// Alignment of memory.
    pub d_mem: u32,
    /// Smallest transfer, and alignment of offsets.
    pub d_miniosz: u32,
    /// Largest transfer.
    pub d_maxiosz: u32,
    /// Not 0: only direct I/O works.
    pub d_dio_only: u32,
}
/// See `struct dm_dioinfo`.
pub type dm_dioinfo_t = dm_dioinfo;

/// What only XFS tells of a file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_xfs_stat {
    /// Inode generation.
    pub igen: u32,
    /// `DM_XFLAG_` bits.
    pub xflags: u32,
    /// Extent size hint in bytes.
    pub extsize: u32,
    /// Data extents.
    pub extents: u32,
    /// Attribute extents.
    pub aextents: u16,
    /// Counter of punches.
    pub dmstate: u16,
}
/// See `struct dm_xfs_stat`.
pub type dm_xfs_stat_t = dm_xfs_stat;

/// What depends on the file system; reached by the macros `dt_xfs_igen` and so on.
#[repr(C)]
#[derive(Clone, Copy)]
pub union dm_fsys_dep {
    /// XFS.
    pub sgi_xfs: dm_xfs_stat_t,
}
/// See `union dm_fsys_dep`.
pub type dm_fsys_dep_t = dm_fsys_dep;

/// Attributes of an object.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dm_stat {
    /// Bytes to the next element, 0 in the last.
    pub _link: c_int,
    /// Its handle (`DM_AT_HANDLE`; not in `dm_get_fileattr`).
    pub dt_handle: dm_vardata_t,
    /// Its name in the directory, with NUL (`dm_get_dirattrs` only).
    pub dt_compname: dm_vardata_t,
    /// Events in `dt_emask`.
    pub dt_nevents: c_uint,
    /// Its event list (`DM_AT_EMASK`).
    pub dt_emask: dm_eventset_t,
    /// Not 0: it has DM attributes (`DM_AT_PATTR`).
    pub dt_pers: c_int,
    /// Not 0: it has managed regions (`DM_AT_PMANR`).
    pub dt_pmanreg: c_int,
    /// Time of last DM attribute change (`DM_AT_DTIME`).
    pub dt_dtime: libc::time_t,
    /// Differs after each change of data or attributes (`DM_AT_CFLAG`).
    pub dt_change: c_uint,
    /// Unused.
    pub dt_pad1: c_uint,
    /// Device (this and the rest: `DM_AT_STAT`).
    pub dt_dev: dm_dev_t,
    /// Inode number.
    pub dt_ino: dm_ino_t,
    /// File type and permission bits.
    pub dt_mode: dm_mode_t,
    /// Links.
    pub dt_nlink: dm_nlink_t,
    /// Owner.
    pub dt_uid: libc::uid_t,
    /// Group.
    pub dt_gid: libc::gid_t,
    /// Device that a special file names.
    pub dt_rdev: dm_dev_t,
    /// Storage pool; 0.
    pub dt_poolid: c_uint,
    /// Not 0: the file is open somewhere (`DM_AT_FOPEN`).
    pub dt_fopen: c_uint,
    /// Size in bytes.
    pub dt_size: dm_off_t,
    /// Time of last access, seconds.
    pub dt_atime: libc::time_t,
    /// Time of last data change, seconds.
    pub dt_mtime: libc::time_t,
    /// Time of last status change, seconds.
    pub dt_ctime: libc::time_t,
    /// Preferred size of I/O in bytes.
    pub dt_blksize: c_uint,
    /// Unused.
    pub dt_pad2: c_uint,
    /// Allocated blocks of 512 bytes.
    pub dt_blocks: dm_size_t,
    /// IBM quick attribute; 0.
    pub dt_gpfsqa1: c_uint,
    /// IBM quick attribute; 0.
    pub dt_gpfsqa2: c_uint,
    /// Type of the file system; 0.
    pub dt_fstype: c_int,
    /// What depends on it.
    pub fsys_dep: dm_fsys_dep_t,
}
/// See `struct dm_stat`.
pub type dm_stat_t = dm_stat;

/// A `dm_stat_t` with one attribute. (In the header `_link` is also a member of its own, at the same place.)
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dm_xstat {
    /// The attributes.
    pub dx_statinfo: dm_stat_t,
    /// The value of the DM attribute.
    pub dx_attrdata: dm_vardata_t,
}
/// See `struct dm_xstat`.
pub type dm_xstat_t = dm_xstat;

/// The part of an object's handle behind the file system's id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_fid {
    /// Bytes that follow this member (14).
    pub dm_fid_len: u16,
    /// 0.
    pub dm_fid_pad: u16,
    /// Inode generation.
    pub dm_fid_gen: u32,
    /// Inode number.
    pub dm_fid_ino: u64,
}
/// See `struct dm_fid`.
pub type dm_fid_t = dm_fid;

/// The bytes of an object's handle; that of a file system has `ha_fsid` only. Better not looked into.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dm_handle {
    /// The file system.
    pub ha_fsid: dm_fsid_t,
    /// The object in it.
    pub ha_fid: dm_fid_t,
}
/// See `struct dm_handle`.
pub type dm_handle_t = dm_handle;

/// Size, and name and offset of each member, of one structure.
pub type Layout = (&'static str, usize, &'static [(&'static str, usize)]);

/// Checks each structure where it is declared, and lists all for `abi/layouts.txt`.
macro_rules! layouts {
    ($($type:ident $size:literal { $($field:ident $offset:literal),+ $(,)? })+) => {
        $(const _: () = {
            assert!(size_of::<$type>() == $size);
            $(assert!(offset_of!($type, $field) == $offset);)+
        };)+
        /// All structures of the header.
        pub const LAYOUTS: &[Layout] = &[
            $((stringify!($type), $size, &[$((stringify!($field), $offset)),+])),+
        ];
    };
}

layouts! {
    dm_vardata 8 { vd_offset 0, vd_length 4 }
    dm_attrname 8 { an_chars 0 }
    dm_attrlist 20 { _link 0, al_name 4, al_data 12 }
    dm_dispinfo 24 { _link 0, di_pad1 4, di_fshandle 8, di_eventset 16 }
    dm_eventmsg 32 { _link 0, ev_type 4, ev_token 8, ev_sequence 12, ev_data 16, ev_nodeid 24,
        ev_pad1 28 }
    dm_cancel_event 8 { ce_sequence 0, ce_token 4 }
    dm_data_event 24 { de_handle 0, de_offset 8, de_length 16 }
    dm_destroy_event 24 { ds_handle 0, ds_attrname 8, ds_attrcopy 16 }
    dm_mount_event 44 { me_mode 0, me_handle1 4, me_handle2 12, me_name1 20, me_name2 28,
        me_roothandle 36 }
    dm_namesp_event 40 { ne_mode 0, ne_handle1 4, ne_handle2 12, ne_name1 20, ne_name2 28,
        ne_retcode 36 }
    dm_extent 24 { ex_type 0, ex_pad1 4, ex_offset 8, ex_length 16 }
    dm_region 24 { rg_offset 0, rg_size 8, rg_flags 16, rg_opaque 20 }
    dm_fileattr 64 { fa_mode 0, fa_uid 4, fa_gid 8, fa_atime 16, fa_mtime 24, fa_ctime 32,
        fa_dtime 40, fa_pad1 48, fa_size 56 }
    dm_timestruct 16 { dm_tv_sec 0, dm_tv_nsec 8 }
    dm_inherit 12 { ih_name 0, ih_filetype 8 }
    dm_dioinfo 16 { d_mem 0, d_miniosz 4, d_maxiosz 8, d_dio_only 12 }
    dm_xfs_stat 20 { igen 0, xflags 4, extsize 8, extents 12, aextents 16, dmstate 18 }
    dm_stat 184 { _link 0, dt_handle 4, dt_compname 12, dt_nevents 20, dt_emask 24, dt_pers 32,
        dt_pmanreg 36, dt_dtime 40, dt_change 48, dt_pad1 52, dt_dev 56, dt_ino 64, dt_mode 72,
        dt_nlink 76, dt_uid 80, dt_gid 84, dt_rdev 88, dt_poolid 96, dt_fopen 100, dt_size 104,
        dt_atime 112, dt_mtime 120, dt_ctime 128, dt_blksize 136, dt_pad2 140, dt_blocks 144,
        dt_gpfsqa1 152, dt_gpfsqa2 156, dt_fstype 160, fsys_dep 164 }
    dm_xstat 192 { dx_statinfo 0, dx_attrdata 184 }
    dm_fid 16 { dm_fid_len 0, dm_fid_pad 2, dm_fid_gen 4, dm_fid_ino 8 }
    dm_handle 24 { ha_fsid 0, ha_fid 8 }
}

/// The messages of events are made by the model; its offsets are those of the structures here.
const _: () = {
    use crate::model::message::{cancel, data, destroy, header, mount, namespace};
    assert!(size_of::<dm_eventmsg>() == header::BYTES);
    assert!(offset_of!(dm_eventmsg, _link) == header::LINK);
    assert!(offset_of!(dm_eventmsg, ev_type) == header::TYPE);
    assert!(offset_of!(dm_eventmsg, ev_token) == header::TOKEN);
    assert!(offset_of!(dm_eventmsg, ev_sequence) == header::SEQUENCE);
    assert!(offset_of!(dm_eventmsg, ev_data) == header::DATA);
    assert!(offset_of!(dm_eventmsg, ev_nodeid) == header::NODE);
    assert!(size_of::<dm_data_event>() == data::BYTES);
    assert!(offset_of!(dm_data_event, de_handle) == data::HANDLE);
    assert!(offset_of!(dm_data_event, de_offset) == data::OFFSET);
    assert!(offset_of!(dm_data_event, de_length) == data::LENGTH);
    assert!(size_of::<dm_destroy_event>() == destroy::BYTES);
    assert!(offset_of!(dm_destroy_event, ds_handle) == destroy::HANDLE);
    assert!(offset_of!(dm_destroy_event, ds_attrname) == destroy::ATTR_NAME);
    assert!(offset_of!(dm_destroy_event, ds_attrcopy) == destroy::ATTR_COPY);
    assert!(size_of::<dm_mount_event>() == mount::BYTES);
    assert!(offset_of!(dm_mount_event, me_mode) == mount::MODE);
    assert!(offset_of!(dm_mount_event, me_handle1) == mount::HANDLE1);
    assert!(offset_of!(dm_mount_event, me_handle2) == mount::HANDLE2);
    assert!(offset_of!(dm_mount_event, me_name1) == mount::NAME1);
    assert!(offset_of!(dm_mount_event, me_name2) == mount::NAME2);
    assert!(offset_of!(dm_mount_event, me_roothandle) == mount::ROOT);
    assert!(size_of::<dm_namesp_event>() == namespace::BYTES);
    assert!(offset_of!(dm_namesp_event, ne_mode) == namespace::MODE);
    assert!(offset_of!(dm_namesp_event, ne_handle1) == namespace::HANDLE1);
    assert!(offset_of!(dm_namesp_event, ne_handle2) == namespace::HANDLE2);
    assert!(offset_of!(dm_namesp_event, ne_name1) == namespace::NAME1);
    assert!(offset_of!(dm_namesp_event, ne_name2) == namespace::NAME2);
    assert!(offset_of!(dm_namesp_event, ne_retcode) == namespace::RETCODE);
    assert!(size_of::<dm_cancel_event>() == cancel::BYTES);
    assert!(offset_of!(dm_cancel_event, ce_sequence) == cancel::SEQUENCE);
    assert!(offset_of!(dm_cancel_event, ce_token) == cancel::TOKEN);
};
