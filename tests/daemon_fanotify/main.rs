//! The whole service on real files: readers of migrated files, handlers of mounts, rights, and daemons that
//! die meanwhile. Needs root and Linux 6.14.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/keeper.rs"]
mod keeper;
#[path = "../support/mod.rs"]
mod support;

mod deaths;
mod mounts;
mod objects;
mod rights;
mod service;
mod store;
