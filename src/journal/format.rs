//! The bytes of the file (docs/journal-format.md): offsets, superblock, record header.
//!
//! The only place that turns bytes into fields. All integers are little endian and of fixed width.
//! Read, verify, then use: [`RawRecord`] is bytes, only [`RawRecord::verify`] makes a [`Verified`].

/// The format that this version writes, and the highest it reads.
pub const FORMAT: u32 = 1;
