//! What a service manager keeps for a daemon.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dmapi::sys::socket;

/// What systemd is for a service with FileDescriptorStoreMax.
pub struct Keeper {
    socket: UnixDatagram,
    pub path: PathBuf,
    pub kept: Vec<(String, OwnedFd)>,
    pub is_ready: bool,
}

impl Keeper {
    pub fn new(dir: &Path) -> Self {
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
    pub fn look(&mut self) {
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
    pub fn start(&self, dir: &Path) -> Child {
        let program = super::support::program();
        let daemon = super::support::command(&program, dir);
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

    /// Waits until it has a descriptor under each of these names.
    pub fn takes_all(&mut self, names: &[&str]) {
        super::support::until("everything is in the store", || {
            self.look();
            self.has_all(names).then_some(())
        });
    }

    /// Has it a descriptor under each of these names?
    pub fn has_all(&self, names: &[&str]) -> bool {
        let has = |role: &&str| self.kept.iter().any(|(name, _)| name.starts_with(*role));
        self.is_ready && names.iter().all(has)
    }
}
