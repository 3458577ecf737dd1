//! fio writes and verifies through the mount, in both ways, and on the file system behind it.

use std::path::Path;
use std::process::{Command, Stdio};

use dmapi::model::FuseOptions;

use super::common::{self, LoopFs};
use super::conformance::CHOICES;
use super::rig::{Rig, alone};

/// Mixed reads and writes by each kind of call; a megabyte or two each, so that it takes seconds.
const JOBS: &[(&str, &[&str])] = &[
    (
        "psync",
        &["--rw=randrw", "--bsrange=512-64k", "--bs_unaligned"],
    ),
    ("pvsync", &["--rw=randwrite", "--bs=4k", "--direct=1"]),
    ("mmap", &["--rw=randwrite", "--bs=4k"]),
    (
        "libaio",
        &["--rw=randrw", "--bs=16k", "--direct=1", "--iodepth=8"],
    ),
    ("sync", &["--rw=write", "--bs=128k", "--fsync=4"]),
];

/// Is fio there? `make test` installs it.
fn is_there() -> bool {
    let found = Command::new("fio")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        common::skip("fio is not installed (cmake/deps.sh does it)");
    }
    is_there
}

fn run(dir: &Path) {
    for (engine, options) in JOBS {
        let output = Command::new("fio")
            .current_dir(dir)
            .args(["--name=v", "--size=2m", "--randseed=7"])
            .args(["--verify=crc32c", "--verify_fatal=1", "--do_verify=1"])
            .arg(format!("--ioengine={engine}"))
            .arg(format!("--filename={engine}"))
            .args(*options)
            .stdin(Stdio::null())
            .output()
            .expect("fio runs");
        assert!(
            output.status.success(),
            "{engine} in {}: {}{}",
            dir.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn fio_verifies_what_it_wrote() {
    let Some(_alone) = alone(240) else {
        return;
    };
    if !is_there() {
        return;
    }
    for options in [FuseOptions::default()].into_iter().chain(CHOICES) {
        let rig = Rig::chosen(LoopFs::new("xfs"), options);
        run(&rig.point);
        rig.is_quiet();
        if options == FuseOptions::default() {
            std::fs::create_dir(rig.fs.join("behind")).expect("a directory");
            run(&rig.fs.join("behind"));
        }
    }
}
