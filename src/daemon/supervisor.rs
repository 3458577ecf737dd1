//! The supervisor: waits, starts the next worker, hands descriptors to systemd's store.
//!
//! It never starts a thread, since its clone must find none, and does nothing that could fail while
//! file systems are served: if it dies, only the worker keeps the accesses of users blocked.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::inheritance::Inheritance;
use super::notify::Notify;
use super::settings::Settings;
use super::worker;
use crate::sys::process::{self, Side};

const SIGNALS: [Signal; 5] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
];
/// A signal is never missed; this only bounds how long a wait lasts.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// A worker that lived this long was good; the next starts at once.
const GOOD_LIFE: Duration = Duration::from_secs(1);
const QUICK_RESTARTS: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

const RUNNING: &str = "/proc/self/exe";

/// How this program is started again.
#[derive(Clone, Debug)]
pub struct Image {
    program: PathBuf,
    arguments: Vec<CString>,
}

impl Image {
    /// From the present process, before the file may be replaced.
    fn of_this_process() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
        let program = without_deleted(program);
        let mut arguments = Vec::new();
        let mut given = std::env::args_os();
        while let Some(argument) = given.next() {
            if argument == "--resume" {
                given.next();
            } else {
                arguments.push(c_string(argument)?);
            }
        }
        Ok(Self { program, arguments })
    }

    /// Replaces this process by the program that is installed now, or by the running one if that fails.
    /// Returns only if both fail.
    pub fn exec_installed(&self, inheritance: &Inheritance) -> String {
        inheritance.keep_over_exec();
        self.exec(&inheritance.spec(), [self.program.clone(), RUNNING.into()])
    }

    /// The same, the running one first: what comes after a death must fit what was before it.
    pub fn exec_running(&self, inheritance: &Inheritance) -> String {
        inheritance.keep_over_exec();
        self.exec(&inheritance.spec(), [RUNNING.into(), self.program.clone()])
    }

    fn exec(&self, spec: &str, programs: [PathBuf; 2]) -> String {
        let mut arguments = self.arguments.clone();
        for argument in ["--resume", spec] {
            match c_string(OsString::from(argument)) {
                Ok(argument) => arguments.push(argument),
                Err(problem) => return problem,
            }
        }
        let mut problems = String::new();
        for program in programs {
            let error = match c_string(program.clone().into_os_string()) {
                Ok(path) => process::exec(&path, &arguments).to_string(),
                Err(problem) => problem,
            };
            problems += &format!("{}: {error}; ", program.display());
        }
        problems
    }
}

/// A program that was replaced on disk while it ran is named so by the kernel; the new one has its path.
fn without_deleted(program: PathBuf) -> PathBuf {
    let bytes = program.as_os_str().as_encoded_bytes();
    match bytes.strip_suffix(b" (deleted)") {
        Some(path) => PathBuf::from(OsString::from_vec(path.to_vec())),
        None => program,
    }
}

fn c_string(text: OsString) -> Result<CString, String> {
    CString::new(text.into_vec()).map_err(|_| "an argument has a NUL".to_owned())
}

struct Supervisor {
    settings: Settings,
    inheritance: Arc<Inheritance>,
    image: Arc<Image>,
    notify: Notify,
    /// The service manager had no time for some of it.
    owes: bool,
    told_ready: bool,
    stored: BTreeMap<String, RawFd>,
    deaths_in_a_row: u32,
}

/// Runs the daemon in this process until it is stopped.
pub fn run(settings: Settings, resume: Option<&str>) -> Result<(), String> {
    let image = Image::of_this_process()?;
    process::take_signals(&SIGNALS).map_err(|error| format!("signals: {error}"))?;
    process::set_name(c"dmapid");
    process::raise_fd_limit();
    process::spare_from_oom();
    let inheritance = match resume {
        Some(spec) => {
            Inheritance::handed_down(spec).unwrap_or_else(|problem| hold_on(&problem, &image, spec))
        }
        None => Inheritance::at_start(&settings)?,
    };
    process::lock_memory();
    inheritance.board.set_supervisor(std::process::id());
    let mut supervisor = Supervisor {
        settings,
        inheritance: Arc::new(inheritance),
        image: Arc::new(image),
        notify: Notify::from_environment(),
        owes: false,
        told_ready: false,
        stored: BTreeMap::new(),
        deaths_in_a_row: 0,
    };
    if resume.is_some() {
        let own = format!("MAINPID={}", std::process::id());
        supervisor.notify.tell(&own);
    }
    supervisor.serve()
}

/// An image that cannot go on must not end either: with it the descriptors would go that keep accesses
/// of users blocked.
fn hold_on(problem: &str, image: &Image, spec: &str) -> ! {
    loop {
        tracing::error!(
            problem,
            "this program cannot go on from the one before it; accesses to migrated files wait. Install the \
             dmapid that ran before and send SIGHUP to this process"
        );
        if let Ok(Some(Signal::SIGHUP)) = process::wait_signal(&SIGNALS, WAIT_MAX) {
            let problem = image.exec(spec, [image.program.clone(), RUNNING.into()]);
            tracing::error!(problem, "not replaced");
        }
        // A signal that comes all the time must not fill the log.
        std::thread::sleep(PAUSE_FIRST);
    }
}

/// What made a worker's watch end.
enum End {
    Died,
    Stop,
}

