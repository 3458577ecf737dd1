//! Raw system calls and what needs `unsafe` around them; nothing of DMAPI.

pub mod clock;
pub mod process;
pub mod socket;
