//! The service of an ordinary user: daemon, mount and application in a user namespace.

use std::os::fd::AsFd;
use std::process::Command;

use dmapi::fs::Mount;
use dmapi::model::{Answer, EventBody, EventSet, EventType, Handle, Region};
use dmapi::proto::{Reply, Request, Target};

use crate::common::{Deadline, skip};
use crate::service::{dmctl, good, serial, text};
use crate::support::{Daemon, until};

const INSIDE: &str = "DMAPI_TEST_INSIDE";

/// Runs the test below in a user and mount namespace of its own.
#[test]
fn an_ordinary_user_is_served_in_a_namespace() {
    let _one = serial();
    let _deadline = Deadline::new("an_ordinary_user_is_served_in_a_namespace", 240);
    let may = Command::new("unshare").args(["-Urm", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        skip("no user namespaces here");
        return;
    }
    let opens = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    if opens.is_err() {
        skip("this user may not open /dev/fuse");
        return;
    }
    let output = Command::new("unshare")
        .args(["-Urm", "--kill-child"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "namespace::inside", "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "runs in a namespace that the test above makes"]
fn inside() {
    let _deadline = Deadline::new("inside", 200);
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let (backing, users) = (dir.path().join("backing"), dir.path().join("users"));
    for dir in [&backing, &users] {
        std::fs::create_dir(dir).expect("a directory");
    }
    let daemon = Daemon::start();
    let (behind, shown) = (text(&backing), text(&users));
    good(&dmctl(
        &daemon,
        &["mount", "--source", "fuse", behind, shown],
    ));
    let mut client = daemon.client();
    let session = client.create_session("private");
    let mount = Mount::new(std::fs::File::open(&backing).expect("opened").into());
    let mount = mount.expect("its kind is served");
    let target = |handle| Target {
        session,
        handle,
        token: None,
    };
    let wanted = [EventType::Create, EventType::Read];
    let disposition = Request::SetDisposition {
        target: target(Handle::Fs(mount.fs)),
        events: EventSet::of(&wanted),
        mask: EventSet((1 << 23) - 1),
        answers_destroy: false,
    };
    assert_eq!(client.ask(disposition), Ok(Reply::Nothing));
    let list = Request::SetEventList {
        target: target(Handle::Fs(mount.fs)),
        events: EventSet::of(&[EventType::Create]),
        mask: EventSet((1 << 23) - 1),
        extra_on_fs: EventSet(0),
    };
    assert_eq!(client.ask(list), Ok(Reply::Nothing));

    // A veto before the fact.
    let path = users.join("file");
    let creator = {
        let path = path.clone();
        std::thread::spawn(move || std::fs::write(path, b"content"))
    };
    let answer = |client: &mut crate::support::Client, answer| {
        let event = client
            .get_events(session, true)
            .expect("an event")
            .remove(0);
        let token = event.token.expect("it is synchronous");
        let respond = Request::RespondEvent {
            session,
            token,
            answer,
        };
        assert_eq!(client.ask(respond), Ok(Reply::Nothing));
        event
    };
    let event = answer(&mut client, Answer::Abort(libc::EDQUOT));
    assert_eq!(event.kind, EventType::Create);
    let refused = creator.join().expect("it ends").expect_err("refused");
    assert_eq!(refused.raw_os_error(), Some(libc::EDQUOT));
    assert!(!backing.join("file").exists());

    let creator = {
        let path = path.clone();
        std::thread::spawn(move || std::fs::write(path, b"content"))
    };
    answer(&mut client, Answer::Continue);
    creator.join().expect("it ends").expect("written");

    // Each read of a guarded file is an event.
    let handle = {
        let file = std::fs::File::open(backing.join("file")).expect("behind");
        mount.handle_of(file.as_fd()).expect("its handle")
    };
    let regions = Request::SetRegions {
        target: target(handle),
        regions: vec![Region {
            offset: 0,
            size: 0,
            flags: 1,
            opaque: 0,
        }],
        sync: true,
    };
    // It is open until its RELEASE came.
    until("the file is not in use", || {
        (client.ask(regions.clone()) == Ok(Reply::Exact(true))).then_some(())
    });
    let reader = std::thread::spawn(move || std::fs::read(path));
    let event = answer(&mut client, Answer::Continue);
    assert!(matches!(event.body, EventBody::Data { handle: of, .. } if of == handle));
    assert_eq!(reader.join().expect("it ends").expect("read"), b"content");
    good(&dmctl(&daemon, &["umount", shown]));
    good(&dmctl(&daemon, &["stop"]));
}
