//! MOUNT, PREUNMOUNT, UNMOUNT.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use dmapi::model::{Answer, DmError, Event, EventBody, EventSet, EventType, Handle, Right};
use dmapi::proto::{Reply, Request, Target};

use crate::common::{self, Deadline, LoopFs};
use crate::service::{good, serial, text};
use crate::support::{Client, Daemon};

/// A loop device for an image whose mount is gone.
struct LoopDevice(String);

impl LoopDevice {
    fn of(image: &Path) -> Self {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(image)
            .output()
            .expect("losetup runs");
        good(&output);
        Self(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn mount_and_unmount_are_offered_to_their_handlers() {
    let _one = serial();
    let _deadline = Deadline::new("mount_and_unmount_are_offered_to_their_handlers", 240);
    if !common::is_root() {
        return;
    }
    let fs = LoopFs::new("ext4");
    let path = fs.path();
    fs.umount();
    let device = LoopDevice::of(&path.with_file_name("image"));
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("mounts");
    let everything = EventSet((1 << 23) - 1);
    let interest = Request::SetDisposition {
        target: Target {
            session,
            handle: Handle::Global,
            token: None,
        },
        events: EventSet::of(&[EventType::Mount]),
        mask: everything,
        answers_destroy: false,
    };
    assert_eq!(client.ask(interest), Ok(Reply::Nothing));
    let mount = |daemon: &Daemon| {
        let socket = daemon.socket();
        let (device, path) = (device.0.clone(), path.clone());
        std::thread::spawn(move || {
            // As mount(8) calls it.
            Command::new(env!("CARGO_BIN_EXE_dmctl"))
                .arg0("/sbin/mount.dmapi")
                .arg(device)
                .arg(path)
                .args(["-o", "rw,dmapi,noatime"])
                .env("DMAPI_SOCKET", socket)
                .output()
                .expect("dmctl runs")
        })
    };
    let answer = |client: &mut Client, event: &Event, answer| {
        let token = event.token.expect("it is synchronous");
        let respond = Request::RespondEvent {
            session,
            token,
            answer,
        };
        assert_eq!(client.ask(respond), Ok(Reply::Nothing));
    };
    let next = |client: &mut Client| {
        client
            .get_events(session, true)
            .expect("an event")
            .remove(0)
    };

    let refused = mount(&daemon);
    let event = next(&mut client);
    assert_eq!(event.kind, EventType::Mount);
    answer(&mut client, &event, Answer::Abort(libc::EACCES));
    assert!(!refused.join().expect("dmctl ends").status.success());

    let mounting = mount(&daemon);
    let event = next(&mut client);
    // The requester asks the next worker, and waits on.
    daemon.kill_worker();
    let EventBody::Mount(body) = &event.body else {
        panic!("{event:?}");
    };
    assert_eq!(body.path, text(&path).as_bytes());
    assert_eq!(body.device, device.0.as_bytes());
    let Handle::Fs(id) = body.fs else {
        panic!("{body:?}");
    };
    let on_fs = |token| Target {
        session,
        handle: Handle::Fs(id),
        token,
    };
    // The handler may use the handle, with its token's right or without; other objects are not there yet.
    let right = Request::RequestRight {
        target: on_fs(event.token),
        wait: true,
        right: Right::Exclusive,
    };
    assert_eq!(client.ask(right), Ok(Reply::Nothing));
    let wanted = [EventType::PreUnmount, EventType::Unmount];
    for token in [event.token, None] {
        let target = on_fs(token);
        let (events, mask) = (EventSet::of(&wanted), everything);
        let disposition = Request::SetDisposition {
            target,
            events,
            mask,
            answers_destroy: false,
        };
        assert_eq!(client.ask(disposition), Ok(Reply::Nothing));
        let list = Request::SetEventList {
            target,
            events,
            mask,
            extra_on_fs: EventSet(0),
        };
        assert_eq!(client.ask(list), Ok(Reply::Nothing));
    }
    let root = Request::GetEventList {
        target: Target {
            session,
            handle: body.root,
            token: None,
        },
    };
    assert_eq!(client.ask(root), Err(DmError::BadHandle));
    let mounted = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounted.contains(text(&path)), "not before the answer");
    answer(&mut client, &event, Answer::Continue);
    good(&mounting.join().expect("dmctl ends"));
    let told = client.ask(Request::GetMountInfo {
        target: on_fs(None),
    });
    assert_eq!(told, Ok(Reply::MountInfo(body.clone())));
    std::fs::write(path.join("file"), b"seen").expect("it is there");

    let umount = |daemon: &Daemon, is_helper: bool| {
        let socket = daemon.socket();
        let path = path.clone();
        std::thread::spawn(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dmctl"));
            match is_helper {
                true => command.arg0("umount.dmapi"),
                false => command.arg("umount"),
            };
            command
                .arg(path)
                .env("DMAPI_SOCKET", socket)
                .output()
                .expect("dmctl runs")
        })
    };
    let refused = umount(&daemon, false);
    let event = next(&mut client);
    assert_eq!(event.kind, EventType::PreUnmount);
    answer(&mut client, &event, Answer::Abort(libc::EBUSY));
    assert!(!refused.join().expect("dmctl ends").status.success());

    // A hold keeps it mounted, whatever the handler says.
    let token = client.create_user_event(session, b"");
    let hold = Request::Hold {
        target: Target {
            session,
            handle: body.root,
            token: Some(token),
        },
    };
    assert_eq!(client.ask(hold), Ok(Reply::Nothing));
    let busy = umount(&daemon, false);
    let event = next(&mut client);
    answer(&mut client, &event, Answer::Continue);
    let busy = busy.join().expect("dmctl ends");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("rights or holds"));
    let respond = Request::RespondEvent {
        session,
        token,
        answer: Answer::Continue,
    };
    assert_eq!(client.ask(respond), Ok(Reply::Nothing));

    let unmounting = umount(&daemon, true);
    let event = next(&mut client);
    daemon.kill_worker();
    assert_eq!(event.kind, EventType::PreUnmount);
    answer(&mut client, &event, Answer::Continue);
    let event = next(&mut client);
    assert_eq!(event.kind, EventType::Unmount);
    answer(&mut client, &event, Answer::Continue);
    good(&unmounting.join().expect("dmctl ends"));
    let gone = client.ask(Request::GetMountInfo {
        target: on_fs(None),
    });
    assert_eq!(gone, Err(DmError::BadHandle));
    assert_eq!(
        client.ask(Request::FileSystems),
        Ok(Reply::FileSystems(vec![]))
    );
}
