//! How a daemon starts and stops.

use dmapi::proto::{Reply, Request};
use nix::sys::signal::Signal;

use crate::support::{self, Client, Daemon, is_dead, until};

#[test]
fn a_second_daemon_is_refused_with_a_reason() {
    let daemon = Daemon::start();
    let output = support::command(&support::program(), daemon.dir.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("served by another dmapid"), "{said}");
}

#[test]
fn sigterm_stops_it_and_the_state_stays() {
    let mut daemon = Daemon::start();
    let session = daemon.client().create_session("stays");
    let worker = daemon.status().worker_pid;
    dmapi::sys::process::signal(daemon.child.id(), Signal::SIGTERM).expect("it lives");
    assert!(daemon.child.wait().expect("it ends").success());
    assert!(is_dead(worker));
    assert!(!daemon.socket().exists());
    let child = support::command(&support::program(), daemon.dir.path())
        .spawn()
        .expect("dmapid starts");
    daemon.child = child;
    assert_eq!(daemon.client().sessions(), vec![session]);
}

#[test]
fn stop_by_request() {
    let mut daemon = Daemon::start();
    let stop = Request::Stop { force: false };
    assert_eq!(daemon.client().ask(stop), Ok(Reply::Nothing));
    assert!(daemon.child.wait().expect("it ends").success());
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::write(dir.path().join("state"), b"a file").expect("write");
    let output = support::command(&support::program(), dir.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("state/nodes/local") && said.contains("DMAPI_STATE"),
        "{said}"
    );
}

#[test]
fn in_the_background_it_returns_when_it_serves() {
    let dir = tempfile::tempdir().expect("tempdir");
    let status = std::process::Command::new(support::program())
        .arg("--state")
        .arg(dir.path().join("state"))
        .arg("--socket")
        .arg(dir.path().join("run/socket"))
        .env_remove("NOTIFY_SOCKET")
        .status()
        .expect("it runs");
    assert!(status.success());
    let mut client = Client::try_new(&dir.path().join("run/socket")).expect("it serves");
    assert_eq!(client.ask(Request::Ping), Ok(Reply::Nothing));
    let supervisor = client.status().supervisor_pid;
    assert_eq!(
        client.ask(Request::Stop { force: false }),
        Ok(Reply::Nothing)
    );
    until("the end of the daemon", || {
        is_dead(supervisor).then_some(())
    });
}
