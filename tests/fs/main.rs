//! The file layer on real file systems of all kinds.

#[path = "../common/mod.rs"]
mod common;

mod any;
mod attrs;
mod data;
mod handles;
mod marks;
mod namespace;
mod scans;

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;

use common::Deadline;
use common::LoopFs;
use dmapi::fs::Mount;
use dmapi::model::Handle;
use dmapi::model::OpenFor;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// Those of the fanotify source, and two that only the FUSE source serves.
const ALL_KINDS: [&str; 5] = ["xfs", "ext4", "btrfs", "tmpfs", "overlay"];

/// A directory of its own for one test, on the file system that all tests of a kind share.
struct Place {
    mount: Mount,
    path: PathBuf,
}

impl Place {
    fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn handle(&self, name: &str) -> Handle {
        handle(&self.mount, &self.join(name))
    }

    fn open(&self, name: &str, open: OpenFor) -> OwnedFd {
        let fd = self.mount.open(self.handle(name), open);
        fd.unwrap_or_else(|error| panic!("{name} for {open:?}: {error}"))
    }

    /// A file with contents, and its descriptor for writing.
    fn file(&self, name: &str, contents: &[u8]) -> OwnedFd {
        std::fs::write(self.join(name), contents).unwrap();
        self.open(name, OpenFor::Write)
    }
}

/// The object itself, also of a symbolic link.
fn look(path: &Path) -> OwnedFd {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).unwrap()
}

fn handle(mount: &Mount, path: &Path) -> Handle {
    mount.handle_of(look(path).as_fd()).unwrap()
}

/// The shared file systems end with the program: their janitors see to that.
fn shared(kind: &'static str) -> &'static LoopFs {
    static SHARED: [OnceLock<LoopFs>; 5] = [const { OnceLock::new() }; 5];
    let number = ALL_KINDS.iter().position(|one| *one == kind).unwrap();
    SHARED[number].get_or_init(|| LoopFs::new(kind))
}

fn with_place(kind: &'static str, name: &'static str, check: fn(Place)) {
    if !common::is_root() {
        return;
    }
    let _deadline = Deadline::new(name, 120);
    let fs = shared(kind);
    let path = fs.join(name);
    std::fs::create_dir(&path).unwrap();
    let mount = fs.open_private();
    check(Place { mount, path });
}

fn with_fs(kind: &'static str, name: &'static str, check: fn(LoopFs)) {
    if !common::is_root() {
        return;
    }
    let _deadline = Deadline::new(name, 120);
    check(LoopFs::new(kind));
}

/// One test for each kind: `check` gets a directory on a shared file system, or a file system of its own.
macro_rules! on_each_kind {
    ($with:ident: $($check:ident),+ $(,)?) => {
        $(mod $check {
            #[test]
            fn xfs() {
                crate::$with("xfs", stringify!($check), super::$check);
            }
            #[test]
            fn ext4() {
                crate::$with("ext4", stringify!($check), super::$check);
            }
            #[test]
            fn btrfs() {
                crate::$with("btrfs", stringify!($check), super::$check);
            }
            #[test]
            fn tmpfs() {
                crate::$with("tmpfs", stringify!($check), super::$check);
            }
            #[test]
            fn overlay() {
                crate::$with("overlay", stringify!($check), super::$check);
            }
        })+
    };
}
pub(crate) use on_each_kind;
