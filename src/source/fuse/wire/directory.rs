//! The answers that have entries of directories.

use super::layout::Dirent;
use super::layout::EntryOut;
use super::layout::Wire;
use super::reply::Entry;

/// The answer of READDIR or READDIRPLUS: entries, as many as there is room for.
#[derive(Clone, Debug)]
pub struct DirBuffer {
    bytes: Vec<u8>,
    limit: usize,
}

/// Records begin at multiples of this.
const DIRENT_ALIGN: usize = 8;

impl DirBuffer {
    /// An empty one for at most `limit` bytes, the size of the request.
    pub fn new(limit: u32) -> Self {
        Self {
            bytes: Vec::new(),
            limit: limit as usize,
        }
    }

    /// Appends an entry of READDIR. `next` is the cookie behind it, `kind` is `DT_...`. `false`: it has no room.
    pub fn add(&mut self, ino: u64, next: u64, kind: u8, name: &[u8]) -> bool {
        self.append(None, ino, next, kind, name)
    }

    /// Appends an entry of READDIRPLUS. With node 0 the kernel learns no more than by [`Self::add`]; else it
    /// counts as a LOOKUP.
    pub fn add_plus(&mut self, entry: &Entry, ino: u64, next: u64, kind: u8, name: &[u8]) -> bool {
        self.append(Some(entry), ino, next, kind, name)
    }

    fn append(
        &mut self,
        entry: Option<&Entry>,
        ino: u64,
        next: u64,
        kind: u8,
        name: &[u8],
    ) -> bool {
        let Ok(name_bytes) = u32::try_from(name.len()) else {
            return false;
        };
        let entry_bytes = entry.map_or(0, |_| EntryOut::BYTES);
        let end = self.bytes.len() + entry_bytes + Dirent::BYTES + name.len();
        let end = end.next_multiple_of(DIRENT_ALIGN);
        if end > self.limit {
            return false;
        }
        if let Some(entry) = entry {
            entry.raw().put(&mut self.bytes);
        }
        Dirent {
            ino,
            off: next,
            namelen: name_bytes,
            r#type: u32::from(kind),
        }
        .put(&mut self.bytes);
        self.bytes.extend_from_slice(name);
        self.bytes.resize(end, 0);
        true
    }

    /// Would an entry with a name of that length fit? To be asked before work is done for it.
    pub fn has_room(&self, name_bytes: usize, plus: bool) -> bool {
        let entry_bytes = if plus { EntryOut::BYTES } else { 0 };
        let end = self.bytes.len() + entry_bytes + Dirent::BYTES + name_bytes;
        end.next_multiple_of(DIRENT_ALIGN) <= self.limit
    }

    /// Is there no entry?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The answer.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_where_the_buffer_does() {
        let mut out = DirBuffer::new(24 + 8 + 24 + 16);
        assert!(out.is_empty());
        assert!(out.add(7, 1, 4, b"a"));
        assert!(out.has_room(16, false));
        assert!(!out.has_room(17, false));
        assert!(!out.has_room(1, true));
        assert!(!out.add(8, 2, 8, &[b'x'; 17]));
        assert!(out.add(8, 2, 8, &[b'x'; 16]));
        assert!(!out.add(9, 3, 8, b""));
        let bytes = out.into_bytes();
        assert_eq!(bytes.len(), 72);
        assert_eq!(&bytes[16..28], [1, 0, 0, 0, 4, 0, 0, 0, b'a', 0, 0, 0]);
    }

    #[test]
    fn an_entry_of_readdirplus_has_its_attributes_before_it() {
        let mut out = DirBuffer::new(4096);
        let entry = Entry {
            node: 5,
            ..Entry::default()
        };
        assert!(out.add_plus(&entry, 5, 1, 8, b"name"));
        assert_eq!(out.into_bytes().len(), 128 + 24 + 8);
    }
}
