//! `<state>/handles/<fsid>`: handles of the kernel that do not fit into ours, by inode number and generation.
//!
//! Magic (8 bytes), then records: length of the handle u8 (0: the object is gone) | type i32 | inode u64 |
//! generation u32 | the handle | CRC32C of all before; little endian. Written by the worker only, never
//! synced: what a crash takes is found again by a walk. Rewritten without what is gone when it is opened.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::model::FsId;

const MAGIC: &[u8; 8] = b"DMHNDL01";
const HEAD_BYTES: usize = 1 + 4 + 8 + 4;
const CHECKSUM_BYTES: usize = 4;

/// A handle that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) inode: u64,
    pub(super) generation: u32,
    /// Type and bytes of the kernel's handle.
    pub(super) kernel: (i32, Box<[u8]>),
}

/// The file, open for appending; `None` inside: it cannot be written, and walks have to do.
#[derive(Debug)]
pub(super) struct HandleFile(Option<File>);

fn record(inode: u64, generation: u32, kind: i32, bytes: &[u8]) -> Vec<u8> {
    // Handles of the kernel have at most 128 bytes.
    let mut record = vec![bytes.len() as u8];
    record.extend_from_slice(&kind.to_le_bytes());
    record.extend_from_slice(&inode.to_le_bytes());
    record.extend_from_slice(&generation.to_le_bytes());
    record.extend_from_slice(bytes);
    record.extend_from_slice(&crc32c::crc32c(&record).to_le_bytes());
    record
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The first record and its length; `None` for a torn one.
fn parse(bytes: &[u8]) -> Option<(Kept, usize)> {
    let handle_end = HEAD_BYTES + usize::from(*bytes.first()?);
    let body = bytes.get(..handle_end)?;
    if u32::from_le_bytes(field(bytes, handle_end)?) != crc32c::crc32c(body) {
        return None;
    }
    let kept = Kept {
        inode: u64::from_le_bytes(field(body, 5)?),
        generation: u32::from_le_bytes(field(body, 13)?),
        kernel: (
            i32::from_le_bytes(field(body, 1)?),
            body[HEAD_BYTES..].into(),
        ),
    };
    Some((kept, handle_end + CHECKSUM_BYTES))
}

/// What the bytes of a file say, the newest of each number; garbage ends it.
fn parse_all(bytes: &[u8]) -> Vec<Kept> {
    let mut kept = std::collections::HashMap::new();
    let mut rest = bytes.strip_prefix(MAGIC).unwrap_or_default();
    while let Some((one, length)) = parse(rest) {
        rest = &rest[length..];
        if one.kernel.1.is_empty() {
            kept.remove(&one.inode);
        } else {
            kept.insert(one.inode, one);
        }
    }
    kept.into_values().collect()
}

impl HandleFile {
    /// Reads and rewrites the file of a file system.
    pub(super) fn open(state_dir: &Path, fs: FsId) -> (Self, Vec<Kept>) {
        let dir = state_dir.join("handles");
        let path = dir.join(format!("{:016x}", fs.0));
        let kept = parse_all(&std::fs::read(&path).unwrap_or_default());
        let opened = std::fs::create_dir_all(&dir).and_then(|()| rewrite(&path, &kept));
        let file = opened
            .inspect_err(|error| {
                tracing::warn!(
                    %error,
                    path = %path.display(),
                    "cannot keep handles, objects will be searched for after a restart: check the state directory"
                );
            })
            .ok();
        (Self(file), kept)
    }

    /// Appends a handle; none: the object is gone.
    pub(super) fn add(&mut self, inode: u64, generation: u32, kind: i32, bytes: &[u8]) {
        let Some(file) = &mut self.0 else { return };
        // One write, so that a dying worker leaves no half record in the middle.
        if let Err(error) = file.write_all(&record(inode, generation, kind, bytes)) {
            tracing::debug!(%error, "a handle is not kept");
        }
    }
}

fn rewrite(path: &Path, kept: &[Kept]) -> std::io::Result<File> {
    let draft: PathBuf = path.with_extension("new");
    let mut bytes = MAGIC.to_vec();
    for one in kept {
        let (kind, handle) = &one.kernel;
        bytes.extend_from_slice(&record(one.inode, one.generation, *kind, handle));
    }
    std::fs::write(&draft, bytes)?;
    std::fs::rename(&draft, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_come_back_and_torn_ends_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let fs = FsId(5);
        let (mut file, kept) = HandleFile::open(dir.path(), fs);
        assert!(kept.is_empty());
        file.add(1, 10, 0xf8, &[1; 36]);
        file.add(2, 20, 0xf8, &[2; 128]);
        file.add(3, 30, 0xf8, &[3; 36]);
        file.add(3, 31, 0xf8, &[4; 36]);
        file.add(1, 10, 0, &[]);
        let path = dir.path().join("handles/0000000000000005");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&record(4, 40, 0xf8, &[4; 36])[..30]);
        std::fs::write(&path, &bytes).unwrap();
        let (mut file, mut kept) = HandleFile::open(dir.path(), fs);
        kept.sort_by_key(|one| one.inode);
        assert_eq!(
            kept.iter().map(|one| one.generation).collect::<Vec<_>>(),
            [20, 31]
        );
        file.add(5, 50, 1, &[5]);
        assert_eq!(HandleFile::open(dir.path(), fs).1.len(), 3);
    }
}
