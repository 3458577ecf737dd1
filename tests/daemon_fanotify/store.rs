//! Both processes die; the service manager has their descriptors.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dmapi::sys::socket;

use crate::common::{self, Deadline};
use crate::service::{Service, serial, text};
use crate::support::{self, is_dead, until};

/// What systemd is for a service with FileDescriptorStoreMax.
struct Keeper {
    socket: UnixDatagram,
    path: PathBuf,
    kept: Vec<(String, OwnedFd)>,
    is_ready: bool,
}

impl Keeper {
    fn new(dir: &Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_nonblocking(true).expect("set");
        Self {
            socket,
            path,
            kept: Vec::new(),
            is_ready: false,
        }
    }

    /// Takes what was sent.
    fn look(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok((bytes, fds)) = socket::receive(self.socket.as_fd(), &mut buffer) {
            let said = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
            let name = said
                .lines()
                .find_map(|line| line.strip_prefix("FDNAME="))
                .unwrap_or("")
                .to_owned();
            if said.contains("FDSTORE=1") {
                self.kept
                    .extend(fds.into_iter().map(|fd| (name.clone(), fd)));
            } else if said.contains("FDSTOREREMOVE=1") {
                self.kept.retain(|(kept, _)| *kept != name);
            }
            self.is_ready |= said.contains("READY=1");
        }
    }

    /// Starts a daemon with everything that was kept, as systemd does.
    fn start(&self, dir: &Path) -> Child {
        let program = support::program();
        let daemon = support::command(&program, dir);
        let mut command = Command::new("sh");
        let names: Vec<&str> = self.kept.iter().map(|(name, _)| name.as_str()).collect();
        command
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(&program)
            .args(daemon.get_args())
            .env("NOTIFY_SOCKET", &self.path)
            .env("DMAPI_LOG", "warn")
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .stdin(Stdio::null());
        // Numbers well above those that they are to get.
        let high: Vec<OwnedFd> = self
            .kept
            .iter()
            .map(|(_, fd)| dmapi::sys::process::duplicate_above(fd.as_fd(), 500).expect("room"))
            .collect();
        let raw: Vec<i32> = high
            .iter()
            .map(|fd| {
                use std::os::fd::AsRawFd;
                dmapi::sys::process::set_inherit(fd.as_raw_fd(), false).expect("set");
                fd.as_raw_fd()
            })
            .collect();
        let give = move || {
            for (number, fd) in (3..).zip(&raw) {
                // SAFETY: dup2 takes two integers and is async-signal-safe.
                if unsafe { libc::dup2(*fd, number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec only dup2 is called, on numbers that were made before.
        unsafe { command.pre_exec(give) };
        let child = command.spawn().expect("it starts");
        drop(high);
        child
    }
}

#[test]
fn the_store_keeps_readers_blocked_while_no_process_is_left() {
    let _one = serial();
    let _deadline = Deadline::new("the_store_keeps_readers_blocked", 240);
    if !common::is_root() {
        return;
    }
    let keeper_dir = tempfile::tempdir().expect("tempdir");
    let mut keeper = Keeper::new(keeper_dir.path());
    let address = text(&keeper.path).to_owned();
    let Some(mut service) = Service::start_with(&[("NOTIFY_SOCKET", &address)]) else {
        return;
    };
    service.stub("file");
    service.stub("other");
    let mut reader = service.reader("file");
    let event = service.next_event();
    let mut late = service.reader("other");
    until("two events", || {
        let status = service.daemon.status();
        (status.events_blocked == 2).then_some(())
    });
    until("everything is in the store", || {
        keeper.look();
        let has = |role: &str| keeper.kept.iter().any(|(name, _)| name.starts_with(role));
        // Arena, permission group, private mount, listener.
        (keeper.is_ready
            && ["dmapi-1-", "dmapi-2-", "dmapi-6-", "dmapi-8-"]
                .into_iter()
                .all(has))
        .then_some(())
    });
    let dir = service.daemon.dir.path().to_owned();
    service.daemon.kill_everybody();
    reader.is_blocked();
    late.is_blocked();
    service.daemon.child = keeper.start(&dir);
    service.recall(&event);
    reader.read_everything();
    let event = service.next_event();
    late.is_blocked();
    service.recall(&event);
    late.read_everything();
    // The watch goes on, too.
    service.stub("third");
    let reader = service.reader("third");
    let event = service.next_event();
    service.recall(&event);
    reader.read_everything();
    assert!(!is_dead(service.daemon.status().worker_pid));
    service.end();
}

#[test]
fn without_a_store_the_next_daemon_takes_up_what_is_mounted() {
    let _one = serial();
    let _deadline = Deadline::new(
        "without_a_store_the_next_daemon_takes_up_what_is_mounted",
        240,
    );
    let Some(mut service) = Service::start() else {
        return;
    };
    service.stub("file");
    let dir = service.daemon.dir.path().to_owned();
    service.daemon.kill_everybody();
    service.daemon.child = support::command(&support::program(), &dir)
        .spawn()
        .expect("dmapid starts");
    service.daemon.status();
    // Session and disposition are in the journal; the file system was found by its mount point.
    let mut reader = service.reader("file");
    let event = service.next_event();
    reader.is_blocked();
    service.recall(&event);
    reader.read_everything();
    service.end();
}
