//! RENAME, with all flags.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{RenameFlags, renameat2};

use super::connection::Connection;
use super::names::{Found, child};
use super::post::{Named, body};
use super::serve::{Served, Stop, Task};
use crate::model::{EventType, NamespaceBody};
use crate::sys::fuse::Caller;

/// A rename that is to be done.
pub(super) struct Rename<'a> {
    pub new_parent: u64,
    pub name: &'a CStr,
    pub new_name: &'a CStr,
    /// `RENAME_NOREPLACE` ...
    pub flags: u32,
}

/// What has the two names.
struct Sides {
    old: Option<Found>,
    new: Option<Found>,
}

impl Connection {
    pub(super) fn rename(&self, task: &mut Task<'_>, rename: &Rename<'_>) -> Served {
        let old_parent = self.node(task.request.node)?;
        let new_parent = self.node(rename.new_parent)?;
        let (old_dir, new_dir) = (self.look(&old_parent)?, self.look(&new_parent)?);
        let sides = Sides {
            old: self.found_in(old_dir.as_fd(), rename.name)?,
            new: self.found_in(new_dir.as_fd(), rename.new_name)?,
        };
        let is_done = is_done(task, &sides);
        if !is_done && task.is_first(EventType::Rename) {
            check(&sides, rename.flags)?;
        }
        let moved = match is_done {
            true => &sides.new,
            false => &sides.old,
        };
        let victim = match (is_done, rename.flags & libc::RENAME_EXCHANGE != 0) {
            (_, true) => None,
            // Whatever it was: it is in the table if it must be told of.
            (true, false) => None,
            (false, false) => sides.new.as_ref(),
        };
        let named = Named {
            before: EventType::Rename,
            after: EventType::PostRename,
            dirs: &[&old_parent, &new_parent],
            body: NamespaceBody {
                handle2: Some(new_parent.handle),
                name2: rename.new_name.to_bytes().to_vec(),
                ..body(&old_parent, rename.name)
            },
            note: moved.as_ref().map_or(0, |moved| moved.node.inode()),
        };
        self.named(task, named, |task, _| {
            if is_done {
                return Ok(());
            }
            for side in [&sides.old, &sides.new].into_iter().flatten() {
                self.changed_by_user(&side.node)?;
            }
            if let Some(victim) = victim {
                self.doom(victim);
            }
            let done = rename_as_caller(task, old_dir.as_fd(), new_dir.as_fd(), rename);
            match (victim, done) {
                (Some(victim), Ok(())) => self.has_lost_name(victim),
                (Some(victim), Err(stop)) => {
                    self.spare(&victim.node);
                    Err(stop)
                }
                (None, done) => done,
            }
        })?;
        if let Some(moved) = moved {
            self.mount.saw_name(
                new_parent.handle,
                rename.new_name.to_bytes(),
                moved.node.handle,
            );
        }
        if let Some(victim) = victim {
            self.destroy_if_unused(&victim.node);
        }
        Ok(Vec::new())
    }

    fn found_in(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<Option<Found>, Stop> {
        match child(dir, name)? {
            Some(fd) => Ok(Some(self.meet(fd)?)),
            None => Ok(None),
        }
    }
}

/// Did an earlier worker do it? Then the object that it noted has the new name, and the old one is another's.
fn is_done(task: &Task<'_>, sides: &Sides) -> bool {
    let is_it = |side: &Option<Found>| {
        side.as_ref()
            .is_some_and(|found| task.noted(found.node.inode()))
    };
    is_it(&sides.new) && !is_it(&sides.old)
}

fn check(sides: &Sides, flags: u32) -> Result<(), Stop> {
    let must_be = flags & libc::RENAME_EXCHANGE != 0;
    let must_not_be = flags & libc::RENAME_NOREPLACE != 0;
    match (&sides.old, &sides.new) {
        (None, _) => Err(Stop::Errno(libc::ENOENT)),
        (_, None) if must_be => Err(Stop::Errno(libc::ENOENT)),
        (_, Some(_)) if must_not_be => Err(Stop::Errno(libc::EEXIST)),
        _ => Ok(()),
    }
}

fn rename_as_caller(
    task: &Task<'_>,
    old_dir: BorrowedFd<'_>,
    new_dir: BorrowedFd<'_>,
    rename: &Rename<'_>,
) -> Result<(), Stop> {
    let flags = RenameFlags::from_bits(rename.flags).ok_or(Stop::Errno(libc::EINVAL))?;
    let _caller = Caller::enter_to_create(task.request.uid, task.request.gid)?;
    Ok(renameat2(
        old_dir,
        rename.name,
        new_dir,
        rename.new_name,
        flags,
    )?)
}
