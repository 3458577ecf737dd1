//! What the service keeps with an object: xattr `trusted.dmapi.state` (see [`store`]).
//!
//! Bytes: version u8 | postcard of [`ObjectState`] | CRC32C of all before, little endian. Version 1 has no
//! `shown_ctime` and is what is written where that is not set, so that older services read it; version 2 has it.
//! A value that is not understood is an error and never "no regions": that would show zeros to a user.

use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::PoisonError;

use nix::sys::stat::fstat;
use serde::Deserialize;
use serde::Serialize;

use crate::fs::stat;
use crate::fs::store;
use crate::model::DmError;
use crate::model::EventSet;
use crate::model::Region;

/// `DM_CONFIG_MAX_MANAGED_REGIONS`: what fits into the xattr space of ext4 with 1 KiB blocks.
pub const REGIONS_MAX: usize = 32;

/// What is kept with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectState {
    /// Managed regions, in the order given.
    pub regions: Vec<Region>,
    /// The object's event list.
    pub events: EventSet,
    /// The file was punched from here to its end: the hole there is not a sparse tail.
    pub punched_from: Option<u64>,
    /// Counts the punches; part of `dt_change`.
    pub changes: u32,
    /// `dt_dtime` where it is not ctime.
    pub dtime: Option<(i64, u32)>,
    /// The ctime that users are shown: a DM change moved the real one, and they were to see nothing of it.
    pub shown_ctime: Option<(i64, u32)>,
}

/// The parts that version 1 has.
#[derive(Serialize, Deserialize)]
struct Version1<'a> {
    regions: std::borrow::Cow<'a, [Region]>,
    events: EventSet,
    punched_from: Option<u64>,
    changes: u32,
    dtime: Option<(i64, u32)>,
}

impl<'a> From<&'a ObjectState> for Version1<'a> {
    fn from(state: &'a ObjectState) -> Self {
        Self {
            regions: state.regions.as_slice().into(),
            events: state.events,
            punched_from: state.punched_from,
            changes: state.changes,
            dtime: state.dtime,
        }
    }
}

impl From<Version1<'_>> for ObjectState {
    fn from(old: Version1<'_>) -> Self {
        Self {
            regions: old.regions.into_owned(),
            events: old.events,
            punched_from: old.punched_from,
            changes: old.changes,
            dtime: old.dtime,
            shown_ctime: None,
        }
    }
}

impl ObjectState {
    /// Is there nothing to keep?
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
            && self.events.0 == 0
            && self.punched_from.is_none()
            && self.dtime.is_none()
            && self.shown_ctime.is_none()
    }
}

/// Why the state of an object cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// Written by a newer version.
    Version(u8),
    /// Damaged.
    Damaged,
    /// The call failed.
    Call(DmError),
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "trusted.dmapi.state has version {version}, this service knows 1 and 2: upgrade it"
            ),
            Self::Damaged => f.write_str(
                "trusted.dmapi.state is damaged, so accesses are refused: restore the attribute from a \
                 backup, or remove it if the file's data is complete",
            ),
            Self::Call(error) => write!(f, "trusted.dmapi.state cannot be read or written: {error}"),
        }
    }
}

impl std::error::Error for StateError {}

impl From<StateError> for DmError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Version(_) | StateError::Damaged => Self::Io,
            StateError::Call(error) => error,
        }
    }
}

pub(super) const NAME: &[u8] = b"dmapi.state";
const WITHOUT_CTIME: u8 = 1;
const WITH_CTIME: u8 = 2;
const CHECKSUM_BYTES: usize = 4;

/// Threads of the worker that change one object's state go one after the other.
static LOCKS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

/// The bytes of the xattr.
pub fn encode(state: &ObjectState) -> Result<Vec<u8>, StateError> {
    let bytes = match state.shown_ctime {
        None => postcard::to_extend(&Version1::from(state), vec![WITHOUT_CTIME]),
        Some(_) => postcard::to_extend(state, vec![WITH_CTIME]),
    };
    let mut bytes = bytes.map_err(|_| StateError::Call(DmError::NoMemory))?;
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    Ok(bytes)
}

/// What the bytes of the xattr say.
pub fn decode(bytes: &[u8]) -> Result<ObjectState, StateError> {
    let end = bytes.len().saturating_sub(CHECKSUM_BYTES);
    let (body, checksum) = bytes.split_at(end);
    if checksum != crc32c::crc32c(body).to_le_bytes() {
        return Err(StateError::Damaged);
    }
    match body.split_first() {
        Some((&WITHOUT_CTIME, rest)) => whole::<Version1<'_>>(rest).map(ObjectState::from),
        Some((&WITH_CTIME, rest)) => whole(rest),
        Some((&version, _)) => Err(StateError::Version(version)),
        None => Err(StateError::Damaged),
    }
}

/// A value that takes up all bytes.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StateError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(StateError::Damaged),
    }
}

fn call(error: std::io::Error) -> StateError {
    StateError::Call(error.into())
}

