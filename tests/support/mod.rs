//! A real dmapid of a test, and a client that speaks the bare protocol to it.
#![allow(dead_code, missing_docs)]

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dmapi::model::ids::{ClientId, RequestId};
use dmapi::model::{DmError, Event, SessionId, Token};
use dmapi::proto::{self, Back, Call, PACKET_BYTES_MAX, Reply, Request, StatusReply};
use dmapi::sys::{process, socket};

/// Far more than a loaded machine needs; only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `done` gives something.
pub fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A dmapid with its own directories; killed and removed at the end.
pub struct Daemon {
    pub dir: tempfile::TempDir,
    pub child: Child,
}

pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_dmapid").into()
}

impl Daemon {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        Self::start_in(dir, &program(), &[])
    }

    pub fn start_in(dir: tempfile::TempDir, program: &Path, environment: &[(&str, &str)]) -> Self {
        let child = command(program, dir.path())
            .envs(environment.iter().copied())
            .spawn()
            .expect("dmapid starts");
        let daemon = Self { dir, child };
        daemon.status();
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("run/socket")
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    /// Waits for a worker and asks it.
    pub fn status(&self) -> StatusReply {
        self.client().status()
    }

    /// Kills the present worker and returns its process id.
    pub fn kill_worker(&self) -> u32 {
        let pid = self.status().worker_pid;
        kill(pid);
        pid
    }
}

pub fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--foreground")
        .arg("--state")
        .arg(dir.join("state"))
        .arg("--socket")
        .arg(dir.join("run/socket"))
        .env_remove("NOTIFY_SOCKET")
        .env("DMAPI_LOG", "warn")
        .stdin(Stdio::null());
    command
}

pub fn kill(pid: u32) {
    process::signal(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives");
}

/// Is the process gone, or dead and not yet reaped?
pub fn is_dead(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z')),
    }
}

impl Daemon {
    /// Kills all of its processes. A worker takes the place of a killed supervisor, and that starts another
    /// worker: again until nobody is left to hold the lock. (A process in the middle of exec has no
    /// arguments to be found by.)
    pub fn kill_everybody(&mut self) {
        let lock = self.dir.path().join("state/nodes/local/daemon.lock");
        until("the end of all processes", || {
            for pid in processes_of(self.dir.path()) {
                let _ = process::signal(pid, nix::sys::signal::Signal::SIGKILL);
            }
            let Ok(lock) = std::fs::File::open(&lock) else {
                return Some(()); // It never got that far.
            };
            process::lock_file(&lock).expect("flock").then_some(())
        });
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would end the other tests, too.
            let end = std::panic::AssertUnwindSafe(|| self.kill_everybody());
            let _ = std::panic::catch_unwind(end);
        } else {
            self.kill_everybody();
        }
    }
}

/// Is the process a dmapid with this directory among its arguments?
fn is_ours(pid: u32, dir: &Path) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let dir = dir.as_os_str().as_encoded_bytes();
    line.windows(dir.len()).any(|window| window == dir)
}

/// All processes that have the directory among their arguments.
pub fn processes_of(dir: &Path) -> Vec<u32> {
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && is_ours(*pid, dir) && !is_dead(*pid))
        .collect()
}

/// One connection slot.
pub struct Client {
    path: PathBuf,
    fd: OwnedFd,
    id: ClientId,
    number: u64,
    buffer: Vec<u8>,
    limit: Duration,
    /// The descriptor that came with the last packet.
    pub received: Option<OwnedFd>,
}

static NEXT_CLIENT: AtomicU64 = AtomicU64::new(1);

impl Client {
    pub fn new(path: &Path) -> Self {
        until("a worker that welcomes", || Self::try_new(path))
    }

    pub fn try_new(path: &Path) -> Option<Self> {
        let own = u64::from(std::process::id()) << 32;
        let id = ClientId(own + NEXT_CLIENT.fetch_add(1, Ordering::Relaxed));
        Self::connect(path, id)
    }

    fn connect(path: &Path, id: ClientId) -> Option<Self> {
        let fd = socket::connect(path).ok()?;
        let mut client = Self {
            path: path.into(),
            fd,
            id,
            number: 0,
            buffer: vec![0; PACKET_BYTES_MAX],
            limit: LIMIT,
            received: None,
        };
        client.send(&Call::Hello {
            version: proto::VERSION,
            client: id,
        })?;
        matches!(client.receive()?, Back::Welcome { .. }).then_some(client)
    }

