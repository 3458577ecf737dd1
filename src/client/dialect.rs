//! The points where the families of DMAPI differ, one table: [`READINGS`] is what the calls ask, [`POINTS`] the same in
//! words, as docs/dialects.md shows it.
//!
//! `DMAPI_DIALECT` is `sgi` or `gpfs`; without it the standard is read as IBM reads it. A process reads it once.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::model::{DmError, EventSet, EventType};

/// Which reading the process wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The standard's, as IBM reads it.
    Standard,
    /// SGI's: XFS on Linux and IRIX.
    Sgi,
    /// That of GPFS, now Storage Scale.
    Gpfs,
}

/// What a reading makes of each point. An error is what the calls fail with.
#[derive(Debug)]
pub struct Reading {
    /// `dm_get_eventlist` cuts the set to the caller's room and tells that room.
    pub list_is_cut: bool,
    /// `dm_get_config_events`: the caller's room is too small. `TooBig` tells what is needed.
    pub small_set: DmError,
    /// Events that `dm_get_config_events` does not tell.
    pub untold: EventSet,
    /// Events that lists and dispositions refuse.
    pub refused: EventSet,
    /// Events that the list of a file system takes besides.
    pub extra_on_fs: EventSet,
    /// A file has one managed region, and that is the whole file.
    pub one_region: bool,
    /// Flags that a region may have.
    pub region_flags: u32,
    /// An extent map begins at a rounded offset and ends with a hole to the last possible one.
    pub map_is_endless: bool,
    /// `dm_probe_hole` gives a range back that is not made of whole blocks.
    pub probe_keeps: bool,
    /// `dm_punch_hole` of such a range.
    pub unaligned_punch: DmError,
    /// `dt_dtime` is there without DM attributes: ctime, or what was set.
    pub dtime_is_alone: bool,
    /// The object is not of a kind that the call works on.
    pub wrong_kind: DmError,
    /// `dm_get_dirattrs` without any room is an error.
    pub no_room_fails: bool,
    /// `dm_handle_to_path` gives absolute paths, and those of directories.
    pub paths_are_absolute: bool,
    /// READ and WRITE for a mapping tell the whole file, not the range that is mapped.
    pub mapping_is_whole: bool,
    /// An assumed session goes on under its old id.
    pub session_keeps_id: bool,
    /// DESTROY has a token and must be answered.
    pub destroy_is_answered: bool,
    /// Tokens can have rights on a file system.
    pub fs_has_rights: bool,
    /// `dm_get_fileattr` takes any mask and tells everything.
    pub any_mask: bool,
}

const BIG: DmError = DmError::TooBig { need: None };
const DATA: EventSet =
    EventSet(EventType::Read.bit() | EventType::Write.bit() | EventType::Truncate.bit());

const STANDARD: Reading = Reading {
    list_is_cut: false,
    small_set: BIG,
    untold: EventSet(EventType::Cancel.bit()),
    refused: EventSet(0),
    extra_on_fs: EventSet(0),
    one_region: false,
    region_flags: 7,
    map_is_endless: false,
    probe_keeps: false,
    unaligned_punch: DmError::Again,
    dtime_is_alone: false,
    wrong_kind: DmError::Invalid,
    no_room_fails: false,
    paths_are_absolute: false,
    mapping_is_whole: false,
    session_keeps_id: false,
    destroy_is_answered: false,
    fs_has_rights: true,
    any_mask: false,
};

const SGI: Reading = Reading {
    list_is_cut: true,
    small_set: DmError::Invalid,
    untold: EventSet(
        STANDARD.untold.0 | EventType::Debut.bit() | EventType::Close.bit() | EventType::User.bit(),
    ),
    refused: EventSet(EventType::Close.bit()),
    extra_on_fs: EventSet(EventType::Debut.bit()),
    one_region: true,
    map_is_endless: true,
    probe_keeps: true,
    unaligned_punch: DmError::Invalid,
    dtime_is_alone: true,
    wrong_kind: DmError::NotSupported,
    no_room_fails: true,
    paths_are_absolute: true,
    mapping_is_whole: true,
    any_mask: true,
    ..STANDARD
};

const GPFS: Reading = Reading {
    extra_on_fs: DATA,
    region_flags: 7 | 8,
    session_keeps_id: true,
    destroy_is_answered: true,
    fs_has_rights: false,
    ..STANDARD
};

/// The readings in the order of [`Dialect`].
static READINGS: [Reading; 3] = [STANDARD, SGI, GPFS];

