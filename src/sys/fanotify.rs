//! fanotify(7): groups, marks, answers. The constants are our own, as installed headers are older than the kernel.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// A read, write, truncation or mapping is about to happen; with a range.
pub const FAN_PRE_ACCESS: u64 = 0x0010_0000;
/// An open is about to happen.
pub const FAN_OPEN_PERM: u64 = 0x0001_0000;
/// Never asked for by us: the bit that keeps an ignore mark from being empty.
pub const FAN_OPEN_EXEC: u64 = 0x0000_1000;
/// Never asked for by us, and in no mark of ours.
const FAN_ACCESS: u64 = 0x0000_0001;
/// An attribute changed.
pub const FAN_ATTRIB: u64 = 0x0000_0004;
/// A file that was open for writing was closed.
pub const FAN_CLOSE_WRITE: u64 = 0x0000_0008;
/// A file or directory that was open for reading was closed.
pub const FAN_CLOSE_NOWRITE: u64 = 0x0000_0010;
/// An entry was made.
pub const FAN_CREATE: u64 = 0x0000_0100;
/// An entry was removed.
pub const FAN_DELETE: u64 = 0x0000_0200;
/// The object itself is gone.
pub const FAN_DELETE_SELF: u64 = 0x0000_0400;
/// An entry was renamed.
pub const FAN_RENAME: u64 = 0x1000_0000;
/// The object is a directory.
pub const FAN_ONDIR: u64 = 0x4000_0000;
/// Notifications were lost.
pub const FAN_Q_OVERFLOW: u64 = 0x0000_4000;

const FAN_CLASS_PRE_CONTENT: u32 = 0x08;
const FAN_CLASS_NOTIF: u32 = 0;
const FAN_NONBLOCK: u32 = 0x02;
const FAN_UNLIMITED_QUEUE: u32 = 0x10;
const FAN_UNLIMITED_MARKS: u32 = 0x20;
const FAN_REPORT_TID: u32 = 0x100;
/// FID | DIR_FID | NAME | TARGET_FID.
const FAN_REPORT_DFID_NAME_TARGET: u32 = 0x0200 | 0x0400 | 0x0800 | 0x1000;

const FAN_MARK_ADD: u32 = 0x01;
const FAN_MARK_REMOVE: u32 = 0x02;
const FAN_MARK_MOUNT: u32 = 0x10;
const FAN_MARK_IGNORED_SURV_MODIFY: u32 = 0x40;
const FAN_MARK_FILESYSTEM: u32 = 0x100;
const FAN_MARK_EVICTABLE: u32 = 0x200;
const FAN_MARK_IGNORE: u32 = 0x400;
const FAN_MARK_IGNORE_SURV: u32 = FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY;

const FAN_ALLOW: u32 = 1;
const FAN_DENY: u32 = 2;

/// What an ignore mark of ours holds back.
const GUARDED: u64 = FAN_PRE_ACCESS | FAN_OPEN_PERM;

