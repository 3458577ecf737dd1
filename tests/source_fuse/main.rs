//! The FUSE source on real file systems. Needs root.

#[path = "../common/mod.rs"]
mod common;
mod conformance;
mod data;
mod deaths;
mod direct;
mod dirs;
mod fio;
mod names;
mod orders;
mod restart;
#[allow(dead_code)]
mod rig;
mod same;
#[path = "../source_fanotify/sink.rs"]
#[allow(dead_code)]
mod sink;
mod space;
mod storm;
#[allow(dead_code)]
#[path = "../source_fanotify/uring.rs"]
mod uring;
#[allow(dead_code)]
#[path = "../source_fanotify/user.rs"]
mod user;
mod views;

/// Not a test: the users that the tests start.
#[test]
fn user_process() {
    if std::env::var_os("DMAPI_TEST_USER").is_some() {
        user::live();
    }
    if let Some(dir) = std::env::var_os("DMAPI_TEST_CHECKS") {
        same::live(dir.as_ref());
    }
}