/// One row of docs/dialects.md: the point, then the readings in the order of [`Dialect`].
pub const POINTS: &[[&str; 4]] = &[
    [
        "`dm_get_eventlist`, `*nelemp`",
        "highest event of the list and 1; too little room is `E2BIG`",
        "the caller's `nelem`, the set is cut to it; `nelem` 0 is `EINVAL`",
        "as default",
    ],
    [
        "`dm_get_config_events`",
        "with USER and CLOSE; too little room is `E2BIG` and tells 23",
        "without DEBUT, USER and CLOSE; too little room is `EINVAL`",
        "as default",
    ],
    [
        "CLOSE in lists and dispositions",
        "taken, and produced",
        "`EINVAL`",
        "as default",
    ],
    [
        "DEBUT in the list of a file system",
        "`EINVAL`; taken in dispositions",
        "taken, and produced",
        "as default",
    ],
    [
        "READ, WRITE, TRUNCATE in the list of a file system",
        "`EINVAL`",
        "`EINVAL`",
        "taken; files without regions of their own make these events",
    ],
    [
        "managed regions of a file",
        "up to `DM_CONFIG_MAX_MANAGED_REGIONS`, exact to the byte",
        "one, of the whole file: two are `E2BIG`, another range makes `*exactflagp` false",
        "as default",
    ],
    [
        "flag `DM_REGION_DIRECT_READ`",
        "`EINVAL`",
        "as default",
        "kept; reads there make READ events, as the bytes may be gone",
    ],
    [
        "`dm_get_allocinfo`",
        "ends at the end of the file, a punched tail is not listed; a start that is unaligned or behind the \
         end is `EINVAL`",
        "ends with a hole up to the last possible offset; the start is rounded down",
        "as default",
    ],
    [
        "`dm_probe_hole` of parts of blocks",
        "rounded inwards; nothing left is `EINVAL`",
        "given back as it is",
        "as default",
    ],
    [
        "`dm_punch_hole` of parts of blocks",
        "`EAGAIN`",
        "`EINVAL`",
        "as default",
    ],
    [
        "`dt_dtime` without DM attributes",
        "0, setting it has no effect",
        "ctime, or what `dm_set_fileattr` set last",
        "as default",
    ],
    [
        "an object of the wrong kind",
        "`EINVAL`",
        "`EOPNOTSUPP`",
        "as default",
    ],
    [
        "`dm_get_dirattrs`, `buflen` 0",
        "1: there is more",
        "`E2BIG`, `*rlenp` tells what the next entry needs",
        "as default",
    ],
    [
        "`dm_handle_to_path`",
        "relative to the root of the file system; a directory as target is `EBADF`, one that is not there \
         `EINVAL`",
        "absolute; directories too; a target that is not there is `ENOENT`",
        "as default",
    ],
    [
        "range of READ and WRITE for a mapping",
        "what is mapped",
        "the whole file",
        "as default",
    ],
    [
        "id of an assumed session",
        "a new one, the old is dead",
        "as default",
        "the old one",
    ],
    [
        "DESTROY",
        "asynchronous",
        "as default",
        "has a token and must be answered; the object is gone before, with fanotify",
    ],
    [
        "rights on a file system",
        "supported",
        "as default",
        "`EINVAL`",
    ],
    [
        "mask of `dm_get_fileattr`",
        "other bits are `EINVAL`",
        "not looked at, all is told",
        "as default",
    ],
];

const UNKNOWN: u8 = u8::MAX;

static DIALECT: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The dialect in force: what [`set_dialect`] said, else the environment.
pub fn dialect() -> Dialect {
    match DIALECT.load(Ordering::Relaxed) {
        0 => Dialect::Standard,
        1 => Dialect::Sgi,
        2 => Dialect::Gpfs,
        _ => {
            let wanted = std::env::var_os("DMAPI_DIALECT").unwrap_or_default();
            let wanted = if wanted.eq_ignore_ascii_case("sgi") {
                Dialect::Sgi
            } else if wanted.eq_ignore_ascii_case("gpfs") {
                Dialect::Gpfs
            } else {
                Dialect::Standard
            };
            set_dialect(wanted);
            wanted
        }
    }
}

/// Sets the dialect of the whole process.
pub fn set_dialect(wanted: Dialect) {
    DIALECT.store(wanted as u8, Ordering::Relaxed);
}

/// What the dialect in force makes of each point.
pub fn reading() -> &'static Reading {
    &READINGS[dialect() as usize]
}

/// The errno of an error.
pub fn errno(error: DmError) -> i32 {
    match error {
        DmError::WrongKind => reading().wrong_kind.errno(),
        other => other.errno(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_table() {
        let document = include_str!("../../docs/dialects.md");
        let told: Vec<&str> = document
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1)
            .collect();
        let rows: Vec<String> = POINTS
            .iter()
            .map(|point| format!("| {} |", point.join(" | ")))
            .collect();
        assert_eq!(told, rows, "docs/dialects.md is not what POINTS says");
    }
}
