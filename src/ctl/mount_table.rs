//! libmount's own table beside /proc/self/mountinfo.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::mountinfo::{self, Seen, escape, unescape};
use crate::sys::process;

/// All mounts of this namespace, the latest last.
pub(super) fn mounts() -> Result<Vec<Seen>, String> {
    mountinfo::mounts().map_err(|error| format!("{}: {error}", mountinfo::PATH))
}

/// The mount on a directory, if one is.
pub(super) fn mounted_on(path: &Path) -> Result<Option<Seen>, String> {
    mountinfo::mounted_on(path).map_err(|error| format!("{}: {error}", mountinfo::PATH))
}

const UTAB: &str = "/run/mount/utab";
const UTAB_LOCK: &str = "/run/mount/utab.lock";

/// Tells umount(8) to call our helper for this mount. Without libmount's table nothing is lost but that.
pub(super) fn remember_helper(source: &str, path: &Path) {
    let line = [
        b"SRC=",
        &escape(source.as_bytes())[..],
        b" TARGET=",
        &escape(path.as_os_str().as_bytes()),
        b" ROOT=/ OPTS=uhelper=dmapi\n",
    ]
    .concat();
    change_utab(path, &line);
}

/// The mount is gone.
pub(super) fn forget_helper(path: &Path) {
    change_utab(path, b"");
}

fn change_utab(path: &Path, new: &[u8]) {
    let made = std::fs::create_dir_all("/run/mount");
    let changed = made.and_then(|()| {
        let lock = lock_utab()?;
        let old = std::fs::read(UTAB).unwrap_or_default();
        let target = [b"TARGET=", &escape(path.as_os_str().as_bytes())[..]].concat();
        let mounted = mounts().map_err(std::io::Error::other)?;
        let mut text: Vec<u8> = old
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| !is_over(line.trim_ascii_end(), &target, &mounted))
            .flatten()
            .copied()
            .collect();
        text.extend_from_slice(new);
        let temporary = format!("{UTAB}.dmctl");
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        std::fs::rename(&temporary, UTAB)?;
        drop(lock);
        Ok(())
    });
    if let Err(error) = changed {
        eprintln!("dmctl: {UTAB}: {error}; use `dmctl umount` for this mount, not umount(8)");
    }
}

/// Is it the line of this target, or one of ours that stayed when its mount went without our helper?
fn is_over(line: &[u8], target: &[u8], mounted: &[Seen]) -> bool {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if fields.contains(&target) {
        return true;
    }
    let path = fields
        .iter()
        .find_map(|field| field.strip_prefix(b"TARGET="))
        .map(unescape);
    let is_ours = fields.contains(&&b"OPTS=uhelper=dmapi"[..]);
    is_ours && path.is_some_and(|path| !mounted.iter().any(|mount| mount.path == Path::new(&path)))
}

fn lock_utab() -> std::io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(UTAB_LOCK)?;
    process::wait_for_lock(&file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mountinfo::parse;

    #[test]
    fn lines_of_mounts_that_are_gone_are_over() {
        let mounted = parse(b"36 35 98:7 / /mnt/here rw - xfs /dev/loop0 rw");
        let mounted: Vec<Seen> = mounted.into_iter().collect();
        let is_over = |line: &[u8]| is_over(line, b"TARGET=/mnt/this", &mounted);
        assert!(is_over(b"SRC=/dev/a TARGET=/mnt/this ROOT=/ OPTS=user"));
        assert!(is_over(
            b"SRC=/dev/a TARGET=/mnt/gone ROOT=/ OPTS=uhelper=dmapi"
        ));
        assert!(!is_over(
            b"SRC=/dev/a TARGET=/mnt/here ROOT=/ OPTS=uhelper=dmapi"
        ));
        assert!(!is_over(b"SRC=/dev/a TARGET=/mnt/gone ROOT=/ OPTS=user"));
    }
}