impl Supervisor {
    fn serve(&mut self) -> Result<(), String> {
        // A fresh daemon whose first worker cannot serve has a fault that a restart does not heal.
        let mut may_give_up = !self.inheritance.is_taken_over;
        loop {
            let began = Instant::now();
            let pid = self.start_worker();
            let end = self.watch(pid);
            if matches!(end, End::Stop) {
                self.notify.tell("STOPPING=1");
                // The path may be another daemon's by now only if somebody removed ours; nothing to say then.
                let _ = std::fs::remove_file(&self.settings.socket);
                tracing::info!("stopped");
                return Ok(());
            }
            if may_give_up && !self.inheritance.board.is_ready() {
                return Err("the first worker could not serve; the log says why".into());
            }
            may_give_up = false;
            self.pause(began.elapsed());
        }
    }

    fn start_worker(&mut self) -> u32 {
        self.close_what_is_left();
        self.inheritance.board.next_generation();
        loop {
            match process::clone_sharing_files() {
                Ok(Side::Parent(pid)) => return pid,
                Ok(Side::Child) => self.become_worker(),
                // Out of processes or memory: what is blocked stays blocked until there are some.
                Err(error) => {
                    tracing::error!(%error, "no worker can be started; next try soon");
                    std::thread::sleep(PAUSE_FIRST);
                }
            }
        }
    }

    /// The child's main thread: the C library takes it for its parent, so it only waits for another.
    fn become_worker(&self) -> ! {
        let settings = self.settings.clone();
        let (inheritance, image) = (Arc::clone(&self.inheritance), Arc::clone(&self.image));
        let thread = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || worker::run(&settings, &inheritance, &image));
        let code = thread.map_or(1, |thread| thread.join().unwrap_or(1));
        process::die(code)
    }

    fn watch(&mut self, pid: u32) -> End {
        loop {
            let wait = match self.owes {
                true => PAUSE_FIRST,
                false => WAIT_MAX,
            };
            match process::wait_signal(&SIGNALS, wait) {
                Ok(Some(Signal::SIGTERM | Signal::SIGINT)) if self.may_stop() => {
                    self.end_worker(pid);
                    return End::Stop;
                }
                Ok(Some(Signal::SIGHUP)) => {
                    self.end_worker(pid);
                    self.upgrade();
                    return End::Died;
                }
                Ok(Some(Signal::SIGUSR1)) => self.tell_service_manager(),
                Ok(None) if self.owes => self.tell_service_manager(),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "waiting for signals");
                    std::thread::sleep(PAUSE_FIRST);
                }
            }
            if let Ok(Some(how)) = process::reap(pid, false) {
                tracing::warn!(pid, how, "the worker ended; the next one goes on");
                return End::Died;
            }
        }
    }

    fn may_stop(&self) -> bool {
        let board = &self.inheritance.board;
        let managed = board.managed();
        if managed == 0 || board.stop_forced() {
            return true;
        }
        tracing::error!(
            "not stopped: {managed} managed file system(s) are mounted, and without dmapid their users would \
             read zeros from migrated files. Unmount them (`dmctl umount PATH`), or stop with `dmctl stop --force`"
        );
        self.notify
            .tell("STATUS=stop refused: managed file systems are mounted; dmctl umount them first");
        false
    }

    fn end_worker(&self, pid: u32) {
        // It may have died in this moment; reaping tells.
        let _ = process::signal(pid, Signal::SIGKILL);
        if let Err(error) = process::reap(pid, true) {
            tracing::error!(%error, pid, "waiting for the worker's end");
        }
    }

    /// Goes on as the program that is installed now. Returns only if that fails: then the present one goes on.
    fn upgrade(&mut self) {
        tracing::info!("upgrade: starting the installed program in place of this one");
        self.close_what_is_left();
        let problem = self.image.exec_installed(&self.inheritance);
        tracing::error!(problem, "upgrade failed; the running program goes on");
    }

    /// Clients of a dead worker see the end of their connections by this.
    fn close_what_is_left(&self) {
        if let Err(error) = process::close_all_but(&self.inheritance.numbers()) {
            tracing::error!(%error, "closing what the worker left");
        }
    }

    fn tell_service_manager(&mut self) {
        if !self.notify.is_there() {
            return;
        }
        let wanted: BTreeMap<String, RawFd> = self.inheritance.for_store().into_iter().collect();
        let gone: Vec<String> = self
            .stored
            .iter()
            .filter(|(name, fd)| wanted.get(*name) != Some(fd))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if self.notify.forget(&name) {
                self.stored.remove(&name);
            }
        }
        for (name, fd) in &wanted {
            if self.stored.contains_key(name) {
                continue;
            }
            if !process::with_borrowed(*fd, |fd| self.notify.store(name, fd)) {
                // In this order only: no channel is there without life, whose end would be taken for its own.
                break;
            }
            self.stored.insert(name.clone(), *fd);
        }
        self.owes = self.stored != wanted;
        // After the descriptors: who is told "ready" may rely on the store.
        if self.inheritance.board.is_ready() && !self.told_ready && !self.owes {
            self.told_ready = self.notify.tell("READY=1\nSTATUS=serving");
            self.owes = !self.told_ready;
        }
    }

    fn pause(&mut self, lived: Duration) {
        if lived >= GOOD_LIFE {
            self.deaths_in_a_row = 0;
            return;
        }
        self.deaths_in_a_row += 1;
        if self.deaths_in_a_row > QUICK_RESTARTS {
            let doublings = (self.deaths_in_a_row - QUICK_RESTARTS - 1).min(10);
            let pause = (PAUSE_FIRST * (1 << doublings)).min(PAUSE_MAX);
            tracing::error!(
                deaths = self.deaths_in_a_row,
                pause_ms = pause.as_millis(),
                "the worker dies again and again; accesses to migrated files wait"
            );
            std::thread::sleep(pause);
        }
    }
}
