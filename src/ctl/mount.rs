//! `dmctl mount`, `dmctl manage`, and mount.dmapi(8): a file system comes under management before, or
//! after, users can see it.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::{mount_fuse, mount_table, show, status, umount};
use crate::client::{self, MountArgs};
use crate::model::{DmError, FsId};
use crate::sys::fsmount::{self, Context, attribute};

const FANOTIFY: &str = "fanotify";
const FUSE: &str = "fuse";

/// What mount(8) and `dmctl mount` name.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Block device of the file system; with --source fuse the directory to show, of any file system that is mounted
    device: PathBuf,
    /// Directory to mount it on; with --source fuse it may be the directory itself, so that nobody gets past
    path: PathBuf,
    /// Mount options, separated by commas; fstype=KIND if the kind is not to be found out; with --source fuse
    /// data=cached serves every file through the page cache; shared lets others change the file system behind the
    /// mount: further mounts of it (all must be shared), other nodes
    #[arg(short, long, value_name = "OPTIONS", default_value = "")]
    options: String,
    /// What watches the accesses: fanotify (xfs, ext4, btrfs; as root) or fuse (any file system) [default: fanotify]
    #[arg(long, value_name = "SOURCE", value_parser = [FANOTIFY, FUSE])]
    source: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Managed {
    fs: String,
    path: String,
    device: String,
}

/// Options in the kernel's terms.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) attributes: u32,
    kind: Option<String>,
    source: Option<String>,
    /// For the file system itself: name and value.
    pub(super) own: Vec<(String, Option<String>)>,
}

impl Options {
    pub(super) fn parse(text: &str) -> Self {
        let mut options = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            options.take(name, value);
        }
        options
    }

    fn take(&mut self, name: &str, value: Option<String>) {
        self.attributes |= match name {
            "ro" => attribute::RDONLY,
            "nosuid" => attribute::NOSUID,
            "nodev" => attribute::NODEV,
            "noexec" => attribute::NOEXEC,
            "noatime" => attribute::NOATIME,
            "strictatime" => attribute::STRICTATIME,
            "nodiratime" => attribute::NODIRATIME,
            _ => 0,
        };
        match name {
            "ro" => self.own.push(("ro".into(), None)),
            "fstype" => self.kind = value,
            "source" => self.source = value,
            "nosuid" | "nodev" | "noexec" | "noatime" | "strictatime" | "nodiratime" => {}
            // What is the default anyway, what is for mount(8), and what older DMAPI systems ask for.
            "rw" | "suid" | "dev" | "exec" | "relatime" | "atime" | "diratime" | "async"
            | "defaults" | "auto" | "noauto" | "user" | "nouser" | "users" | "owner" | "group"
            | "_netdev" | "nofail" | "dmapi" | "dmi" | "xdsm" | "mtpt" | "uhelper" => {}
            name if name.starts_with("x-") || name.starts_with("X-") => {}
            name => self.own.push((name.to_owned(), value)),
        }
    }

    fn is_read_only(&self) -> bool {
        self.attributes & attribute::RDONLY != 0
    }
}

/// The kind of file system on a device.
fn probe(device: &Path) -> Result<&'static str, String> {
    let file =
        File::open(device).map_err(|error| format!("device {}: {error}", device.display()))?;
    let has = |offset: u64, magic: &[u8]| {
        let mut found = vec![0; magic.len()];
        file.read_exact_at(&mut found, offset).is_ok() && found == magic
    };
    if has(0, b"XFSB") {
        Ok("xfs")
    } else if has(0x438, &[0x53, 0xef]) {
        Ok("ext4")
    } else if has(0x10040, b"_BHRfS_M") {
        Ok("btrfs")
    } else {
        Err(format!(
            "device {}: no xfs, ext4 or btrfs is on it; make one, or name another device",
            device.display()
        ))
    }
}

fn c_string(bytes: &OsStr) -> Result<CString, String> {
    CString::new(bytes.as_bytes()).map_err(|_| format!("{}: has a NUL", bytes.display()))
}

