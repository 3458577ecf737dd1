//! `dmapid` without `--foreground`: starts the daemon and returns when it serves.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::settings::Settings;
use crate::model::ids::ClientId;
use crate::proto::{self, Back, Call};
use crate::sys::socket;

const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LOG_TAIL_BYTES: usize = 4096;

/// Starts the daemon in a session of its own and waits until it answers.
pub fn start(settings: &Settings) -> Result<(), String> {
    let dir = settings.node_dir();
    fs::create_dir_all(&dir).map_err(|error| {
        format!(
            "{}: {error}; name a directory that this user may write with --state or DMAPI_STATE",
            dir.display()
        )
    })?;
    let log = dir.join("dmapid.log");
    let mut child = spawn(settings, &log)?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if answers(&settings.socket) {
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the daemon ended ({status}): {}", tail(&log)));
        }
        if Instant::now() > deadline {
            return Err(format!(
                "the daemon (pid {}) does not answer on {}; see {}",
                child.id(),
                settings.socket.display(),
                log.display()
            ));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn spawn(settings: &Settings, log: &Path) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|error| format!("{}: {error}", log.display()))?;
    Command::new(&program)
        .arg("--foreground")
        .args(["--node", &settings.node])
        .arg("--state")
        .arg(&settings.state)
        .arg("--socket")
        .arg(&settings.socket)
        .args(["--watch", settings.watch()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))
}

/// Does a worker welcome clients there?
pub fn answers(path: &Path) -> bool {
    use std::os::fd::AsFd;
    let Ok(fd) = socket::connect(path) else {
        return false;
    };
    let hello = Call::Hello {
        version: proto::VERSION,
        client: ClientId(u64::from(std::process::id()) << 32),
    };
    let limited = socket::set_receive_limit(fd.as_fd(), Some(1000));
    if limited.is_err() || socket::send(fd.as_fd(), &proto::encode(&hello), &[], true).is_err() {
        return false;
    }
    let mut buffer = vec![0; 4096];
    match socket::receive(fd.as_fd(), &mut buffer) {
        Ok((bytes, _)) => matches!(
            proto::decode(&buffer[..bytes]),
            Some(Back::Welcome { .. } | Back::Refused { .. })
        ),
        Err(_) => false,
    }
}

fn tail(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = fs::File::open(log) {
        // A log that is not UTF-8 was not written by us; the status alone is told then.
        let _ = file.read_to_string(&mut text);
    }
    let mut from = text.len().saturating_sub(LOG_TAIL_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].lines().last().unwrap_or("no log").to_owned()
}
