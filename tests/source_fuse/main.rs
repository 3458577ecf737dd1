//! The FUSE source on real file systems. Needs root.

#[path = "../source/data.rs"]
mod both;
#[path = "../common/mod.rs"]
mod common;
mod conformance;
mod data;
mod deaths;
#[path = "../source/deeds.rs"]
#[allow(dead_code)]
mod deeds;
mod direct;
mod dirs;
mod fio;
mod names;
mod objects;
mod orders;
#[path = "../source/recaller.rs"]
mod recaller;
mod restart;
#[allow(dead_code)]
mod rig;
mod same;
#[path = "../source/sink.rs"]
#[allow(dead_code)]
mod sink;
mod space;
mod storm;
#[path = "../source/uring.rs"]
#[allow(dead_code)]
mod uring;
#[path = "../source/user.rs"]
#[allow(dead_code)]
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