/// Runs `dmctl mount`.
pub(super) fn run(arguments: &Arguments, json: bool) -> ExitCode {
    let mut options = Options::parse(&arguments.options);
    options.source = arguments.source.clone().or(options.source);
    match mount(&arguments.device, &arguments.path, &options) {
        Ok(managed) => {
            report(&managed, json);
            ExitCode::from(show::GOOD)
        }
        Err(problem) => show::failed(problem),
    }
}

/// Runs as mount.dmapi(8): `mount.dmapi DEVICE DIR [-sfnv] [-N NS] [-o OPTIONS] [-t TYPE.SUBTYPE]`.
pub(super) fn helper(arguments: &[String]) -> ExitCode {
    /// Of mount(8): the system call failed.
    const MOUNT_FAILED: u8 = 32;
    const USAGE: u8 = 1;
    let mut names = Vec::new();
    let mut options = String::new();
    let mut given = arguments.iter();
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "-o" => options = given.next().cloned().unwrap_or_default(),
            "-t" => {
                let kind = given.next().and_then(|kind| kind.strip_prefix("dmapi."));
                options += &kind.map_or(String::new(), |kind| format!(",fstype={kind}"));
            }
            "-N" => drop(given.next()),
            // Only to be checked, as far as that goes.
            "-f" => return ExitCode::from(show::GOOD),
            flag if flag.starts_with('-') => {}
            name => names.push(name),
        }
    }
    let [device, path] = names[..] else {
        eprintln!("usage: mount.dmapi DEVICE DIRECTORY [-o OPTIONS]");
        return ExitCode::from(USAGE);
    };
    match mount(
        Path::new(device),
        Path::new(path),
        &Options::parse(&options),
    ) {
        Ok(_) => ExitCode::from(show::GOOD),
        Err(problem) => {
            eprintln!("mount.dmapi: {problem}");
            ExitCode::from(MOUNT_FAILED)
        }
    }
}

fn report(managed: &Managed, json: bool) {
    if json {
        show::json(managed);
    } else {
        println!("{} on {} is managed", managed.device, managed.path);
    }
}

fn mount(device: &Path, path: &Path, options: &Options) -> Result<Managed, String> {
    status::check_served()?;
    let path = path
        .canonicalize()
        .map_err(|error| format!("mount point {}: {error}", path.display()))?;
    match options.source.as_deref() {
        Some(FUSE) => return mount_fuse::mount(device, &path, options),
        Some(FANOTIFY) | None => {}
        Some(other) => return Err(format!("source {other:?}: use {FANOTIFY} or {FUSE}")),
    }
    let device = device
        .canonicalize()
        .map_err(|error| format!("device {}: {error}", device.display()))?;
    let kind = match &options.kind {
        Some(kind) => kind.clone(),
        None => probe(&device)?.to_owned(),
    };
    let made = make(&device, &kind, options)
        .map_err(|error| format!("{kind} on {}: {error}", device.display()))?;
    let arguments = MountArgs {
        path: path.as_os_str().as_bytes(),
        device: device.as_os_str().as_bytes(),
        read_only: options.is_read_only(),
        manage: false,
        force: false,
    };
    let fs = manage_by_daemon(&arguments, made.as_fd(), &device)?;
    put(fs, made, &device, &path)
}

/// Puts a mount that the daemon serves in its place.
pub(super) fn put(fs: FsId, made: OwnedFd, device: &Path, path: &Path) -> Result<Managed, String> {
    let target = c_string(path.as_os_str())?;
    if let Err(error) = fsmount::put(made.as_fd(), &target) {
        let more = undo(fs, made, path)
            .map_or_else(|why| format!("; undoing it: {why}"), |()| String::new());
        return Err(format!("mount point {}: {error}{more}", path.display()));
    }
    mount_table::remember_helper(&device.display().to_string(), path);
    Ok(managed(fs, path, &device.display().to_string()))
}

/// The handlers were told of a mount that is none. One of several goes by itself when it is closed.
fn undo(fs: FsId, made: OwnedFd, path: &Path) -> Result<(), DmError> {
    let entries = client::file_systems()?;
    if entries.iter().filter(|entry| entry.fs == fs).count() > 1 {
        drop(made);
        umount::settle(path);
        return Ok(());
    }
    client::unmounted(fs, 0, true)
}