/// The state of an object; the empty one if none is kept. Any descriptor will do.
pub fn read(fd: BorrowedFd<'_>) -> Result<ObjectState, StateError> {
    match store::get(fd, NAME).map_err(call)? {
        Some(bytes) => decode(&bytes),
        None => Ok(ObjectState::default()),
    }
}

/// Replaces the state of an object; an empty one removes the xattr. After an error the old one stands.
/// Changes of single parts go through [`update`].
pub fn write(fd: BorrowedFd<'_>, state: &ObjectState) -> Result<(), StateError> {
    if state.is_empty() {
        store::remove(fd, NAME).map_err(call)?;
        return Ok(());
    }
    store::set(fd, NAME, &encode(state)?).map_err(call)
}

/// A ctime that users are to see is no reason for a call to fail: it goes where there is no room for it.
fn write_without_ctime_if_full(
    fd: BorrowedFd<'_>,
    state: &mut ObjectState,
    had_ctime: bool,
) -> Result<(), StateError> {
    match write(fd, state) {
        Err(StateError::Call(DmError::NoSpace)) if had_ctime && state.shown_ctime.is_some() => {
            state.shown_ctime = None;
            write(fd, state)
        }
        written => written,
    }
}

/// Reads, changes and writes the state (if it changed), under a lock against other threads that do the
/// same to this object. Returns the state as it is now. Worker only.
pub fn update(
    fd: BorrowedFd<'_>,
    change: impl FnOnce(&mut ObjectState),
) -> Result<ObjectState, StateError> {
    let stat = fstat(fd).map_err(|errno| call(errno.into()))?;
    let lock = &LOCKS[(stat.st_ino % LOCKS.len() as u64) as usize];
    // Nothing is kept under the lock, so a thread that died in it left nothing half done.
    let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let old = read(fd)?;
    let mut new = old.clone();
    change(&mut new);
    if new != old {
        write_without_ctime_if_full(fd, &mut new, old.shown_ctime.is_some())?;
    }
    Ok(new)
}

/// The ctime that users see stays what it is now, whatever DM changes follow; nothing is done if it stays
/// already. To be called before the change, for objects that users see through FUSE. Worker only.
pub fn keep_ctime(fd: BorrowedFd<'_>) -> Result<(), DmError> {
    update(fd, |state| {
        if state.shown_ctime.is_none() {
            // An object that cannot be looked at cannot be changed either.
            state.shown_ctime = stat::stat(fd).ok().map(|stat| stat.ctime);
        }
    })?;
    Ok(())
}

/// The ctime that users see is the real one again: they changed the object. Worker only.
pub fn clear_ctime(fd: BorrowedFd<'_>) -> Result<(), DmError> {
    if read(fd)?.shown_ctime.is_some() {
        update(fd, |state| state.shown_ctime = None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> ObjectState {
        ObjectState {
            regions: vec![Region {
                offset: 0,
                size: 0,
                flags: 7,
                opaque: 9,
            }],
            events: EventSet(1 << 20),
            punched_from: Some(4096),
            changes: 3,
            dtime: Some((-1, 5)),
            shown_ctime: None,
        }
    }

    #[test]
    fn a_shown_ctime_makes_it_version_2_and_all_else_stays_version_1() {
        let old = encode(&some()).unwrap();
        assert_eq!(old[0], 1);
        // What a service of version 1 has written, to the byte.
        let known = [1, 1, 0, 0, 7, 9, 128, 128, 64, 1, 128, 32, 3, 1, 1, 5];
        assert_eq!(old[..old.len() - 4], known);
        let shown = ObjectState {
            shown_ctime: Some((1_700_000_000, 5)),
            ..some()
        };
        let new = encode(&shown).unwrap();
        assert_eq!(new[0], 2);
        assert_eq!(decode(&new), Ok(shown));
    }

    #[test]
    fn state_comes_back_as_it_was_written() {
        let bytes = encode(&some()).unwrap();
        assert_eq!(decode(&bytes), Ok(some()));
        assert!(bytes.len() < 32, "{} bytes are not compact", bytes.len());
    }

    #[test]
    fn damage_and_newer_versions_are_errors() {
        let good = encode(&some()).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), Err(StateError::Damaged), "byte {at}");
            assert_eq!(decode(&good[..at]), Err(StateError::Damaged), "cut at {at}");
        }
        let mut newer = vec![3, 1, 2, 3];
        newer.extend_from_slice(&crc32c::crc32c(&newer).to_le_bytes());
        assert_eq!(decode(&newer), Err(StateError::Version(3)));
        assert_eq!(decode(&[]), Err(StateError::Damaged));
    }

    #[test]
    fn the_most_regions_fit_into_the_smallest_space() {
        let region = Region {
            offset: u64::MAX - 1,
            size: 1 << 50,
            flags: 7,
            opaque: u32::MAX,
        };
        let state = ObjectState {
            regions: vec![region; REGIONS_MAX],
            ..some()
        };
        let bytes = encode(&state).unwrap().len();
        assert!(bytes < 956, "{bytes} bytes");
    }
}
