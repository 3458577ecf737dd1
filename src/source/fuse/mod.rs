//! The FUSE source: users reach the files through a FUSE mount that this worker serves.

pub mod table;
pub mod wire;
