//! Copies of DM attributes beside the journal, for return-on-destroy: the event comes when the inode is gone.
//!
//! `<state>/attrs/<fsid>/<inode>.<generation>` holds the first 256 bytes of each attribute of one object.

use std::fs::File;
use std::io::ErrorKind;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::fs::attr::Attribute;
use crate::model::DmError;
use crate::model::Handle;

/// `DM_CONFIG_MAX_ATTR_ON_DESTROY`.
pub const VALUE_BYTES_MAX: usize = 256;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// Distinguishes files that several threads write at one time.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Directory and file name of an object's copies.
fn place(state_dir: &Path, handle: Handle) -> Result<(PathBuf, String), DmError> {
    match handle {
        Handle::Object {
            fs,
            inode,
            generation,
        } => Ok((
            state_dir.join("attrs").join(format!("{:016x}", fs.0)),
            format!("{inode}.{generation}"),
        )),
        _ => Err(DmError::BadHandle),
    }
}

fn encode(attributes: &[Attribute]) -> Result<Vec<u8>, DmError> {
    let cut = |value: &Vec<u8>| value[..value.len().min(VALUE_BYTES_MAX)].to_vec();
    let copies: Vec<Attribute> = attributes
        .iter()
        .map(|(name, value)| (*name, cut(value)))
        .collect();
    let bytes = postcard::to_extend(&copies, vec![VERSION]);
    let mut bytes = bytes.map_err(|_| DmError::NoMemory)?;
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Option<Vec<Attribute>> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if checksum != crc32c::crc32c(body).to_le_bytes() {
        return None;
    }
    let body = body.strip_prefix(&[VERSION])?;
    postcard::from_bytes(body).ok()
}

/// Replaces the copies of an object (cut to [`VALUE_BYTES_MAX`]); none: the file goes. `sync`: durable at return.
/// A crash leaves the old copies or the new ones.
pub fn write(
    state_dir: &Path,
    handle: Handle,
    attributes: &[Attribute],
    sync: bool,
) -> Result<(), DmError> {
    if attributes.is_empty() {
        return remove(state_dir, handle);
    }
    let (dir, name) = place(state_dir, handle)?;
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let draft = dir.join(format!(".{name}.{}.{serial}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let written = fill(&draft, &encode(attributes)?, sync)
        .and_then(|()| std::fs::rename(&draft, dir.join(&name)))
        .and_then(|()| {
            if sync {
                File::open(&dir)?.sync_all()
            } else {
                Ok(())
            }
        });
    if let Err(error) = written {
        // Whether the draft can be removed or not: the first error is the one to tell.
        let _ = std::fs::remove_file(&draft);
        return Err(error.into());
    }
    Ok(())
}

fn fill(path: &Path, bytes: &[u8], sync: bool) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    if sync { file.sync_all() } else { Ok(()) }
}

/// The copies of an object, empty if there are none or they are damaged.
pub fn read(state_dir: &Path, handle: Handle) -> Result<Vec<Attribute>, DmError> {
    let (dir, name) = place(state_dir, handle)?;
    match std::fs::read(dir.join(name)) {
        Ok(bytes) => Ok(decode(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Removes the copies of an object, if there are any.
pub fn remove(state_dir: &Path, handle: Handle) -> Result<(), DmError> {
    let (dir, name) = place(state_dir, handle)?;
    match std::fs::remove_file(dir.join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FsId;

    const HANDLE: Handle = Handle::Object {
        fs: FsId(77),
        inode: 128,
        generation: 5,
    };

    #[test]
    fn copies_are_cut_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let long = (*b"long\0\0\0\0", vec![7; 1000]);
        let empty = (*b"empty\0\0\0", Vec::new());
        assert_eq!(read(dir.path(), HANDLE), Ok(Vec::new()));
        write(dir.path(), HANDLE, &[long.clone(), empty.clone()], true).unwrap();
        let cut = (long.0, vec![7; VALUE_BYTES_MAX]);
        assert_eq!(read(dir.path(), HANDLE), Ok(vec![cut, empty.clone()]));
        write(dir.path(), HANDLE, std::slice::from_ref(&empty), false).unwrap();
        assert_eq!(read(dir.path(), HANDLE), Ok(vec![empty]));
        write(dir.path(), HANDLE, &[], true).unwrap();
        assert_eq!(read(dir.path(), HANDLE), Ok(Vec::new()));
        remove(dir.path(), HANDLE).unwrap();
        let left = std::fs::read_dir(dir.path().join("attrs/000000000000004d")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn damaged_copies_are_none() {
        let mut bytes = encode(&[(*b"name\0\0\0\0", vec![1, 2, 3])]).unwrap();
        assert!(decode(&bytes).is_some());
        bytes[4] ^= 1;
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn a_file_system_has_no_copies() {
        let handle = Handle::Fs(FsId(1));
        assert_eq!(read(Path::new("/"), handle), Err(DmError::BadHandle));
    }
}
