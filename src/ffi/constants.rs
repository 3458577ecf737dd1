//! The numbers of the standard, SGI numbering; those of the IBM family that the SGI one lacks beside them.
//!
//! The header has the same by hand (include/dmapi_macros.h), with enums where the standard has enums; a test
//! compares every one.

#![allow(missing_docs)]

macro_rules! constants {
    ($($(#[$meta:meta])* $name:ident = $value:expr;)+) => {
        $($(#[$meta])* pub const $name: i64 = $value;)+
        /// All of them, for the comparison with the header.
        pub const CONSTANTS: &[(&str, i64)] = &[$((stringify!($name), $name)),+];
    };
}

constants! {
    DM_NO_SESSION = 0;
    DM_NO_TOKEN = -1;
    DM_INVALID_TOKEN = 0;
    DM_GLOBAL_HLEN = 1;
    DM_INVALID_HLEN = 0;
    DM_TRUE = 1;
    DM_FALSE = 0;
    DM_SESSION_INFO_LEN = 256;
    DM_ATTR_NAME_SIZE = 8;
    DM_EV_WAIT = 1;
    DM_RR_WAIT = 1;
    DM_PCACHE_EVICT = 0x10;
    DM_WRITE_SYNC = 1;
    DM_MOUNT_RDONLY = 1;
    DM_UNMOUNT_FORCE = 1;
    DM_LOCAL_MOUNT = 4;
    DM_REMOTE_MOUNT = 8;
    DM_SNAP_ROOT = 0;
    DM_FSHSIZE = 8;
    DM_MAX_HANDLE_SIZE = 56;
    MAXDMFSFIDSZ = 46;

    DM_REGION_NOEVENT = 0;
    DM_REGION_READ = 1;
    DM_REGION_WRITE = 2;
    DM_REGION_TRUNCATE = 4;
    DM_REGION_DIRECT_READ = 8;

    DM_AT_MODE = 0x0001;
    DM_AT_UID = 0x0002;
    DM_AT_GID = 0x0004;
    DM_AT_ATIME = 0x0008;
    DM_AT_MTIME = 0x0010;
    DM_AT_CTIME = 0x0020;
    DM_AT_SIZE = 0x0040;
    DM_AT_DTIME = 0x0080;
    DM_AT_HANDLE = 0x0100;
    DM_AT_EMASK = 0x0200;
    DM_AT_PMANR = 0x0400;
    DM_AT_PATTR = 0x0800;
    DM_AT_STAT = 0x1000;
    DM_AT_CFLAG = 0x2000;
    DM_AT_FOPEN = 0x4000;

    DM_XFLAG_REALTIME = 0x1;
    DM_XFLAG_PREALLOC = 0x2;
    DM_XFLAG_IMMUTABLE = 0x8;
    DM_XFLAG_APPEND = 0x10;
    DM_XFLAG_SYNC = 0x20;
    DM_XFLAG_NOATIME = 0x40;
    DM_XFLAG_NODUMP = 0x80;
    DM_XFLAG_HASATTR = 0x8000_0000;

    DM_EXTENT_INVALID = 0;
    DM_EXTENT_RES = 1;
    DM_EXTENT_HOLE = 2;

    DM_MSGTYPE_INVALID = 0;
    DM_MSGTYPE_SYNC = 1;
    DM_MSGTYPE_ASYNC = 2;

    DM_RESP_INVALID = 0;
    DM_RESP_CONTINUE = 1;
    DM_RESP_ABORT = 2;
    DM_RESP_DONTCARE = 3;

    DM_RIGHT_NULL = 0;
    DM_RIGHT_SHARED = 1;
    DM_RIGHT_EXCL = 2;

    DM_CONFIG_INVALID = 0;
    DM_CONFIG_BULKALL = 1;
    DM_CONFIG_CREATE_BY_HANDLE = 2;
    DM_CONFIG_DTIME_OVERLOAD = 3;
    DM_CONFIG_LEGACY = 4;
    DM_CONFIG_LOCK_UPGRADE = 5;
    DM_CONFIG_MAX_ATTR_ON_DESTROY = 6;
    DM_CONFIG_MAX_ATTRIBUTE_SIZE = 7;
    DM_CONFIG_MAX_HANDLE_SIZE = 8;
    DM_CONFIG_MAX_MANAGED_REGIONS = 9;
    DM_CONFIG_MAX_MESSAGE_DATA = 10;
    DM_CONFIG_OBJ_REF = 11;
    DM_CONFIG_PENDING = 12;
    DM_CONFIG_PERS_ATTRIBUTES = 13;
    DM_CONFIG_PERS_EVENTS = 14;
    DM_CONFIG_PERS_INHERIT_ATTRIBS = 15;
    DM_CONFIG_PERS_MANAGED_REGIONS = 16;
    DM_CONFIG_PUNCH_HOLE = 17;
    DM_CONFIG_TOTAL_ATTRIBUTE_SPACE = 18;
    DM_CONFIG_WILL_RETRY = 19;
    DM_CONFIG_MAX = 20;
    DM_CONFIG_LOWEST = 1;
    DM_CONFIG_HIGHEST = 19;

    DM_EVENT_INVALID = -1;
    DM_EVENT_CANCEL = 0;
    DM_EVENT_MOUNT = 1;
    DM_EVENT_PREUNMOUNT = 2;
    DM_EVENT_UNMOUNT = 3;
    DM_EVENT_DEBUT = 4;
    DM_EVENT_CREATE = 5;
    DM_EVENT_CLOSE = 6;
    DM_EVENT_POSTCREATE = 7;
    DM_EVENT_REMOVE = 8;
    DM_EVENT_POSTREMOVE = 9;
    DM_EVENT_RENAME = 10;
    DM_EVENT_POSTRENAME = 11;
    DM_EVENT_LINK = 12;
    DM_EVENT_POSTLINK = 13;
    DM_EVENT_SYMLINK = 14;
    DM_EVENT_POSTSYMLINK = 15;
    DM_EVENT_READ = 16;
    DM_EVENT_WRITE = 17;
    DM_EVENT_TRUNCATE = 18;
    DM_EVENT_ATTRIBUTE = 19;
    DM_EVENT_DESTROY = 20;
    DM_EVENT_NOSPACE = 21;
    DM_EVENT_USER = 22;
    DM_EVENT_MAX = 23;
    DM_EVENT_PREPERMCHANGE = 24;
    DM_EVENT_POSTPERMCHANGE = 25;
    DM_EVENT_DIRECT_READ = 26;
    DM_EVENT_LOWEST = 0;
    DM_EVENT_HIGHEST = 22;
    DM_EVENT_BASE_MAX = 23;
    DM_EVENT_MAX_POSSIBLE = 64;
}

/// `DM_VER_STR_CONTENTS`: what `dm_init_service` gives.
pub const VERSION_STRING: &std::ffi::CStr = c"libdmapi DMAPI (XDSM) API, Release 1.0.";
