//! Raw system calls and what needs `unsafe` around them; nothing of DMAPI.

pub mod apart;
pub mod btrfs;
pub mod clock;
pub mod dirent;
pub mod extent;
pub mod fanotify;
pub mod fsmount;
pub mod fuse;
pub mod fusemount;
pub mod guest;
pub mod handle;
pub mod inode_flags;
pub mod lease;
pub mod mount;
pub mod mountinfo;
pub mod process;
pub mod random;
pub mod shared_memory;
pub mod signal;
pub mod socket;
pub mod statx;
pub mod thread_of;
pub mod volume;
pub mod xattr;
pub mod xfs;