fn init(flags: u32, event_flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let fd = Errno::result(unsafe { libc::fanotify_init(flags, event_flags as u32) })?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The group of permission events. It and its event descriptors stay open over exec.
pub fn permission_group() -> io::Result<OwnedFd> {
    init(
        FAN_CLASS_PRE_CONTENT
            | FAN_REPORT_TID
            | FAN_UNLIMITED_QUEUE
            | FAN_UNLIMITED_MARKS
            | FAN_NONBLOCK,
        libc::O_RDONLY | libc::O_LARGEFILE | libc::O_NOATIME,
    )
}

/// The group of notifications after the fact, with parent, name and child.
pub fn notification_group() -> io::Result<OwnedFd> {
    init(
        FAN_CLASS_NOTIF
            | FAN_REPORT_DFID_NAME_TARGET
            | FAN_UNLIMITED_QUEUE
            | FAN_UNLIMITED_MARKS
            | FAN_NONBLOCK,
        libc::O_RDONLY,
    )
}

fn mark(
    group: BorrowedFd<'_>,
    flags: u32,
    mask: u64,
    dir: BorrowedFd<'_>,
    path: Option<&CStr>,
) -> io::Result<()> {
    let path = path.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the path is NULL or ends with NUL and outlives the call.
    Errno::result(unsafe {
        libc::fanotify_mark(group.as_raw_fd(), flags, mask, dir.as_raw_fd(), path)
    })?;
    Ok(())
}

/// Watches a whole file system, through a directory descriptor of any mount of it, O_PATH or not.
pub fn watch_filesystem(group: BorrowedFd<'_>, dir: BorrowedFd<'_>, mask: u64) -> io::Result<()> {
    mark(
        group,
        FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
        mask,
        dir,
        Some(c"."),
    )
}

/// Takes bits from the mark of a whole file system. It may be that it has none.
pub fn unwatch_filesystem(group: BorrowedFd<'_>, dir: BorrowedFd<'_>, mask: u64) -> io::Result<()> {
    none_is_well(mark(
        group,
        FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM,
        mask,
        dir,
        Some(c"."),
    ))
}

/// Watches one mount.
pub fn watch_mount(group: BorrowedFd<'_>, dir: BorrowedFd<'_>, mask: u64) -> io::Result<()> {
    mark(group, FAN_MARK_ADD | FAN_MARK_MOUNT, mask, dir, Some(c"."))
}

/// I/O through this mount makes none of these events, whatever else is marked.
pub fn ignore_mount(group: BorrowedFd<'_>, dir: BorrowedFd<'_>, mask: u64) -> io::Result<()> {
    mark(
        group,
        FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_IGNORE_SURV,
        mask,
        dir,
        Some(c"."),
    )
}

/// Accesses to this file make no events until [`heed_inode`] or until its inode leaves the cache. The
/// mark holds one bit more than it needs and so is never empty: deleting a mark while somebody waits
/// lets others pass without an event.
pub fn ignore_inode(group: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    mark(
        group,
        FAN_MARK_ADD | FAN_MARK_IGNORE_SURV | FAN_MARK_EVICTABLE,
        GUARDED | FAN_OPEN_EXEC,
        file,
        None,
    )
}

/// Ends [`ignore_inode`] without deleting the mark. It may be that there is none.
pub fn heed_inode(group: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    none_is_well(mark(
        group,
        FAN_MARK_REMOVE | FAN_MARK_IGNORE_SURV,
        GUARDED,
        file,
        None,
    ))
}

/// Puts a mark that hides nothing on a file that somebody may come to wait for. An access that waits holds
/// the first mark of its inode, of whatever group: the close of a user's inotify descriptor would wait
/// for the recall of the file. A mark of this group comes before those of inotify.
pub fn stand_first(group: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    mark(
        group,
        FAN_MARK_ADD | FAN_MARK_IGNORE_SURV | FAN_MARK_EVICTABLE,
        FAN_OPEN_EXEC,
        file,
        None,
    )
}

/// The file's path for a mark: also an O_PATH descriptor names it.
fn by_proc(file: BorrowedFd<'_>) -> CString {
    // The text has no NUL, so this cannot fail; an empty path would give ENOENT.
    CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default()
}

/// [`heed_inode`] by a descriptor that may be O_PATH.
pub fn heed_object(group: BorrowedFd<'_>, object: BorrowedFd<'_>) -> io::Result<()> {
    none_is_well(mark(
        group,
        FAN_MARK_REMOVE | FAN_MARK_IGNORE_SURV,
        GUARDED,
        object,
        Some(&by_proc(object)),
    ))
}

/// Was the file marked, in whatever way, since its inode came into the cache? Any descriptor will do.
pub fn is_marked(group: BorrowedFd<'_>, object: BorrowedFd<'_>) -> io::Result<bool> {
    // Takes a bit away that no mark of ours has: that succeeds where there is a mark.
    let taken = mark(
        group,
        FAN_MARK_REMOVE | FAN_MARK_IGNORE_SURV,
        FAN_ACCESS,
        object,
        Some(&by_proc(object)),
    );
    match taken {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Marks a file so that [`is_marked`] finds it until its inode leaves the cache; the mark hides nothing. Any
/// descriptor will do.
pub fn remember_inode(group: BorrowedFd<'_>, object: BorrowedFd<'_>) -> io::Result<()> {
    mark(
        group,
        FAN_MARK_ADD | FAN_MARK_IGNORE_SURV | FAN_MARK_EVICTABLE,
        FAN_OPEN_EXEC,
        object,
        Some(&by_proc(object)),
    )
}

fn none_is_well(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// What the waiting operation is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Go on.
    Allow,
    /// Fail with this errno, which must be one that [`can_deny_with`] takes.
    Deny(i32),
}

/// Does the kernel hand this errno to the waiting process?
pub fn can_deny_with(errno: i32) -> bool {
    matches!(
        errno,
        libc::EPERM
            | libc::EIO
            | libc::EBUSY
            | libc::ETXTBSY
            | libc::EAGAIN
            | libc::ENOSPC
            | libc::EDQUOT
    )
}

/// Answers an event by the number of its descriptor. ENOENT: nobody waits for that number.
pub fn respond(group: BorrowedFd<'_>, event: RawFd, response: Response) -> io::Result<()> {
    let response = match response {
        Response::Allow => FAN_ALLOW,
        Response::Deny(errno) => FAN_DENY | (errno as u32 & 0xff) << 24,
    };
    let mut bytes = [0u8; 8];
    bytes[..4].copy_from_slice(&event.to_ne_bytes());
    bytes[4..].copy_from_slice(&response.to_ne_bytes());
    nix::unistd::write(group, &bytes)?;
    Ok(())
}

/// The descriptor of an event that is not answered yet, known by its number only.
#[derive(Debug)]
pub struct EventFd(RawFd);

impl EventFd {
    /// The descriptor of that number. The caller holds the slot of the event: it names an open descriptor
    /// and nobody closes it meanwhile.
    pub fn of(number: RawFd) -> Self {
        assert!(number >= 0, "an event without a descriptor");
        Self(number)
    }

    /// Closes the number. Only once, after the answer, by who freed the slot.
    pub fn close(number: RawFd) {
        // SAFETY: the event's owner gives it up; nothing else in the process owns that number.
        unsafe { libc::close(number) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open as long as the event's slot is held, as said at `of`.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}
