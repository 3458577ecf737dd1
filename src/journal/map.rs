//! The mappings: the only place of the journal with `unsafe`.
//!
//! Both files change under the mapping, by pwrite and by atomic stores of another process. So no
//! reference to plain bytes of a mapping is ever made: everything is copied out by offset, in atomic
//! words. What a copy is worth is decided by checksums afterwards.
//!
//! A file that is shortened while it is mapped turns an access into SIGBUS. The writer never shortens
//! one; callers compare the size before each use ([`ReadMap::fits`]), which leaves only a stranger who
//! truncates a file of the daemon within those microseconds.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use memmap2::{MmapOptions, MmapRaw};

const WORD_BYTES: usize = 8;

/// A file mapped MAP_SHARED for reading.
pub(super) struct ReadMap {
    map: MmapRaw,
    file: File,
}

impl ReadMap {
    /// Maps the first `bytes` of a file.
    pub(super) fn of(file: File, bytes: u64) -> io::Result<Self> {
        if file.metadata()?.len() < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = MmapOptions::new()
            .len(bytes as usize)
            .map_raw_read_only(&file)?;
        Ok(Self { map, file })
    }

    /// Is the file still as long as its mapping?
    pub(super) fn fits(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() >= self.map.len() as u64)
    }

    /// Does the mapping have everything before `end`?
    pub(super) fn reaches(&self, end: u64) -> bool {
        end <= self.map.len() as u64
    }

    /// Copies out; `offset` is a multiple of 8. Panics outside of the mapping.
    pub(super) fn copy_out(&self, offset: u64, into: &mut [u8]) {
        let offset = offset as usize;
        let end = offset
            .checked_add(into.len())
            .expect("offsets are below 2^40");
        assert!(
            end.next_multiple_of(WORD_BYTES) <= self.map.len(),
            "inside the mapping"
        );
        for (index, bytes) in into.chunks_mut(WORD_BYTES).enumerate() {
            let word = word(&self.map, offset / WORD_BYTES + index).load(Ordering::Relaxed);
            bytes.copy_from_slice(&word.to_ne_bytes()[..bytes.len()]);
        }
    }

    /// One word, ordered before whatever is read after it.
    pub(super) fn load(&self, index: usize) -> u64 {
        word(&self.map, index).load(Ordering::Acquire)
    }
}

/// A small file mapped MAP_SHARED for its only writer.
pub(super) struct WordMap {
    map: MmapRaw,
}

impl WordMap {
    /// Maps the first `bytes` of a file, which is open for reading and writing.
    pub(super) fn of(file: &File, bytes: u64) -> io::Result<Self> {
        if file.metadata()?.len() < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = MmapOptions::new().len(bytes as usize).map_raw(file)?;
        Ok(Self { map })
    }

    pub(super) fn load(&self, index: usize) -> u64 {
        word(&self.map, index).load(Ordering::Acquire)
    }

    /// One word, ordered after whatever was written before it.
    pub(super) fn store(&self, index: usize, value: u64) {
        word(&self.map, index).store(value, Ordering::Release);
    }
}

fn word(map: &MmapRaw, index: usize) -> &AtomicU64 {
    let at = index * WORD_BYTES;
    assert!(at + WORD_BYTES <= map.len(), "inside the mapping");
    let pointer = map.as_mut_ptr().wrapping_add(at).cast::<u64>();
    // SAFETY: inside the mapping (asserted above), which lives as long as `map` is borrowed; aligned, as a
    // mapping begins at a page and `at` is a multiple of 8; every access of this process to these bytes is
    // atomic, as no other function makes a pointer into a mapping; a read-only mapping is only loaded from.
    unsafe { AtomicU64::from_ptr(pointer) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_pwrite_shows_in_the_mapping_and_odd_lengths_are_copied_whole() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[0; 4096]).expect("written");
        let map = ReadMap::of(file.try_clone().expect("a descriptor"), 4096).expect("mapped");
        file.write_all_at(b"0123456789abc", 8).expect("written");
        let mut seen = [0; 13];
        map.copy_out(8, &mut seen);
        assert_eq!(&seen, b"0123456789abc");
        let mut last = [7; 3];
        map.copy_out(4088, &mut last);
        assert_eq!(last, [0; 3]);
    }

    #[test]
    fn a_shortened_file_is_noticed_before_it_is_touched() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[0; 8192]).expect("written");
        let map = ReadMap::of(file.try_clone().expect("a descriptor"), 8192).expect("mapped");
        assert!(map.fits().expect("a size"));
        file.set_len(4096).expect("shortened");
        assert!(!map.fits().expect("a size"));
        assert!(ReadMap::of(file, 8192).is_err());
    }

    #[test]
    #[should_panic(expected = "inside the mapping")]
    fn nothing_outside_is_read() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[0; 4096]).expect("written");
        let map = ReadMap::of(file, 4096).expect("mapped");
        map.copy_out(4088, &mut [0; 9]);
    }
}