    pub fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub fn send(&self, call: &Call) -> Option<()> {
        socket::send(self.fd.as_fd(), &proto::encode(call), &[], true).ok()
    }

    /// The next packet; `None`: the connection ended.
    pub fn receive(&mut self) -> Option<Back> {
        let ready = process::wait_readable(self.fd.as_fd(), Some(self.limit)).ok()?;
        assert!(ready, "no packet in time");
        match socket::receive(self.fd.as_fd(), &mut self.buffer) {
            Ok((0, _)) | Err(_) => None,
            Ok((bytes, mut fds)) => {
                self.received = fds.pop();
                Some(proto::decode(&self.buffer[..bytes]).expect("a packet"))
            }
        }
    }

    /// Sends a request and returns its number.
    pub fn begin(&mut self, request: Request) -> u64 {
        self.number += 1;
        let number = self.number;
        let _ = self.send_request(number, false, request);
        number
    }

    fn send_request(&self, number: u64, again: bool, request: Request) -> Option<()> {
        self.send(&Call::Do {
            id: RequestId {
                client: self.id,
                number,
            },
            again,
            request,
        })
    }

    /// The outcome of a request that was begun; `None`: the worker died.
    pub fn end(&mut self, number: u64) -> Option<Result<Reply, DmError>> {
        loop {
            match self.receive()? {
                Back::Done {
                    number: of,
                    outcome,
                } if of == number => return Some(outcome),
                Back::Done { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Comes back with the same id to the next worker.
    pub fn reconnect(&mut self) {
        let (path, id, number) = (self.path.clone(), self.id, self.number);
        let again = until("the next worker", || Self::connect(&path, id));
        *self = again;
        self.number = number;
    }

    /// Sends a request that was begun again, to the next worker.
    pub fn again(&mut self, number: u64, request: Request) -> Option<Result<Reply, DmError>> {
        self.reconnect();
        self.send_request(number, true, request)?;
        self.end(number)
    }

    /// A whole request, as the library does it: over the death of workers.
    pub fn ask(&mut self, request: Request) -> Result<Reply, DmError> {
        let number = self.begin(request.clone());
        let mut outcome = self.end(number);
        let deadline = Instant::now() + LIMIT;
        while outcome.is_none() {
            assert!(Instant::now() < deadline, "no worker answers {request:?}");
            outcome = self.again(number, request.clone());
        }
        outcome.expect("it ended")
    }

    pub fn status(&mut self) -> StatusReply {
        match self.ask(Request::Status) {
            Ok(Reply::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn create_session(&mut self, info: &str) -> SessionId {
        match self.ask(Request::CreateSession {
            old: None,
            info: info.into(),
        }) {
            Ok(Reply::Session(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    pub fn sessions(&mut self) -> Vec<SessionId> {
        match self.ask(Request::GetAllSessions) {
            Ok(Reply::Sessions(sessions)) => sessions,
            other => panic!("{other:?}"),
        }
    }

    pub fn send_async(&mut self, session: SessionId, data: &[u8]) {
        let request = Request::SendMessage {
            session,
            synchronous: false,
            data: data.into(),
        };
        assert_eq!(self.ask(request), Ok(Reply::Nothing));
    }

    /// Gets messages and commits them.
    pub fn get_events(&mut self, session: SessionId, wait: bool) -> Result<Vec<Event>, DmError> {
        loop {
            let events = match self.ask(get(session, wait))? {
                Reply::Events(events) => events,
                other => panic!("{other:?}"),
            };
            let sequences = events.iter().map(|event| event.sequence).collect();
            match self.ask(Request::Commit { session, sequences }) {
                Ok(_) => return Ok(events),
                Err(DmError::Again) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn create_user_event(&mut self, session: SessionId, data: &[u8]) -> Token {
        match self.ask(Request::CreateUserEvent {
            session,
            data: data.into(),
        }) {
            Ok(Reply::Token(token)) => token,
            other => panic!("{other:?}"),
        }
    }
}

pub fn get(session: SessionId, wait: bool) -> Request {
    Request::GetEvents {
        session,
        count_max: 0,
        bytes_max: 1 << 16,
        wait,
    }
}
