//! Raw system calls and what needs `unsafe` around them; nothing of DMAPI.

pub mod clock;
pub mod guest;
pub mod process;
pub mod random;
pub mod shared_memory;
pub mod signal;
pub mod socket;
pub mod statx;
