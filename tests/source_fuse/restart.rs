//! The death of a worker in an operation on names: before it, after it and while its event waits.

use std::ffi::CStr;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use dmapi::model::{Answer, EventType};
use dmapi::source::EventSource;
use dmapi::source::arena::Role;
use dmapi::source::fuse::table::Table;
use dmapi::source::fuse::wire::{Entry, Op, Request, reply};
use dmapi::sys::{fuse, process};
use nix::libc;

use super::rig::{Rig, eventually, names, on_each_kind, on_xfs};
use super::user::User;

use EventType::{Attribute, Create, PostCreate, PostLink, PostRemove, PostRename, PostSymlink};

/// In what is noted of a request: it was begun. The rest is the inode that the operation noted.
const BEGUN: u64 = 1 << 63;

fn line(rig: &Rig, text: &str) -> String {
    text.replace("{}", rig.point.to_str().expect("text"))
}

/// A descriptor of this process that the source keeps for the next worker.
fn kept(rig: &Rig, role: Role) -> OwnedFd {
    let kept = rig.arena.kept();
    let one = kept
        .iter()
        .find(|one| one.role == role)
        .expect("it is kept");
    process::with_borrowed(one.fd, |fd| fd.try_clone_to_owned()).expect("a copy")
}

fn object(rig: &Rig, name: &str) -> std::fs::File {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    options.custom_flags(libc::O_PATH | libc::O_NOFOLLOW);
    options.open(rig.private(name)).expect("it is there")
}

/// The worker has read the user's request and noted it, and dies. `note` is the object whose number it noted.
fn die_with_request(rig: &Rig, user: &mut User, text: &str, note: Option<&str>) {
    let channel = kept(rig, Role::FUSE);
    let table = Table::open(kept(rig, Role::FUSE_TABLE)).expect("the table");
    // Names that the user looked for before are known to the kernel.
    rig.source.stop();
    user.tell(&line(rig, text));
    let mut buffer = vec![0; (1 << 20) + 4096];
    loop {
        let fuse::Received::Request(bytes) =
            fuse::receive(channel.as_fd(), &mut buffer).expect("a request")
        else {
            continue;
        };
        let request = Request::parse(&buffer[..bytes]).expect("it is one");
        match request.op {
            // Only names that are to be made are asked for again.
            Op::Lookup { .. } => {
                let none = reply::entry(&Entry::default());
                fuse::reply(channel.as_fd(), request.unique, &[&none]).expect("an answer");
            }
            Op::Getxattr { .. } => {
                fuse::refuse(channel.as_fd(), request.unique, libc::ENODATA).expect("an answer");
            }
            Op::Forget { .. } | Op::BatchForget(_) => {}
            _ => {
                let row = table.add_request(request.unique, request.pid, 0);
                let inode = note.map_or(0, |name| {
                    let found = nix::sys::stat::fstat(object(rig, name)).expect("stat");
                    found.st_ino
                });
                table.set_doing(row.expect("a row"), BEGUN | inode);
                return;
            }
        }
    }
}

/// The object's descriptor is in the table: it is about to lose its name.
fn note_doomed(rig: &Rig, name: &str, listed: bool) {
    let table = Table::open(kept(rig, Role::FUSE_TABLE)).expect("the table");
    let dmapi::model::Handle::Object {
        inode, generation, ..
    } = rig.handle(name)
    else {
        panic!("an object");
    };
    let row = table.add_object(inode, generation).expect("a row");
    table.set_ended(row, Some(object(rig, name).into_raw_fd()), listed);
}

/// One of the operations: what the user does, what it notes, what it comes to, and its event.
struct Case {
    text: &'static str,
    note: Option<&'static str>,
    work: fn(&Rig),
    is_done: fn(&Rig) -> bool,
    after: EventType,
}

const CASES: [Case; 8] = [
    Case {
        text: "mkdir {}/new 755",
        note: None,
        work: |rig| std::fs::create_dir(rig.private("new")).expect("mkdir"),
        is_done: |rig| rig.private("new").is_dir(),
        after: PostCreate,
    },
    Case {
        text: "mknod {}/pipe 10600 0",
        note: None,
        work: |rig| {
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
            nix::unistd::mkfifo(&rig.private("pipe"), mode).expect("mkfifo");
        },
        is_done: |rig| rig.private("pipe").exists(),
        after: PostCreate,
    },
    Case {
        text: "symlink where {}/link",
        note: None,
        work: |rig| std::os::unix::fs::symlink("where", rig.private("link")).expect("symlink"),
        is_done: |rig| std::fs::read_link(rig.private("link")).is_ok(),
        after: PostSymlink,
    },
    Case {
        text: "link {}/old {}/second",
        note: Some("old"),
        work: |rig| std::fs::hard_link(rig.private("old"), rig.private("second")).expect("link"),
        is_done: |rig| rig.private("second").exists(),
        after: PostLink,
    },
    Case {
        text: "rename {}/old {}/moved 0",
        note: Some("old"),
        work: |rig| std::fs::rename(rig.private("old"), rig.private("moved")).expect("rename"),
        is_done: |rig| !rig.private("old").exists() && rig.private("moved").exists(),
        after: PostRename,
    },
    Case {
        text: "unlink {}/old",
        note: Some("old"),
        work: |rig| {
            note_doomed(rig, "old", true);
            std::fs::remove_file(rig.private("old")).expect("unlink");
        },
        is_done: |rig| !rig.private("old").exists(),
        after: PostRemove,
    },
    Case {
        text: "rmdir {}/dir",
        note: Some("dir"),
        work: |rig| {
            note_doomed(rig, "dir", false);
            std::fs::remove_dir(rig.private("dir")).expect("rmdir");
        },
        is_done: |rig| !rig.private("dir").exists(),
        after: PostRemove,
    },
    Case {
        text: "setxattr {}/old user.a value 1",
        note: None,
        work: |rig| {
            let old = object(rig, "old");
            dmapi::sys::xattr::set(old.as_fd(), c"user.a", b"value").expect("setxattr");
        },
        is_done: |rig| has_xattr(rig, "old", c"user.a"),
        after: Attribute,
    },
];

