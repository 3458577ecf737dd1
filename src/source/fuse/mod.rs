//! The FUSE source.
pub mod table;
