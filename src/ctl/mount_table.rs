//! /proc/self/mountinfo, and libmount's own table beside it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::sys::process;

/// A mount that users see.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Seen {
    pub device: (u32, u32),
    pub path: PathBuf,
    pub kind: String,
    pub source: String,
    pub read_only: bool,
}

/// All mounts of this namespace, the latest last.
pub(super) fn mounts() -> Result<Vec<Seen>, String> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect())
}

/// `36 35 98:0 /root /mount ro,noatime master:1 - ext4 /dev/root rw,errors=continue`
pub fn parse(line: &[u8]) -> Option<Seen> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let path = unescape(fields.nth(1)?);
    let options = String::from_utf8_lossy(fields.next()?).into_owned();
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(after.next()?).into_owned();
    let source = unescape(after.next()?).to_string_lossy().into_owned();
    let super_options = String::from_utf8_lossy(after.next()?).into_owned();
    let read_only = [&options, &super_options]
        .iter()
        .any(|list| list.split(',').any(|option| option == "ro"));
    Some(Seen {
        device: (major.parse().ok()?, minor.parse().ok()?),
        path: PathBuf::from(path),
        kind,
        source,
        read_only,
    })
}

/// `\040` is a space.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let octal = more
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &more[3..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    OsString::from_vec(bytes)
}

fn escape(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            byte => escaped.push(*byte),
        }
    }
    escaped
}

/// The mount on a directory, if one is.
pub(super) fn mounted_on(path: &Path) -> Result<Option<Seen>, String> {
    let mut all = mounts()?;
    all.retain(|mount| mount.path == path);
    Ok(all.pop())
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

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line =
            b"36 35 98:7 / /mnt/a\\040b rw,noatime shared:1 master:2 - xfs /dev/loop0 ro,x=1";
        assert_eq!(
            parse(line),
            Some(Seen {
                device: (98, 7),
                path: "/mnt/a b".into(),
                kind: "xfs".into(),
                source: "/dev/loop0".into(),
                read_only: true,
            })
        );
        assert_eq!(parse(b""), None);
    }

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

    #[test]
    fn names_of_the_table_round_trip() {
        for name in ["/mnt/plain", "/mnt/a b", "/mnt/back\\slash#"] {
            assert_eq!(unescape(&escape(name.as_bytes())), name);
        }
    }
}
