//! The worker: opens journal and source, serves the control socket. It may die at any instruction.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::control;
use super::inheritance::Inheritance;
use super::notify::Notify;
use super::settings::Settings;
use super::supervisor::Image;
use crate::engine::{Config, Engine, Host};
use crate::fs::store;
use crate::journal::Start;
use crate::source::EventSource;
use crate::source::arena::Role;
use crate::source::both::Sources;
use crate::source::fanotify::{self, Fanotify};
use crate::source::fuse::Fuse;
use crate::sys::process;

/// What the threads of the worker share.
pub struct Worker {
    /// Rules, journal, sources.
    pub engine: Arc<Engine>,
    /// Grows with each worker of this daemon.
    pub generation: u64,
    /// Open connections.
    pub connections: Arc<AtomicUsize>,
}

/// Exit code of a worker that cannot go on.
const EXIT_FAULT: i32 = 70;
const EXEC_PAUSE: Duration = Duration::from_millis(500);

/// The life of a worker. Returns an exit code if it cannot serve.
pub fn run(settings: &Settings, inheritance: &Arc<Inheritance>, image: &Arc<Image>) -> i32 {
    // The terminal and careless kills reach all processes; the supervisor decides for both.
    let ignored = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGIO,
    ];
    if let Err(error) = process::ignore_signals(&ignored) {
        tracing::error!(%error, "signals");
        return EXIT_FAULT;
    }
    let supervisor = inheritance.board.supervisor();
    process::set_guardian(supervisor);
    end_on_panic();
    process::lock_memory();
    if let Err(error) = watch_supervisor(supervisor, inheritance, image) {
        tracing::error!(%error, "the supervisor cannot be watched");
        return EXIT_FAULT;
    }
    match open(settings, inheritance) {
        Ok(worker) => {
            inheritance.board.set_ready();
            poke(supervisor);
            tracing::info!(
                pid = std::process::id(),
                generation = worker.generation,
                "serving"
            );
            control::serve(&worker, inheritance.listener.as_fd())
        }
        Err(problem) => {
            tracing::error!(problem, "this worker cannot serve");
            EXIT_FAULT
        }
    }
}

/// A thread that panicked may have left anything half done in memory; the next worker has the journal.
fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        process::die(EXIT_FAULT);
    }));
}

/// If the supervisor dies, this process becomes the supervisor of a new worker.
fn watch_supervisor(
    supervisor: u32,
    inheritance: &Arc<Inheritance>,
    image: &Arc<Image>,
) -> std::io::Result<()> {
    // If it is dead already the descriptor is that of nobody, or of an unlucky stranger: the parent tells.
    let pidfd = process::pidfd(supervisor).ok();
    let (inheritance, image) = (Arc::clone(inheritance), Arc::clone(image));
    std::thread::Builder::new()
        .name("watch".into())
        .spawn(move || {
            wait_for_end(supervisor, pidfd);
            // At once: a service manager that sees the death first would end this process, too.
            Notify::from_environment().tell(&format!("MAINPID={}", std::process::id()));
            loop {
                tracing::warn!("the supervisor ended; this process takes its place");
                let problem = image.exec_running(&inheritance);
                tracing::error!(problem, "that failed; serving goes on, next try soon");
                std::thread::sleep(EXEC_PAUSE);
            }
        })
        .map(drop)
}

fn wait_for_end(supervisor: u32, pidfd: Option<OwnedFd>) {
    let Some(pidfd) = pidfd else { return };
    while process::parent() == supervisor {
        if let Err(error) = process::wait_readable(pidfd.as_fd(), None) {
            tracing::error!(%error, "watching the supervisor");
            std::thread::sleep(EXEC_PAUSE);
        }
    }
}

/// Makes the supervisor look at the board and at the kept descriptors.
fn poke(supervisor: u32) {
    if process::parent() == supervisor {
        // It ended in this moment: the watch takes over.
        let _ = process::signal(supervisor, Signal::SIGUSR1);
    }
}

fn open(settings: &Settings, inheritance: &Arc<Inheritance>) -> Result<Arc<Worker>, String> {
    let generation = inheritance.arena.worker_started();
    let start = match inheritance.board.generation() {
        1 => Start::Daemon,
        _ => Start::Worker,
    };
    let connections = Arc::new(AtomicUsize::new(0));
    let host = Arc::new(Around {
        inheritance: Arc::clone(inheritance),
        connections: Arc::clone(&connections),
        generation,
    });
    let config = Config {
        state: settings.state.clone(),
        node: settings.node.clone(),
        control: settings.run_dir().join("control"),
        start,
    };
    // Sources take up mounts, which look there.
    store::serve_from(&settings.state);
    let engine = Engine::open(config, open_source(settings, inheritance)?, host)?;
    Ok(Arc::new(Worker {
        engine,
        generation,
        connections,
    }))
}

/// The sources of this worker. One that was there before must come back: without it accesses stay blocked,
/// and with another one users would read zeros.
fn open_source(
    settings: &Settings,
    inheritance: &Arc<Inheritance>,
) -> Result<Arc<dyn EventSource>, String> {
    let fanotify = open_fanotify(settings, inheritance)?;
    let fuse = Fuse::new(Arc::clone(&inheritance.arena));
    let fuse: Arc<dyn EventSource> = fuse.map_err(|error| format!("event source fuse: {error}"))?;
    Ok(Sources::new(fanotify, Some(fuse)))
}

fn open_fanotify(
    settings: &Settings,
    inheritance: &Arc<Inheritance>,
) -> Result<Option<Arc<dyn EventSource>>, String> {
    const CAP_SYS_ADMIN: u32 = 21;
    let had_one = inheritance.arena.kept_fd(Role::GROUP).is_some();
    let may = process::has_capability(CAP_SYS_ADMIN) && process::is_in_first_user_namespace();
    if !had_one && !may {
        tracing::info!(
            "no CAP_SYS_ADMIN in the initial user namespace: file systems can be managed through FUSE mounts only"
        );
        return Ok(None);
    }
    let config = fanotify::Config {
        scope: settings.scope,
        ..fanotify::Config::default()
    };
    match Fanotify::new(Arc::clone(&inheritance.arena), config) {
        Ok(source) => Ok(Some(source)),
        Err(error) if had_one => Err(format!("event source fanotify: {error}")),
        Err(error) => {
            tracing::warn!(%error, "event source fanotify: not here; file systems can be managed through FUSE mounts only");
            Ok(None)
        }
    }
}

/// What the engine sees of the daemon.
struct Around {
    inheritance: Arc<Inheritance>,
    connections: Arc<AtomicUsize>,
    generation: u64,
}

impl Around {
    fn signal(&self, signal: Signal) {
        let supervisor = self.inheritance.board.supervisor();
        if let Err(error) = process::signal(supervisor, signal) {
            tracing::error!(%error, supervisor, %signal, "the supervisor could not be told");
        }
    }
}

impl Host for Around {
    fn describe(&self) -> (u32, u64, u64) {
        let connections = self.connections.load(Ordering::Acquire) as u64;
        let supervisor = self.inheritance.board.supervisor();
        (supervisor, self.generation, connections)
    }

    fn may_stop(&self, force: bool) -> bool {
        let board = &self.inheritance.board;
        if force {
            board.set_stop_forced();
        }
        force || board.managed() == 0
    }

    fn stop(&self) {
        self.signal(Signal::SIGTERM);
    }

    fn upgrade(&self) {
        self.signal(Signal::SIGHUP);
    }

    fn managed(&self, count: usize) {
        self.inheritance.board.set_managed(count as u64);
        poke(self.inheritance.board.supervisor());
    }
}
