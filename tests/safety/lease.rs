//! The lease test: what counts as a user of a file.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dmapi::sys::lease::Lease;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;

use super::common::{self, LoopFs};
use super::sink::{alone, eventually};
use super::user::{User, patterns};

fn is_free(path: &Path) -> bool {
    let file = File::open(path).expect("the file");
    match Lease::take(file.as_fd()) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            false
        }
    }
}

/// Closing may still be on its way in the other process.
fn becomes_free(path: &Path) {
    eventually("the lease is free", || is_free(path));
}

#[test]
fn every_user_of_a_file_is_seen() {
    let Some(_alone) = alone(120) else {
        return;
    };
    dmapi::sys::process::ignore_signals(&[nix::sys::signal::Signal::SIGIO]).expect("SIGIO");
    for kind in common::KINDS {
        let mut user = User::new();
        let fs = LoopFs::new(kind);
        let path = fs.join("f");
        std::fs::write(&path, patterns(0, 8192)).expect("a file");
        becomes_free(&path);

        for flags in ["RDONLY", "RDWR", "WRONLY"] {
            let fd = user.open(&path, flags);
            assert!(!is_free(&path), "{kind}: open for {flags}");
            user.get(&format!("close {fd}")).ok();
            becomes_free(&path);
        }

        for (protection, flags) in [
            (libc::PROT_READ, libc::MAP_SHARED),
            (libc::PROT_READ, libc::MAP_PRIVATE),
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED),
        ] {
            let fd = user.open(&path, "RDWR");
            let line = format!("mmap {fd} 0 4096 {protection} {flags}");
            let base = user.get(&line).ok();
            user.get(&format!("close {fd}")).ok();
            assert!(!is_free(&path), "{kind}: a mapping alone");
            user.get(&format!("munmap {base} 4096")).ok();
            becomes_free(&path);
        }

        // Another descriptor of our own counts, too; one that can neither read nor write does not.
        let other = File::open(&path).expect("the file");
        assert!(!is_free(&path), "{kind}: our own descriptor");
        drop(other);
        becomes_free(&path);
        let only_path: OwnedFd = open(&path, OFlag::O_PATH, Mode::empty()).expect("the path");
        assert!(is_free(&path), "{kind}: O_PATH");
        drop(only_path);
    }
}
