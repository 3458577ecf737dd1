//! The connection slots of the process.
//!
//! A child of fork(2) shares the parent's connections, and using one would mix up two conversations. So each
//! process that makes a call has its own pool, found by its pid at the end of a chain; nothing blocks there, so a
//! fork in the middle of anything leaves the child able to go on. The child closes its copies of the
//! parent's sockets, so that the daemon notices the parent's death.

use std::io;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use once_cell::race::OnceBox;

use super::autostart;
use super::place;
use super::slot::{Slot, Way};
use crate::fs::store;
use crate::model::{ClientId, DmError};
use crate::sys::guest::Socket;

/// Slots that are kept for later; more than that are closed after use.
const IDLE_MAX: usize = 16;

static FIRST: OnceBox<Pool> = OnceBox::new();

/// The slots of one process.
pub(super) struct Pool {
    pid: u32,
    state: Mutex<State>,
    served: AtomicBool,
    /// The pool of a child.
    next: OnceBox<Pool>,
}

#[derive(Default)]
struct State {
    /// A stack: a thread that calls again gets the slot it had, and finds its own `Leave` done.
    idle: Vec<Slot>,
    /// All sockets that are open, also those of calls in progress.
    open: Vec<Socket>,
}

impl Pool {
    /// The pool of this process.
    pub(super) fn of_process() -> &'static Self {
        let pid = std::process::id();
        let mut pool = FIRST.get_or_init(|| Box::new(Self::new(pid)));
        // Only the end of the chain counts: an ancestor may have had our pid.
        while let Some(younger) = pool.next.get() {
            pool = younger;
        }
        if pool.pid == pid {
            return pool;
        }
        pool.abandon();
        let mut own = pool.next.get_or_init(|| Box::new(Self::new(pid)));
        while let Some(younger) = own.next.get() {
            own = younger;
        }
        own
    }

    fn new(pid: u32) -> Self {
        if let Some(dir) = place::socket_path().parent() {
            store::serve_from(&dir.join(store::STATE_LINK));
        }
        Self {
            pid,
            state: Mutex::default(),
            served: AtomicBool::new(false),
            next: OnceBox::new(),
        }
    }

    /// Closes a child's copies of the sockets of its parent.
    fn abandon(&self) {
        // A thread of the parent held the lock at the fork: the copies stay open until exec or exit.
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        for socket in std::mem::take(&mut state.open) {
            socket.close();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after each statement, so a panic elsewhere has not harmed it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot.
    pub(super) fn take(&self) -> Result<Slot, DmError> {
        if let Some(slot) = self.state().idle.pop() {
            return Ok(slot);
        }
        let mut bytes = [0; 8];
        crate::sys::random::fill(&mut bytes)?;
        Ok(Slot::new(ClientId(u64::from_ne_bytes(bytes))))
    }

    /// Gives a slot back.
    pub(super) fn put(&self, mut slot: Slot) {
        if self.is_forked() {
            return; // A child in the middle of the parent's call: the lock may be held for ever.
        }
        let mut state = self.state();
        if state.idle.len() < IDLE_MAX {
            state.idle.push(slot);
            return;
        }
        drop(state);
        slot.unlink(self);
    }
}

impl Way for Pool {
    fn connect(&self) -> io::Result<Socket> {
        let path = place::socket_path();
        let socket = Socket::connect(&path).or_else(|error| {
            if !autostart::is_asked() {
                return Err(error);
            }
            autostart::connect()
        })?;
        self.state().open.push(socket);
        Ok(socket)
    }

    fn close(&self, socket: Socket) {
        // Out of the list first: closed, the number may be another thread's at once.
        self.state().open.retain(|open| *open != socket);
        socket.close();
    }

    fn patience_ms(&self, known: bool) -> u64 {
        let known = known || self.served.load(Ordering::Relaxed) || autostart::is_asked();
        match place::wait_ms_asked() {
            Some(asked_ms) => asked_ms,
            None if known => place::wait_ms(),
            // Nobody has ever answered this process: it is better told at once.
            None => 0,
        }
    }

    fn served(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    fn is_forked(&self) -> bool {
        self.pid != std::process::id()
    }
}
