//! The FUSE protocol: against the system's header, against recorded frames, against damaged ones, and against
//! the kernel that is running.

#[path = "../support/header.rs"]
mod c_header;
#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod header;
mod kernel;
mod recorded;
mod server;
