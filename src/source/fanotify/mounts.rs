//! File systems: taking them up, letting them go, noticing that they were unmounted.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::lists::MARKS_CLEARED;
use super::{Fanotify, Scope, Served};
use crate::fs::{FsError, FsKind, Mount, identify};
use crate::model::DmError;
use crate::model::handle::FsId;
use crate::source::arena::{Kept, Role};
use crate::sys::fanotify::{
    self, FAN_CLOSE_NOWRITE, FAN_CLOSE_WRITE, FAN_ONDIR, FAN_OPEN_PERM, FAN_PRE_ACCESS,
};
use crate::sys::{mount, process};

const GUARDED: u64 = FAN_PRE_ACCESS | FAN_OPEN_PERM;

/// The error of a call that the source cannot do without; the log says what to do about it.
pub fn explained(call: &'static str, error: &io::Error) -> DmError {
    match error.raw_os_error() {
        Some(libc::EPERM) => tracing::error!(
            %error,
            "{call} was refused: dmapid needs CAP_SYS_ADMIN in the initial user namespace; run it as root"
        ),
        Some(libc::EINVAL | libc::ENOSYS) => tracing::error!(
            %error,
            "{call} is not known to this kernel: the fanotify source needs Linux 6.14 or newer \
             with CONFIG_FANOTIFY_ACCESS_PERMISSIONS"
        ),
        Some(libc::EOPNOTSUPP | libc::ENODEV | libc::EXDEV) => tracing::error!(
            %error,
            "{call}: the kernel makes no pre-content events for this file system; xfs, ext4 and btrfs \
             have them, others need the FUSE source (dmctl mount --source fuse)"
        ),
        _ => tracing::error!(%error, "{call} failed"),
    }
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::ENODEV | libc::EXDEV) => DmError::NotSupported,
        Some(errno) => DmError::from_errno(errno),
        None => DmError::Io,
    }
}

impl Fanotify {
    pub(super) fn attach_mount(&self, mount_fd: OwnedFd) -> Result<Arc<Mount>, DmError> {
        let dir = mount::root_of(mount_fd.as_fd())?;
        let identity = identify::identify_for_fanotify(dir.as_fd()).map_err(|error| {
            tracing::error!(%error, "the file system cannot be served");
            DmError::from(error)
        })?;
        let served = self.served(identity.fs);
        if let Some(other) = &served
            && other.mount.device != identity.device
        {
            let error = FsError::SameId;
            tracing::error!(%error, "the file system cannot be served");
            return Err(error.into());
        }
        self.watch(&dir)?;
        if let Some(served) = served {
            look_for_users(&served);
            return Ok(Arc::clone(&served.mount));
        }
        let tree = mount::private_copy(dir.as_fd())
            .map_err(|error| explained("open_tree(OPEN_TREE_CLONE)", &error))?;
        mount::set_private_flags(tree.as_fd())
            .map_err(|error| explained("mount_setattr", &error))?;
        let root = mount::root_of(tree.as_fd())?;
        let has_notes = self.ignore_own(&root)?;
        let (tree_fd, root_fd) = (tree.as_raw_fd(), root.as_raw_fd());
        let served = Arc::new(new_served(tree, root, has_notes, device_of_mount(&dir))?);
        let mount = Arc::clone(&served.mount);
        look_for_users(&served);
        let kept = [
            // `more`: see `lists::MARKS_CLEARED`.
            (Role::PRIVATE_TREE, tree_fd, 0),
            (
                Role::PRIVATE_ROOT,
                root_fd,
                served.whole_device.load(Ordering::Acquire),
            ),
        ];
        for (role, fd, more) in kept {
            let key = mount.fs.0;
            let entered = self.arena.keep(Kept {
                role,
                fd,
                key,
                more,
            });
            if let Err(error) = entered {
                tracing::error!(%error, "too many file systems are served: no room for another one");
                kept.iter().for_each(|(_, fd, _)| self.arena.unkeep(*fd));
                return Err(error.into());
            }
        }
        self.serve(served);
        // What new objects inherit is known from an earlier mount.
        self.renew_list(mount.fs);
        self.release_orphans();
        Ok(mount)
    }

