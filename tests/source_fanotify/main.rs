//! The fanotify source on real file systems. Needs root and Linux 6.14.

mod attach;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod lists;
mod measure;
mod names;
mod restart;
mod rig;
#[allow(dead_code)]
mod sink;
mod storm;
mod uring;
#[allow(dead_code)]
mod user;

/// Not a test: the users that the tests start.
#[test]
fn user_process() {
    if std::env::var_os("DMAPI_TEST_USER").is_some() {
        user::live();
    }
}
