//! Raw system calls and what needs `unsafe` around them; nothing of DMAPI.

pub mod clock;
pub mod packet;
pub mod process;
pub mod shared_memory;
pub mod signal;
pub mod socket;
