//! The threads of a mount, and their end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::sys::signal::Interruptible;

/// A thread may be told just before it goes to sleep in read(2): it is told again.
const TELL_AGAIN: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug)]
pub struct Threads {
    all: Mutex<Vec<(JoinHandle<()>, Receiver<Interruptible>)>>,
    stopping: AtomicBool,
    /// Dropped at the end: who waits at the other side goes on.
    end: Mutex<Option<Sender<()>>>,
    ended: Receiver<()>,
}

impl Default for Threads {
    fn default() -> Self {
        let (end, ended) = bounded(0);
        Self {
            all: Mutex::default(),
            stopping: AtomicBool::new(false),
            end: Mutex::new(Some(end)),
            ended,
        }
    }
}

impl Threads {
    /// Starts one.
    pub fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) {
        let (tell, told) = bounded(1);
        let made = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // The receiver is there, or nobody wants to interrupt.
                let _ = tell.send(Interruptible::this_thread());
                run();
            });
        match made {
            Ok(thread) => self.lock().push((thread, told)),
            Err(error) => {
                tracing::error!(%error, name, "a thread of the event source cannot start");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(JoinHandle<()>, Receiver<Interruptible>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must they end?
    pub fn are_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Becomes ready when they must end.
    pub fn end(&self) -> &Receiver<()> {
        &self.ended
    }

    /// Ends them. With `wait` they are through when this returns, except for the calling one.
    pub fn stop(&self, wait: bool) {
        self.stopping.store(true, Ordering::Release);
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let threads = std::mem::take(&mut *self.lock());
        let finish = move || {
            for (thread, told) in threads {
                finish(thread, &told);
            }
        };
        if wait {
            return finish();
        }
        if let Err(error) = std::thread::Builder::new()
            .name("fuse-end".into())
            .spawn(finish)
        {
            tracing::error!(%error, "threads of a FUSE mount that is gone stay");
        }
    }
}

fn finish(thread: JoinHandle<()>, told: &Receiver<Interruptible>) {
    if thread.thread().id() == std::thread::current().id() {
        return;
    }
    let Ok(id) = told.recv() else { return };
    while !thread.is_finished() {
        id.interrupt();
        std::thread::sleep(TELL_AGAIN);
    }
    // A thread that panicked has told it.
    let _ = thread.join();
}
