//! The whole service through a FUSE mount: what the kernel shows of it, readers of migrated files, handlers of
//! mounts, and daemons that die meanwhile. Needs root, or a user namespace.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/keeper.rs"]
mod keeper;
#[path = "../daemon_fanotify/service.rs"]
mod service;
#[path = "../support/mod.rs"]
mod support;

mod deaths;
mod mounts;
mod names;
mod namespace;
mod objects;
mod store;
mod views;
