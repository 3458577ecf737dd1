//! Tells the kernel that what it has of an object is old.
//!
//! Attributes go at once. Pages wait for requests that are held, so they have threads of their own, one for
//! each object at most, for which nobody waits unless he holds nothing that such a request needs.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::{Receiver, bounded};

use super::wire::Notice;
use crate::source::arena::{Arena, Role};
use crate::sys::fuse;
use crate::sys::life;
use crate::sys::process;

/// See the module.
#[derive(Debug)]
pub struct Invalidator {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    channel: OwnedFd,
    /// Ends with the last who could answer the requests that a notice waits for.
    life: Option<OwnedFd>,
    /// Objects whose pages are on their way out; `true`: once more after that.
    busy: Mutex<HashMap<u64, bool>>,
}

impl Shared {
    fn pages(&self, node: u64) {
        let notice = Notice::inval_inode(node, 0, 0);
        // A thread of ours that waits for a held READ could not be killed: the worker would never be gone.
        let life = self.life.as_ref().map(|life| life.as_fd());
        let told = fuse::notify_apart(self.channel.as_fd(), notice.code, &notice.body, life);
        if let Err(error) = told {
            tracing::error!(%error, node, "the kernel keeps old pages");
        }
    }

    fn wants_more(&self, node: u64) -> bool {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        match busy.get_mut(&node) {
            Some(again @ true) => {
                *again = false;
                true
            }
            _ => {
                busy.remove(&node);
                false
            }
        }
    }
}

fn send(channel: BorrowedFd<'_>, notice: &Notice) -> io::Result<bool> {
    fuse::notify(channel, notice.code, &[&notice.body])
}

impl Invalidator {
    /// For the mount behind a channel.
    pub fn new(channel: BorrowedFd<'_>, arena: &Arena) -> io::Result<Self> {
        let life = arena.kept_fd(Role::LIFE);
        let life = life.and_then(|life| {
            let watch = process::with_borrowed(life, life::watch);
            let tell = |error| tracing::warn!(%error, "notices go unwatched");
            watch.map_err(tell).ok()
        });
        let shared = Shared {
            channel: channel.try_clone_to_owned()?,
            life,
            busy: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The attributes are old. Waits for nothing.
    pub fn attributes(&self, node: u64) {
        if let Err(error) = send(self.shared.channel.as_fd(), &Notice::inval_attributes(node)) {
            tracing::error!(%error, node, "the kernel keeps old attributes");
        }
    }

    /// Attributes and pages are old; dirty pages are written back first. Waits for requests of its pages, so a thread
    /// of its own does it. What is returned is ready when it is done.
    pub fn pages_apart(&self, node: u64) -> io::Result<Receiver<()>> {
        let (tell, told) = bounded(1);
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name("fuse-pages".into())
            .spawn(move || {
                shared.pages(node);
                // Who asked may have gone on.
                let _ = tell.send(());
            })?;
        Ok(told)
    }

    /// The same for many objects, one after the other, in one thread for which nobody waits.
    pub fn pages_of_all_later(&self, nodes: Vec<u64>) {
        let shared = Arc::clone(&self.shared);
        let made = std::thread::Builder::new()
            .name("fuse-pages".into())
            .spawn(move || nodes.into_iter().for_each(|node| shared.pages(node)));
        if let Err(error) = made {
            tracing::error!(%error, "no thread to drop old pages of files");
        }
    }

    /// Attributes and pages are old; they go some time later, and nobody waits.
    pub fn pages_later(&self, node: u64) {
        {
            let mut busy = self
                .shared
                .busy
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(again) = busy.get_mut(&node) {
                *again = true;
                return;
            }
            busy.insert(node, false);
        }
        let shared = Arc::clone(&self.shared);
        let made = std::thread::Builder::new()
            .name("fuse-pages".into())
            .spawn(move || {
                loop {
                    shared.pages(node);
                    if !shared.wants_more(node) {
                        return;
                    }
                }
            });
        if let Err(error) = made {
            tracing::error!(%error, node, "no thread to drop old pages of a file");
            let mut busy = self
                .shared
                .busy
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            busy.remove(&node);
        }
    }
}