fn has_xattr(rig: &Rig, name: &str, xattr: &CStr) -> bool {
    let value = dmapi::sys::xattr::get(object(rig, name).as_fd(), xattr);
    value.expect("getxattr").is_some()
}

fn prepared(rig: &Rig, user: &mut User) {
    rig.file("old", 10);
    std::fs::create_dir(rig.private("dir")).expect("a directory");
    for name in ["old", "dir"] {
        user.get(&line(rig, &format!("links {{}}/{name}"))).ok();
    }
}

#[test]
fn what_a_dead_worker_had_done_is_not_done_again() {
    for case in CASES {
        on_xfs(60, |mut rig| {
            let mut user = User::new();
            prepared(&rig, &mut user);
            let old = rig.handle("old");
            rig.list(&[case.after]);
            die_with_request(&rig, &mut user, case.text, case.note);
            (case.work)(&rig);
            assert!((case.is_done)(&rig), "{}", case.text);
            rig.next_worker();
            user.wait().ok();
            assert!((case.is_done)(&rig), "{}", case.text);
            let event = rig.sink.next();
            assert_eq!(event.kind, case.after, "{}", case.text);
            if case.text.starts_with("unlink") {
                let root = Some(rig.mount.root_handle());
                let file = libc::S_IFREG | 0o644;
                assert_eq!(event.body, names(file, root, None, "old", "", 0));
                assert_eq!(rig.sink.destroyed(), [(old, true)]);
            }
            rig.is_quiet();
        });
    }
}

#[test]
fn what_a_dead_worker_had_only_begun_is_done() {
    for case in CASES {
        on_xfs(60, |mut rig| {
            let mut user = User::new();
            prepared(&rig, &mut user);
            rig.list(&[case.after]);
            die_with_request(&rig, &mut user, case.text, case.note);
            rig.next_worker();
            user.wait().ok();
            assert!((case.is_done)(&rig), "{}", case.text);
            assert_eq!(rig.pass(case.after).names().retcode, 0);
            rig.is_quiet();
        });
    }
}

#[test]
fn operations_that_wait_outlive_the_worker() {
    on_each_kind(90, |mut rig| {
        rig.list(&[Create, PostCreate]);
        // One directory each: the kernel lets one request at a time change a directory.
        for dir in ["a", "b", "c"] {
            std::fs::create_dir(rig.private(dir)).expect("a directory");
        }
        let mut users: Vec<User> = (0..3).map(|_| User::new()).collect();
        let mut events = Vec::new();
        for (user, dir) in users.iter_mut().zip(["a", "b", "c"]) {
            user.tell(&line(&rig, &format!("mkdir {{}}/{dir}/new 755")));
            events.push(rig.sink.next());
        }
        let [answered, known, unknown] = &events[..] else {
            panic!("three events");
        };
        // The first: its answer is recorded and not given. The second: known to the engine. The third: the
        // engine never recorded it.
        let serial = answered.serial.expect("a serial");
        rig.source.intend(serial, Answer::Continue);
        rig.sink.forget(serial);
        rig.sink.forget(unknown.serial.expect("a serial"));
        rig.next_worker();
        users[0].wait().ok();
        let mut seen = [rig.sink.next(), rig.sink.next()];
        seen.sort_by_key(|event| event.kind);
        assert_eq!((seen[0].kind, seen[1].kind), (Create, PostCreate));
        assert_ne!(seen[0].serial, unknown.serial);
        assert_eq!(seen[0].body, unknown.body);
        rig.answer(known, Answer::Abort(libc::EDQUOT));
        users[1].wait().failed(libc::EDQUOT);
        assert_eq!(rig.pass(PostCreate).names().retcode, libc::EDQUOT);
        rig.answer(&seen[0], Answer::Continue);
        users[2].wait().ok();
        assert_eq!(rig.pass(PostCreate).names().retcode, 0);
        rig.is_quiet();
    });
}

#[test]
fn everything_goes_on_after_the_death_of_a_worker() {
    on_each_kind(90, |mut rig| {
        let mut user = User::new();
        let get = |rig: &Rig, user: &mut User, text: &str| user.get(&line(rig, text)).ok();
        get(&rig, &mut user, "mkdir {}/d 755");
        get(&rig, &mut user, "mknod {}/d/f 100644 0");
        get(&rig, &mut user, "mkdir {}/gone 755");
        let gone = get(&rig, &mut user, "inode {}/gone");
        get(&rig, &mut user, "chdir {}/gone");
        get(&rig, &mut user, "rmdir {}/gone");
        for _ in 0..2 {
            rig.next_worker();
            // By numbers that the kernel keeps.
            get(&rig, &mut user, "chmod {}/d/f 600");
            assert_eq!(user.get("inode .").ok(), gone);
            assert_eq!(get(&rig, &mut user, "entries {}/d"), 1);
        }
        get(&rig, &mut user, "unlink {}/d/f");
        get(&rig, &mut user, "rmdir {}/d");
        user.get("chdir /").ok();
        eventually("objects without names are forgotten", || {
            let table = Table::open(kept(&rig, Role::FUSE_TABLE)).expect("the table");
            table.objects().next().is_none()
        });
    });
}
