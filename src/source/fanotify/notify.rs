//! Notifications as the kernel writes them: metadata and records, parsed by type and length.

use crate::sys::fanotify::{FAN_ATTRIB, FAN_Q_OVERFLOW};

const METADATA_BYTES: usize = 24;
const RECORD_HEAD_BYTES: usize = 4;
const FSID_BYTES: usize = 8;
const HANDLE_HEAD_BYTES: usize = 8;

const TYPE_FID: u8 = 1;
const TYPE_DFID_NAME: u8 = 2;
const TYPE_DFID: u8 = 3;
const TYPE_OLD_DFID_NAME: u8 = 10;
const TYPE_NEW_DFID_NAME: u8 = 12;

/// An object as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelObject {
    /// `f_fsid`.
    pub fsid: [u8; 8],
    /// `handle_type`.
    pub kind: i32,
    /// `f_handle`.
    pub bytes: Vec<u8>,
}

/// A directory and an entry in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The directory.
    pub parent: KernelObject,
    /// The name, without NUL.
    pub name: Vec<u8>,
}

/// One notification; merged ones have several bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// `FAN_*`.
    pub mask: u64,
    /// Process that did it; 0: in another pid namespace.
    pub pid: u32,
    /// The object.
    pub child: Option<KernelObject>,
    /// Where it is or was.
    pub entry: Option<Entry>,
    /// The new place, of a rename.
    pub new_entry: Option<Entry>,
}

impl Note {
    /// A count of links changed; no attribute that anybody set.
    pub fn is_link_count(&self) -> bool {
        self.mask & FAN_ATTRIB != 0 && self.entry.is_none()
    }

    /// Notifications were lost before this one.
    pub fn is_overflow(&self) -> bool {
        self.mask & FAN_Q_OVERFLOW != 0
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The notifications of a buffer; zeros after the last one.
pub fn parse(mut bytes: &[u8]) -> Vec<Note> {
    let mut notes = Vec::new();
    while let Some(length) = u32_at(bytes, 0) {
        let length = length as usize;
        if length < METADATA_BYTES || length > bytes.len() {
            break;
        }
        let (event, rest) = bytes.split_at(length);
        notes.extend(parse_one(event));
        bytes = rest;
    }
    notes
}

fn parse_one(event: &[u8]) -> Option<Note> {
    let head_bytes = u16::from_ne_bytes(event.get(6..8)?.try_into().ok()?) as usize;
    let mut note = Note {
        mask: u64::from_ne_bytes(event.get(8..16)?.try_into().ok()?),
        pid: u32_at(event, 20)?,
        ..Note::default()
    };
    let mut records = event.get(head_bytes.max(METADATA_BYTES)..)?;
    while records.len() >= RECORD_HEAD_BYTES {
        let length = u16::from_ne_bytes([records[2], records[3]]) as usize;
        if length < RECORD_HEAD_BYTES || length > records.len() {
            break;
        }
        let (record, rest) = records.split_at(length);
        add_record(&mut note, record[0], &record[RECORD_HEAD_BYTES..]);
        records = rest;
    }
    Some(note)
}

fn add_record(note: &mut Note, kind: u8, body: &[u8]) {
    let Some((object, name)) = parse_record(body) else {
        return;
    };
    let entry = |parent| Entry { parent, name };
    match kind {
        TYPE_FID => note.child = Some(object),
        TYPE_DFID_NAME | TYPE_OLD_DFID_NAME => note.entry = Some(entry(object)),
        TYPE_NEW_DFID_NAME => note.new_entry = Some(entry(object)),
        // A directory's event about itself.
        TYPE_DFID => note.child = Some(object),
        _ => {}
    }
}

fn parse_record(body: &[u8]) -> Option<(KernelObject, Vec<u8>)> {
    let fsid = body.get(..FSID_BYTES)?.try_into().ok()?;
    let handle_bytes = u32_at(body, FSID_BYTES)? as usize;
    let kind = u32_at(body, FSID_BYTES + 4)? as i32;
    let start = FSID_BYTES + HANDLE_HEAD_BYTES;
    let bytes = body.get(start..start + handle_bytes)?.to_vec();
    let name = body[start + handle_bytes..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec();
    Some((KernelObject { fsid, kind, bytes }, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let mut body = vec![9; 8];
        body.extend((handle.len() as u32).to_ne_bytes());
        body.extend(0x81i32.to_ne_bytes());
        body.extend(handle);
        if !name.is_empty() {
            body.extend(name);
            body.push(0);
        }
        while !body.len().is_multiple_of(4) {
            body.push(0);
        }
        let mut record = vec![kind, 0];
        record.extend(((body.len() + 4) as u16).to_ne_bytes());
        record.extend(body);
        record
    }

    fn event(mask: u64, pid: u32, records: &[Vec<u8>]) -> Vec<u8> {
        let records = records.concat();
        let mut event = ((24 + records.len()) as u32).to_ne_bytes().to_vec();
        event.extend([3, 0, 24, 0]);
        event.extend(mask.to_ne_bytes());
        event.extend((-1i32).to_ne_bytes());
        event.extend(pid.to_ne_bytes());
        event.extend(records);
        event
    }

    #[test]
    fn a_rename_has_both_places() {
        let bytes = event(
            0x1000_0000,
            42,
            &[
                record(10, &[1; 12], b"old"),
                record(12, &[2; 12], b"new name"),
                record(1, &[3; 12], b""),
            ],
        );
        let notes = parse(&[bytes, vec![0; 64]].concat());
        assert_eq!(notes.len(), 1);
        let note = &notes[0];
        assert_eq!((note.mask, note.pid), (0x1000_0000, 42));
        assert_eq!(note.entry.as_ref().expect("old").name, b"old");
        assert_eq!(note.new_entry.as_ref().expect("new").name, b"new name");
        assert_eq!(note.child.as_ref().expect("child").bytes, [3; 12]);
    }

    #[test]
    fn a_link_count_is_no_attribute() {
        let count = event(FAN_ATTRIB, 1, &[record(1, &[3; 8], b"")]);
        let chmod = event(
            FAN_ATTRIB,
            1,
            &[record(2, &[1; 8], b"a"), record(1, &[3; 8], b"")],
        );
        let notes = parse(&[count, chmod].concat());
        assert!(notes[0].is_link_count());
        assert!(!notes[1].is_link_count());
    }

    #[test]
    fn damaged_bytes_end_the_buffer() {
        assert!(parse(&[]).is_empty());
        assert!(parse(&[0xff; 64]).is_empty());
        let mut bytes = event(1, 1, &[record(1, &[3; 8], b"")]);
        bytes[26] = 0xff;
        assert_eq!(parse(&bytes)[0].child, None);
    }
}
