//! The descriptors that must stay open.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use super::{Arena, INBOXES, KEPT, KEPT_MAX, KEPT_WORDS};

/// Being written: its writer died if a new worker sees it.
const ROLE_BUSY: u64 = u64::MAX;

/// What a kept descriptor is for. The daemon may add its own from `OTHERS` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Role(pub u32);

#[allow(missing_docs)]
impl Role {
    /// The arena itself.
    pub const ARENA: Self = Self(1);
    /// fanotify group of the permission events.
    pub const GROUP: Self = Self(2);
    /// fanotify group of the notifications.
    pub const NOTIFICATIONS: Self = Self(3);
    /// The tree of a private mount; key: file system.
    pub const PRIVATE_TREE: Self = Self(5);
    /// The root directory on a private mount; key: file system.
    pub const PRIVATE_ROOT: Self = Self(6);
    /// `/dev/fuse` of a file system; key: file system.
    pub const FUSE: Self = Self(7);
    /// The table of a FUSE mount; key: file system.
    pub const FUSE_TABLE: Self = Self(9);
    /// The tree of the private mount behind a FUSE mount; key: file system.
    pub const FUSE_TREE: Self = Self(10);
    /// The backing directory on that private mount; key: file system, more: `st_dev` of the FUSE mount.
    pub const FUSE_ROOT: Self = Self(11);
    /// The writing end of a pipe (`sys::life`): it is kept wherever the others are.
    pub const LIFE: Self = Self(12);
    /// The listening control socket.
    pub const LISTENER: Self = Self(8);
    /// From here on the daemon's own.
    pub const OTHERS: Self = Self(64);
}

/// One descriptor that must stay open from worker to worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What for.
    pub role: Role,
    /// Its number.
    pub fd: RawFd,
    /// Which one of that role (a file system id, or 0).
    pub key: u64,
    /// A second word for the owner of the role.
    pub more: u64,
}

impl Arena {
    fn kept_word(index: usize) -> usize {
        KEPT + index * KEPT_WORDS
    }

    /// Enters a descriptor in the kept list: the supervisor leaves it open when a worker dies.
    pub fn keep(&self, kept: Kept) -> io::Result<()> {
        for index in 0..KEPT_MAX {
            let word = Self::kept_word(index);
            let free = self.memory.word(word).compare_exchange(
                0,
                ROLE_BUSY,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if free.is_ok() {
                self.memory.set(word + 1, kept.fd as u64);
                self.memory.set(word + 2, kept.key);
                self.memory.set(word + 3, kept.more);
                self.memory.set(word, u64::from(kept.role.0));
                return Ok(());
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENFILE))
    }

    /// Changes the second word of a kept descriptor.
    pub fn set_more(&self, fd: RawFd, more: u64) {
        for index in 0..KEPT_MAX {
            let word = Self::kept_word(index);
            let role = self.memory.get(word);
            if role != 0 && role != ROLE_BUSY && self.memory.get(word + 1) as RawFd == fd {
                self.memory.set(word + 3, more);
            }
        }
    }

    /// Takes a descriptor out of the list. To be done before it is closed.
    pub fn unkeep(&self, fd: RawFd) {
        for index in 0..KEPT_MAX {
            let word = Self::kept_word(index);
            let role = self.memory.get(word);
            if role != 0 && role != ROLE_BUSY && self.memory.get(word + 1) as RawFd == fd {
                self.memory.set(word, 0);
            }
        }
    }

    /// The kept list. Entries whose writer died half way are not in it.
    pub fn kept(&self) -> Vec<Kept> {
        (0..KEPT_MAX)
            .filter_map(|index| {
                let word = Self::kept_word(index);
                let role = self.memory.get(word);
                (role != 0 && role != ROLE_BUSY).then(|| Kept {
                    role: Role(role as u32),
                    fd: self.memory.get(word + 1) as RawFd,
                    key: self.memory.get(word + 2),
                    more: self.memory.get(word + 3),
                })
            })
            .collect()
    }

    /// The first kept descriptor of a role.
    pub fn kept_fd(&self, role: Role) -> Option<RawFd> {
        self.kept()
            .iter()
            .find(|kept| kept.role == role)
            .map(|kept| kept.fd)
    }

    /// Forgets all kept descriptors: for a process that has none of them (systemd gave it copies).
    pub fn forget_kept(&self) {
        for index in 0..KEPT_MAX {
            self.memory.set(Self::kept_word(index), 0);
        }
    }

    /// Every descriptor that must stay open when a worker died: the kept list and the descriptors of
    /// unanswered events. To be called while no worker runs.
    pub fn must_stay_open(&self) -> Vec<RawFd> {
        let mut numbers: Vec<RawFd> = self.kept().iter().map(|kept| kept.fd).collect();
        numbers.extend(self.event_numbers());
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// The numbers of the descriptors of all unanswered events, sorted.
    pub fn event_numbers(&self) -> Vec<RawFd> {
        let in_slots = self.occupied().map(|slot| slot.event.fd);
        let in_inboxes = (0..INBOXES).flat_map(|inbox| self.inbox(inbox));
        let mut numbers: Vec<RawFd> = in_slots
            .chain(in_inboxes.map(|event| event.fd))
            .filter(|fd| *fd >= 0)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}
