//! The journal's file: creation with all its room, the lock of its writer, the mapping probe.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg};

use super::error::JournalError;
use super::format::{SUPERBLOCK_BYTES, SUPERBLOCK_OFFSETS};
use super::map::ReadMap;
use super::storage::{FileStorage, Storage};
use super::writer::Sizes;

/// An exclusive flock, given back on drop. (Whole-file flock and no other kind: fcntl locks were seen
/// not to exclude between the nodes of a cluster file system.)
pub(super) type Lock = Flock<File>;

/// How long a writer waits for the one before it. Longer than the moment in which a program that is
/// being started elsewhere in a dying writer holds a copy of its descriptors.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Takes the lock, or says that another process has it.
pub(super) fn lock(file: &File, name: &str) -> Result<Lock, JournalError> {
    let io = |error| JournalError::io(name, "lock", error);
    let mut file = file.try_clone().map_err(io)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = back,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(JournalError::Busy {
                    name: name.to_owned(),
                });
            }
            Err((_, errno)) => return Err(io(errno.into())),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Opens and locks an existing file.
pub(super) fn open_to_write(path: &Path) -> Result<(Arc<dyn Storage>, Lock), JournalError> {
    let name = path.display().to_string();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => JournalError::Missing { name: name.clone() },
            _ => JournalError::io(&name, "open", error),
        })?;
    let lock = lock(&file, &name)?;
    Ok((Arc::new(FileStorage::new(file, path)), lock))
}

/// The error of a step of creation: no room is the one that people meet.
pub(super) fn creation_error(name: &str, sizes: &Sizes, error: io::Error) -> JournalError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            JournalError::NoSpace {
                name: name.to_owned(),
                bytes: sizes.file_bytes(),
            }
        }
        _ => JournalError::io(name, "create", error),
    }
}

/// A file that is being made: removed again unless it is kept.
pub(super) struct Created {
    storage: Arc<FileStorage>,
    path: PathBuf,
    lock: Option<Lock>,
    kept: bool,
}

impl Created {
    /// Makes the file, with all its room. Messages and the journal know it as `name`.
    pub(super) fn at(path: &Path, name: &Path, sizes: &Sizes) -> Result<Self, JournalError> {
        let storage_name = name;
        let name = name.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| creation_error(&name, sizes, error))?;
        let mut created = Self {
            storage: Arc::new(FileStorage::new(file, storage_name)),
            path: path.to_owned(),
            lock: None,
            kept: false,
        };
        let file = created.storage.file();
        created.lock = Some(lock(file, &name)?);
        // Fails at once where there is no room, which filling would find only at the end.
        let bytes = i64::try_from(sizes.file_bytes()).expect("sizes are limited to 1 GiB each");
        match nix::fcntl::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {}
            Err(errno) => return Err(creation_error(&name, sizes, errno.into())),
        }
        Ok(created)
    }

    /// The file as storage.
    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone()
    }

    /// Does a mapping of the file show what pwrite wrote? Readers depend on it.
    pub(super) fn probe_mapping(&self) -> Result<(), JournalError> {
        let name = self.storage.name();
        let io = |error| JournalError::io(&name, "map", error);
        let file = self.storage.file().try_clone().map_err(io)?;
        let map = ReadMap::of(file, SUPERBLOCK_BYTES as u64).map_err(io)?;
        let mut mapped = [0; SUPERBLOCK_BYTES];
        let mut read = [0; SUPERBLOCK_BYTES];
        let mut probe = |pattern: Option<[u8; SUPERBLOCK_BYTES]>| -> io::Result<bool> {
            if let Some(pattern) = pattern {
                self.storage.write_at(&pattern, SUPERBLOCK_OFFSETS[0])?;
            }
            self.storage.read_at(&mut read, SUPERBLOCK_OFFSETS[0])?;
            map.copy_out(SUPERBLOCK_OFFSETS[0], &mut mapped);
            Ok(mapped == read)
        };
        // The page is in the mapping already when it changes: that is the case that matters.
        let coherent = probe(None).map_err(io)?
            && probe(Some([0xa5; SUPERBLOCK_BYTES])).map_err(io)?
            && probe(Some([0; SUPERBLOCK_BYTES])).map_err(io)?;
        if !coherent {
            return Err(JournalError::NotCoherent { name });
        }
        Ok(())
    }

    /// Makes the name of the file durable and leaves it there.
    pub(super) fn keep(mut self) -> Result<Lock, JournalError> {
        sync_directory(&self.path)?;
        self.kept = true;
        Ok(self.lock.take().expect("locked at creation"))
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody has seen it: an error of removal adds nothing to the one that leads here.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the entry of `path` in its directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| JournalError::io(&directory.display().to_string(), "fsync", error))
}

/// A number that no other journal has.
pub(super) fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