    /// From here on each access of a user makes an event. Descriptors opened before never do.
    fn watch(&self, dir: &OwnedFd) -> Result<(), DmError> {
        match self.config.scope {
            Scope::Filesystem => fanotify::watch_filesystem(self.group(), dir.as_fd(), GUARDED)
                .map_err(|error| explained("fanotify_mark(FAN_MARK_FILESYSTEM)", &error)),
            Scope::Mount => fanotify::watch_mount(self.group(), dir.as_fd(), GUARDED)
                .map_err(|error| explained("fanotify_mark(FAN_MARK_MOUNT)", &error)),
        }
    }

    /// Our own I/O on the private mount makes no events. `false`: there are no notifications here.
    fn ignore_own(&self, root: &OwnedFd) -> Result<bool, DmError> {
        if self.config.scope == Scope::Filesystem {
            fanotify::ignore_mount(self.group(), root.as_fd(), GUARDED)
                .map_err(|error| explained("fanotify_mark(FAN_MARK_IGNORE)", &error))?;
        }
        let closes = FAN_CLOSE_WRITE | FAN_CLOSE_NOWRITE | FAN_ONDIR;
        match fanotify::ignore_mount(self.notifications.as_fd(), root.as_fd(), closes) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
                tracing::warn!(
                    "a btrfs subvolume other than the top one: data events are complete, but the kernel \
                     tells nothing of names, attributes, closes and removed objects in it"
                );
                Ok(false)
            }
            Err(error) => Err(explained("fanotify_mark(FAN_MARK_IGNORE)", &error)),
        }
    }

    fn serve(&self, served: Arc<Served>) {
        self.take_object_lists(&served);
        self.served
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(served);
    }

    pub(super) fn detach_mount(&self, fs: FsId) {
        let Some(served) = self.served(fs) else {
            return;
        };
        self.served
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|one| one.mount.fs != fs);
        self.unwatch_notes(&served);
        // The mark of the permission events stays: while somebody still reaches a stub (another mount
        // namespace), it must not be read as zeros. It goes with the file system itself.
        for fd in [served.tree.as_raw_fd(), served.mount.root.as_raw_fd()] {
            self.arena.unkeep(fd);
        }
    }

    /// The private mounts that an earlier worker left.
    pub(super) fn take_up_mounts(&self) {
        let kept = self.arena.kept();
        let roots = kept.iter().filter(|one| one.role == Role::PRIVATE_ROOT);
        for root in roots {
            let kept_tree = kept
                .iter()
                .find(|one| one.role == Role::PRIVATE_TREE && one.key == root.key);
            let marks_cleared = kept_tree.is_some_and(|tree| tree.more == MARKS_CLEARED);
            let tree = kept_tree.and_then(|tree| process::take_inherited(tree.fd));
            let opened = process::take_inherited(root.fd);
            let (Some(tree), Some(opened)) = (tree, opened) else {
                self.arena.unkeep(root.fd);
                continue;
            };
            let has_notes = self.ignore_own(&opened).unwrap_or(false);
            match new_served(tree, opened, has_notes, root.more) {
                Ok(served) => {
                    served.marks_cleared.store(marks_cleared, Ordering::Release);
                    look_for_users(&served);
                    self.serve(Arc::new(served));
                }
                Err(error) => {
                    self.arena.unkeep(root.fd);
                    tracing::error!(%error, fs = root.key, "a private mount of the last worker is lost");
                }
            }
        }
    }

    /// Mounts have changed: file systems that users could reach and no longer can were unmounted.
    pub(super) fn look_for_unmounted(&self) {
        for served in self.all_served() {
            if !look_for_users(&served) && served.was_visible.load(Ordering::Acquire) {
                let fs = served.mount.fs;
                tracing::info!(?fs, "the last mount of a file system is gone");
                self.detach_mount(fs);
                drop(served);
                if let Some(sink) = self.sink() {
                    sink.unmounted(fs);
                }
            }
        }
    }
}

