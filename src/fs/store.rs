//! Where the service keeps what it knows of an object: in its xattrs.
//!
//! They are `trusted.*`, which only a privileged service can have. In a user namespace, and on kinds that have no
//! such ones (NFS), they are `user.*`. Symbolic links and special files cannot have those: then they are in
//! `<state>/side/<f_fsid>/<inode>.<generation>` (postcard of names and values, CRC32C behind it). Worker and
//! clients are in the same namespace, so both decide alike.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use nix::sys::stat::fstat;
use once_cell::race::OnceBox;

use crate::fs::handle::has_data;
use crate::fs::handle::object_of;
use crate::fs::identify;
use crate::model::Handle;
use crate::sys::handle::name_to_handle;
use crate::sys::volume;
use crate::sys::xattr;

const TRUSTED: &str = "trusted.";
const USER: &str = "user.";
/// The uid map of the initial user namespace: 0 is 0, and so on for all.
const INITIAL_MAP: [&str; 3] = ["0", "0", "4294967295"];
const CHECKSUM_BYTES: usize = 4;

/// The link beside the control socket that leads clients to the state directory.
pub const STATE_LINK: &str = ".state";

/// Not a lock: a child of fork(2) must not find it taken.
static STATE_DIR: OnceBox<PathBuf> = OnceBox::new();
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Where the state directory is, for objects that can have no `user.*` xattrs. The first word counts.
pub fn serve_from(state_dir: &Path) {
    STATE_DIR.get_or_init(|| Box::new(state_dir.to_owned()));
}

/// The state directory, if it was told.
pub fn state_dir() -> Option<&'static Path> {
    STATE_DIR.get().map(PathBuf::as_path)
}

/// Is this process in a user namespace that is not the initial one? Decided once.
pub fn is_unprivileged() -> bool {
    static DECIDED: OnceLock<bool> = OnceLock::new();
    *DECIDED.get_or_init(|| {
        let map = std::fs::read_to_string("/proc/self/uid_map");
        // Without /proc nothing tells, and the service would not work anyway.
        map.is_ok_and(|map| !map.split_whitespace().eq(INITIAL_MAP))
    })
}

fn full(prefix: &str, name: &[u8]) -> io::Result<CString> {
    CString::new([prefix.as_bytes(), name].concat())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn is_unsupported<T>(result: &io::Result<T>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP))
}

/// Does it have `user.*` xattrs?
fn holds_user(fd: BorrowedFd<'_>) -> io::Result<bool> {
    has_data(fd).map_err(|error| io::Error::from_raw_os_error(error.errno()))
}

/// A value; `name` is without prefix. `None`: the object has no such one.
pub(super) fn get(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if !is_unprivileged() {
        let found = xattr::get(fd, &full(TRUSTED, name)?);
        if !is_unsupported(&found) {
            return found;
        }
    }
    let found = xattr::get(fd, &full(USER, name)?);
    match found {
        Ok(None) if !holds_user(fd)? => Ok(side(fd)?.read()?.remove(name)),
        // A kind without any: nothing can have been kept.
        found if is_unsupported(&found) => Ok(None),
        found => found,
    }
}

