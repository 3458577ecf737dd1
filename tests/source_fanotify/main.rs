//! The fanotify source on real file systems. Needs root and Linux 6.14.

mod attach;
#[path = "../source/data.rs"]
mod both;
#[path = "../common/mod.rs"]
mod common;
mod data;
#[path = "../source/deeds.rs"]
#[allow(dead_code)]
mod deeds;
mod lists;
mod measure;
mod names;
#[path = "../source/recaller.rs"]
mod recaller;
mod restart;
mod rig;
#[path = "../source/sink.rs"]
#[allow(dead_code)]
mod sink;
mod storm;
#[path = "../source/uring.rs"]
mod uring;
#[path = "../source/user.rs"]
#[allow(dead_code)]
mod user;

/// Not a test: the users that the tests start.
#[test]
fn user_process() {
    if std::env::var_os("DMAPI_TEST_USER").is_some() {
        user::live();
    }
}
