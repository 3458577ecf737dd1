//! dmctl against a real dmapid without file systems.

mod support;

use std::process::{Command, Output};

use dmapi::model::Answer;
use dmapi::proto::{Reply, Request};
use nix::sys::signal::Signal;
use support::{Daemon, get, until};

fn dmctl(daemon: &Daemon, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dmctl"))
        .args(arguments)
        .env("DMAPI_SOCKET", daemon.socket())
        .output()
        .expect("dmctl runs")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

#[test]
fn status_names_the_processes() {
    let daemon = Daemon::start();
    let wanted = daemon.status();
    let status = json(&dmctl(&daemon, &["status", "--json"]));
    assert_eq!(status["worker_pid"], wanted.worker_pid);
    assert_eq!(status["supervisor_pid"], wanted.supervisor_pid);
    assert_eq!(status["file_systems"], serde_json::json!([]));
    let words = dmctl(&daemon, &["status"]);
    assert!(words.status.success());
    assert!(String::from_utf8_lossy(&words.stdout).contains("supervisor"));
}

#[test]
fn without_a_daemon_the_next_step_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_dmctl"))
        .arg("status")
        .env("DMAPI_SOCKET", "/nonexistent/socket")
        .output()
        .expect("dmctl runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("/nonexistent/socket") && said.contains("start dmapid"),
        "{said}"
    );
}

#[test]
fn sessions_and_events_are_listed_also_while_the_worker_is_stopped() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("the recall daemon");
    let token = client.create_user_event(session, b"x");
    let worker = daemon.status().worker_pid;
    dmapi::sys::process::signal(worker, Signal::SIGSTOP).expect("it lives");
    let sessions = json(&dmctl(&daemon, &["sessions", "--json"]));
    assert_eq!(sessions[0]["session"], session.0);
    assert_eq!(sessions[0]["info"], "the recall daemon");
    assert_eq!(sessions[0]["outstanding"], 1);
    let events = json(&dmctl(&daemon, &["events", "--json"]));
    assert_eq!(events[0]["token"], token.0);
    assert_eq!(events[0]["state"], "outstanding");
    assert_eq!(events[0]["pid"], std::process::id());
    for command in ["sessions", "events"] {
        let words = dmctl(&daemon, &[command]);
        assert!(words.status.success());
        assert!(String::from_utf8_lossy(&words.stdout).contains(&session.0.to_string()));
    }
    dmapi::sys::process::signal(worker, Signal::SIGCONT).expect("it lives");
}

#[test]
fn explain_says_who_waits_and_what_frees_it() {
    let daemon = Daemon::start();
    let mut handler = daemon.client();
    let session = handler.create_session("slow handler");
    let own = std::process::id().to_string();
    let calm = dmctl(&daemon, &["explain", &own, "--json"]);
    assert_eq!(calm.status.code(), Some(1));
    let mut sender = daemon.client();
    let number = sender.begin(Request::SendMessage {
        session,
        synchronous: true,
        data: b"do it".to_vec(),
    });
    let explain = || json(&dmctl(&daemon, &["explain", &own, "--json"]));
    let queued = until("the message", || {
        let found = explain();
        (found["waits"].as_array()?.len() == 2).then_some(found)
    });
    let frees = queued["waits"][0]["frees"].as_str().expect("words");
    assert!(
        frees.contains("has not fetched it") && frees.contains("slow handler"),
        "{frees}"
    );
    assert_eq!(queued["waits"][0]["event"]["kind"], "USER");
    let what = queued["waits"][1]["what"].as_str().expect("words");
    assert!(what.contains("dm_send_msg"), "{what}");

    let events = handler.get_events(session, true).expect("the message");
    let token = events[0].token.expect("it is synchronous");
    let outstanding = explain();
    let frees = outstanding["waits"][0]["frees"].as_str().expect("words");
    assert!(frees.contains(&format!("token {}", token.0)), "{frees}");
    let words = dmctl(&daemon, &["explain", &own]);
    assert!(words.status.success());
    assert!(String::from_utf8_lossy(&words.stdout).contains("frees"));

    let answer = Answer::Continue;
    let respond = Request::RespondEvent {
        session,
        token,
        answer,
    };
    assert_eq!(handler.ask(respond), Ok(Reply::Nothing));
    assert_eq!(sender.end(number), Some(Ok(Reply::Answered(answer))));
    assert_eq!(dmctl(&daemon, &["explain", &own]).status.code(), Some(1));
    assert!(handler.ask(get(session, false)).is_err());
}

#[test]
fn stop_ends_the_daemon_and_upgrade_does_not() {
    let mut daemon = Daemon::start();
    let before = daemon.status();
    assert!(dmctl(&daemon, &["upgrade"]).status.success());
    let after = until("the next worker", || {
        let now = daemon.status();
        (now.worker_pid != before.worker_pid).then_some(now)
    });
    assert_eq!(after.supervisor_pid, before.supervisor_pid);
    assert!(dmctl(&daemon, &["stop"]).status.success());
    assert!(daemon.child.wait().expect("it ends").success());
}

#[test]
fn what_cannot_be_managed_is_refused_with_a_reason() {
    let daemon = Daemon::start();
    let path = daemon.dir.path().to_str().expect("utf-8").to_owned();
    let manage = dmctl(&daemon, &["manage", &path]);
    assert_eq!(manage.status.code(), Some(2));
    let said = String::from_utf8_lossy(&manage.stderr);
    assert!(said.contains("nothing is mounted there"), "{said}");
    let mount = dmctl(&daemon, &["mount", "/dev/null", &path]);
    assert_eq!(mount.status.code(), Some(2));
    let said = String::from_utf8_lossy(&mount.stderr);
    assert!(said.contains("no xfs, ext4 or btrfs"), "{said}");
    let umount = dmctl(&daemon, &["umount", "/proc"]);
    assert_eq!(umount.status.code(), Some(2));
    let said = String::from_utf8_lossy(&umount.stderr);
    assert!(said.contains("not managed"), "{said}");
}
