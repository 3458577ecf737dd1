//! Attributes of many objects: the entries of a directory, the objects of a file system.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::{attribute_name, target};
use super::attr::to_c;
use super::boundary::{Out, OutBuffer, bytes_of, dm_call, dm_version, read};
use super::types::{
    dm_attrloc_t, dm_attrname_t, dm_sessid_t, dm_stat_t, dm_token_t, dm_vardata_t, dm_xstat_t,
};
use crate::client;
use crate::client::{Found, Scan};
use crate::model::{AttrMask, DmError};

/// Records are read in place.
const RECORD_ALIGN: usize = 8;

/// What a scan found so far, as it will lie in the caller's buffer.
struct Records {
    bytes: Vec<u8>,
    room: usize,
    last_start: Option<usize>,
    mask: AttrMask,
    /// Records are `dm_xstat_t`.
    extended: bool,
    /// Is it an error if not even one fits?
    must_store_one: bool,
}

impl Records {
    fn new(room: usize, mask: c_uint) -> Self {
        Self {
            bytes: Vec::new(),
            room,
            last_start: None,
            mask: AttrMask(mask),
            extended: false,
            must_store_one: false,
        }
    }

    /// Adds a record and links the one before to it; `false` if there is no room.
    fn store(&mut self, found: &Found<'_>) -> Result<bool, DmError> {
        let record = self.record(found);
        if record.len() > self.room - self.bytes.len() {
            if self.must_store_one && self.bytes.is_empty() {
                return Err(DmError::need(record.len()));
            }
            return Ok(false);
        }
        let start = self.bytes.len();
        if let Some(last) = self.last_start {
            let link = ((start - last) as c_int).to_ne_bytes();
            self.bytes[last..last + link.len()].copy_from_slice(&link);
        }
        self.bytes.extend_from_slice(&record);
        self.last_start = Some(start);
        Ok(true)
    }

    fn record(&self, found: &Found<'_>) -> Vec<u8> {
        let mut stat = to_c(found.stat);
        let head_bytes = if self.extended {
            size_of::<dm_xstat_t>()
        } else {
            size_of::<dm_stat_t>()
        };
        let mut variable = Vec::new();
        let mut add = |part: &[u8]| {
            let place = dm_vardata_t {
                vd_offset: (head_bytes + variable.len()) as c_int,
                vd_length: part.len() as c_uint,
            };
            variable.extend_from_slice(part);
            place
        };
        if let Some(handle) = found
            .stat
            .handle
            .filter(|_| self.mask.has(AttrMask::HANDLE))
        {
            stat.dt_handle = add(&handle.to_bytes());
        }
        if let Some(name) = found.name {
            stat.dt_compname = add(&[name, &[0]].concat());
        }
        let value = found.value.map(&mut add).unwrap_or_default();
        let mut record = if self.extended {
            let extended = dm_xstat_t {
                dx_statinfo: stat,
                dx_attrdata: value,
            };
            bytes_of(&extended).to_vec()
        } else {
            bytes_of(&stat).to_vec()
        };
        record.extend_from_slice(&variable);
        record.resize(record.len().next_multiple_of(RECORD_ALIGN), 0);
        record
    }
}

/// Runs a scan and gives its records, its position and whether there is more.
fn scan(
    mut records: Records,
    locp: *mut dm_attrloc_t,
    out: &OutBuffer,
    run: impl FnOnce(i64, &mut dyn FnMut(&Found<'_>) -> Result<bool, DmError>) -> Result<Scan, DmError>,
) -> Result<c_int, DmError> {
    let location = read(locp)?;
    let next = Out::new(locp)?;
    out.probe_start()?;
    let scan = out.needed(run(location, &mut |found| records.store(found)))?;
    out.fill(&records.bytes)?;
    next.set(scan.location)?;
    Ok(scan.more.into())
}

/// Gives the position where a scan begins.
///
/// `hanp`, `hlen`: a directory for `dm_get_dirattrs`, a file system for `dm_get_bulkattr` and `dm_get_bulkall`.
/// `token`: with a shared right on it, or `DM_NO_TOKEN`. `locp`: gets the position.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no right; `EBADF` the handle names nothing, or is the global
/// one; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, or the handle names another object; `ESRCH`
/// the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, bulk attributes.
///
/// # Safety
/// `*locp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_init_attrloc(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    locp: *mut dm_attrloc_t,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = Out::new(locp)?;
        out.set(client::init_attrloc(&target)?)?;
        Ok(0)
    })
}

