//! A FUSE mount that is nowhere yet.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::{getegid, geteuid};

use super::fsmount::{Context, attribute};
use super::statx;

/// What serves a FUSE mount.
pub const CHANNEL: &str = "/dev/fuse";
/// How mountinfo names the kind of our mounts.
pub const KIND: &str = "fuse.dmapi";
const SUBTYPE: &std::ffi::CStr = c"dmapi";

/// See the module.
#[derive(Debug)]
pub struct FuseMount {
    /// Its `/dev/fuse`; nothing was read from it. Closed in every process, the mount is dead.
    pub channel: OwnedFd,
    /// The mount, to be put in its place by `fsmount::put`.
    pub mount: OwnedFd,
    /// `st_dev` of it.
    pub device: u64,
}

/// Makes a mount that shows the directory `backing`. `attributes`: as fsmount(2) takes them. The kernel
/// checks permissions by the attributes that the server tells, and lets all users in.
pub fn make(backing: &Path, attributes: u32) -> io::Result<FuseMount> {
    // Whoever inherits the channel keeps a mount alive that nobody serves: it is closed on exec.
    let channel = OpenOptions::new().read(true).write(true).open(CHANNEL)?;
    let context = Context::open(c"fuse")?;
    let text = |text: String| CString::new(text).map_err(io::Error::other);
    let source = CString::new(backing.as_os_str().as_bytes()).map_err(io::Error::other)?;
    context.set(c"source", Some(&source))?;
    context.set(c"subtype", Some(SUBTYPE))?;
    context.set(c"fd", Some(&text(channel.as_raw_fd().to_string())?))?;
    context.set(c"rootmode", Some(c"40000"))?;
    context.set(c"user_id", Some(&text(geteuid().to_string())?))?;
    context.set(c"group_id", Some(&text(getegid().to_string())?))?;
    for flag in [c"default_permissions", c"allow_other"] {
        context.set(flag, None)?;
    }
    if attributes & attribute::RDONLY != 0 {
        context.set(c"ro", None)?;
    }
    context.create()?;
    let mount = context.mount(attributes)?;
    // No request is sent for this: nobody serves the mount yet.
    let device = statx::place(mount.as_fd())?.device;
    Ok(FuseMount {
        channel: channel.into(),
        mount,
        device,
    })
}
