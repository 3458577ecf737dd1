//! The C ABI, one file per family of the standard. A function here checks and copies its arguments, calls
//! `client`, and copies the outputs; the rules of the standard are in `model`.
//!
//! No function trusts an address: see [`boundary`]. The doc block of each goes to include/dmapi.h, so it is
//! written for the reader of C.

mod arguments;
mod attr;
mod boundary;
mod bulkattr;
mod by_handle;
mod config;
pub mod constants;
mod disposition;
mod dmattr;
mod event;
mod handle;
mod handle_parts;
mod hole;
mod memory;
mod mountinfo;
mod rdwr;
mod region;
mod right;
mod session;
mod token;
pub mod types;
