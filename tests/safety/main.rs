//! Programs that show what the kernel does where the orders of the source come from. They find a kernel
//! that changes: then docs/architecture.md ("orders") must be read again before anything else.
//!
//! Root; Linux 6.14.

#[path = "../common/mod.rs"]
mod common;
mod lease;
mod marks;
#[path = "../source/sink.rs"]
#[allow(dead_code)]
mod sink;
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
