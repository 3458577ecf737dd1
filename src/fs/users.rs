//! Who has files of a file system open, mapped or as directory: `dmctl manage` must know before it begins,
//! as descriptors opened before the first mark make no events.
//!
//! Never reads /proc/PID/fdinfo: on a process with a fanotify group that can hang the kernel. Uses by
//! the kernel itself (loop devices, swap files, nfsd) are not found.

use std::fs::read_dir;
use std::fs::read_link;
use std::fs::read_to_string;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use crate::sys::statx;

/// One use of a file system by a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// The process.
    pub pid: u32,
    /// What it has open, as the kernel names it.
    pub path: PathBuf,
}

/// Names of the entries of a directory of /proc; none if the process is gone.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Where a link of /proc leads, if that is on the device.
fn target_on(link: &Path, device: u64) -> Option<PathBuf> {
    (statx::device_of(link).ok()? == device)
        .then(|| read_link(link).ok())
        .flatten()
}

/// The path of a line of /proc/PID/maps, if the mapping is of the device:
/// `start-end perms offset major:minor inode path`.
fn mapped_on(line: &str, device: u64) -> Option<PathBuf> {
    let mut fields = line.splitn(6, ' ').skip(3);
    let (major, minor) = fields.next()?.split_once(':')?;
    let number = |hex| u32::from_str_radix(hex, 16).ok();
    let path = fields.nth(1)?.trim_start();
    (libc::makedev(number(major)?, number(minor)?) == device).then(|| path.into())
}

fn mappings(process: &Path, device: u64) -> Vec<PathBuf> {
    // btrfs shows another device there than stat(2) does; the links tell the right one.
    if libc::major(device) == 0 {
        let links = entries(&process.join("map_files"));
        return links
            .iter()
            .filter_map(|link| target_on(link, device))
            .collect();
    }
    let maps = read_to_string(process.join("maps")).unwrap_or_default();
    maps.lines()
        .filter_map(|line| mapped_on(line, device))
        .collect()
}

/// All uses of the file system with this `st_dev` by other processes than this one, sorted.
pub fn in_use(device: u64) -> Vec<User> {
    let mut users = Vec::new();
    for process in entries(Path::new("/proc")) {
        let name = process.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let links = ["cwd", "root", "exe"].map(|name| process.join(name));
        let open = entries(&process.join("fd")).into_iter().chain(links);
        let paths = open.filter_map(|link| target_on(&link, device));
        let paths = paths.chain(mappings(&process, device));
        users.extend(paths.map(|path| User { pid, path }));
    }
    users.sort_unstable();
    users.dedup();
    users
}

/// Has a process the file open or mapped, but for those in `except`? `devices`: those on which it is seen. Descriptors
/// with O_PATH count.
pub fn is_open(devices: &[u64], inode: u64, except: &[u32]) -> bool {
    let is_it = |link: &PathBuf| {
        let found = std::fs::metadata(link);
        found.is_ok_and(|found| found.ino() == inode && devices.contains(&found.dev()))
    };
    entries(Path::new("/proc")).iter().any(|process| {
        let name = process.file_name().and_then(|name| name.to_str());
        match name.and_then(|name| name.parse::<u32>().ok()) {
            Some(pid) if !except.contains(&pid) => ["fd", "map_files"]
                .iter()
                .any(|dir| entries(&process.join(dir)).iter().any(is_it)),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_found_by_its_device() {
        let line = "7f00-7f01 r--p 00000000 07:03 131                    /mnt/a file";
        let device = libc::makedev(7, 3);
        assert_eq!(mapped_on(line, device), Some("/mnt/a file".into()));
        assert_eq!(mapped_on(line, libc::makedev(7, 4)), None);
        assert_eq!(mapped_on("7f00-7f01 rw-p 00000000 00:00 0", device), None);
        assert_eq!(mapped_on("", device), None);
    }
}
