//! Memory that several processes share: a memfd mapped MAP_SHARED, used through atomics only.
//!
//! Nobody ever gets a `&[u8]` into it: it may change under the reader.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};

const WORD_BYTES: usize = 8;

/// A shared mapping as an array of 64-bit words.
#[derive(Debug)]
pub struct SharedMemory {
    base: NonNull<u8>,
    words: usize,
}

// SAFETY: the mapping lives until drop and all access goes through atomics or the kernel.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

/// Makes a memfd of that size. It stays open over exec, as an upgrade of the daemon needs.
pub fn memfd(name: &std::ffi::CStr, bytes: u64) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::empty())?;
    nix::unistd::ftruncate(fd.as_fd(), bytes as i64)?;
    Ok(fd)
}

impl SharedMemory {
    /// Maps the whole file; its size must be a multiple of the word size and not change.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let bytes = nix::sys::stat::fstat(fd)?.st_size as usize;
        if bytes == 0 || !bytes.is_multiple_of(WORD_BYTES) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self {
            base,
            words: bytes / WORD_BYTES,
        })
    }

    /// How many words it has.
    pub fn words(&self) -> usize {
        self.words
    }

    /// One word. Panics outside the mapping: that is a programmer's error.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words, "word {index} of {}", self.words);
        // SAFETY: inside the mapping, as just checked.
        let address = unsafe { self.base.as_ptr().add(index * WORD_BYTES) };
        // SAFETY: mapped for the life of self, aligned (pages), and only used as an atomic.
        unsafe { AtomicU64::from_ptr(address.cast()) }
    }

    /// Loads a word (Acquire).
    pub fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// Stores a word (Release).
    pub fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    /// read(2) straight into the words from `first` on: the kernel writes them, so that what was read
    /// is here even if the caller is killed before the call returns to it.
    pub fn fill(&self, fd: BorrowedFd<'_>, first: usize, bytes: usize) -> io::Result<usize> {
        assert!(first < self.words && bytes <= (self.words - first) * WORD_BYTES);
        // SAFETY: inside the mapping, as just checked.
        let address = unsafe { self.base.as_ptr().add(first * WORD_BYTES) };
        // SAFETY: the kernel writes at most `bytes` bytes there; all of them are mapped.
        let got = unsafe { libc::read(fd.as_raw_fd(), address.cast(), bytes) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `map`, and no reference into it outlives self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * WORD_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn two_mappings_show_the_same_words() {
        let fd = memfd(c"dmapi-test", 4096).expect("memfd");
        let one = SharedMemory::map(fd.as_fd()).expect("map");
        let two = SharedMemory::map(fd.as_fd()).expect("map");
        one.set(511, 7);
        assert_eq!(two.get(511), 7);
    }

    #[test]
    fn the_kernel_reads_into_it() {
        let fd = memfd(c"dmapi-test", 4096).expect("memfd");
        let memory = SharedMemory::map(fd.as_fd()).expect("map");
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        std::fs::File::from(writer)
            .write_all(&9u64.to_ne_bytes())
            .expect("write");
        assert_eq!(memory.fill(reader.as_fd(), 3, 64).expect("read"), 8);
        assert_eq!(memory.get(3), 9);
    }

    #[test]
    #[should_panic(expected = "word 512")]
    fn a_word_outside_is_refused() {
        let fd = memfd(c"dmapi-test", 4096).expect("memfd");
        SharedMemory::map(fd.as_fd()).expect("map").get(512);
    }
}