/// Reads attributes of the entries of a directory, "." and ".." among them: a `dm_stat_t` with the name for each.
///
/// `token`: with a shared right on the directory, or `DM_NO_TOKEN`. `mask`: `DM_AT_HANDLE`, `DM_AT_EMASK`,
/// `DM_AT_PMANR`, `DM_AT_PATTR`, `DM_AT_DTIME`, `DM_AT_CFLAG`, `DM_AT_STAT`. `locp`: the position; gets where to go on.
/// `buflen`: bytes at `bufp`, which is aligned to 8. `rlenp`: gets the bytes stored. The records are linked:
/// `DM_STEP_TO_NEXT(stat, dm_stat_t *)`.
///
/// Returns 1 if there is more (also if not even one record had room), 0 if not, or -1 with `errno`: `EACCES` the token
/// holds no right; `EBADF` the handle names nothing, or is the global one; `EFAULT` a pointer is bad or not
/// aligned; `EINVAL` session or token is unknown, the mask has other bits, the position is none, or the handle names
/// no directory; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, bulk attributes.
///
/// # Safety
/// `*locp`, `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_dirattrs(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    mask: c_uint,
    locp: *mut dm_attrloc_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, RECORD_ALIGN)?;
        let mut records = Records::new(out.room(), mask);
        records.must_store_one = out.room() == 0 && client::reading().no_room_fails;
        scan(records, locp, &out, |location, store| {
            client::get_dirattrs(&target, AttrMask(mask), location, store)
        })
    })
}

/// Reads attributes of all objects of a file system: a `dm_stat_t` without name for each. No snapshot: what is made
/// or removed meanwhile may be there or not.
///
/// `token`: with a shared right on the file system, or `DM_NO_TOKEN`. The rest: as for `dm_get_dirattrs`.
///
/// Returns 1 if there is more, 0 if not, or -1 with `errno`: `E2BIG` not even one record has room, `*rlenp` has the
/// bytes needed; `EACCES` the token holds no right; `EBADF` the handle names nothing, or is the global one; `EFAULT` a
/// pointer is bad or not aligned; `EINVAL` session or token is unknown, the mask has other bits, the position is
/// none, or the handle names no file system; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, bulk attributes.
///
/// # Safety
/// `*locp`, `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_bulkattr(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    mask: c_uint,
    locp: *mut dm_attrloc_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, RECORD_ALIGN)?;
        let mut records = Records::new(out.room(), mask);
        records.must_store_one = true;
        scan(records, locp, &out, |location, store| {
            client::get_bulkattr(&target, AttrMask(mask), location, store)
        })
    })
}

/// `dm_get_bulkattr` with the value of one DM attribute: a `dm_xstat_t` for each object.
///
/// `attrnamep`: the attribute; `dx_attrdata` is {0,0} in objects that have it not. The rest: as for `dm_get_bulkattr`.
///
/// Returns: as `dm_get_bulkattr`; `EINVAL` also for an empty name.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, bulk attributes.
///
/// # Safety
/// `*locp`, `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_bulkall(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    mask: c_uint,
    attrnamep: *mut dm_attrname_t,
    locp: *mut dm_attrloc_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let name = attribute_name(attrnamep)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, RECORD_ALIGN)?;
        let mut records = Records::new(out.room(), mask);
        records.must_store_one = true;
        records.extended = true;
        scan(records, locp, &out, |location, store| {
            client::get_bulkall(&target, AttrMask(mask), name, location, store)
        })
    })
}

dm_version!("DMAPI_1.0": dm_init_attrloc, dm_get_dirattrs, dm_get_bulkattr, dm_get_bulkall);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FsId, Handle, ObjectStat};

    fn stat() -> ObjectStat {
        ObjectStat {
            handle: Some(Handle::Object {
                fs: FsId(1),
                inode: 2,
                generation: 3,
            }),
            ..ObjectStat::default()
        }
    }

    #[test]
    fn a_record_is_the_struct_and_the_name_rounded_to_eight() {
        let stat = stat();
        let mut records = Records::new(192 + 200, 0);
        let found = |name| Found {
            stat: &stat,
            name: Some(name),
            value: None,
        };
        assert_eq!(records.store(&found(b".".as_slice())), Ok(true));
        assert_eq!(records.bytes.len(), 192);
        assert_eq!(records.store(&found(b"13_characters".as_slice())), Ok(true));
        assert_eq!(records.bytes.len(), 392);
        assert_eq!(records.store(&found(b"more".as_slice())), Ok(false));
        assert_eq!(records.bytes[..4], 192i32.to_ne_bytes());
        assert_eq!(records.bytes[192..196], 0i32.to_ne_bytes());
    }

    #[test]
    fn handle_and_value_have_room_only_where_asked_for() {
        let stat = stat();
        let found = Found {
            stat: &stat,
            name: None,
            value: Some(b"abc"),
        };
        let mut records = Records::new(1000, AttrMask::HANDLE.0);
        records.extended = true;
        assert_eq!(records.store(&found), Ok(true));
        assert_eq!(records.bytes.len(), (192 + 24 + 3usize).next_multiple_of(8));
        assert_eq!(records.bytes[4..8], 192i32.to_ne_bytes());
        assert_eq!(records.bytes[184..188], 216i32.to_ne_bytes());
        assert_eq!(&records.bytes[216..219], b"abc");
    }

    #[test]
    fn the_bulk_calls_say_what_one_record_needs() {
        let stat = stat();
        let found = Found {
            stat: &stat,
            name: None,
            value: None,
        };
        let mut records = Records::new(100, 0);
        assert_eq!(records.store(&found), Ok(false));
        records.must_store_one = true;
        assert_eq!(records.store(&found), Err(DmError::need(184)));
    }
}