fn new_served(
    tree: OwnedFd,
    root: OwnedFd,
    has_notes: bool,
    whole_device: u64,
) -> Result<Served, DmError> {
    let kernel_fsid = mount::kernel_fsid(root.as_fd())?;
    let mount = Mount::new(root).map_err(|error| {
        tracing::error!(%error, "the file system cannot be served");
        DmError::from(error)
    })?;
    Ok(Served {
        mount: Arc::new(mount),
        tree,
        whole_device: AtomicU64::new(whole_device),
        kernel_fsid,
        has_notes,
        was_visible: AtomicBool::new(false),
        object_lists: AtomicU64::new(0),
        list: AtomicU64::new(0),
        inherits: AtomicBool::new(false),
        marks_cleared: AtomicBool::new(false),
        renewing: Mutex::new(()),
        watched: Mutex::new(0),
    })
}

/// Notes and tells whether users can reach it: is it mounted somewhere in this mount namespace? When in
/// doubt, yes.
fn look_for_users(served: &Served) -> bool {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else {
        return true;
    };
    let mount = &served.mount;
    let whole = served.whole_device.load(Ordering::Acquire);
    let found = table
        .lines()
        .filter_map(parse)
        .filter(|line| line.kind == mount.kind.name())
        .find(|line| {
            line.device == mount.device
                || line.device == whole
                || mount.kind == FsKind::Btrfs
                    && whole == 0
                    && fs::metadata(&line.path).map_or(true, |stat| stat.dev() == mount.device)
        });
    if let Some(line) = &found {
        served.whole_device.store(line.device, Ordering::Release);
        served.was_visible.store(true, Ordering::Release);
    }
    found.is_some()
}

/// The device that mountinfo tells of the mount of a directory; 0: the mount is not there (yet).
fn device_of_mount(dir: &OwnedFd) -> u64 {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", dir.as_raw_fd()));
    let about = about.unwrap_or_default();
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let (Some(id), Ok(table)) = (id, fs::read_to_string("/proc/self/mountinfo")) else {
        return 0;
    };
    table
        .lines()
        .find(|line| line.split(' ').next() == Some(id.trim()))
        .and_then(parse)
        .map_or(0, |line| line.device)
}

/// A mount of `/proc/self/mountinfo`.
pub struct Line {
    /// As of stat(2).
    pub device: u64,
    /// Kind of file system.
    pub kind: String,
    /// Mount point.
    pub path: std::path::PathBuf,
}

/// Reads a line of `/proc/self/mountinfo`.
pub fn parse(line: &str) -> Option<Line> {
    let (before, after) = line.split_once(" - ")?;
    let mut words = before.split(' ');
    let (major, minor) = words.nth(2)?.split_once(':')?;
    let path = words.nth(1)?;
    Some(Line {
        device: libc::makedev(major.parse().ok()?, minor.parse().ok()?),
        kind: after.split(' ').next()?.to_owned(),
        path: unescape(path),
    })
}

/// Spaces, tabs, newlines and backslashes come as `\ooo`.
fn unescape(path: &str) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_understood() {
        let line =
            "36 35 98:0 /a /mnt\\040two rw,noatime master:1 - ext4 /dev/root rw,errors=continue";
        let found = parse(line).expect("a line");
        assert_eq!(found.device, libc::makedev(98, 0));
        assert_eq!(found.kind, "ext4");
        assert_eq!(found.path, std::path::Path::new("/mnt two"));
    }

    #[test]
    fn errors_of_the_kernel_become_errors_of_calls() {
        let of = |errno| explained("a call", &io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::EPERM), DmError::NotPermitted);
        assert_eq!(of(libc::EOPNOTSUPP), DmError::NotSupported);
        assert_eq!(of(libc::EINVAL), DmError::NotSupported);
        assert_eq!(of(libc::ENOSPC), DmError::NoSpace);
    }
}
