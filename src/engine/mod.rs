//! The one writer: joins model, journal and event source, and answers the requests of all clients.
//!
//! One mutex holds the model, the journal's writer and what lives only as long as this worker: who waits,
//! which messages are on their way to whom, which rights calls hold. A change is planned by the model,
//! appended to the journal, applied; its effects go out after the mutex is free. Nothing in the mutex ever
//! waits for a client or a user; only a checkpoint waits for the disk there.

mod call_rights;
mod connections;
mod core;
mod events;
mod files;
mod fuse;
mod getters;
mod housekeeping;
mod inherit;
mod inspect;
mod mounts;
mod outbox;
mod requests;
mod rights;
mod sink;
mod start;
mod status;
mod views;

use std::collections::HashSet;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use self::core::{Core, Waiting};
use self::outbox::Outbox;
use crate::journal::{JournalError, Lsn, Start, Syncer};
use crate::model::ids::{ClientId, RequestId};
use crate::model::{DmError, FsId};
use crate::proto::{Back, Reply, Request};
use crate::source::EventSource;
use crate::sys::process;

/// One connection of a client, for the life of this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

/// The way to a client. Neither function ever waits.
pub trait Outlet: Send + Sync {
    /// Sends a packet. If the client does not take it, the connection ends.
    fn send(&self, back: &Back, fd: Option<BorrowedFd<'_>>);
    /// Ends the connection; [`Engine::closed`] follows.
    fn close(&self);
}

/// The daemon around the engine.
pub trait Host: Send + Sync {
    /// (supervisor, generation of this worker, open connections).
    fn describe(&self) -> (u32, u64, u64);
    /// May the daemon end? Not while file systems are served, unless `force`.
    fn may_stop(&self, force: bool) -> bool;
    /// Ends the daemon.
    fn stop(&self);
    /// Replaces the program by the installed one.
    fn upgrade(&self);
    /// So many file systems are served now, and their descriptors are in the arena.
    fn managed(&self, count: usize);
}

/// Where the engine keeps what.
#[derive(Clone, Debug)]
pub struct Config {
    /// The state directory.
    pub state: PathBuf,
    /// The node's name.
    pub node: String,
    /// The control page.
    pub control: PathBuf,
    /// Is this the first worker of its daemon?
    pub start: Start,
}

/// See the module.
pub struct Engine {
    me: Weak<Self>,
    config: Config,
    core: Mutex<Core>,
    syncer: Arc<Syncer>,
    source: Arc<dyn EventSource>,
    host: Arc<dyn Host>,
    /// There may be room for events again.
    room: Condvar,
    journal_path: String,
    started_ms: u64,
}

/// What a request comes to.
pub(crate) enum Outcome {
    /// Answered now; with a descriptor for `Entered`.
    Done(Result<Reply, DmError>, Option<OwnedFd>),
    /// Answered when this record is durable.
    Durable(Result<Reply, DmError>, Lsn),
    /// It waits; somebody answers later.
    Parked,
}

impl From<Result<Reply, DmError>> for Outcome {
    fn from(outcome: Result<Reply, DmError>) -> Self {
        Self::Done(outcome, None)
    }
}

impl From<DmError> for Outcome {
    fn from(error: DmError) -> Self {
        Self::Done(Err(error), None)
    }
}

/// A request with what belongs to it.
#[derive(Debug)]
pub(crate) struct Asked {
    conn: ConnId,
    id: RequestId,
    again: bool,
    request: Request,
    fds: Vec<OwnedFd>,
    /// The right that it needs is held already.
    granted: bool,
}

impl Engine {
    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic ends the worker, so nobody is left to see a poisoned mutex.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works in the mutex, then sends what came of it.
    fn with<T>(&self, work: impl FnOnce(&mut Core, &mut Outbox) -> T) -> T {
        let mut out = Outbox::default();
        let value = work(&mut self.lock(), &mut out);
        self.send_out(out);
        value
    }

    /// A client connected.
    pub fn connect(&self, client: ClientId, pid: u32, outlet: Arc<dyn Outlet>) -> ConnId {
        self.with(|core, out| core.connect(client, pid, outlet, out))
    }

    /// A connection ended: what it waited for is forgotten, what it had reserved or held is given back.
    pub fn closed(&self, conn: ConnId) {
        self.with(|core, out| core.closed(conn, out));
    }

    /// `Call::Leave`: what `Enter` or `GetEvents` began on this connection ends.
    pub fn leave(&self, conn: ConnId) {
        self.with(|core, out| core.leave(conn, out));
    }

    /// `Call::GiveUp`: the request is answered `Interrupted`, if it still waits.
    pub fn give_up(&self, conn: ConnId, number: u64) {
        let waiting = self.with(|core, out| core.give_up(conn, number, out));
        if let Some((id, Waiting::Mount { fs, .. })) = waiting {
            self.cancel_mount(id, fs);
        }
    }

    /// Carries out a request of a connection, on the thread of the caller; the reply goes to the outlet.
    pub fn call(
        &self,
        conn: ConnId,
        id: RequestId,
        again: bool,
        request: Request,
        fds: Vec<OwnedFd>,
    ) {
        let may = self.with(|core, out| {
            let may = core.begin(conn);
            if !may {
                tracing::warn!("a connection asked while it had a request; closed");
                core.refuse(conn, out);
            }
            may
        });
        if !may {
            return;
        }
        self.carry_out(Asked {
            conn,
            id,
            again,
            request,
            fds,
            granted: false,
        });
    }

    fn carry_out(&self, asked: Asked) {
        let (conn, number) = (asked.conn, asked.id.number);
        let outcome = match self.repeated(&asked) {
            Some(outcome) => outcome,
            None => self.dispatch(asked),
        };
        match outcome {
            Outcome::Done(outcome, fd) => self.reply(conn, number, outcome, fd),
            Outcome::Durable(outcome, lsn) => {
                self.sync(lsn);
                self.reply(conn, number, outcome, None);
            }
            // Its connection may have ended while it was being parked.
            Outcome::Parked => self.with(|core, out| core.forget_ended(conn, out)),
        }
    }

    fn reply(
        &self,
        conn: ConnId,
        number: u64,
        outcome: Result<Reply, DmError>,
        fd: Option<OwnedFd>,
    ) {
        use std::os::fd::AsFd;
        let outlet = self.with(|core, out| core.finished(conn, &outcome, out));
        if let Some(outlet) = outlet {
            let back = Back::Done { number, outcome };
            outlet.send(&back, fd.as_ref().map(AsFd::as_fd));
        }
    }

    fn sync(&self, lsn: Lsn) {
        if let Err(error) = self.syncer.sync_to(lsn) {
            fatal(&error);
        }
    }

    /// The source, for tests.
    pub fn source(&self) -> &Arc<dyn EventSource> {
        &self.source
    }

    fn managed_changed(&self) {
        let mounts = self.source.mounts();
        let served: HashSet<FsId> = mounts.iter().map(|mount| mount.fs).collect();
        self.host.managed(served.len());
    }
}

/// The journal cannot be trusted any more: the next worker recovers what is durable.
fn fatal(error: &JournalError) -> ! {
    tracing::error!(%error, "the journal failed; this worker ends");
    process::die(EXIT_JOURNAL)
}

/// Exit code of a worker whose journal failed.
const EXIT_JOURNAL: i32 = 74;
