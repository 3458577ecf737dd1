//! `dmctl mount --source fuse`: a directory of a mounted file system is shown through a FUSE mount, which the
//! daemon serves.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::mount::{self, Managed, Options};
use super::{mount_table, umount};
use crate::client::{self, MountFuseArgs};
use crate::model::{DmError, FuseMount, FuseOptions};
use crate::sys::fusemount;

/// `data=cached`, `shared`. Other options are those of the file system behind, which is mounted already.
fn chosen(options: &Options) -> Result<FuseOptions, String> {
    let (mut is_cached, mut chosen) = (false, FuseOptions::default());
    for (name, value) in &options.own {
        match (name.as_str(), value.as_deref()) {
            ("ro", None) => {}
            ("shared", None) => chosen = chosen.with(FuseOptions::SHARED),
            ("data", Some("cached")) => is_cached = true,
            ("data", Some("passthrough")) => is_cached = false,
            ("data", _) => return Err("option data: use data=cached or data=passthrough".into()),
            (name, _) => {
                return Err(format!(
                    "option {name}: not known to the FUSE source; options of the file system belong to its own mount"
                ));
            }
        }
    }
    Ok(match is_cached {
        true => chosen.with(FuseOptions::CACHED),
        false => chosen,
    })
}

fn explained(error: &io::Error) -> String {
    let next = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "the kernel has no FUSE yet: modprobe fuse"
        }
        Some(libc::EPERM) => {
            "mounting needs CAP_SYS_ADMIN; an ordinary user has it in a namespace of its own, together with the \
             daemon (unshare -Urm)"
        }
        Some(libc::EACCES) => "this user may not open /dev/fuse: its mode is usually 0666",
        _ => "see dmesg(1)",
    };
    format!("{error}; {next}")
}

/// `path` is where it is mounted.
pub(super) fn mount(backing: &Path, path: &Path, options: &Options) -> Result<Managed, String> {
    let chosen = chosen(options)?;
    let backing = backing
        .canonicalize()
        .map_err(|error| format!("directory {}: {error}", backing.display()))?;
    let shown = backing.display();
    if !backing.is_dir() {
        return Err(format!(
            "{shown}: is no directory; the FUSE source shows a directory of a file system that is mounted already"
        ));
    }
    let shares = chosen.has(FuseOptions::SHARED);
    settle_before(path);
    let dir = File::open(&backing).map_err(|error| format!("directory {shown}: {error}"))?;
    let fuse = FuseMount {
        options: chosen,
        attributes: options.attributes,
    };
    let made = fusemount::make(&backing, fuse.attributes)
        .map_err(|error| format!("mounting FUSE for {shown}: {}", explained(&error)))?;
    let arguments = MountFuseArgs {
        path: path.as_os_str().as_bytes(),
        backing: backing.as_os_str().as_bytes(),
        device: made.device,
        fuse,
    };
    let fs = client::mount_fuse(&arguments, dir.as_fd(), made.channel.as_fd()).map_err(|error| {
        match error {
            DmError::Exists => format!("{shown}: {}", refused(shares)),
            DmError::Busy => format!(
                "{shown}: a handler of MOUNT or PREUNMOUNT of this file system has not answered, or its unmount is not \
                 over; see `dmctl events`, and try again"
            ),
            DmError::NotSupported => format!(
                "{shown}: refused ({error}): its file system has no handles that last, or, where the kernel finds objects \
                 by name only, another mount of it shows another directory (see docs/kernel-features.md)"
            ),
            error => format!("{shown}: refused by dmapid or by a handler of MOUNT: {error}"),
        }
    })?;
    // Nothing but the mount itself may keep its connection.
    drop(made.channel);
    mount::put(fs, made.mount, &backing, path)
}

/// Why a file system that is managed gets no further mount.
fn refused(shares: bool) -> &'static str {
    match shares {
        true => {
            "a directory of this file system is managed already, by a mount that is not shared or on the same mount \
             point; several mounts need --source fuse -o shared on each, the first one included; see `dmctl status`"
        }
        false => {
            "a directory of this file system is managed already; for several mounts of it use --source fuse \
             -o shared on each, the first one included; see `dmctl status`"
        }
    }
}

/// Where a mount was that the daemon does not know to be gone yet, there will soon be none.
fn settle_before(path: &Path) {
    let seen = mount_table::mounted_on(path);
    if seen.is_ok_and(|seen| seen.is_none_or(|seen| seen.kind != fusemount::KIND)) {
        umount::settle(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_file_system_behind_are_refused() {
        let chosen = |text: &str| chosen(&Options::parse(text));
        let (cached, shared) = (FuseOptions::CACHED, FuseOptions::SHARED);
        assert_eq!(chosen("ro,nosuid,source=fuse"), Ok(FuseOptions::default()));
        assert_eq!(chosen("data=cached,dmapi"), Ok(cached));
        assert_eq!(chosen("shared,data=cached"), Ok(cached.with(shared)));
        assert!(chosen("data=ordered").is_err());
        let said = chosen("logbsize=64k").expect_err("it is of xfs");
        assert!(said.contains("logbsize"), "{said}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = io::Error::from_raw_os_error(libc::ENODEV);
        assert!(explained(&missing).contains("modprobe fuse"));
    }
}