fn managed(fs: FsId, path: &Path, device: &str) -> Managed {
    Managed {
        fs: format!("{:016x}", fs.0),
        path: path.display().to_string(),
        device: device.to_owned(),
    }
}

fn make(device: &Path, kind: &str, options: &Options) -> io::Result<std::os::fd::OwnedFd> {
    let text = |text: &str| CString::new(text).map_err(io::Error::other);
    let context = Context::open(&text(kind)?)?;
    let source = CString::new(device.as_os_str().as_bytes()).map_err(io::Error::other)?;
    context.set(c"source", Some(&source))?;
    for (name, value) in &options.own {
        let value = value.as_deref().map(text).transpose()?;
        context.set(&text(name)?, value.as_deref())?;
    }
    context.create()?;
    context.mount(options.attributes)
}

fn manage_by_daemon(
    arguments: &MountArgs<'_>,
    mount: BorrowedFd<'_>,
    device: &Path,
) -> Result<FsId, String> {
    client::mount(arguments, mount).map_err(|error| {
        let device = device.display();
        match error {
            DmError::Exists => format!("{device}: is managed already; see `dmctl status`"),
            DmError::Busy => format!(
                "{device}: files are open or mapped, and accesses by them cannot be watched; close them, \
                 or use --force if none of these files will be migrated while they are open"
            ),
            DmError::NotPermitted => format!(
                "{device}: refused ({error}): dmapid needs CAP_SYS_ADMIN in the initial user namespace to \
                 watch a file system by fanotify; `dmctl mount --source fuse` needs it in its own only"
            ),
            DmError::NotSupported => format!(
                "{device}: refused ({error}): xfs, ext4 or btrfs with a UUID is needed, and Linux 6.14; other file \
                 systems are served by `dmctl mount --source fuse DIRECTORY MOUNTPOINT`"
            ),
            error => format!("{device}: refused by dmapid or by a handler of MOUNT: {error}"),
        }
    })
}

/// Runs `dmctl manage`: the file system is mounted already.
pub(super) fn manage(path: &Path, force: bool, json: bool) -> ExitCode {
    match manage_path(path, force) {
        Ok(managed) => {
            report(&managed, json);
            ExitCode::from(show::GOOD)
        }
        Err(problem) => show::failed(problem),
    }
}

fn manage_path(path: &Path, force: bool) -> Result<Managed, String> {
    status::check_served()?;
    let path = path
        .canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let seen = mount_table::mounted_on(&path)?
        .ok_or_else(|| format!("{}: nothing is mounted there", path.display()))?;
    let root = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let arguments = MountArgs {
        path: path.as_os_str().as_bytes(),
        device: seen.source.as_bytes(),
        read_only: seen.read_only,
        manage: true,
        force,
    };
    let fs = manage_by_daemon(&arguments, root.as_fd(), Path::new(&seen.source))?;
    mount_table::remember_helper(&seen.source, &path);
    Ok(managed(fs, &path, &seen.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted_into_those_of_mount_and_file_system() {
        let options = Options::parse("ro,noatime,dmapi,mtpt=/mnt,logbsize=64k,x-gvfs-hide");
        assert_eq!(options.attributes, attribute::RDONLY | attribute::NOATIME);
        assert_eq!(
            options.own,
            vec![("ro".into(), None), ("logbsize".into(), Some("64k".into()))]
        );
        assert!(options.is_read_only());
        assert_eq!(options.source, None);
        assert_eq!(Options::parse("source=fuse").source.as_deref(), Some(FUSE));
        assert_eq!(Options::parse("defaults,rw"), Options::default());
    }

    #[test]
    fn a_device_without_a_file_system_is_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("image");
        std::fs::write(&path, vec![0; 100_000]).expect("write");
        let said = probe(&path).expect_err("nothing there");
        assert!(said.contains("image") && said.contains("xfs"), "{said}");
    }
}