/// Sets or replaces a value.
pub(super) fn set(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> io::Result<()> {
    if !is_unprivileged() {
        let set = xattr::set(fd, &full(TRUSTED, name)?, value);
        if !is_unsupported(&set) {
            return set;
        }
    }
    if holds_user(fd)? {
        return xattr::set(fd, &full(USER, name)?, value);
    }
    side(fd)?.change(|all| drop(all.insert(name.to_vec(), value.to_vec())))
}

/// Removes a value; `false` if there was none.
pub(super) fn remove(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    if !is_unprivileged() {
        let removed = xattr::remove(fd, &full(TRUSTED, name)?);
        if !is_unsupported(&removed) {
            return removed;
        }
    }
    if holds_user(fd)? {
        let removed = xattr::remove(fd, &full(USER, name)?);
        return if is_unsupported(&removed) {
            Ok(false)
        } else {
            removed
        };
    }
    let mut had = false;
    side(fd)?.change(|all| had = all.remove(name).is_some())?;
    Ok(had)
}

/// The names of what is kept, without prefix; also names of others with the same prefix.
pub(super) fn names(fd: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let list = match xattr::list(fd) {
        list if is_unsupported(&list) => Vec::new(),
        list => list?,
    };
    let strip = |prefix: &str| -> Vec<Vec<u8>> {
        list.split(|byte| *byte == 0)
            .filter_map(|name| Some(name.strip_prefix(prefix.as_bytes())?.to_vec()))
            .collect()
    };
    if !is_unprivileged() {
        let found = strip(TRUSTED);
        // Names of `user.*` count only where there can be no others, which is rare: it is asked last.
        if !found.is_empty() || !list.starts_with(USER.as_bytes()) {
            return Ok(found);
        }
        if !is_unsupported(&xattr::get(fd, &full(TRUSTED, b"dmapi.state")?)) {
            return Ok(found);
        }
    }
    if holds_user(fd)? {
        return Ok(strip(USER));
    }
    Ok(side(fd)?.read()?.into_keys().collect())
}

/// An object without xattrs is gone: what was kept for it goes. `dir`: any directory of its file system.
pub(super) fn forget(dir: BorrowedFd<'_>, handle: Handle) {
    let Handle::Object {
        inode, generation, ..
    } = handle
    else {
        return;
    };
    if !is_unprivileged() {
        return;
    }
    if let Ok(side) = Side::of(dir, (inode, generation)) {
        let _ = side.change(BTreeMap::clear);
    }
}

/// The file that holds what an object's xattrs cannot.
struct Side {
    dir: PathBuf,
    name: String,
}

type Values = BTreeMap<Vec<u8>, Vec<u8>>;

fn side(fd: BorrowedFd<'_>) -> io::Result<Side> {
    let stat = fstat(fd)?;
    let kind = identify::kind_of(volume::statfs(fd)?.magic);
    let object = object_of(kind, &name_to_handle(fd)?, stat.st_ino)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?;
    Side::of(fd, object)
}

impl Side {
    fn of(fd: BorrowedFd<'_>, (inode, generation): (u64, u32)) -> io::Result<Self> {
        let state_dir =
            state_dir().ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?;
        let fsid = u64::from_le_bytes(volume::statfs(fd)?.fsid);
        Ok(Self {
            dir: state_dir.join("side").join(format!("{fsid:016x}")),
            name: format!("{inode}.{generation}"),
        })
    }

    fn read(&self) -> io::Result<Values> {
        let bytes = match std::fs::read(self.dir.join(&self.name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Values::new()),
            Err(error) => return Err(error),
        };
        decode(&bytes).ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))
    }

    /// Reads, changes and replaces it. The worker's lock on the object keeps others off.
    fn change(&self, change: impl FnOnce(&mut Values)) -> io::Result<()> {
        let old = self.read()?;
        let mut new = old.clone();
        change(&mut new);
        if new == old {
            return Ok(());
        }
        let path = self.dir.join(&self.name);
        if new.is_empty() {
            return std::fs::remove_file(path);
        }
        std::fs::create_dir_all(&self.dir)?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let draft = format!(".{}.{}.{serial}", self.name, std::process::id());
        let draft = self.dir.join(draft);
        std::fs::write(&draft, encode(&new)?)?;
        std::fs::rename(&draft, path)
    }
}

fn encode(values: &Values) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_stdvec(values).map_err(io::Error::other)?;
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Option<Values> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if checksum != crc32c::crc32c(body).to_le_bytes() {
        return None;
    }
    postcard::from_bytes(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_links_cannot_have_is_kept_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let side = Side {
            dir: dir.path().join("side"),
            name: "7.1".into(),
        };
        assert_eq!(side.read().unwrap(), Values::new());
        side.change(|all| drop(all.insert(b"a".to_vec(), vec![1; 300])))
            .unwrap();
        side.change(|all| drop(all.insert(b"b".to_vec(), vec![])))
            .unwrap();
        let all = side.read().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[&b"a"[..]], vec![1; 300]);
        let path = dir.path().join("side/7.1");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(side.read().unwrap_err().raw_os_error(), Some(libc::EIO));
        bytes[1] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        side.change(BTreeMap::clear).unwrap();
        assert!(!path.exists());
    }
}
